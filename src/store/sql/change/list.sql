select number, changed_at, actor, kind, repository, digest, tag
from changes
where number > $1
order by number
limit $2
