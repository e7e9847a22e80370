insert into uploads (id, repository, client, started_at, written_at) values ($1, $2, $3, $4, $5)
