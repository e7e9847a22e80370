select b.id, b.digest, m.media_type, b.size, b.place, c.bytes
from repositories r
join tags t on t.repository = r.id
join manifests m on m.repository = t.repository and m.blob = t.manifest
join blobs b on b.id = m.blob
left join contents c on c.blob = b.id
where r.name = $1 and t.name = $2
