select due_at from pins where network = $1 and due_at > $2 order by due_at limit 1
