package smtpclient

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/service"
	"posthaste/pkg/wire"
)

// logSink keeps what is logged.
type logSink struct {
	mu    sync.Mutex
	lines []string
}

func (l *logSink) Write(_ maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

func (l *logSink) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, part) })
}

func (l *logSink) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// rig is an agent with a qmgr that is the test.
type rig struct {
	cut   int64 // bytes of content that the queue file lacks
	t     *testing.T
	agent *Agent
	log   *logSink
	qmgr  *ipc.Conn
	dir   string
	seq   uint64
	send  sync.Mutex
}

// newRig starts an agent with the given main.cf; dir is its queue directory.
func newRig(t *testing.T, lmtp bool, mainCf string) *rig {
	t.Helper()
	dir := t.TempDir()
	base := "compatibility_level = 3.10\nmyhostname = client.example\nmydomain = example\ninet_protocols = ipv4\nsmtp_tls_security_level = none\n" +
		"default_database_type = texthash\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(base+mainCf), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: &logSink{}, dir: dir}
	env := &service.Env{Config: cfg, Log: maillog.New("test", r.log), Service: "smtp"}
	if r.agent, err = New(env, lmtp); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		r.agent.Serve(ctx, env, c)
	}()
	if r.qmgr, err = ipc.Dial(filepath.Join(dir, "agent"), proto.Protocol, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.qmgr.Close()
		cancel()
		ln.Close()
		<-done
		r.agent.Drain()
		if t.Failed() {
			t.Logf("log:\n%s", r.log.text())
		}
	})
	return r
}

// request returns a request for a small message; change what a test needs.
func (r *rig) request(nexthop string, rcpts ...string) *proto.Request {
	r.seq++
	now := time.Now()
	q := &proto.Request{Seq: r.seq, Transport: "smtp", Nexthop: nexthop, Activated: now, Started: now,
		Message: envelope.Message{ID: fmt.Sprintf("ID%d", r.seq), Arrival: now, Sender: "sender@client.example"}}
	for i, a := range rcpts {
		q.Recipients = append(q.Recipients, envelope.Recipient{Num: uint32(i), Address: a})
	}
	return q
}

const message = "Subject: test\r\n\r\nHello\r\n.dot\r\nbye\r\n"

// verdict is what the agent answered.
type verdict struct {
	outcomes map[uint32]*envelope.Outcome
	done     *proto.Done
}

func (v *verdict) String() string {
	var l []string
	for n, o := range v.outcomes {
		l = append(l, fmt.Sprintf("%d: status %d dsn %s relay %s action %q (%s)", n, o.Status, o.DSN, o.Relay, o.Action, o.Reason))
	}
	slices.Sort(l)
	return strings.Join(l, "; ") + fmt.Sprintf(" site %q %q", v.done.SiteDSN, v.done.SiteProblem)
}

// deliver sends a request with content and waits for all outcomes.
func (r *rig) deliver(q *proto.Request, content string) *verdict {
	r.t.Helper()
	f, err := os.CreateTemp(r.dir, "queue")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("envelope" + content)
	q.ContentOffset, q.ContentLength = 8, int64(len(content))+r.cut
	for i := 0; i < len(content); i++ {
		q.EightBit = q.EightBit || content[i] >= 0x80
	}
	var e wire.Encoder
	q.Encode(&e)
	if err := r.qmgr.WriteFrame(proto.TypeRequest, e.B, int(f.Fd())); err != nil {
		r.t.Fatal(err)
	}
	v := &verdict{outcomes: map[uint32]*envelope.Outcome{}}
	r.qmgr.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		typ, p, err := r.qmgr.ReadFrame()
		if err != nil {
			r.t.Fatalf("agent: %v", err)
		}
		switch typ {
		case proto.TypeOutcome:
			_, o, err := proto.DecodeOutcome(p)
			if err != nil {
				r.t.Fatal(err)
			}
			v.outcomes[o.Num] = o
		case proto.TypeDone:
			if v.done, err = proto.DecodeDone(p); err != nil {
				r.t.Fatal(err)
			}
			return v
		}
	}
}

