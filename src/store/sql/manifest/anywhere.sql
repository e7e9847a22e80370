select 1 from manifests where blob = $1 limit 1
