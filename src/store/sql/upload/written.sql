update uploads set written_at = $1 where id = $2
