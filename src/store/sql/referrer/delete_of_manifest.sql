delete from referrers where repository = $1 and manifest = $2
