update repositories set manifests = manifests + $1 where id = $2
