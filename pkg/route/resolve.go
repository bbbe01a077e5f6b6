package route

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/lookup"
)

// Names of the transports that say no.
const (
	errorTransport = "error"
	retryTransport = "retry"
)

// Resolve finds the route of a recipient; sender is the envelope sender, ""
// for the null sender, and matters to the sender_dependent_* parameters. Both
// are internal and have been through Rewrite. An error is temporary trouble
// with a table.
func (r *Router) Resolve(sender, rcpt string) (Route, error) {
	var rt Route
	addr, local, err := r.strip(rcpt)
	if err != nil {
		return rt, err
	}
	at := strings.LastIndexByte(addr, '@')
	domain := addr[at+1:]
	if !r.validDomain(addr, domain) {
		ip, err := netip.ParseAddr(domain)
		if err != nil || ip.Zone() != "" || !r.numericDomain {
			return r.invalid(addr), nil
		}
		if ip.Is6() {
			domain = "IPv6:" + domain
		}
		domain = "[" + domain + "]"
		addr = addr[:at+1] + domain
		if local, err = r.isDestination(domain); err != nil {
			return rt, err
		}
		if r.Trace != nil {
			r.trace("resolve_numeric_domain: %s", addr)
		}
	}
	rt.Recipient = addr
	// Routing operators count even if we do not heed them: the next host may.
	if i := strings.IndexAny(addr, "@!%"); addr[i+1:] != domain {
		rt.Routed = true
	}
	if err := r.byClass(&rt, sender, domain, local); err != nil {
		return rt, err
	}
	if rt.Class != VirtualAlias {
		if err := r.byTransportMaps(&rt, domain); err != nil {
			return rt, err
		}
	}
	if err := r.byRelocated(&rt); err != nil {
		return rt, err
	}
	if !r.allowMinus && addr[0] == '-' {
		if r.Trace != nil {
			r.trace("allow_min_user = no: %s is refused", addr)
		}
		return r.invalid(addr), nil
	}
	if rt.Transport == errorTransport || rt.Transport == retryTransport {
		rt.Problem = problemOf(rt.Transport, rt.Nexthop)
	}
	if r.Trace != nil {
		r.trace("%s: transport=%s nexthop=%s recipient=%s", rt.Why, rt.Transport, rt.Nexthop, rt.Recipient)
	}
	return rt, nil
}

func (r *Router) invalid(addr string) Route {
	p := &Problem{DSN: "5.1.3", Text: "bad address syntax", Code: 501}
	return Route{Transport: errorTransport, Nexthop: p.String(), Recipient: addr, Class: Default, Problem: p, Invalid: true, Why: "address syntax"}
}

// problemOf reads the text that the error and retry transports have for a next
// hop.
func problemOf(transport, text string) *Problem {
	p := &Problem{Temp: transport == retryTransport, DSN: "5.0.0", Text: text, Code: 550}
	if p.Temp {
		p.DSN, p.Code = "4.0.0", 450
	}
	if dsn, rest, ok := splitDSN(text); ok {
		p.DSN, p.Text = p.DSN[:1]+dsn[1:], rest
	}
	return p
}

// splitDSN takes an enhanced status code off the front of a text.
func splitDSN(s string) (dsn, text string, ok bool) {
	dsn, text, _ = strings.Cut(s, " ")
	parts := strings.Split(dsn, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return "", "", false
	}
	for _, p := range parts[1:] {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", "", false
		}
	}
	return dsn, strings.TrimSpace(text), true
}

