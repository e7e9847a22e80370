insert into pins (network, blob, state, cid, profile, due_at) values ($1, $2, 0, $3, $4, $5)
on conflict (network, blob) do update set due_at = excluded.due_at where pins.state <> 3
