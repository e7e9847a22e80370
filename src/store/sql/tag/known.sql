select number from tag_history where repository = $1 and name = $2 limit 1
