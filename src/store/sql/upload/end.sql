delete from uploads where id = $1 and repository = $2
