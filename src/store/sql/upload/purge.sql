delete from uploads where id = $1 and written_at < $2
