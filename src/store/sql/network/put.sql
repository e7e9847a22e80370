insert into networks (name, enqueued_to) values ($1, $2)
on conflict (name) do update set enqueued_to = excluded.enqueued_to
