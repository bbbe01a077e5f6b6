package route

import (
	"strings"

	"posthaste/pkg/address"
)

// Rewrite puts an internal address into standard form, user@domain: source
// routes go, site!user and user%domain are turned round, $myorigin and
// $mydomain are appended, as the parameters say. local is false for header
// addresses of mail from elsewhere: $remote_header_rewrite_domain takes the
// place of $myorigin and $mydomain then. "" stays "".
func (r *Router) Rewrite(addr string, local bool) string {
	if i := strings.LastIndexByte(addr, '@'); i > 0 && addr[0] != '@' && settled(addr[i+1:]) {
		return addr
	}
	origin, domain := r.myorigin, r.mydomain
	if !local {
		origin, domain = r.remoteDomain, r.remoteDomain
	}
	out := r.rewrite(addr, origin, domain)
	if r.Trace != nil && out != addr {
		r.trace("rewrite: %q becomes %q (swap_bangpath, allow_percent_hack, append_at_myorigin, append_dot_mydomain)", addr, out)
	}
	return out
}

// settled is true for domains that no rule changes.
func settled(d string) bool {
	dot := false
	for i := 0; i < len(d); i++ {
		switch d[i] {
		case '.':
			dot = true
		case '[', ']', '"', '\\', ' ', '(', ')', '<', '>', ',', ';', ':':
			return false
		}
	}
	return dot && d[len(d)-1] != '.'
}

func (r *Router) rewrite(addr, origin, mydomain string) string {
	if addr == "" || addr == "@" {
		return ""
	}
	addr = address.StripRoute(addr)
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		addr, at = r.addDomain(addr, origin)
	}
	if at < 0 || at == len(addr)-1 {
		return addr
	}
	if d := addr[at+1:]; r.appendDomain && mydomain != "" && strings.IndexByte(d, '.') < 0 && strings.IndexByte(d, '[') < 0 {
		addr += "." + mydomain
	}
	return stripDot(addr, at)
}

// stripDot takes a dot off the end of the domain, but leaves nonsense alone,
// so that diagnostics show what was given.
func stripDot(addr string, at int) string {
	n := len(addr)
	if at >= 0 && n-at > 2 && addr[n-1] == '.' && addr[n-2] != '.' {
		return addr[:n-1]
	}
	return addr
}

// addDomain gives an address without "@" a domain, and returns where the "@" is.
func (r *Router) addDomain(addr, origin string) (string, int) {
	if address.Quote(addr) == addr { // no operators inside quotes
		if i := strings.IndexByte(addr, '!'); i >= 0 && r.swapBang {
			local := addr[i+1:]
			return local + "@" + addr[:i], len(local)
		}
		if i := strings.LastIndexByte(addr, '%'); i >= 0 && r.percentHack {
			return addr[:i] + "@" + addr[i+1:], i
		}
	}
	if r.appendOrigin && origin != "" {
		return addr + "@" + origin, len(addr)
	}
	return addr, -1
}
