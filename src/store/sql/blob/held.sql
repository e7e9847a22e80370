select b.place
from repositories r
join blobs b on true
where r.id = $1 and b.digest = $2 and (
    exists (select 1 from repository_blobs h where h.repository = r.id and h.blob = b.id)
    or exists (select 1 from manifests m where m.repository = r.id and m.blob = b.id))
