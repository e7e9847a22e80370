insert into manifests (repository, blob, media_type, subject, pushed_at) values ($1, $2, $3, $4, $5)
on conflict (repository, blob) do update set media_type = excluded.media_type, subject = excluded.subject
