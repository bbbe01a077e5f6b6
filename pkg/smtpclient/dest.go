package smtpclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/dnsclient"
)

// dest is one next hop, parsed.
type dest struct {
	text string // as in the transport
	unix string // socket path; the fields below are then empty
	host string
	port uint16
	noMX bool // in brackets: no MX look-up
}

// target is one address to try.
type target struct {
	host string
	addr netip.AddrPort
	unix string
	pref uint16
}

// peer is the target as messages name it, H[A]; where adds the port.
func (t *target) peer() string {
	if t.unix != "" {
		return t.host + "[" + t.unix + "]"
	}
	return t.host + "[" + t.addr.Addr().String() + "]"
}

func (t *target) where() string {
	if t.unix != "" {
		return t.peer()
	}
	return t.peer() + ":" + strconv.Itoa(int(t.addr.Port()))
}

// failure is why something did not work: a DSN code, the text of the log, and
// what a remote server said, if it did.
type failure struct {
	dsn, reason string
	reply       string // the server's words, for Diagnostic-Code
	mta         string // the server's name, with reply
	loop        bool   // mail would come back to us
}

func (f *failure) temporary() bool { return strings.HasPrefix(f.dsn, "4") }

// knownPorts reads known_tcp_ports: "lmtp=24, smtps=submissions=465".
func knownPorts(s string) map[string]uint16 {
	m := map[string]uint16{"lmtp": 24, "smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		names := strings.Split(f, "=")
		n, err := strconv.ParseUint(names[len(names)-1], 10, 16)
		if err != nil {
			continue
		}
		for _, name := range names[:len(names)-1] {
			m[name] = uint16(n)
		}
	}
	return m
}

// port reads a port number or the name of a service.
func (a *Agent) port(s string) (uint16, error) {
	if p, ok := a.ports[strings.ToLower(s)]; ok {
		return p, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("unknown service: %.64s/tcp", s)
	}
	return uint16(n), nil
}

// parseDest reads a next hop: host, host:port, [host], [host]:port, and with
// LMTP also unix:path and inet:host:port.
func (a *Agent) parseDest(text string) (dest, error) {
	d := dest{text: text}
	if a.s.lmtp {
		if path, ok := strings.CutPrefix(text, "unix:"); ok {
			if path == "" || len(path) > 107 {
				return d, fmt.Errorf("bad unix-domain destination %.200q", text)
			}
			d.unix = path
			return d, nil
		}
		text = strings.TrimPrefix(text, "inet:")
	}
	service := a.s.port
	if strings.HasPrefix(text, "[") {
		i := strings.IndexByte(text, ']')
		if i < 2 {
			return d, fmt.Errorf("bad destination %.200q", d.text)
		}
		d.host, d.noMX = text[1:i], true
		switch rest := text[i+1:]; {
		case strings.HasPrefix(rest, ":") && len(rest) > 1:
			service = rest[1:]
		case rest != "":
			return d, fmt.Errorf("bad destination %.200q", d.text)
		}
	} else if i := strings.IndexByte(text, ':'); i >= 0 && i == strings.LastIndexByte(text, ':') {
		d.host, service = text[:i], text[i+1:]
	} else {
		d.host = text
	}
	if d.host == "" {
		return d, fmt.Errorf("bad destination %.200q", d.text)
	}
	if _, ok := dnsclient.ParseAddr(d.host); ok && len(d.host) > 5 && strings.EqualFold(d.host[:5], "ipv6:") {
		d.host = d.host[5:]
	}
	var err error
	d.port, err = a.port(service)
	return d, err
}

// resolve finds the targets of a destination in the order in which to try
// them. mx says that we are one of its mail exchangers, so that only better ones
// are left.
func (a *Agent) resolve(ctx context.Context, d dest) (list []target, mx bool, f *failure) {
	if d.unix != "" {
		return []target{{host: a.s.myhostname, unix: d.unix}}, false, nil
	}
	if !a.s.v4 && !a.s.v6 {
		return nil, false, &failure{dsn: "4.4.4", reason: "all network protocols are disabled"}
	}
	detect := !a.s.lmtp && d.port == 25
	if a.s.lmtp || d.noMX || a.s.dnsDisabled {
		list, f = a.hostTargets(ctx, d.host, d.port, 0)
		if f == nil && detect && slices.ContainsFunc(list, a.isSelf) {
			return nil, false, loops(d.host)
		}
		a.arrange(list)
		return list, false, f
	}
	return a.mxTargets(ctx, d, detect)
}

func loops(name string) *failure {
	return &failure{dsn: "5.4.6", reason: fmt.Sprintf("mail for %s loops back to myself", name), loop: true}
}

func (a *Agent) isSelf(t target) bool { return a.self[t.addr.Addr()] }

