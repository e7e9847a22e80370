select t.manifest, b.digest
from repositories r
join tags t on t.repository = r.id
join blobs b on b.id = t.manifest
where r.name = $1 and t.name = $2
