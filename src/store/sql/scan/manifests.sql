select m.blob, b.digest, b.size, b.place, m.media_type
from repositories r
join manifests m on m.repository = r.id
join blobs b on b.id = m.blob
where r.name = $1 and m.blob > $2
order by m.blob
limit $3