// mxTargets resolves a domain by its MX records or, without any, its own
// address (RFC 5321, section 5.1).
func (a *Agent) mxTargets(ctx context.Context, d dest, detect bool) (list []target, mx bool, f *failure) {
	if _, ok := dnsclient.ParseAddr(d.host); ok {
		// user@192.0.2.1: a numeric domain has no MX.
		list, f = a.hostTargets(ctx, d.host, d.port, 0)
		if f == nil && detect && slices.ContainsFunc(list, a.isSelf) {
			return nil, false, loops(d.host)
		}
		return list, false, f
	}
	hosts, err := a.dns.MX(ctx, d.host)
	switch {
	case errors.Is(err, dnsclient.ErrNullMX):
		return nil, false, &failure{dsn: "5.1.10", reason: fmt.Sprintf("Domain %s does not accept mail (nullMX)", d.host)}
	case dnsclient.IsTemporary(err) && !a.s.ignoreMXError:
		return nil, false, &failure{dsn: "4.4.3", reason: err.Error()}
	case err != nil:
		hosts = []dnsclient.MX{{Host: d.host}}
	}
	list, f = a.mxHosts(ctx, hosts, d.port, err == nil, detect)
	if len(list) == 0 {
		if err == nil {
			a.log.Warningf("no MX host for %s has a valid address record", d.host)
			if a.s.deferNoMXAddress && f != nil && !f.temporary() {
				f.dsn = "4" + f.dsn[1:]
			}
		}
		return nil, false, f
	}
	best := slices.MinFunc(list, func(x, y target) int { return cmp.Compare(x.pref, y.pref) }).pref
	if detect {
		me := -1
		for _, t := range list {
			if (a.isSelf(t) || strings.EqualFold(t.host, a.s.myhostname)) && (me < 0 || int(t.pref) < me) {
				me = int(t.pref)
			}
		}
		if me >= 0 {
			mx = true
			list = slices.DeleteFunc(list, func(t target) bool { return int(t.pref) >= me })
			if len(list) == 0 {
				if int(best) != me {
					return nil, true, &failure{dsn: "4.4.4", reason: "unable to find primary relay for " + d.host}
				}
				return nil, true, loops(d.host)
			}
		}
	}
	a.arrange(list)
	return list, mx, nil
}

// maxMX is the most mail exchangers whose addresses are looked up; a domain
// with more is in error or in bad faith.
const maxMX = 100

// mxHosts looks up the addresses of hosts, best first, and stops when there are
// more than enough, unless our own place in the list must be found.
func (a *Agent) mxHosts(ctx context.Context, hosts []dnsclient.MX, port uint16, real, detect bool) (list []target, f *failure) {
	for i, h := range hosts {
		if i == maxMX || !detect && a.s.addressLimit > 0 && len(list) > 4*a.s.addressLimit && h.Pref != hosts[i-1].Pref {
			break
		}
		l, hf := a.hostTargets(ctx, h.Host, port, h.Pref)
		if hf != nil && (f == nil || hf.temporary()) {
			f = hf
		}
		list = append(list, l...)
		if detect && real && strings.EqualFold(h.Host, a.s.myhostname) && len(l) == 0 {
			// Our own name counts as us even if it has no address.
			list = append(list, target{host: h.Host, pref: h.Pref})
		}
	}
	return list, f
}

// hostTargets looks up one host's addresses.
func (a *Agent) hostTargets(ctx context.Context, host string, port, pref uint16) ([]target, *failure) {
	addrs, err := a.addresses(ctx, host)
	if err != nil {
		dsn := "5.4.4"
		if dnsclient.IsTemporary(err) {
			dsn = "4.4.3"
		}
		return nil, &failure{dsn: dsn, reason: err.Error()}
	}
	var list []target
	for _, ip := range addrs {
		if ip = ip.Unmap(); ip.Is4() && a.s.v4 || ip.Is6() && a.s.v6 {
			list = append(list, target{host: host, addr: netip.AddrPortFrom(ip, port), pref: pref})
		}
	}
	if len(list) == 0 {
		return nil, &failure{dsn: "5.4.4", reason: fmt.Sprintf("unable to look up host %s: no address of a protocol in inet_protocols", host)}
	}
	return list, nil
}

func (a *Agent) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, ok := dnsclient.ParseAddr(host); ok {
		return []netip.Addr{ip}, nil
	}
	if a.s.nativeFirst {
		if l := a.dns.HostsFile(host); len(l) > 0 {
			return l, nil
		}
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") { // RFC 6761, section 6.3
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, nil
	}
	l, err := a.dns.AddrsOf(ctx, host, a.s.v4, a.s.v6)
	if err != nil && a.s.nativeLast {
		if h := a.dns.HostsFile(host); len(h) > 0 {
			return h, nil
		}
	}
	return l, err
}

// arrange sorts targets by preference, those of equal preference at random or
// by address family, and sees to it that both families are among those that
// smtp_mx_address_limit lets us try.
func (a *Agent) arrange(list []target) {
	if a.s.randomize {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	family := func(t target) int {
		if a.s.preference == "any" || t.addr.Addr().Is4() == (a.s.preference == "ipv4") {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(x, y target) int {
		return cmp.Or(cmp.Compare(x.pref, y.pref), cmp.Compare(family(x), family(y)))
	})
	if n := a.s.addressLimit; a.s.balance && n > 1 && len(list) > n {
		is4 := list[0].addr.Addr().Is4()
		other := func(t target) bool { return t.addr.Addr().Is4() != is4 }
		if i := slices.IndexFunc(list, other); i >= n {
			t := list[i]
			copy(list[n:i+1], list[n-1:i])
			list[n-1] = t
		}
	}
}
