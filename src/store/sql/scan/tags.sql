select t.name, t.manifest, b.digest, m.pushed_at
from repositories r
join tags t on t.repository = r.id
join manifests m on m.repository = t.repository and m.blob = t.manifest
join blobs b on b.id = t.manifest
where r.name = $1 and t.name > $2
order by t.name
limit $3
