insert into blobs (digest, size, place, touched_at) values ($1, $2, 0, $3)
on conflict (digest) do update set touched_at = excluded.touched_at
returning id, place
