delete from manifests where repository = $1 and blob = $2
