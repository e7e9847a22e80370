insert into contents (blob, bytes) values ($1, $2) on conflict (blob) do update set bytes = excluded.bytes
