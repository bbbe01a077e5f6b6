// Package dnsclient asks the few DNS questions that a mail system has: MX, A
// and AAAA, PTR, TXT, NS, and addresses from /etc/hosts. It asks resolver(8)
// over its socket where there is one, else the name servers themselves.
//
// It is a stub resolver: it needs recursive servers, appends no search domains,
// keeps "no such name" (ErrNotFound) apart from "no answer" (IsTemporary), and
// believes only answers that match the question's id, name, type and source.
// Names that are not ASCII are converted (IDNA) before they are asked for.
package dnsclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/resolver"
)

// SocketPath is resolver(8)'s socket, relative to the queue directory.
const SocketPath = "private/resolver"

// Options configure a Client. The zero value asks the servers of
// /etc/resolv.conf directly, without a cache.
type Options struct {
	Servers  []string      // host:port or host; empty: those of ResolvConf
	Timeout  time.Duration // of one try with one server; 0: resolv.conf's, else 5 s
	Attempts int           // rounds over the servers; 0: resolv.conf's, else 2
	Socket   string        // resolver(8)'s socket; "" or one that nobody serves: ask directly
	Cache    int           // most answers remembered; 0: none

	ResolvConf string // "" is /etc/resolv.conf; read again when it changes
	Hosts      string // "" is /etc/hosts
}

// Client asks questions. It is safe for concurrent use.
type Client struct {
	o      Options
	socket *resolver.Client
	pool   *serverPool
	cache  *cache
	hosts  hostsFile

	mu     sync.Mutex
	flight map[question]*call
}

type question struct {
	name string
	typ  uint16
}

// call is one question under way, shared by all who ask it meanwhile.
type call struct {
	done chan struct{}
	r    *resolver.Reply
}

// New returns a Client.
func New(o Options) *Client {
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	c := &Client{o: o, flight: map[question]*call{}}
	c.hosts.path = o.Hosts
	c.pool = newServerPool(o)
	if o.Socket != "" {
		c.socket = resolver.NewClient(o.Socket)
	}
	if o.Cache > 0 {
		c.cache = newCache(o.Cache)
	}
	return c
}

// clientCache is how many answers a program other than resolver(8) remembers.
const clientCache = 256

// FromConfig returns the Client of a daemon: it asks resolver(8) if its socket
// is there, else the servers of resolver_nameservers or /etc/resolv.conf. Call
// it before the sandbox closes, since it reads files.
func FromConfig(cfg *config.Config) (*Client, error) {
	return fromConfig(cfg, Options{Socket: SocketPath, Cache: clientCache})
}

// Direct is FromConfig without resolver(8), for that program itself; cache is
// the most answers to remember.
func Direct(cfg *config.Config, cache int) (*Client, error) {
	return fromConfig(cfg, Options{Cache: cache})
}

func fromConfig(cfg *config.Config, o Options) (*Client, error) {
	o.Servers = params.ResolverNameservers.List(cfg)
	for i, s := range o.Servers {
		a, err := serverAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", params.ResolverNameservers.Name, err)
		}
		o.Servers[i] = a
	}
	c := New(o)
	c.hosts.load()
	return c, nil
}

// serverAddr completes "192.0.2.1", "[::1]" or "192.0.2.1:5353" to host:port.
func serverAddr(s string) (string, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.String(), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return "", fmt.Errorf("bad name server address %q", s)
	}
	return netip.AddrPortFrom(a, 53).String(), nil
}

// Close gives up the connection to resolver(8).
func (c *Client) Close() error {
	if c.socket != nil {
		return c.socket.Close()
	}
	return nil
}

