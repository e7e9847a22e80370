select f.digest, f.media_type, f.size, f.artifact_type, f.annotations
from repositories r
join referrers k on k.repository = r.id
join referrers f on f.repository = k.repository and f.subject = k.subject and f.digest = k.digest
where r.name = $1 and k.subject = $2 and k.artifact_type = $3 and k.digest > $4
order by k.digest
limit $5
