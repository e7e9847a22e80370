select id, place, size from blobs where digest = $1
