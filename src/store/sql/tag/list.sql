select t.name
from repositories r
join tags t on t.repository = r.id
where r.name = $1 and t.name > $2
order by t.name
limit $3
