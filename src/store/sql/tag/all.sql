select t.name, b.digest
from tags t
join blobs b on b.id = t.manifest
where t.repository = $1 and t.name > $2
order by t.name
limit $3
