update catalog set copies_size = copies_size + $1 where id = 1
