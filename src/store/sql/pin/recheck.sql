update pins set due_at = $1 where blob = $2 and state = $3
