select id, repository, written_at from uploads where written_at < $1 order by written_at limit $2
