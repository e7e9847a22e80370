update catalog set tree = 1 where id = 1