// Lookup asks one question, by any means that the Client has. It never returns
// nil; trouble shows in the Status.
func (c *Client) Lookup(ctx context.Context, name string, qtype uint16) *resolver.Reply {
	ascii, err := checkName(name)
	if err != nil {
		return &resolver.Reply{Status: resolver.Invalid, Detail: err.Error(), Name: name}
	}
	q := question{ascii, qtype}
	if c.cache != nil {
		if r := c.cache.get(q, time.Now()); r != nil {
			return r
		}
	}
	c.mu.Lock()
	if f := c.flight[q]; f != nil {
		c.mu.Unlock()
		select {
		case <-f.done:
			if f.r != nil {
				r := *f.r
				return &r
			}
			return c.ask(ctx, q) // who asked first gave up
		case <-ctx.Done():
			return gaveUp(q, ctx.Err())
		}
	}
	f := &call{done: make(chan struct{})}
	c.flight[q] = f
	c.mu.Unlock()
	r := c.ask(ctx, q)
	if ctx.Err() == nil {
		f.r = r
		if c.cache != nil {
			c.cache.put(q, r, time.Now())
		}
	}
	c.mu.Lock()
	delete(c.flight, q)
	c.mu.Unlock()
	close(f.done)
	cp := *r
	return &cp
}

func gaveUp(q question, err error) *resolver.Reply {
	return &resolver.Reply{Status: resolver.TryAgain, Detail: err.Error(), Name: q.name}
}

func (c *Client) ask(ctx context.Context, q question) *resolver.Reply {
	if c.socket != nil {
		r, err := c.socket.Ask(ctx, q.name, q.typ)
		if err == nil {
			return r
		}
		if ctx.Err() != nil || !errors.Is(err, resolver.ErrUnavailable) {
			return gaveUp(q, err)
		}
	}
	return c.direct(ctx, q)
}

// MX is one mail exchanger.
type MX struct {
	Host string // without a dot at the end; "." means that the domain takes no mail (RFC 7505)
	Pref uint16
}

// MX returns the mail exchangers of name, best first. A domain with a null MX
// gives ErrNullMX.
func (c *Client) MX(ctx context.Context, name string) ([]MX, error) {
	r, err := c.records(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	l := make([]MX, 0, len(r.Records))
	for _, rec := range r.Records {
		l = append(l, MX{rec.Host, rec.Pref})
	}
	if len(l) == 1 && l[0].Host == "." {
		return nil, ErrNullMX
	}
	l = slices.DeleteFunc(l, func(m MX) bool { return m.Host == "." })
	if len(l) == 0 {
		return nil, &Error{Name: name, Type: "MX", Status: resolver.Invalid}
	}
	slices.SortStableFunc(l, func(a, b MX) int { return int(a.Pref) - int(b.Pref) })
	return l, nil
}

// Addrs returns the IPv4 and IPv6 addresses of name. It fails only when there
// is neither; with one kind missing for want of an answer, the other is
// returned.
func (c *Client) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	return c.AddrsOf(ctx, name, true, true)
}

// AddrsOf is Addrs for the address families wanted.
func (c *Client) AddrsOf(ctx context.Context, name string, v4, v6 bool) ([]netip.Addr, error) {
	if !v4 || !v6 {
		typ := uint16(dns.TypeA)
		if v6 {
			typ = dns.TypeAAAA
		}
		r, err := c.records(ctx, name, typ)
		if err != nil {
			return nil, err
		}
		return addrs(r), nil
	}
	var r6 *resolver.Reply
	var err6 error
	done := make(chan struct{})
	go func() {
		r6, err6 = c.records(ctx, name, dns.TypeAAAA)
		close(done)
	}()
	r4, err4 := c.records(ctx, name, dns.TypeA)
	<-done
	var l []netip.Addr
	if err4 == nil {
		l = addrs(r4)
	}
	if err6 == nil {
		l = append(l, addrs(r6)...)
	}
	switch {
	case len(l) > 0:
		return l, nil
	case IsTemporary(err6) && !IsTemporary(err4):
		return nil, err6
	}
	return nil, err4
}

func addrs(r *resolver.Reply) []netip.Addr {
	l := make([]netip.Addr, 0, len(r.Records))
	for _, rec := range r.Records {
		l = append(l, rec.Addr)
	}
	return l
}

// A returns the IPv4 addresses of name and how long they may be believed; also
// with ErrNotFound. For DNS lists, whose names begin with digits.
func (c *Client) A(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	r := c.Lookup(ctx, name, dns.TypeA)
	ttl := time.Duration(r.TTL) * time.Second
	if err := replyError(name, dns.TypeA, r); err != nil {
		return nil, ttl, err
	}
	return addrs(r), ttl, nil
}

