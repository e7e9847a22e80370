update networks set enqueued_to = 0
