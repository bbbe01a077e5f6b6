package lookup

import "net/netip"

// List is a list of domains, hosts and networks as in mydestination,
// relay_domains or mynetworks: patterns, /file names whose content is put in
// their place, TYPE:TABLE look-ups, and "!" to exclude. The first element that
// matches decides. A nil *List matches nothing.
type List struct {
	param      string
	elems      []element
	subdomains bool
	network    bool
}

// element is one entry of a List.
type element struct {
	negate  bool
	text    string // folded pattern
	prefix  netip.Prefix
	isNet   bool
	table   Table
	errText string // element that cannot be used: a match that reaches it is an error
}

// OpenList parses value, which is the value of param. With subdomains, an
// element example.com also matches its subdomains (the parameter's name is in
// parent_domain_matches_subdomains); .example.com always does.
func OpenList(param, value string, env *Env, subdomains bool) (*List, error) {
	return openList(param, value, env, subdomains, false)
}

// OpenStringList is OpenList for lists of plain strings, where .example.com
// has no meaning (virtual_alias_domains, virtual_mailbox_domains): an element
// matches itself.
func OpenStringList(param, value string, env *Env) (*List, error) {
	return openList(param, value, env, false, true)
}

// Match says whether name, a domain or any other string, is in the list. An
// error is temporary table trouble.
func (l *List) Match(name string) (bool, error) { return l.MatchHost(name, "") }

// MatchHost says whether a host is in the list, by its name or by its address
// (without brackets); either may be "".
func (l *List) MatchHost(name, addr string) (bool, error) {
	if l == nil {
		return false, nil
	}
	return false, ErrUnsupported
}

// Close closes the tables of the list.
func (l *List) Close() error { return nil }

func openList(param, value string, env *Env, subdomains, plain bool) (*List, error) {
	return nil, ErrUnsupported
}
