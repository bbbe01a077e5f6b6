package lookup

var types = map[string]opener{}

var typeNames []string
