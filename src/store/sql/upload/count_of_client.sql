select count(*) from uploads where client = $1
