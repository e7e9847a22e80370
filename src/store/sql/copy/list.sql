insert into copies (blob, size, used_at) values ($1, $2, $3)
