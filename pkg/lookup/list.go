package lookup

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/lookup/source"
)

// List is a list of domains, hosts and networks as in mydestination,
// relay_domains or mynetworks: patterns, /file names whose content is put in
// their place, TYPE:TABLE look-ups, and "!" to exclude. The first element that
// matches decides. A nil *List matches nothing.
type List struct {
	param      string
	elems      []element
	subdomains bool
	plain      bool
	exact      map[string]bool // all elements, if they are names without "!"

	bad, idle []string // what is wrong with elements: they cannot be used, or match nothing
	err       error    // what is wrong with the whole
}

// element is one entry of a List.
type element struct {
	negate bool
	text   string // folded pattern
	net    netip.Prefix
	isNet  bool
	table  Table
	err    error // the element cannot be used: coming to it is an error
}

// OpenList parses value, which is the value of param. With subdomains, an
// element example.com also matches its subdomains (the parameter's name is in
// parent_domain_matches_subdomains); without, .example.com does. An element
// that cannot be used (a file or table that cannot be opened, a bad network) is
// logged, and queries that come to it are errors.
func OpenList(param, value string, env *Env, subdomains bool) (*List, error) {
	return openList(param, value, env, subdomains, false).ready(env)
}

// OpenStringList is OpenList for lists of plain strings, where .example.com
// has no meaning (mydestination, virtual_alias_domains,
// virtual_mailbox_domains): an element matches itself.
func OpenStringList(param, value string, env *Env) (*List, error) {
	return openList(param, value, env, false, true).ready(env)
}

// ready logs what is wrong with elements, and returns l, or nil if it has none.
func (l *List) ready(env *Env) (*List, error) {
	for _, text := range slices.Concat(l.bad, l.idle) {
		env.warn("%s", text)
	}
	if l.err != nil || l.Empty() {
		return nil, l.err
	}
	return l, nil
}

// ListProblems returns what is wrong with the elements of a list (OpenList) or, if
// they are plain, of one of plain strings: those that cannot be used, and those that
// are idle, since they match nothing.
func ListProblems(param, value string, cfg *config.Config, plain bool) (bad, idle []string) {
	l := openList(param, value, &Env{Config: cfg}, false, plain)
	if l.err != nil {
		l.bad = append(l.bad, l.err.Error())
	}
	l.Close()
	return l.bad, l.idle
}

// listDepth bounds files that name files.
const listDepth = 10

// openList returns the List, of no use if it has an error.
func openList(param, value string, env *Env, subdomains, plain bool) *List {
	l := &List{param: param, subdomains: subdomains, plain: plain}
	if err := l.parse(value, env, false, 0); err != nil {
		l.Close()
		l.elems, l.err = nil, fmt.Errorf("%s: %w", param, err)
		return l
	}
	l.exact = make(map[string]bool, len(l.elems))
	for i := range l.elems {
		e := &l.elems[i]
		if e.negate || e.isNet || e.table != nil || e.err != nil {
			l.exact = nil
			break
		}
		l.exact[e.text] = true
	}
	return l
}

// parse appends the elements of text.
func (l *List) parse(text string, env *Env, negate bool, depth int) error {
	if depth > listDepth {
		return fmt.Errorf("files nested too deeply")
	}
	for _, item := range splitItems(text) {
		e := element{negate: negate}
		name := strings.TrimLeft(item, "!")
		if (len(item)-len(name))%2 == 1 {
			e.negate = !e.negate
		}
		switch {
		case name == "":
			return fmt.Errorf("no pattern after '!'")
		case name[0] == '/':
			if err := l.file(name, env, e.negate, depth); err != nil {
				l.spoil(&e, err)
				l.elems = append(l.elems, e)
			}
			continue
		case name[0] != '[' && strings.IndexByte(name, ':') >= 0:
			t, err := Open(name, env)
			if bare, e := parseNetwork(name); errors.Is(err, ErrUnsupported) && e == nil {
				err = fmt.Errorf("%s: an IPv6 address needs brackets: [%s]/%d", name, bare.Addr(), bare.Bits())
			}
			if err != nil {
				l.spoil(&e, err)
			}
			e.table = t
		default:
			e.text = address.Fold(name)
			if looksLikeNetwork(e.text) {
				var err error
				if e.net, err = parseNetwork(e.text); err != nil {
					l.spoil(&e, err)
				}
				e.isNet = true
			} else if _, err := netip.ParseAddr(e.text); err != nil && !l.plain && strings.Trim(e.text, "0123456789.") == "" || strings.Contains(e.text, "/") {
				l.idle = append(l.idle, fmt.Sprintf("%s: %q is neither an address nor a network nor a name: it matches nothing", l.param, name))
			}
		}
		l.elems = append(l.elems, e)
	}
	return nil
}

