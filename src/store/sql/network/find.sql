select enqueued_to from networks where name = $1
