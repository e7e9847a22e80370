select t.name
from repositories r
join tags t on t.repository = r.id
where r.name = $1 and t.manifest = $2
order by t.name
