package restrict

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"posthaste/pkg/address"
)

// listArg is domain[=pattern] of a DNS list restriction.
type listArg struct {
	text   string // as configured, the key of rbl_reply_maps
	domain string
	octets []octet // nil: any answer matches
}

// octet is one part of a reply pattern: the values it accepts.
type octet [][2]int

func parseListArg(s string) (*listArg, error) {
	domain, pat, has := strings.Cut(s, "=")
	l := &listArg{text: s, domain: domain}
	if domain == "" || strings.ContainsAny(domain, "[]/:") {
		return nil, fmt.Errorf("bad list domain %q", s)
	}
	if !has {
		return l, nil
	}
	for i := 0; i < 4; i++ {
		var part string
		if strings.HasPrefix(pat, "[") {
			end := strings.IndexByte(pat, ']')
			if end < 0 {
				return nil, fmt.Errorf("bad reply pattern in %q", s)
			}
			part, pat = pat[1:end], pat[end+1:]
		} else {
			end := strings.IndexByte(pat, '.')
			if end < 0 {
				end = len(pat)
			}
			part, pat = pat[:end], pat[end:]
		}
		o, err := parseOctet(part)
		if err != nil {
			return nil, fmt.Errorf("bad reply pattern in %q", s)
		}
		l.octets = append(l.octets, o)
		if i < 3 {
			if !strings.HasPrefix(pat, ".") {
				return nil, fmt.Errorf("bad reply pattern in %q", s)
			}
			pat = pat[1:]
		}
	}
	if pat != "" {
		return nil, fmt.Errorf("bad reply pattern in %q", s)
	}
	return l, nil
}

func parseOctet(s string) (octet, error) {
	var o octet
	for _, p := range strings.Split(s, ";") {
		lo, hi, ok := strings.Cut(p, "..")
		if !ok {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 10, 8)
		b, err2 := strconv.ParseUint(hi, 10, 8)
		if err1 != nil || err2 != nil || a > b {
			return nil, fmt.Errorf("bad octet %q", s)
		}
		o = append(o, [2]int{int(a), int(b)})
	}
	return o, nil
}

func (l *listArg) match(a netip.Addr) bool {
	if a = a.Unmap(); !a.Is4() {
		return false
	}
	if l.octets == nil {
		return true
	}
	b := a.As4()
	for i, o := range l.octets {
		ok := false
		for _, rg := range o {
			ok = ok || int(b[i]) >= rg[0] && int(b[i]) <= rg[1]
		}
		if !ok {
			return false
		}
	}
	return true
}

// reverseAddr is the address as DNS lists are asked for it.
func reverseAddr(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return ""
	}
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d", b[3], b[2], b[1], b[0])
	}
	b := a.As16()
	const hex = "0123456789abcdef"
	out := make([]byte, 0, 64)
	for i := 15; i >= 0; i-- {
		out = append(out, hex[b[i]&15], '.', hex[b[i]>>4], '.')
	}
	return string(out[:len(out)-1])
}

// listed asks the list for a name. Temporary trouble is logged and counts as
// not listed; temp tells of it.
func (r *run) listed(l *listArg, label string) (query string, found, temp bool) {
	query = label + "." + l.domain
	addrs, err := r.p.deps.DNS.A(r.ctx, query)
	if err != nil {
		if !r.p.deps.DNS.NotFound(err) {
			r.p.warnf("%s: RBL lookup error: %v", query, err)
			return query, false, true
		}
		return query, false, false
	}
	for _, a := range addrs {
		if l.match(a) {
			return query, true, false
		}
	}
	return query, false, false
}

func rejectRBLClient(r *run, n *node) verdict {
	rev := reverseAddr(r.Facts.ClientAddr)
	if rev == "" {
		return dunno
	}
	if q, found, _ := r.listed(n.rbl, rev); found {
		return r.refuseListed(n.rbl, q, "Client host", r.Facts.ClientAddr)
	}
	return dunno
}

func permitDNSWL(r *run, n *node) verdict {
	rev := reverseAddr(r.Facts.ClientAddr)
	if rev == "" {
		return dunno
	}
	return r.allow(n, rev, r.Facts.ClientAddr)
}

func permitRHSWL(r *run, n *node) verdict {
	d := listName(known(r.Facts.ClientName))
	if d == "" {
		return dunno
	}
	return r.allow(n, d, d)
}

// allow permits by a list of good ones, but never to a destination that
// reject_unauth_destination would refuse.
func (r *run) allow(n *node, label, what string) verdict {
	if r.Facts.HaveRcpt {
		ok, err := r.authDestination()
		if err != nil {
			return r.lookupFailure(r.p.quote(r.Facts.Rcpt), err)
		}
		if !ok {
			return dunno
		}
	}
	_, found, temp := r.listed(n.rbl, label)
	if temp {
		return r.deferIfReject(450, "4.7.1", "<"+what+">: Client host rejected: Service unavailable")
	}
	return okIf(found)
}

// listName returns a domain fit for a list query, "" if it is not.
func listName(d string) string {
	d = strings.TrimSuffix(d, ".")
	if d == "" || d[0] == '[' || !validHostname(d) || allDigitsAndDots(d) {
		return ""
	}
	return address.Fold(d)
}

func (r *run) rhsbl(n *node, domain, class string) verdict {
	d := listName(known(domain))
	if d == "" {
		return dunno
	}
	if q, found, _ := r.listed(n.rbl, d); found {
		return r.refuseListed(n.rbl, q, class, domain)
	}
	return dunno
}

func (r *run) rhsblAddr(n *node, sender bool) verdict {
	addr, _, ok := r.mailAddr(sender)
	if !ok {
		return dunno
	}
	d := listName(mailDomain(addr))
	if d == "" {
		return dunno
	}
	class := "Recipient address"
	if sender {
		class = "Sender address"
	}
	if q, found, _ := r.listed(n.rbl, d); found {
		return r.refuseListed(n.rbl, q, class, r.p.quote(addr))
	}
	return dunno
}

// refuseListed builds the reply from rbl_reply_maps or default_rbl_reply.
func (r *run) refuseListed(l *listArg, query, class, what string) verdict {
	tmpl := r.p.rblTemplate
	if v, ok, err := r.p.rblReply.Get(l.text); err != nil {
		return r.lookupFailure(r.item, err)
	} else if ok {
		tmpl = v
	} else if v, ok, err := r.p.rblReply.Get(l.domain); err == nil && ok {
		tmpl = v
	}
	text := Expand(tmpl, func(name string) string {
		switch name {
		case "rbl_code":
			return strconv.Itoa(r.p.code.rbl)
		case "rbl_class":
			return class
		case "rbl_what":
			return what
		case "rbl_domain":
			return l.domain
		case "rbl_reason", "rbl_txt":
			t, err := r.p.deps.DNS.TXT(r.ctx, query)
			if err != nil || len(t) == 0 {
				return ""
			}
			return clip(strings.Join(t, ""), 255)
		}
		return r.fact(name)
	})
	code, enh := r.p.code.rbl, "5.7.1"
	if len(text) >= 3 && (text[0] == '4' || text[0] == '5') && strings.Trim(text[:3], "0123456789") == "" {
		c, _ := strconv.Atoi(text[:3])
		code, text = c, strings.TrimLeft(text[3:], " ")
	}
	if e, t := cutEnh(text); e != "" {
		enh, text = e, t
	}
	return r.refuse(code, enh, text, false)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
