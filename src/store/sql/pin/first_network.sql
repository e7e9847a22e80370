select network from pins where network > '' order by network limit 1
