package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/service"
)

// basics is the configuration that every test starts from.
const basics = `
compatibility_level = 3.6
myhostname = mx.here.example
mydestination = here.example
mynetworks = 192.0.2.0/24
inet_interfaces = 127.0.0.1
local_recipient_maps = inline:{alice=x, bob=x}
alias_maps =
alias_database =
relay_domains =
virtual_mailbox_maps =
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0s
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_client_connection_count_limit = 0
default_database_type = texthash
message_size_limit = 20000
queue_minfree = 0
`

// fixture is a server in the test's process, with a cleanup that keeps what it
// gets.
type fixture struct {
	anvil string // the socket of the counters
	t     testing.TB
	srv   *server
	l     net.Listener
	dir   string
	open  atomic.Int32 // sessions

	mu     sync.Mutex
	mails  []*mail
	lines  []string
	result *cleanup.Result
}

type mail struct {
	begin   *cleanup.Begin
	rcpts   []envelope.Recipient
	content []byte
}

func (f *fixture) Write(_ maillog.Severity, _ string, _ int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, text)
}

func (f *fixture) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

func (f *fixture) queued() []*mail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*mail(nil), f.mails...)
}

// fakeSession is one message in the fake cleanup.
type fakeSession struct {
	f *fixture
	m mail
}

func (s *fakeSession) Recipient(r *envelope.Recipient) { s.m.rcpts = append(s.m.rcpts, *r) }
func (s *fakeSession) Data(p []byte)                   { s.m.content = append(s.m.content, p...) }
func (s *fakeSession) Abort()                          {}
func (s *fakeSession) End() *cleanup.Result {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if r := s.f.result; r != nil {
		return r
	}
	s.f.mails = append(s.f.mails, &s.m)
	return &cleanup.Result{Status: cleanup.OK, Size: int64(len(s.m.content))}
}

// start makes a server with extra main.cf lines.
func start(t testing.TB, extra string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(f.dir, "main.cf"), []byte(basics+extra), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: f.dir, Known: params.All, Program: "smtpd", Service: "smtp"})
	if err != nil {
		t.Fatal(err)
	}
	f.srv = &server{}
	env := &service.Env{Config: cfg, Log: maillog.New("postfix/smtpd", f), Program: "smtpd", Service: "smtp"}
	if err := f.srv.open(env); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(f.dir, "cleanup")
	cl, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	cs := &cleanup.Server{Begin: func(b *cleanup.Begin) cleanup.Session { return &fakeSession{f: f, m: mail{begin: b}} }}
	go func() {
		for {
			c, err := cl.Accept()
			if err != nil {
				return
			}
			go func() { cs.Serve(c); c.Close() }()
		}
	}()
	f.srv.cleanup = cleanup.NewClient(sock)
	f.countClients(f.srv)
	f.srv.freeAt, f.srv.freeNow = time.Now().Add(24*time.Hour), 1<<40
	if f.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			c, err := f.l.Accept()
			if err != nil {
				return
			}
			f.open.Add(1)
			go func() {
				defer f.open.Add(-1)
				f.srv.serve(ctx, env, c)
			}()
		}
	}()
	t.Cleanup(func() {
		f.l.Close()
		cl.Close()
		cancel()
		f.srv.cleanup.Close()
	})
	return f
}

// countClients gives a server an anvil.
func (f *fixture) countClients(srv *server) {
	f.t.Helper()
	if f.anvil == "" {
		f.anvil = filepath.Join(f.dir, "anvil")
		l, err := net.Listen("unix", f.anvil)
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { l.Close() })
		counters := anvil.NewCounters(time.Minute, nil)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { counters.Serve(context.Background(), c, nil, nil); c.Close() }()
			}
		}()
	}
	srv.anvil = anvil.NewClient(f.anvil)
	f.t.Cleanup(func() { srv.anvil.Close() })
}

// peer is the client's side of a dialogue.
type peer struct {
	t testing.TB
	c net.Conn
	r []byte
}

func (f *fixture) dial() *peer {
	f.t.Helper()
	c, err := net.Dial("tcp", f.l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: f.t, c: c}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, s); err != nil {
		p.t.Logf("send: %v", err)
	}
}

// line reads one reply line; at the end of input it is "EOF".
func (p *peer) line() string {
	p.t.Helper()
	for {
		if i := strings.IndexByte(string(p.r), '\n'); i >= 0 {
			l := string(p.r[:i+1])
			p.r = p.r[i+1:]
			if !strings.HasSuffix(l, "\r\n") {
				p.t.Errorf("reply line %q does not end in CRLF", l)
			}
			return strings.TrimRight(l, "\r\n")
		}
		var b [4096]byte
		n, err := p.c.Read(b[:])
		p.r = append(p.r, b[:n]...)
		if n == 0 && err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				return "TIMEOUT"
			}
			return "EOF"
		}
	}
}

// reply reads a whole reply, its lines joined by "|".
func (p *peer) reply() string {
	p.t.Helper()
	var all []string
	for {
		l := p.line()
		all = append(all, l)
		if len(l) < 4 || l[3] != '-' {
			return strings.Join(all, "|")
		}
	}
}

func (p *peer) expect(send, want string) {
	p.t.Helper()
	if send != "" {
		p.send(send + "\r\n")
	}
	if got := p.reply(); !matches(got, want) {
		p.t.Errorf("after %.60q: got %q, want %q", send, got, want)
	}
}

// matches compares with "..." standing for anything.
func matches(got, want string) bool {
	parts := strings.Split(want, "...")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	rest := got[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(rest, p)
		}
		j := strings.Index(rest, p)
		if j < 0 {
			return false
		}
		rest = rest[j+len(p):]
	}
	return rest == "" || len(parts) > 1
}

// envelope gets a session up to the 354 reply.
func (p *peer) envelope() {
	p.t.Helper()
	p.expect("", "220 ...")
	p.expect("EHLO c.example", "250-...")
	p.expect("MAIL FROM:<a@far.example>", "250 2.1.0 Ok")
	p.expect("RCPT TO:<alice@here.example>", "250 2.1.5 Ok")
}

// done waits for the end of the session.
func (f *fixture) done() {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); f.open.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatal("sessions do not end")
		}
	}
}
