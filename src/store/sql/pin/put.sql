update pins
set state = $1, cid = $2, profile = $3, remote = $4, attempts = $5, cause = $6, due_at = $7,
    confirmed_at = $8, lost_at = $9
where network = $10 and blob = $11
