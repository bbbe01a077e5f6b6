package dnsclient

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthaste/pkg/proto/resolver"
)

// server answers each query with what handle makes of it; nil is no answer.
type testServer struct {
	addr    string
	queries atomic.Int64
	mu      sync.Mutex
	ids     map[uint16]bool
	ports   map[int]bool
}

func startServer(t *testing.T, handle func(q *dns.Msg, tcp bool) *dns.Msg) *testServer {
	t.Helper()
	s := &testServer{ids: map[uint16]bool{}, ports: map[int]bool{}}
	var pc net.PacketConn
	var ln net.Listener
	for range 20 { // the TCP port of the same number may be taken
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if ln == nil {
		t.Fatal("no port free for both UDP and TCP")
	}
	s.addr = pc.LocalAddr().String()
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		s.queries.Add(1)
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		if u, ok := w.RemoteAddr().(*net.UDPAddr); ok {
			s.mu.Lock()
			s.ids[q.Id] = true
			s.ports[u.Port] = true
			s.mu.Unlock()
		}
		if m := handle(q, tcp); m != nil {
			w.WriteMsg(m)
		}
	})
	us, ts := &dns.Server{PacketConn: pc, Handler: h}, &dns.Server{Listener: ln, Handler: h}
	go us.ActivateAndServe()
	go ts.ActivateAndServe()
	t.Cleanup(func() { us.Shutdown(); ts.Shutdown() })
	return s
}

