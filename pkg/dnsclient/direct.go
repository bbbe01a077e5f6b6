package dnsclient

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"posthaste/pkg/proto/resolver"
)

// udpSize is the answer size that we offer to take over UDP; larger answers
// risk fragments (DNS flag day 2020).
const udpSize = 1232

// maxChain is the most CNAMEs followed from one name.
const maxChain = 10

const maxPenalty = 2 * time.Minute

// server is one name server and what we think of it.
type server struct {
	addr    string
	fails   int
	until   time.Time // asked last until then
	noEDNS  bool
	trusted bool // on this machine: its AD bit counts
}

// serverPool orders the servers by their behaviour.
type serverPool struct {
	path  string // resolv.conf, "" when the servers are fixed
	fixed Options

	mu       sync.Mutex
	checked  time.Time
	mtime    time.Time
	servers  []*server
	timeout  time.Duration
	attempts int
}

func newServerPool(o Options) *serverPool {
	p := &serverPool{fixed: o, timeout: 5 * time.Second, attempts: 2}
	if len(o.Servers) > 0 {
		p.set(o.Servers)
	} else {
		p.path = o.ResolvConf
		p.load()
	}
	if o.Timeout > 0 {
		p.timeout = o.Timeout
	}
	if o.Attempts > 0 {
		p.attempts = o.Attempts
	}
	return p
}

func (p *serverPool) set(addrs []string) {
	old := p.servers
	p.servers = nil
	for _, a := range addrs {
		i := slices.IndexFunc(old, func(s *server) bool { return s.addr == a })
		if i >= 0 {
			p.servers = append(p.servers, old[i])
			continue
		}
		host, _, _ := net.SplitHostPort(a)
		ip := net.ParseIP(host)
		p.servers = append(p.servers, &server{addr: a, trusted: ip != nil && ip.IsLoopback()})
	}
}

// load reads resolv.conf if it changed. When it cannot be read (chroot,
// sandbox) or names no server, what was known stays; at the very start that is
// the server on this machine, as in resolv.conf(5).
func (p *serverPool) load() {
	p.checked = time.Now()
	st, err := os.Stat(p.path)
	if err == nil && st.Size() <= maxConfFile && !st.ModTime().Equal(p.mtime) {
		if b, err := os.ReadFile(p.path); err == nil {
			p.mtime = st.ModTime()
			addrs, timeout, attempts := parseResolvConf(string(b))
			if len(addrs) > 0 {
				p.set(addrs)
			}
			if p.fixed.Timeout == 0 && timeout > 0 {
				p.timeout = timeout
			}
			if p.fixed.Attempts == 0 && attempts > 0 {
				p.attempts = attempts
			}
		}
	}
	if len(p.servers) == 0 {
		p.set([]string{"127.0.0.1:53"})
	}
}

func parseResolvConf(s string) (servers []string, timeout time.Duration, attempts int) {
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := serverAddr(f[1]); err == nil && len(servers) < 8 {
				servers = append(servers, a)
			}
		case "options":
			for _, o := range f[1:] {
				k, v, _ := strings.Cut(o, ":")
				n, err := strconv.Atoi(v)
				if err != nil || n <= 0 {
					continue
				}
				switch k {
				case "timeout":
					timeout = time.Duration(min(n, 30)) * time.Second
				case "attempts":
					attempts = min(n, 5)
				}
			}
		}
	}
	return servers, timeout, attempts
}

// order returns the servers in the order in which to ask them: as configured,
// those in disgrace last.
func (p *serverPool) order() (list []*server, timeout time.Duration, attempts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.path != "" && now.Sub(p.checked) > recheck {
		p.load()
	}
	list = slices.Clone(p.servers)
	slices.SortStableFunc(list, func(a, b *server) int {
		ua, ub := a.until, b.until
		if ua.Before(now) {
			ua = time.Time{}
		}
		if ub.Before(now) {
			ub = time.Time{}
		}
		return ua.Compare(ub)
	})
	return list, p.timeout, p.attempts
}

func (p *serverPool) judge(s *server, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		s.fails, s.until = 0, time.Time{}
		return
	}
	s.fails = min(s.fails+1, 8)
	s.until = time.Now().Add(min(time.Second<<s.fails, maxPenalty))
}