// strip takes local domains off the end of an address for as long as the local
// part names another destination (user%elsewhere@here), and returns it in the
// form user@domain.
func (r *Router) strip(addr string) (out string, local bool, err error) {
	saved := "" // the last local domain taken off
	have := false
	for loops := len(addr) + 100; loops > 0; loops-- {
		at := strings.LastIndexByte(addr, '@')
		if at >= 0 {
			addr = stripDot(addr, at)
		}
		if r.nullDomain && at >= 0 && at == len(addr)-1 {
			addr = addr[:at]
			at = strings.LastIndexByte(addr, '@')
		}
		if at >= 0 {
			if d := addr[at+1:]; d != "" {
				is, err := r.isDestination(d)
				if err != nil {
					return "", false, err
				}
				if !is {
					return addr, false, nil
				}
			}
			saved, have = addr[at+1:], true
			addr = addr[:at]
		}
		if next, ok := r.reroute(addr); ok {
			if r.Trace != nil {
				r.trace("resolve: local part %q is an address: %q", addr, next)
			}
			addr = next
			continue
		}
		if addr == "" {
			addr = r.emptyRecipient
			if r.Trace != nil {
				r.trace("empty_address_recipient: %s", addr)
			}
			continue
		}
		if !have {
			addr += "@" + r.myhostname
			continue
		}
		return addr + "@" + saved, true, nil
	}
	return "", false, fmt.Errorf("resolve: <%s>: giving up", addr)
}

// reroute looks for routing operators in a local part.
func (r *Router) reroute(local string) (string, bool) {
	if strings.IndexAny(local, "@%!") < 0 {
		return "", false
	}
	bare := strings.IndexByte(local, '@') < 0 && address.Quote(local) == local
	if bare {
		if r.swapBang && strings.IndexByte(local, '!') >= 0 || r.percentHack && strings.IndexByte(local, '%') >= 0 {
			return r.rewrite(local, r.myorigin, r.mydomain), true
		}
		return "", false
	}
	if !r.dequote {
		return "", false
	}
	if strings.LastIndexByte(local, '@') >= 0 {
		return r.rewrite(local, r.myorigin, r.mydomain), true
	}
	if i := strings.LastIndexByte(local, '%'); i >= 0 && r.percentHack {
		return r.rewrite(local[:i]+"@"+local[i+1:], r.myorigin, r.mydomain), true
	}
	if i := strings.IndexByte(local, '!'); i >= 0 && r.swapBang {
		return r.rewrite(local[i+1:]+"@"+local[:i], r.myorigin, r.mydomain), true
	}
	return "", false
}

// validDomain checks the syntax of a domain (RFC 5321, section 4.1.2) and of
// the UTF-8 in an address.
func (r *Router) validDomain(addr, domain string) bool {
	if strings.HasPrefix(domain, "[") {
		_, ok := parseLiteral(domain)
		return ok
	}
	if r.utf8 {
		if !utf8.ValidString(addr) {
			return false
		}
	} else if !address.IsASCII(domain) {
		return false
	}
	return validHostname(domain)
}

// ValidDomain says whether an address at the domain can have a route: a name, an
// address literal, or with resolve_numeric_domain a bare address.
func (r *Router) ValidDomain(domain string) bool {
	if r.validDomain(domain, domain) {
		return true
	}
	ip, err := netip.ParseAddr(domain)
	return err == nil && ip.Zone() == "" && r.numericDomain
}

