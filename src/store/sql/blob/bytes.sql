select bytes from contents where blob = $1
