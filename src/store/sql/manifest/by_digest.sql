select b.id, b.digest, m.media_type, b.size, b.place, c.bytes
from repositories r
join manifests m on m.repository = r.id
join blobs b on b.id = m.blob
left join contents c on c.blob = b.id
where r.name = $1 and b.digest = $2