// direct asks the name servers and follows CNAMEs that an answer leaves open.
func (c *Client) direct(ctx context.Context, q question) *resolver.Reply {
	name, ttl, secure := q.name, uint32(1<<31), true
	for hops := 0; hops < maxChain; {
		m, s, err := c.exchange(ctx, name, q.typ)
		if err != nil {
			return gaveUp(q, err)
		}
		r, next, n := digest(m, name, q.typ)
		hops += n + 1
		secure = secure && s.trusted && m.AuthenticatedData
		ttl = min(ttl, r.TTL)
		if next == "" || r.Status == resolver.NotFound {
			r.TTL, r.Secure = ttl, secure
			return r
		}
		name = next
	}
	return &resolver.Reply{Status: resolver.Invalid, Detail: "Name server loop for " + q.name, Name: q.name}
}

// exchange gets an answer from the first server that has one. An error is
// temporary.
func (c *Client) exchange(ctx context.Context, name string, typ uint16) (*dns.Msg, *server, error) {
	list, timeout, attempts := c.pool.order()
	var last *dns.Msg
	var lastServer *server
	err := errors.New("no name servers")
	for try := 0; try < attempts; try++ {
		for _, s := range list {
			var m *dns.Msg
			if m, err = c.exchangeOne(ctx, s, name, typ, timeout); err != nil {
				if ctx.Err() != nil {
					return nil, nil, ctx.Err()
				}
				c.pool.judge(s, false)
				continue
			}
			c.pool.judge(s, true)
			if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
				return m, s, nil
			}
			last, lastServer = m, s
		}
		if last != nil {
			return last, lastServer, nil // another round would not change its mind
		}
		timeout *= 2
	}
	return nil, nil, err
}

// exchangeOne asks one server over UDP, and over TCP when the answer did not
// fit; a server that does not know EDNS is asked without.
func (c *Client) exchangeOne(ctx context.Context, s *server, name string, typ uint16, timeout time.Duration) (*dns.Msg, error) {
	c.pool.mu.Lock()
	edns := !s.noEDNS
	c.pool.mu.Unlock()
	for {
		req := new(dns.Msg)
		req.SetQuestion(name+".", typ)
		req.AuthenticatedData = true // RFC 6840, section 5.7: tell us if you validated
		if edns {
			req.SetEdns0(udpSize, false)
		}
		m, err := trip(ctx, "udp", s.addr, req, timeout)
		if err == nil && m.Truncated {
			m, err = trip(ctx, "tcp", s.addr, req, timeout)
		}
		if err == nil && edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
			edns = false
			continue
		}
		if err == nil && !edns {
			c.pool.mu.Lock()
			s.noEDNS = true
			c.pool.mu.Unlock()
		}
		return m, err
	}
}

// trip sends one query on a socket of its own, whose source port the kernel
// chose at random, and waits for the answer that belongs to it.
func trip(ctx context.Context, network, addr string, req *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	wire, err := req.Pack()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(timeout)
	d := net.Dialer{Deadline: deadline}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		wire = append(binary.BigEndian.AppendUint16(make([]byte, 0, len(wire)+2), uint16(len(wire))), wire...)
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	if network == "tcp" {
		var head [2]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return nil, err
		}
		buf := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(conn, buf); err != nil {
			return nil, err
		}
		m, ok := accept(req, buf)
		if !ok {
			return nil, errors.New("answer does not belong to the question")
		}
		return m, nil
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// What does not match is ignored rather than believed or taken as a
		// failure: either would help who guesses ids.
		if m, ok := accept(req, buf[:n]); ok {
			return m, nil
		}
	}
}

// accept parses an answer and says whether it belongs to req.
func accept(req *dns.Msg, b []byte) (*dns.Msg, bool) {
	if len(b) < 12 || binary.BigEndian.Uint16(b) != req.Id || b[2]&0x80 == 0 {
		return nil, false
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		// A truncated answer may end in the middle of a record.
		if b[2]&0x02 == 0 {
			return nil, false
		}
		m.Truncated = true
	}
	if m.Opcode != dns.OpcodeQuery || !m.Response {
		return nil, false
	}
	if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return m, true // an error of a server that did not understand
	}
	if len(m.Question) != 1 {
		return nil, false
	}
	q, w := m.Question[0], req.Question[0]
	return m, q.Qtype == w.Qtype && q.Qclass == w.Qclass && strings.EqualFold(q.Name, w.Name)
}

