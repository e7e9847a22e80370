select r.name, t.name, b.digest, p.cid
from manifests m
join tags t on t.repository = m.repository and t.manifest = m.blob
join repositories r on r.id = m.repository
join blobs b on b.id = m.blob
join pins p on p.network = $1 and p.blob = m.blob
where m.blob = $2
limit $3
