insert into referrers (repository, subject, digest, manifest, media_type, size, artifact_type, annotations)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (repository, subject, digest) do update
set media_type = excluded.media_type, artifact_type = excluded.artifact_type,
    annotations = excluded.annotations
