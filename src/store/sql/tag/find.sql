select manifest from tags where repository = $1 and name = $2
