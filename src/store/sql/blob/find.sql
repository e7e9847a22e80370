select b.id, b.place, b.size, b.touched_at
from repositories r
join repository_blobs h on h.repository = r.id
join blobs b on b.id = h.blob
where r.name = $1 and b.digest = $2
