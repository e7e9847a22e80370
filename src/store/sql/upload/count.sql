select count(*) from uploads
