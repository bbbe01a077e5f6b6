package lookup

import (
	"fmt"
	"strings"

	"posthaste/pkg/address"
)

// Find is one kind of key that is derived from an address. AddressOptions.Keys
// lists them; the order of the queries is fixed.
type Find uint16

// The kinds of keys, in the order in which they are tried.
const (
	FindFull           Find = 1 << iota // user+ext@domain
	FindNoExt                           // user@domain, if there is an extension
	FindLocalIfLocal                    // user+ext and user, if the domain is local
	FindLocalAtIfLocal                  // user+ext@ and user@, if the domain is local
	FindAtDomain                        // @domain
	FindDomain                          // domain
	FindSubdomains                      // parents of domain as "parent" (parent_domain_matches_subdomains)
	FindDotParents                      // parents of domain as ".parent"
	FindLocalAt                         // user+ext@ and user@
)

// Sets of keys that tables use.
const (
	// FindDefault is the order of virtual_alias_maps, canonical_maps,
	// relocated_maps, generic and BCC maps, sender_dependent_* and
	// local_recipient_maps.
	FindDefault = FindFull | FindNoExt | FindLocalIfLocal | FindAtDomain
	// FindMailbox is that of virtual_mailbox_maps and relay_recipient_maps.
	FindMailbox = FindFull | FindNoExt | FindAtDomain
	// FindAccess is that of check_sender_access and check_recipient_access, to
	// be joined with FindSubdomains or FindDotParents.
	FindAccess = FindFull | FindNoExt | FindDomain | FindLocalAt
	// FindTransport is that of transport_maps, to be joined like FindAccess.
	FindTransport = FindFull | FindNoExt | FindDomain
)

// AddressOptions says which keys an address look-up tries.
type AddressOptions struct {
	Keys Find // 0 means FindDefault
	// Local says whether a domain is $myorigin, in $mydestination or an address
	// of this machine in brackets; nil means that no domain is.
	Local func(domain string) (bool, error)
	// Ext are the rules for extensions besides the delimiters.
	Ext address.Extension
}

// Address looks an internal address up: each key is asked of every table
// before the next key (compat: user+ext@domain, user@domain, user+ext, user,
// @domain). Pattern tables see the full address only. key is the key that had a
// value.
func (m *Maps) Address(addr string, delims string, o AddressOptions) (value, key string, ok bool, err error) {
	value, key, _, ok, err = m.AddressExt(addr, delims, o)
	return value, key, ok, err
}

// AddressExt is Address that also returns the part of the address that the
// matching key leaves out: the extension with its delimiter, or "".
func (m *Maps) AddressExt(addr string, delims string, o AddressOptions) (value, key, ext string, ok bool, err error) {
	if m.Empty() || addr == "" {
		return "", "", "", false, nil
	}
	keys := o.Keys
	if keys == 0 {
		keys = FindDefault
	}
	if keys&FindFull != 0 {
		// Sources may have the key in quoted or, as in times past, in bare form.
		if q := address.Quote(addr); q != addr {
			if value, ok, err = m.Get(q); ok || err != nil {
				return value, q, "", ok, err
			}
		}
		if value, ok, err = m.Get(addr); ok || err != nil {
			return value, addr, "", ok, err
		}
	}
	at := strings.LastIndexByte(addr, '@')
	local, domain := addr, ""
	if at >= 0 {
		local, domain = addr[:at], addr[at+1:]
	}
	o.Ext.Delims = delims
	base, _ := o.Ext.Split(local)
	split := len(base) < len(local)
	if split && keys&FindNoExt != 0 {
		key = base + addr[len(local):]
		if value, ok, err = m.quotedPartial(key); ok || err != nil {
			return value, key, local[len(base):], ok, err
		}
	}
	try := func(k, x string) bool {
		if value, ok, err = m.quotedPartial(k); ok || err != nil {
			key, ext = k, x
			return true
		}
		return false
	}
	if keys&(FindLocalIfLocal|FindLocalAtIfLocal) != 0 && at >= 0 && o.Local != nil {
		is, lerr := o.Local(domain)
		if lerr != nil {
			return "", "", "", false, lerr
		}
		if is && keys&FindLocalIfLocal != 0 && (try(local, "") || split && try(base, local[len(base):])) {
			return value, key, ext, ok, err
		}
		if is && keys&FindLocalAtIfLocal != 0 && (try(local+"@", "") || split && try(base+"@", local[len(base):])) {
			return value, key, ext, ok, err
		}
	}
	if keys&FindAtDomain != 0 && at >= 0 {
		if value, ok, err = m.GetPartial(addr[at:]); ok || err != nil {
			return value, addr[at:], "", ok, err
		}
	}
	if keys&FindDomain != 0 && at >= 0 {
		if value, key, ok, err = m.Domain(domain, keys&FindSubdomains != 0, keys&FindDotParents != 0); ok || err != nil {
			return value, key, "", ok, err
		}
	}
	if keys&FindLocalAt != 0 && (try(local+"@", "") || split && try(base+"@", local[len(base):])) {
		return value, key, ext, ok, err
	}
	return "", "", "", false, nil
}

