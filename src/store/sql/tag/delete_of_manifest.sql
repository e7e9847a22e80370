delete from tags where repository = $1 and manifest = $2
