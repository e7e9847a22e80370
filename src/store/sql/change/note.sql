insert into changes (changed_at, actor, kind, repository, digest, tag) values ($1, $2, $3, $4, $5, $6)
