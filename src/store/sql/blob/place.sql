update blobs set place = $1, size = $2 where id = $3
