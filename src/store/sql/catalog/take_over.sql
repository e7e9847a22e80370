update catalog set tree = 0, catalog_id = $1 where id = 1
