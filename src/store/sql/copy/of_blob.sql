select b.place, b.size, c.size,
    case when exists (select 1 from pins p where p.blob = b.id and p.state = 3) then 1 else 0 end,
    case when exists (select 1 from manifests m where m.blob = b.id) then 1 else 0 end
from blobs b
left join copies c on c.blob = b.id
where b.id = $1
