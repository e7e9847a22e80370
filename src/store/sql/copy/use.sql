update copies set used_at = $1 where blob = $2
