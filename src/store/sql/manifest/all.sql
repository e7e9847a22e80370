select m.blob, b.digest, m.media_type
from manifests m
join blobs b on b.id = m.blob
where m.repository = $1 and m.blob > $2
order by m.blob
limit $3