// answer makes a reply with records in presentation form.
func answer(t *testing.T, q *dns.Msg, rrs ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	for _, s := range rrs {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func rcode(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	return m
}

func newClient(servers ...string) *Client {
	return New(Options{Servers: servers, Timeout: 300 * time.Millisecond, Attempts: 1})
}

func TestQuestions(t *testing.T) {
	s := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg {
		name := q.Question[0].Name
		switch fmt.Sprint(name, " ", dns.TypeToString[q.Question[0].Qtype]) {
		case "mx.example. MX":
			return answer(t, q, "mx.example. 60 IN MX 20 b.example.", "mx.example. 60 IN MX 10 a.example.", "mx.example. 60 IN MX 5 -bad-.example.", "other.example. 60 IN MX 1 evil.example.")
		case "null.example. MX":
			return answer(t, q, "null.example. 60 IN MX 0 .")
		case "a.example. A":
			return answer(t, q, "a.example. 60 IN A 192.0.2.1", "a.example. 30 IN A 192.0.2.2")
		case "a.example. AAAA":
			return answer(t, q, "a.example. 60 IN AAAA 2001:db8::1")
		case "only4.example. A":
			return answer(t, q, "only4.example. 60 IN A 192.0.2.4")
		case "only4.example. AAAA":
			return rcode(q, dns.RcodeServerFailure)
		case "half.example. A":
			return rcode(q, dns.RcodeSuccess)
		case "half.example. AAAA":
			return rcode(q, dns.RcodeServerFailure)
		case "alias.example. A":
			return answer(t, q, "alias.example. 60 IN CNAME b.example.", "b.example. 50 IN CNAME a.example.", "a.example. 40 IN A 192.0.2.1")
		case "open.example. A":
			return answer(t, q, "open.example. 60 IN CNAME a.example.")
		case "loop.example. A":
			return answer(t, q, "loop.example. 60 IN CNAME pool.example.", "pool.example. 60 IN CNAME loop.example.")
		case "far.example. A", "run.example. A":
			other := map[string]string{"far.example.": "run.example.", "run.example.": "far.example."}[name]
			return answer(t, q, name+" 60 IN CNAME "+other)
		case "txt.example. TXT":
			return answer(t, q, `txt.example. 60 IN TXT "one " "string"`)
		case "1.2.0.192.in-addr.arpa. PTR":
			return answer(t, q, "1.2.0.192.in-addr.arpa. 60 IN PTR host.example.")
		case "fail.example. MX":
			return rcode(q, dns.RcodeServerFailure)
		case "refused.example. MX":
			return rcode(q, dns.RcodeRefused)
		case "nodata.example. MX":
			return rcode(q, dns.RcodeSuccess)
		case "xn--bcher-kva.example. A":
			return answer(t, q, "xn--bcher-kva.example. 60 IN A 192.0.2.9")
		}
		return rcode(q, dns.RcodeNameError)
	})
	c := newClient(s.addr)
	ctx := context.Background()
	mx, err := c.MX(ctx, "mx.example")
	if want := []MX{{"a.example", 10}, {"b.example", 20}}; err != nil || !reflect.DeepEqual(mx, want) {
		t.Errorf("MX: got %v, %v", mx, err)
	}
	if _, err := c.MX(ctx, "null.example"); !errors.Is(err, ErrNullMX) || IsTemporary(err) {
		t.Errorf("null MX: %v", err)
	}
	for name, want := range map[string]string{
		"a.example": "[192.0.2.1 192.0.2.2 2001:db8::1]", "only4.example": "[192.0.2.4]",
		"bücher.example": "[192.0.2.9]", "A.EXAMPLE.": "[192.0.2.1 192.0.2.2 2001:db8::1]",
	} {
		if l, err := c.Addrs(ctx, name); err != nil || fmt.Sprint(l) != want {
			t.Errorf("%s: got %v, %v, want %s", name, l, err, want)
		}
	}
	for _, name := range []string{"alias.example", "open.example"} {
		if l, ttl, err := c.A(ctx, name); err != nil || len(l) == 0 || ttl > 60*time.Second || name == "alias.example" && ttl != 40*time.Second {
			t.Errorf("%s: got %v, %v, %v", name, l, ttl, err)
		}
	}
	if l, err := c.TXT(ctx, "txt.example"); err != nil || fmt.Sprint(l) != "[one string]" {
		t.Errorf("TXT: got %v, %v", l, err)
	}
	if l, err := c.PTR(ctx, netip.MustParseAddr("192.0.2.1")); err != nil || fmt.Sprint(l) != "[host.example]" {
		t.Errorf("PTR: got %v, %v", l, err)
	}
	errs := map[string]struct {
		err  error
		temp bool
	}{}
	note := func(k string, err error, temp bool) {
		errs[k] = struct {
			err  error
			temp bool
		}{err, temp}
	}
	_, err = c.MX(ctx, "fail.example")
	note("try again", err, true)
	_, err = c.MX(ctx, "refused.example")
	note("Non-recoverable error", err, true)
	_, err = c.MX(ctx, "nodata.example")
	note("no data record of requested type", err, false)
	_, err = c.MX(ctx, "nowhere.example")
	note("name=nowhere.example type=MX: Host not found", err, false)
	_, err = c.Addrs(ctx, "half.example")
	note("type=AAAA: Host not found, try again", err, true)
	_, err = c.Addrs(ctx, "a b.example")
	note("invalid host or domain name", err, false)
	_, _, err = c.A(ctx, "loop.example")
	note("Name server loop for loop.example", err, false)
	_, _, err = c.A(ctx, "far.example")
	note("Name server loop for far.example", err, false)
	for text, e := range errs {
		if e.err == nil || !strings.Contains(e.err.Error(), text) || IsTemporary(e.err) != e.temp || errors.Is(e.err, ErrNotFound) == e.temp {
			t.Errorf("got %v (temporary %v), want %q (temporary %v)", e.err, IsTemporary(e.err), text, e.temp)
		}
	}
}

func TestTruncatedOverTCP(t *testing.T) {
	s := startServer(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		if !tcp {
			m := rcode(q, dns.RcodeSuccess)
			m.Truncated = true
			return m
		}
		var rrs []string
		for i := range 1000 {
			rrs = append(rrs, fmt.Sprintf("big.example. 60 IN MX %d host%d.big.example.", i, i))
		}
		return answer(t, q, rrs...)
	})
	l, err := newClient(s.addr).MX(context.Background(), "big.example")
	if err != nil || len(l) != 1000 {
		t.Errorf("got %d records, %v", len(l), err)
	}
}

func TestWithoutEDNS(t *testing.T) {
	s := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg {
		if q.IsEdns0() != nil {
			return rcode(q, dns.RcodeFormatError)
		}
		return answer(t, q, "x.example. 60 IN A 192.0.2.1")
	})
	c := newClient(s.addr)
	for range 2 {
		if _, _, err := c.A(context.Background(), "x.example"); err != nil {
			t.Error(err)
		}
	}
	if n := s.queries.Load(); n != 3 {
		t.Errorf("%d queries, want 3: EDNS is tried once", n)
	}
}

