insert into pins (network, blob, state, cid, remote, due_at) values ($1, $2, $3, $4, $5, $6)
on conflict (network, blob) do update
set state = excluded.state, cid = excluded.cid, remote = excluded.remote, due_at = excluded.due_at,
    attempts = 0, cause = null
where pins.state <> excluded.state
