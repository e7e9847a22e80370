with recursive tree (blob) as (
    select id from blobs where digest = $1
    union
    select n.blob from tree t join needs n on n.manifest = t.blob
)
select b.digest
from tree t
join blobs b on b.id = t.blob
where b.place <> 0
    and not exists (select 1 from pins p where p.network = $2 and p.blob = b.id and p.state = 3)
limit $3
