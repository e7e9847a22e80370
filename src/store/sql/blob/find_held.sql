select b.id, b.place, b.size, b.touched_at
from blobs b
where b.digest = $1 and exists (select 1 from repository_blobs h where h.blob = b.id)
