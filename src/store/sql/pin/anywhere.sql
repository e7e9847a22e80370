select 1 from pins where blob = $1 and state = $2 limit 1