// PTR returns the names of an address, unverified.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	rev, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, &Error{Name: addr.String(), Type: "PTR", Status: resolver.Invalid}
	}
	return c.hostsOf(ctx, strings.TrimSuffix(rev, "."), dns.TypePTR)
}

// NS returns the name servers of name.
func (c *Client) NS(ctx context.Context, name string) ([]string, error) {
	return c.hostsOf(ctx, name, dns.TypeNS)
}

func (c *Client) hostsOf(ctx context.Context, name string, typ uint16) ([]string, error) {
	r, err := c.records(ctx, name, typ)
	if err != nil {
		return nil, err
	}
	l := make([]string, 0, len(r.Records))
	for _, rec := range r.Records {
		l = append(l, rec.Host)
	}
	return l, nil
}

// TXT returns the TXT records of name, the strings of each joined.
func (c *Client) TXT(ctx context.Context, name string) ([]string, error) {
	r, err := c.records(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	l := make([]string, 0, len(r.Records))
	for _, rec := range r.Records {
		l = append(l, rec.Text)
	}
	return l, nil
}

// HostsFile returns the addresses of name in /etc/hosts; nil if it is not there.
func (c *Client) HostsFile(name string) []netip.Addr { return c.hosts.lookup(name) }

// HostsName returns the first name of an address in /etc/hosts, "" if it is not
// there: what getnameinfo(3) consults before the DNS.
func (c *Client) HostsName(a netip.Addr) string { return c.hosts.name(a.Unmap().WithZone("")) }

func (c *Client) records(ctx context.Context, name string, typ uint16) (*resolver.Reply, error) {
	r := c.Lookup(ctx, name, typ)
	if err := replyError(name, typ, r); err != nil {
		return nil, err
	}
	return r, nil
}

// hostsFile is /etc/hosts, read again when it changes.
type hostsFile struct {
	path string

	mu      sync.Mutex
	checked time.Time
	mtime   time.Time
	names   map[string][]netip.Addr
	byAddr  map[netip.Addr]string
}

const recheck = 5 * time.Second

// maxConfFile bounds /etc/hosts and /etc/resolv.conf, in bytes.
const maxConfFile = 4 << 20

func (h *hostsFile) refresh() {
	if now := time.Now(); now.Sub(h.checked) > recheck {
		h.load()
	}
}

func (h *hostsFile) name(a netip.Addr) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refresh()
	return h.byAddr[a]
}

func (h *hostsFile) lookup(name string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refresh()
	return slices.Clone(h.names[strings.ToLower(strings.TrimSuffix(name, "."))])
}

// load reads the file if it changed; one that cannot be read (inside a chroot)
// leaves what was known.
func (h *hostsFile) load() {
	h.checked = time.Now()
	st, err := os.Stat(h.path)
	if err != nil || st.ModTime().Equal(h.mtime) || st.Size() > maxConfFile {
		return
	}
	b, err := os.ReadFile(h.path)
	if err != nil {
		return
	}
	h.mtime = st.ModTime()
	h.names, h.byAddr = parseHosts(string(b))
}

func parseHosts(s string) (map[string][]netip.Addr, map[netip.Addr]string) {
	m, names := map[string][]netip.Addr{}, map[netip.Addr]string{}
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		if a = a.Unmap(); names[a] == "" {
			names[a] = strings.TrimSuffix(f[1], ".")
		}
		for _, n := range f[1:] {
			n = strings.ToLower(strings.TrimSuffix(n, "."))
			m[n] = append(m[n], a)
		}
	}
	return m, names
}

// ParseAddr reads an IP address as it stands in mail configuration and
// protocol: bare, in brackets, or as an RFC 5321 literal ("IPv6:...").
func ParseAddr(s string) (netip.Addr, bool) {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "ipv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil && a.Zone() == ""
}

var _ net.Error = (*Error)(nil)