// want checks recipient n's outcome; parts must all be in the reason.
func (v *verdict) want(t *testing.T, n uint32, st envelope.Status, dsn string, parts ...string) {
	t.Helper()
	o := v.outcomes[n]
	if o == nil {
		t.Fatalf("recipient %d has no outcome: %v", n, v)
	}
	if o.Status != st || o.DSN != dsn {
		t.Errorf("recipient %d: got status %d dsn %s (%s), want %d %s", n, o.Status, o.DSN, o.Reason, st, dsn)
	}
	for _, p := range parts {
		if !strings.Contains(o.Reason, p) {
			t.Errorf("recipient %d: reason %q lacks %q", n, o.Reason, p)
		}
	}
}

// peer is one connection of a scripted server.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (p *peer) send(lines ...string) {
	for _, l := range lines {
		fmt.Fprintf(p.Conn, "%s\r\n", l)
	}
}

// line reads one command; "" at the end.
func (p *peer) line() string {
	s, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(s, "\r\n")
}

// expect reads one command and complains if it does not begin as told.
func (p *peer) expect(prefix string) string {
	l := p.line()
	if !strings.HasPrefix(l, prefix) {
		p.t.Errorf("server got %q, want %q", l, prefix)
	}
	return l
}

// body reads content up to the end mark, as sent.
func (p *peer) body() string {
	var b strings.Builder
	for {
		s, err := p.r.ReadString('\n')
		if err != nil || s == ".\r\n" {
			return b.String()
		}
		b.WriteString(s)
	}
}

// hello does greeting and EHLO with the keywords given.
func (p *peer) hello(keywords ...string) {
	p.send("220 server.example ESMTP")
	p.expect("EHLO client.example")
	p.ehlo(keywords...)
}

func (p *peer) ehlo(keywords ...string) {
	p.send("250-server.example")
	for _, k := range keywords {
		p.send("250-" + k)
	}
	p.send("250 ENHANCEDSTATUSCODES")
}

// serve runs script i for connection i (the last one for all later ones) on
// address ip and returns the port.
func serve(t *testing.T, addr string, scripts ...func(*peer)) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, scripts...)
	return ln.Addr().(*net.TCPAddr).Port
}

func serveOn(t *testing.T, ln net.Listener, scripts ...func(*peer)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			script := scripts[min(i, len(scripts)-1)]
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				script(&peer{t: t, Conn: c, r: bufio.NewReader(c)})
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// accept takes one message for any recipient after hello.
func (p *peer) accept() string {
	p.expect("MAIL FROM:")
	p.send("250 2.1.0 Ok")
	return p.rest()
}

// rest takes RCPTs and the message.
func (p *peer) rest() string {
	for {
		l := p.line()
		switch {
		case strings.HasPrefix(l, "RCPT TO:"):
			p.send("250 2.1.5 Ok")
		case l == "DATA":
			p.send("354 go")
			b := p.body()
			p.send("250 2.0.0 Ok: queued as ABC")
			return b
		default:
			p.t.Errorf("server got %q", l)
			return ""
		}
	}
}

// zone is a DNS server's data: "name TYPE" to records in presentation form
// without the name; a missing name is NXDOMAIN, an entry "SERVFAIL" fails.
type zone map[string][]string

// startDNS serves z and returns the server's address.
func startDNS(t *testing.T, z zone) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
		known := false
		for k, rrs := range z {
			n, typ, _ := strings.Cut(k, " ")
			if n != name {
				continue
			}
			known = true
			if typ != dns.TypeToString[q.Question[0].Qtype] {
				continue
			}
			for _, rr := range rrs {
				if rr == "SERVFAIL" {
					m.Rcode = dns.RcodeServerFailure
					continue
				}
				x, err := dns.NewRR(name + ". 60 IN " + typ + " " + rr)
				if err != nil {
					t.Errorf("zone: %v", err)
					continue
				}
				m.Answer = append(m.Answer, x)
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})}
	go srv.ActivateAndServe()
	t.Cleanup(func() { srv.Shutdown() })
	return pc.LocalAddr().String()
}

func listenLocal() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

func portOf(l net.Listener) string { return fmt.Sprint(l.Addr().(*net.TCPAddr).Port) }
