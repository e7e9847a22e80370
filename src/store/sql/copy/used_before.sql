select c.blob from blobs b join copies c on c.blob = b.id where b.digest = $1 and c.used_at < $2
