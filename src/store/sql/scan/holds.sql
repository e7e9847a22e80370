select 1
from repositories r
join manifests m on m.repository = r.id
where r.name = $1 and m.blob = $2
