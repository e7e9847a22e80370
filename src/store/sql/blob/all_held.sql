select h.blob, b.digest
from repository_blobs h
join blobs b on b.id = h.blob
where h.repository = $1 and h.blob > $2
order by h.blob
limit $3
