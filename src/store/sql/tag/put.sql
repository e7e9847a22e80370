insert into tags (repository, name, manifest, moved_at) values ($1, $2, $3, $4)
on conflict (repository, name) do update set manifest = excluded.manifest, moved_at = excluded.moved_at
