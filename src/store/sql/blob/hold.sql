insert into repository_blobs (repository, blob) values ($1, $2) on conflict do nothing
