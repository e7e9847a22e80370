select state, cid, remote, cause from pins where network = $1 and blob = $2
