update pins set state = $1, cause = $2, remote = null, due_at = $3 where blob = $4 and state = $5
