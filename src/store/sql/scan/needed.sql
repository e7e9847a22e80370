select 1
from needs n
where n.blob = $1 and exists (
    select 1
    from repositories r
    join manifests m on m.repository = r.id
    where r.name = $2 and m.blob = n.manifest)
limit 1