// spoil notes that e cannot be used.
func (l *List) spoil(e *element, err error) {
	e.err = err
	l.bad = append(l.bad, l.param+": "+err.Error())
}

func (l *List) file(name string, env *Env, negate bool, depth int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := source.NewLines(f)
	lines.Warn = func(n int, text string) { l.bad = append(l.bad, fmt.Sprintf("%s, line %d: %s", name, n, text)) }
	for {
		line, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = l.parse(string(line), env, negate, depth+1)
		}
		if err != nil {
			return source.Problem(name, n, err)
		}
	}
}

// looksLikeNetwork tells networks and IPv6 addresses from names.
func looksLikeNetwork(s string) bool {
	return strings.ContainsAny(s, ":/") && strings.Trim(s, "0123456789abcdef.:[]/") == "" ||
		s[0] == '[' && strings.Trim(s, "0123456789.[]") == ""
}

// Empty says whether the list has no elements.
func (l *List) Empty() bool { return l == nil || len(l.elems) == 0 }

// Match says whether name, a domain or any other string, is in the list. An
// error is temporary table trouble.
func (l *List) Match(name string) (bool, error) { return l.MatchHost(name, "") }

// MatchHost says whether a host is in the list, by its name or by its address
// (without brackets); either may be "".
func (l *List) MatchHost(name, addr string) (bool, error) {
	if l == nil {
		return false, nil
	}
	name = address.Fold(name)
	if l.exact != nil {
		return name != "" && l.matchExact(name) || addr != "" && l.exact[address.Fold(addr)], nil
	}
	var ip netip.Addr
	if addr != "" {
		addr = address.Fold(addr)
		ip, _ = netip.ParseAddr(addr)
	}
	for i := range l.elems {
		e := &l.elems[i]
		hit, err := l.element(e, name, addr, ip)
		if err != nil {
			return false, fmt.Errorf("%s: %w", l.param, err)
		}
		if hit {
			return !e.negate, nil
		}
	}
	return false, nil
}

func (l *List) matchExact(name string) bool {
	if l.exact[name] {
		return true
	}
	if l.plain {
		return false
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '.' {
			continue
		}
		if l.subdomains && i+1 < len(name) && l.exact[name[i+1:]] || !l.subdomains && l.exact[name[i:]] {
			return true
		}
	}
	return false
}

func (l *List) element(e *element, name, addr string, ip netip.Addr) (bool, error) {
	switch {
	case e.err != nil:
		return false, e.err
	case e.table != nil:
		if name != "" {
			if ok, err := l.tableName(e.table, name); ok || err != nil {
				return ok, err
			}
		}
		if addr != "" {
			_, ok, err := e.table.Get(addr)
			return ok, err
		}
		return false, nil
	case e.isNet:
		return ip.IsValid() && e.net.Contains(ip) || name != "" && name == e.text, nil
	case name != "" && name == e.text, addr != "" && addr == e.text:
		return true, nil
	case l.plain || name == "":
		return false, nil
	case l.subdomains:
		n := len(name) - len(e.text)
		return n > 0 && name[n-1] == '.' && name[n:] == e.text, nil
	}
	return e.text[0] == '.' && len(name) > len(e.text) && strings.HasSuffix(name, e.text), nil
}

// tableName asks a table for a name and, in lists of domains, its parents.
func (l *List) tableName(t Table, name string) (bool, error) {
	_, ok, err := t.Get(name)
	if ok || err != nil || l.plain || !t.Partial() {
		return ok, err
	}
	_, _, ok, err = Single(t).Domain(name, l.subdomains, !l.subdomains)
	return ok, err
}

// Close closes the tables of the list.
func (l *List) Close() error {
	if l == nil {
		return nil
	}
	var first error
	for i := range l.elems {
		if t := l.elems[i].table; t != nil {
			if err := t.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// ParentMatches says whether param is in parent_domain_matches_subdomains,
// whose value is list.
func ParentMatches(param string, list []string) bool {
	for _, p := range list {
		if p == param {
			return true
		}
	}
	return false
}
