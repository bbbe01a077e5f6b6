package lookup

import "sort"

// openerOf returns how tables of a type are opened, nil for an unknown type. It
// is a function, not a variable, since tables made of tables open others
// through it.
func openerOf(typ string) opener {
	if IsIndexed(typ) {
		return openIndexed
	}
	switch typ {
	case "cidr":
		return openCIDR
	case "debug":
		return openDebug
	case "environ":
		return openEnviron
	case "fail":
		return openFail
	case "inline":
		return openInline
	case "pcre":
		return openPCRE
	case "pipemap":
		return openPipe
	case "randmap":
		return openRandom
	case "regexp":
		return openRegexp
	case "socketmap":
		return openSocketmap
	case "static":
		return openStatic
	case "tcp":
		return openTCP
	case "texthash":
		return openTextHash
	case "unionmap":
		return openUnion
	case "unix":
		return openUnix
	}
	return nil
}

// Types lists the table types that Open knows, sorted (postconf -m).
func Types() []string {
	t := []string{"btree", "cdb", "cidr", "dbm", "debug", "environ", "fail", "hash", "inline", "lmdb", "pcre", "pipemap", "proxy",
		"randmap", "regexp", "sdbm", "socketmap", "static", "tcp", "texthash", "unionmap", "unix"}
	sort.Strings(t)
	return t
}
