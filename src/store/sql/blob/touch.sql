update blobs set touched_at = $1 where id = $2