// digest turns an answer into a Reply. next is the name to ask for when the
// answer ends in a CNAME without the records behind it; hops counts the CNAMEs
// passed.
func digest(m *dns.Msg, name string, typ uint16) (r *resolver.Reply, next string, hops int) {
	r = &resolver.Reply{Name: name, TTL: negativeTTL(m)}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		r.Status, r.Detail = resolver.TryAgain, "SERVFAIL"
		return r, "", 0
	default:
		r.Status, r.Detail = resolver.Failed, dns.RcodeToString[m.Rcode]
		return r, "", 0
	}
	at, ttl := name+".", uint32(1<<31)
	for typ != dns.TypeCNAME {
		i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool {
			_, ok := rr.(*dns.CNAME)
			return ok && strings.EqualFold(rr.Header().Name, at)
		})
		if i < 0 {
			break
		}
		if hops++; hops > maxChain {
			r.Status, r.Detail = resolver.Invalid, "Name server loop for "+name
			return r, "", hops
		}
		ttl = min(ttl, m.Answer[i].Header().Ttl)
		at = m.Answer[i].(*dns.CNAME).Target
	}
	r.Name = strings.ToLower(strings.TrimSuffix(at, "."))
	seen := false
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Rrtype != typ || h.Class != dns.ClassINET || !strings.EqualFold(h.Name, at) {
			continue
		}
		seen = true
		rec, ok := convert(rr)
		if !ok || len(r.Records) >= resolver.MaxRecords {
			continue
		}
		ttl = min(ttl, h.Ttl)
		r.Records = append(r.Records, rec)
	}
	switch {
	case len(r.Records) > 0:
		r.TTL = ttl
	case seen:
		r.Status = resolver.Invalid
	case m.Rcode == dns.RcodeNameError:
		r.Status = resolver.NotFound
	case hops > 0 && m.Rcode == dns.RcodeSuccess && !hasSOA(m):
		if !validName(r.Name, false) {
			r.Status = resolver.Invalid
			return r, "", hops
		}
		r.TTL = ttl
		return r, r.Name, hops
	default:
		r.Status = resolver.NoData
	}
	return r, "", hops
}

func hasSOA(m *dns.Msg) bool { return soa(m) != nil }

func soa(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if s, ok := rr.(*dns.SOA); ok {
			return s
		}
	}
	return nil
}

// negativeTTL is how long "there is none" holds (RFC 2308, section 5); 0
// without an SOA record.
func negativeTTL(m *dns.Msg) uint32 {
	if s := soa(m); s != nil {
		return min(s.Minttl, s.Hdr.Ttl)
	}
	return 0
}

// convert extracts what we use of a record; ok is false for data that is no
// use, such as an MX that names no host.
func convert(rr dns.RR) (rec resolver.Record, ok bool) {
	host := func(s string, ptr bool) bool {
		s = strings.TrimSuffix(s, ".")
		rec.Host = s
		return ValidHostname(s) || ptr && validName(s, false)
	}
	switch rr := rr.(type) {
	case *dns.A:
		rec.Addr, ok = addrFrom(rr.A.To4())
	case *dns.AAAA:
		rec.Addr, ok = addrFrom(rr.AAAA.To16())
	case *dns.MX:
		rec.Pref = rr.Preference
		if rr.Mx == "." {
			rec.Host = "."
			return rec, true
		}
		ok = host(rr.Mx, false)
		if _, isIP := ParseAddr(rec.Host); isIP && !ok {
			ok = true // wrong, but common, and Postfix delivers to it
		}
	case *dns.NS:
		ok = host(rr.Ns, false)
	case *dns.PTR:
		ok = host(rr.Ptr, true)
	case *dns.CNAME:
		ok = host(rr.Target, true)
	case *dns.TXT:
		t := strings.Join(rr.Txt, "")
		rec.Text, ok = t[:min(len(t), resolver.MaxText)], true
	}
	return rec, ok
}

func addrFrom(b []byte) (netip.Addr, bool) { return netip.AddrFromSlice(b) }
