select p.blob, b.digest, b.size, b.place, p.state, p.cid, p.profile, p.remote, p.attempts, p.cause,
    p.due_at, p.confirmed_at, p.lost_at
from pins p
join blobs b on b.id = p.blob
where p.network = $1 and p.due_at is not null and p.due_at <= $2
order by p.due_at
limit $3