// validHostname is true for names that can be looked up: labels of letters,
// digits, hyphens and underscores (and of anything above ASCII), not all of
// digits.
func validHostname(d string) bool {
	if d == "" || len(d) > 255 {
		return false
	}
	label, alpha := 0, false
	for i := 0; i < len(d); i++ {
		c := d[i]
		switch {
		case c >= '0' && c <= '9':
			label++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= utf8.RuneSelf:
			label++
			alpha = true
		case c == '-':
			if label == 0 || i+1 == len(d) || d[i+1] == '.' {
				return false
			}
			label++
			alpha = true
		case c == '.':
			if label == 0 || i+1 == len(d) {
				return false
			}
			label = 0
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return alpha
}

// byClass sets the transport and next hop of the domain's class.
func (r *Router) byClass(rt *Route, sender, domain string, local bool) error {
	if local {
		rt.Class = Local
		rt.use(r.localTransport, domain)
		r.nag(domain, Local)
		return nil
	}
	var err error
	if rt.Class, err = r.remoteClass(domain); err != nil {
		return err
	}
	r.nag(domain, rt.Class)
	switch rt.Class {
	case VirtualAlias:
		rt.Transport, rt.Why = errorTransport, "virtual_alias_domains"
		rt.Nexthop = "5.1.1 User unknown" + r.table(" in virtual alias table")
		return nil
	case VirtualMailbox:
		rt.use(r.virtualTransport, domain)
		return nil
	case Relay:
		rt.use(r.relayTransport, domain)
		if r.relayTransport.nexthop != "" {
			return nil
		}
	default:
		t, err := r.senderDefault(sender)
		if err != nil {
			return err
		}
		rt.use(t, domain)
		if t.nexthop != "" {
			return nil
		}
	}
	return r.byRelayhost(rt, sender)
}

func (rt *Route) use(t target, domain string) {
	rt.Transport, rt.Nexthop, rt.Why = t.transport, domain, t.param
	if t.nexthop != "" {
		rt.Nexthop = t.nexthop
	}
}

func (r *Router) table(text string) string {
	if r.showTable {
		return text
	}
	return ""
}

// senderDefault is sender_dependent_default_transport_maps or
// default_transport.
func (r *Router) senderDefault(sender string) (target, error) {
	if r.senderTransport.Empty() {
		return r.defaultTransport, nil
	}
	const param = "sender_dependent_default_transport_maps"
	key := sender
	if key == "" {
		key = r.nullTransportKey
	}
	v, _, ok, err := r.senderTransport.Address(key, r.delims, r.options)
	if err != nil {
		return target{}, err
	}
	if !ok || strings.EqualFold(v, "DUNNO") {
		return r.defaultTransport, nil
	}
	if v == "" {
		r.log("%s: ignoring null lookup result for %s", param, key)
		return r.defaultTransport, nil
	}
	t, err := parseTarget(param, v)
	if err != nil {
		return t, fmt.Errorf("%w (result for %s)", err, key)
	}
	if r.Trace != nil {
		r.trace("%s: %s for sender %s", param, v, key)
	}
	return t, nil
}

// byRelayhost sends mail for other machines to a relay, if there is one for
// the sender or for all.
func (r *Router) byRelayhost(rt *Route, sender string) error {
	if !r.senderRelay.Empty() {
		const param = "sender_dependent_relayhost_maps"
		key := sender
		if key == "" {
			key = r.nullRelayKey
		}
		v, _, ok, err := r.senderRelay.Address(key, r.delims, r.options)
		if err != nil {
			return err
		}
		switch {
		case ok && v == "":
			r.log("%s: ignoring null lookup result for %s", param, key)
		case ok && !strings.EqualFold(v, "DUNNO"):
			if r.Trace != nil {
				r.trace("%s: %s for sender %s", param, v, key)
			}
			rt.Nexthop = v
			return nil
		}
	}
	if r.relayhost != "" {
		if r.Trace != nil {
			r.trace("relayhost: %s", r.relayhost)
		}
		rt.Nexthop = r.relayhost
	}
	return nil
}

// byTransportMaps lets transport_maps override what the class gave.
func (r *Router) byTransportMaps(rt *Route, domain string) error {
	if r.transportMaps.Empty() {
		return nil
	}
	o := r.options
	o.Keys = r.transportKeys
	v, key, ok, err := r.transportMaps.Address(rt.Recipient, r.delims, o)
	if err == nil && !ok {
		key = "*"
		v, ok, err = r.transportMaps.Get(key)
	}
	if err != nil || !ok {
		return err
	}
	if r.Trace != nil {
		r.trace("transport_maps: %q for %s", v, key)
	}
	transport, nexthop, _ := strings.Cut(v, ":")
	if transport == "" {
		if nexthop != "" {
			rt.Nexthop, rt.Why = nexthop, "transport_maps"
		}
		return nil
	}
	rt.Transport, rt.Why = transport, "transport_maps"
	switch {
	case nexthop != "":
		rt.Nexthop = nexthop
	case transport == errorTransport || transport == retryTransport:
		rt.Nexthop = "Address is undeliverable"
	default:
		rt.Nexthop = domain
	}
	return nil
}

// byRelocated bounces mail to those who moved, whatever the class.
func (r *Router) byRelocated(rt *Route) error {
	if r.relocated.Empty() {
		return nil
	}
	v, key, ok, err := r.relocated.Address(rt.Recipient, r.delims, r.options)
	if err != nil || !ok {
		return err
	}
	if r.Trace != nil {
		r.trace("relocated_maps: %q for %s", v, key)
	}
	rt.Transport, rt.Why = errorTransport, "relocated_maps"
	switch dsn, text, valid := splitDSN(v); {
	case r.relocatedPrefix:
		rt.Nexthop = "5.1.6 User has moved to " + v
	case !valid || text == "":
		r.log("relocated_maps result must contain RFC 3463 status and text: '%.100s'", v)
		rt.Nexthop = "5.2.0 Mailbox is unavailable"
	default:
		rt.Nexthop = dsn + " " + text
	}
	return nil
}

// nag warns, once, about a domain that is listed in two classes.
func (r *Router) nag(domain string, class Class) {
	if !r.warnings || class >= Relay || !r.checked.first(domain) {
		return
	}
	own := [...]string{"mydestination", "virtual_alias_domains", "virtual_mailbox_domains"}[class]
	for _, c := range [...]struct {
		list  *lookup.List
		class Class
		param string
	}{{r.aliasDomains, VirtualAlias, "virtual_alias_domains"}, {r.mailboxDomains, VirtualMailbox, "virtual_mailbox_domains"}, {r.relayDomains, Relay, "relay_domains"}} {
		if c.class <= class || c.list.Empty() || class == Local && c.class == Relay {
			continue
		}
		if ok, err := c.list.Match(domain); ok && err == nil {
			r.log("do not list domain %s in BOTH %s and %s", domain, own, c.param)
		}
	}
}

// Listed says whether a recipient is known in its domain's class; p says how a
// client is refused if it is not. Recipients of the default class, and of
// classes without tables, are always known. An error is temporary trouble with
// a table: answer 451, never "unknown".
//
// For reject_unlisted_sender the same question is asked about the sender, and
// a DSN of 5.1.1 becomes 5.1.0.
func (r *Router) Listed(rcpt string) (ok bool, p *Problem, err error) {
	if rcpt == "" {
		return true, nil, nil
	}
	rt, err := r.Resolve("", rcpt)
	if err != nil {
		return false, nil, err
	}
	// An address that cleanup replaces is known, whatever becomes of it then.
	for _, m := range [...]*lookup.Maps{r.rcptCanonical, r.canonical, r.virtualAlias} {
		if m.Empty() {
			continue
		}
		hit, err := r.listedIn(m, rcpt)
		if err == nil && !hit && rt.Recipient != rcpt {
			hit, err = r.listedIn(m, rt.Recipient)
		}
		if hit || err != nil {
			return hit, nil, err
		}
	}
	if rt.Problem != nil {
		p := *rt.Problem
		if rt.Class == VirtualAlias && !p.Temp {
			p.Code = r.aliasCode
		}
		if strings.HasSuffix(p.DSN, ".0.0") {
			p.DSN = p.DSN[:1] + ".1.1"
		}
		return false, &p, nil
	}
	var maps *lookup.Maps
	text, code := "", 0
	switch rt.Class {
	case Local:
		local, _ := address.Split(rt.Recipient)
		if strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, r.doubleBounce) {
			return true, nil, nil
		}
		maps, text, code = r.localRecipients, " in local recipient table", r.localCode
	case VirtualMailbox:
		maps, text, code = r.mailboxRecipients, " in virtual mailbox table", r.mailboxCode
	case Relay:
		maps, text, code = r.relayRecipient, " in relay recipient table", r.relayCode
	}
	if maps.Empty() {
		return true, nil, nil
	}
	if ok, err = r.listedIn(maps, rt.Recipient); ok || err != nil {
		return ok, nil, err
	}
	p = &Problem{Temp: code < 500, DSN: "5.1.1", Text: "User unknown" + r.table(text), Code: code}
	if p.Temp {
		p.DSN = "4.1.1"
	}
	return false, p, nil
}

func (r *Router) listedIn(m *lookup.Maps, addr string) (bool, error) {
	_, key, ok, err := m.Address(addr, r.delims, r.options)
	if ok && r.Trace != nil {
		r.trace("listed: %s", key)
	}
	return ok, err
}
