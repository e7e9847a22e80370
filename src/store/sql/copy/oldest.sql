select b.digest, c.blob, c.size
from copies c
join blobs b on b.id = c.blob
where c.used_at > 0
order by c.used_at, c.blob
limit $1
