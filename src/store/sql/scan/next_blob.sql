select id, digest, size, place from blobs where id > $1 order by id limit 1
