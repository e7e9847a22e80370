select name from repositories where manifests > 0 and name > $1 order by name limit $2