// A server that is silent or in trouble is passed over, and asked last from
// then on.
func TestFailover(t *testing.T) {
	dead := startServer(t, func(*dns.Msg, bool) *dns.Msg { return nil })
	ill := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg { return rcode(q, dns.RcodeServerFailure) })
	well := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg { return answer(t, q, q.Question[0].Name+" 60 IN A 192.0.2.1") })
	c := newClient(dead.addr, ill.addr, well.addr)
	for i := range 5 {
		if _, _, err := c.A(context.Background(), fmt.Sprintf("x%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := dead.queries.Load(); n != 1 {
		t.Errorf("the silent server was asked %d times, want 1", n)
	}
}

func TestNoServer(t *testing.T) {
	dead := startServer(t, func(*dns.Msg, bool) *dns.Msg { return nil })
	c := newClient(dead.addr)
	if _, err := c.MX(context.Background(), "x.example"); !IsTemporary(err) || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.MX(ctx, "y.example"); !IsTemporary(err) {
		t.Errorf("cancelled: got %v", err)
	}
}

// Answers that do not belong to the question are not believed, and do not keep
// the right one from being found.
func TestSpoofing(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			send := func(c net.PacketConn, change func(*dns.Msg)) {
				m := answer(t, q, "x.example. 60 IN A 192.0.2.66")
				change(m)
				b, _ := m.Pack()
				c.WriteTo(b, from)
			}
			send(other, func(*dns.Msg) {})                                                // wrong source
			send(pc, func(m *dns.Msg) { m.Id++ })                                         // wrong id
			send(pc, func(m *dns.Msg) { m.Question[0].Name = "y.example." })              // wrong name
			send(pc, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX })               // wrong type
			send(pc, func(m *dns.Msg) { m.Response = false })                             // no answer at all
			send(pc, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }) // two questions
			pc.WriteTo([]byte("garbage"), from)
			loop := append(binary.BigEndian.AppendUint16(nil, q.Id), 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c) // a name that points to itself
			pc.WriteTo(loop, from)
			send(pc, func(m *dns.Msg) { m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 1) })
		}
	}()
	l, _, err := newClient(pc.LocalAddr().String()).A(context.Background(), "x.example")
	if err != nil || fmt.Sprint(l) != "[192.0.2.1]" {
		t.Errorf("got %v, %v", l, err)
	}
}

func TestRandomness(t *testing.T) {
	s := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg { return rcode(q, dns.RcodeNameError) })
	c := newClient(s.addr)
	for i := range 50 {
		c.MX(context.Background(), fmt.Sprintf("x%d.example", i))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) < 45 || len(s.ports) < 25 {
		t.Errorf("50 queries used %d ids and %d ports", len(s.ids), len(s.ports))
	}
}

func TestCache(t *testing.T) {
	now := time.Now()
	c := newCache(3)
	q := func(n string) question { return question{n, dns.TypeA} }
	ok := func(ttl uint32) *resolver.Reply { return &resolver.Reply{TTL: ttl} }
	c.put(q("a"), ok(60), now)
	c.put(q("zero"), ok(0), now)
	c.put(q("fail"), &resolver.Reply{Status: resolver.TryAgain, TTL: 60}, now)
	c.put(q("neg"), &resolver.Reply{Status: resolver.NotFound, TTL: 1 << 30}, now)
	if r := c.get(q("a"), now.Add(20*time.Second)); r == nil || r.TTL != 40 {
		t.Errorf("a after 20 s: %+v, want a TTL of 40", r)
	}
	if c.get(q("zero"), now) != nil {
		t.Error("an answer without a TTL was remembered")
	}
	if c.get(q("fail"), now) == nil || c.get(q("fail"), now.Add(failureTTL)) != nil {
		t.Error("a failure was not remembered for failureTTL")
	}
	c.most = 2
	if c.get(q("neg"), now.Add(2*time.Hour)) != nil {
		t.Error("a negative answer was believed for two hours")
	}
	c.put(q("neg"), &resolver.Reply{Status: resolver.NotFound, TTL: 60}, now)
	c.get(q("a"), now)
	c.put(q("b"), ok(60), now)
	if c.get(q("neg"), now) != nil || c.get(q("a"), now) == nil || c.get(q("b"), now) == nil {
		t.Error("not the least recently used answer was dropped")
	}
	if c.get(q("a"), now.Add(time.Minute)) != nil {
		t.Error("an expired answer was believed")
	}
}

