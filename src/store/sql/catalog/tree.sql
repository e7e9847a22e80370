select tree from catalog where id = 1
