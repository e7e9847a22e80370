select copies_size from catalog where id = 1
