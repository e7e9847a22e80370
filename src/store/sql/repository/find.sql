select id from repositories where name = $1
