select id, name from repositories where name > $1 order by name limit $2
