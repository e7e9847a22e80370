delete from repository_blobs where repository = $1 and blob = $2
