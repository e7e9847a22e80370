select f.digest, f.media_type, f.size, f.artifact_type, f.annotations
from repositories r
join referrers f on f.repository = r.id
where r.name = $1 and f.subject = $2 and f.digest > $3
order by f.digest
limit $4
