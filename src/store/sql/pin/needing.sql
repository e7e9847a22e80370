select manifest from needs where blob = $1 order by manifest limit $2
