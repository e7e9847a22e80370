insert into needs (manifest, blob) values ($1, $2) on conflict do nothing
