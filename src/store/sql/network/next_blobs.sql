select b.id, case when b.place in (1, 2) and (
        exists (select 1 from repository_blobs h where h.blob = b.id)
        or exists (select 1 from manifests m where m.blob = b.id))
    then 1 else 0 end
from blobs b
where b.id > $1
order by b.id
limit $2
