select h.number, b.digest, h.moved_at, h.actor
from repositories r
join tag_history h on h.repository = r.id
left join blobs b on b.id = h.manifest
where r.name = $1 and h.name = $2 and h.number < $3
order by h.number desc
limit $4
