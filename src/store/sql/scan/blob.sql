select id, digest, size, place from blobs where digest = $1
