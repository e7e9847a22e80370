select 1
from repositories r
where r.name = $1 and (
    r.manifests > 0 or exists (select 1 from repository_blobs h where h.repository = r.id))
