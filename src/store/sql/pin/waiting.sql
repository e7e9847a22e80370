select count(*) from (select 1 from pins where network = $1 and state <> 3 limit $2) counted