// quotedPartial is GetPartial for a key with a local part, which a table may
// have in quoted form.
func (m *Maps) quotedPartial(key string) (string, bool, error) {
	if q := address.Quote(key); q != key {
		if v, ok, err := m.GetPartial(q); ok || err != nil {
			return v, ok, err
		}
	}
	return m.GetPartial(key)
}

// Domain looks up a domain that is part of a larger name, then its parents: as
// "parent" with subdomains, as ".parent" with dots. Pattern tables are not
// asked.
func (m *Maps) Domain(domain string, subdomains, dots bool) (value, key string, ok bool, err error) {
	if domain == "" {
		return "", "", false, nil
	}
	if value, ok, err = m.GetPartial(domain); ok || err != nil {
		return value, domain, ok, err
	}
	if !subdomains && !dots || strings.HasPrefix(domain, "[") {
		return "", "", false, nil
	}
	for {
		i := strings.IndexByte(domain[1:], '.')
		if i < 0 {
			return "", "", false, nil
		}
		domain = domain[i+1:]
		if subdomains {
			if len(domain) < 2 {
				return "", "", false, nil
			}
			if value, ok, err = m.GetPartial(domain[1:]); ok || err != nil {
				return value, domain[1:], ok, err
			}
		}
		if dots {
			if value, ok, err = m.GetPartial(domain); ok || err != nil {
				return value, domain, ok, err
			}
		}
	}
}

// Host looks a host or domain name up as check_client_access,
// check_helo_access and their like do: the full name in every table, then its
// parents in tables that are not patterns. subdomains is whether the list's
// name (smtpd_access_maps) is in parent_domain_matches_subdomains.
func (m *Maps) Host(name string, subdomains bool) (value, key string, ok bool, err error) {
	if m.Empty() || name == "" {
		return "", "", false, nil
	}
	if value, ok, err = m.Get(name); ok || err != nil {
		return value, name, ok, err
	}
	return m.Domain(name, subdomains, !subdomains)
}

// Network looks an IP address up as check_client_access does: the full
// address in every table, then the networks that contain it (1.2.3.4, 1.2.3,
// 1.2, 1; for IPv6 the written form less its last ":group" each time) in tables
// that are not patterns.
func (m *Maps) Network(addr string) (value, key string, ok bool, err error) {
	if m.Empty() || addr == "" {
		return "", "", false, nil
	}
	if value, ok, err = m.Get(addr); ok || err != nil {
		return value, addr, ok, err
	}
	sep := byte('.')
	if strings.IndexByte(addr, ':') >= 0 {
		sep = ':'
	}
	for {
		i := strings.LastIndexByte(addr, sep)
		if i <= 0 {
			return "", "", false, nil
		}
		addr = addr[:i]
		if value, ok, err = m.GetPartial(addr); ok || err != nil {
			return value, addr, ok, err
		}
	}
}

// MapAddress replaces an address by the addresses that the tables have for it
// (canonical, virtual alias, generic and BCC maps). A value is a list of
// addresses in external form; "@domain" keeps the local part of addr. With
// propagate, an extension that the matching key leaves out is added to each
// result. rewrite, if not nil, brings each result into standard form.
func (m *Maps) MapAddress(addr, delims string, propagate bool, o AddressOptions, rewrite func(string) string) (out []string, ok bool, err error) {
	value, _, ext, ok, err := m.AddressExt(addr, delims, o)
	if !ok || err != nil {
		return nil, ok, err
	}
	local, _ := address.Split(addr)
	for _, a := range address.ExtractList([]byte(value)) {
		if strings.HasPrefix(a, "@") && len(a) > 1 && strings.IndexByte(a, ':') < 0 {
			a = local + a
		} else if propagate && ext != "" {
			if l, d := address.Split(a); d != "" || strings.HasSuffix(a, "@") {
				a = l + ext + "@" + d
			} else {
				a = l + ext
			}
		}
		if rewrite != nil {
			a = rewrite(a)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, false, &Error{m.names(), fmt.Errorf("lookup of %s gives %q, which is no address", addr, value)}
	}
	return out, true, nil
}

func (m *Maps) names() string {
	var n []string
	for _, t := range m.Tables() {
		n = append(n, t.Name())
	}
	return strings.Join(n, " ")
}
