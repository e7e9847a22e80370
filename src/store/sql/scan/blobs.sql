select h.blob, b.digest, b.size, b.place
from repositories r
join repository_blobs h on h.repository = r.id
join blobs b on b.id = h.blob
where r.name = $1 and h.blob > $2
order by h.blob
limit $3
