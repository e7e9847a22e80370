insert into tag_history (repository, name, manifest, moved_at, actor) values ($1, $2, $3, $4, $5)
