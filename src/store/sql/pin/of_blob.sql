select p.network, p.state, p.cid, p.profile, p.remote, p.attempts, p.cause, p.due_at, p.confirmed_at, p.lost_at
from blobs b
join pins p on p.blob = b.id
where b.digest = $1
order by p.network
