insert into pins (network, blob, state, cid, profile, remote, attempts, cause, due_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (network, blob) do nothing
