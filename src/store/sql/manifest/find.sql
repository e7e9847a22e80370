select b.id
from blobs b
join manifests m on m.repository = $1 and m.blob = b.id
where b.digest = $2
