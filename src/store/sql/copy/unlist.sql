delete from copies where blob = $1