// Through the socket: many at a time, the same question once, and around the
// socket when nobody serves it.
func TestResolverSocket(t *testing.T) {
	release := make(chan struct{})
	s := startServer(t, func(q *dns.Msg, _ bool) *dns.Msg {
		<-release
		return answer(t, q, q.Question[0].Name+" 60 IN A 192.0.2.1")
	})
	back := New(Options{Servers: []string{s.addr}, Cache: 100, Timeout: 10 * time.Second})
	path := filepath.Join(t.TempDir(), "resolver")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conns.Done()
				defer c.Close()
				resolver.Serve(ctx, c, nil, func() func() { return func() {} }, func(ctx context.Context, q *resolver.Query) *resolver.Reply {
					return back.Lookup(ctx, q.Name, q.Type)
				})
			}()
		}
	}()
	c := New(Options{Servers: []string{s.addr}, Socket: path, Timeout: 10 * time.Second})
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, _, err := c.A(context.Background(), fmt.Sprintf("x%d.example", i%4)); err != nil {
				t.Error(err)
			}
		}()
	}
	for s.queries.Load() < 4 {
		time.Sleep(time.Millisecond) // until all different questions are under way
	}
	close(release)
	wg.Wait()
	if n := s.queries.Load(); n != 4 {
		t.Errorf("%d queries for 4 names", n)
	}
	cancel()
	ln.Close()
	conns.Wait()
	os.Remove(path)
	if _, _, err := c.A(context.Background(), "direct.example"); err != nil {
		t.Errorf("without the service: %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	hosts, conf := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	os.WriteFile(hosts, []byte("192.0.2.1 One one.example # x\n# 192.0.2.9 no\n2001:db8::1 one\nbad two\n"), 0o644)
	os.WriteFile(conf, []byte("# c\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions timeout:1 attempts:3 rotate\nsearch x\n"), 0o644)
	c := New(Options{Hosts: hosts, ResolvConf: conf})
	if got := fmt.Sprint(c.HostsFile("ONE.")); got != "[192.0.2.1 2001:db8::1]" {
		t.Errorf("hosts: %s", got)
	}
	if c.HostsFile("two") != nil {
		t.Error("hosts: a bad address counts")
	}
	list, timeout, attempts := c.pool.order()
	if len(list) != 2 || list[0].addr != "192.0.2.53:53" || list[1].addr != "[2001:db8::53]:53" || timeout != time.Second || attempts != 3 {
		t.Errorf("resolv.conf: %v %v %d", list, timeout, attempts)
	}
}

func TestValidHostname(t *testing.T) {
	for s, want := range map[string]bool{
		"a.example": true, "a_b.example": true, "a": true, "1a.2": true, "192.0.2.1": false, "": false, ".": false, "a..b": false,
		".a": false, "a.": false, "-a.b": false, "a-.b": false, "a.b-": false, "a b": false, "a\x00": false, "ä.de": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a": false,
	} {
		if got := ValidHostname(s); got != want {
			t.Errorf("ValidHostname(%q) = %v", s, got)
		}
	}
}

// FuzzDNSAnswer feeds answers to the code that judges and digests them.
func FuzzDNSAnswer(f *testing.F) {
	req := new(dns.Msg)
	req.SetQuestion("x.example.", dns.TypeMX)
	req.Id = 7
	for _, rrs := range [][]string{{}, {"x.example. 60 IN MX 10 a.example."}, {"x.example. 60 IN CNAME y.example.", "y.example. 1 IN MX 0 ."}, {"x.example. 60 IN CNAME x.example."}} {
		m := new(dns.Msg)
		m.SetReply(req)
		for _, s := range rrs {
			rr, _ := dns.NewRR(s)
			m.Answer = append(m.Answer, rr)
		}
		b, _ := m.Pack()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := accept(req, b)
		if !ok {
			return
		}
		for _, typ := range []uint16{dns.TypeMX, dns.TypeA, dns.TypeTXT, dns.TypePTR} {
			r, next, hops := digest(m, "x.example", typ)
			if hops > maxChain+1 || len(r.Records) > resolver.MaxRecords {
				t.Fatalf("%d hops, %d records", hops, len(r.Records))
			}
			if next != "" && !validName(next, false) {
				t.Fatalf("would ask for %q", next)
			}
			for _, rec := range r.Records {
				if rec.Host != "" && rec.Host != "." && !validName(rec.Host, false) {
					if _, ip := ParseAddr(rec.Host); !ip {
						t.Fatalf("host %q", rec.Host)
					}
				}
			}
		}
	})
}
