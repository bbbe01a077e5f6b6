package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/service"
)

// fixture is a login with an auth that knows anna:secret, and a master whose
// session programs greet and echo lines in capitals.
type fixture struct {
	counters *anvil.Counters
	scram    []string // SCRAM mechanisms on offer
	t        testing.TB
	srv      *server
	addr     string
	sockets  string
	users    *passwd.File // for SCRAM

	mu    sync.Mutex
	lines []string
	opens []*session.Open
	next  int
	ended chan struct{} // gets a value for each connection that login is done with
	busy  bool          // master refuses
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

// Verify implements sasl.Verifier.
func (f *fixture) Verify(user, password string) (string, error) {
	switch {
	case user == "anna" && password == "secret word":
		return user, nil
	case user == "sick":
		return "", sasl.ErrTemporary
	}
	return "", sasl.ErrMismatch
}
func (f *fixture) Scram(string, string) (sasl.ScramKeys, error) {
	return sasl.ScramKeys{}, sasl.ErrTemporary
}
func (f *fixture) Mechs() []dovecot.Mech {
	a, _ := dovecot.MechByName("PLAIN")
	b, _ := dovecot.MechByName("LOGIN")
	l := []dovecot.Mech{a, b}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.scram {
		m, _ := dovecot.MechByName(n)
		l = append(l, m)
	}
	return l
}
func (f *fixture) Begin(_ context.Context, q *dovecot.Request) (sasl.Server, bool) {
	if strings.HasPrefix(q.Mech, "SCRAM-SHA-256") {
		return sasl.NewServer(q.Mech, f.users, q.Bindings)
	}
	return sasl.NewServer(q.Mech, f, q.Bindings)
}
func (f *fixture) Result(_ context.Context, q *dovecot.Request, user string, err error) dovecot.Outcome {
	o := dovecot.Outcome{Err: err}
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.next++
		o.Fields = []string{"cookie=" + hex.EncodeToString(fmt.Appendf(nil, "%016d", f.next))}
		if q.Program == "" || q.Service != f.srv.protocol || q.RemoteIP == "" {
			f.t.Errorf("auth was asked %+v", q)
		}
	}
	return o
}

// open is master's part.
func (f *fixture) open(o *session.Open, fd int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy {
		return errors.New("no room")
	}
	f.opens = append(f.opens, o)
	lease := func() {}
	if o.Lease {
		l := *o
		lease = l.CloseLease
	}
	file := os.NewFile(uintptr(fd), "session")
	c, err := net.FileConn(file)
	file.Close()
	if err != nil {
		f.t.Error(err)
		return nil
	}
	go func() { defer lease(); echo(c, o) }()
	return nil
}

// echo is the session program: it ends after "QUIT" or at the end of input, when
// it says good-bye. "BULK" sends a megabyte, "COUNT n" reads n bytes.
func echo(c net.Conn, o *session.Open) {
	defer c.Close()
	fmt.Fprintf(c, "%s OK welcome\r\n", o.Tag)
	r := bufio.NewReader(io.MultiReader(strings.NewReader(string(o.Input)), c))
	for {
		l, err := r.ReadString('\n')
		l = strings.TrimRight(l, "\r\n")
		var n int
		switch {
		case err != nil:
			fmt.Fprint(c, "END OF INPUT\r\n")
			return
		case l == "QUIT":
			fmt.Fprint(c, "BYE\r\n")
			return
		case l == "BULK":
			c.Write(make([]byte, 1<<20))
		case sscan(l, &n):
			k, _ := io.CopyN(io.Discard, r, int64(n))
			fmt.Fprintf(c, "GOT %d\r\n", k)
		default:
			fmt.Fprintf(c, "%s\r\n", strings.ToUpper(l))
		}
	}
}

func sscan(l string, n *int) bool {
	k, _ := fmt.Sscanf(l, "COUNT %d", n)
	return k == 1
}

func listen(t testing.TB, path string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { serve(c); c.Close() }()
		}
	}()
}

// certificate writes a certificate and returns what trusts it.
func certificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, DNSNames: []string{"mail.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return pool
}

// start makes a login; args are its arguments, extra are main.cf lines.
func start(t testing.TB, args, extra string) (*fixture, *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	pool := certificate(t, dir)
	f := &fixture{t: t, sockets: dir, ended: make(chan struct{}, 10000)}
	text := "myhostname = mail.test\nmail_max_userip_connections = 0\nlogin_tls_cert_file = " + dir + "/cert.pem\nlogin_tls_key_file = " + dir + "/key.pem\n" + extra
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: "login", Service: "imap"})
	if err != nil {
		t.Fatal(err)
	}
	f.srv = &server{auth: dovecot.NewClient(dir + "/auth"), sessions: session.NewClient(dir + "/session"), anvil: anvil.NewClient(dir + "/anvil")}
	env := &service.Env{Config: cfg, Log: maillog.New("postfix/login", f), Program: "login", Args: strings.Fields(args)}
	if err := f.srv.open(env); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/users", []byte("anna:{PLAIN}secret word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f.users, err = passwd.Open(dir+"/users", nil, nil); err != nil {
		t.Fatal(err)
	}
	f.counters = anvil.NewCounters(time.Minute, nil)
	listen(t, dir+"/anvil", func(c net.Conn) { f.counters.Serve(context.Background(), c, nil, nil) })
	listen(t, dir+"/auth", func(c net.Conn) { (&dovecot.Server{Handler: f}).Serve(context.Background(), c) })
	listen(t, dir+"/session", func(nc net.Conn) {
		if c, err := ipc.Accept(nc, session.Protocol, 5*time.Second); err == nil {
			session.Serve(c, nil, f.open)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				f.srv.serve(ctx, env, c)
				c.Close()
				f.ended <- struct{}{}
			})
		}
	}()
	t.Cleanup(func() {
		l.Close()
		cancel()
		wg.Wait()
		f.srv.auth.Close()
		f.srv.anvil.Close()
		f.srv.sessions.Close()
	})
	return f, &tls.Config{RootCAs: pool, ServerName: "mail.test"}
}

// peer is a client.
type peer struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func (f *fixture) dial() *peer {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return &peer{f.t, c, bufio.NewReader(c)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, s); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) line() string {
	l, err := p.r.ReadString('\n')
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimSuffix(l, "\r\n")
}

func (p *peer) startTLS(cfg *tls.Config) {
	p.t.Helper()
	t := tls.Client(p.c, cfg)
	if err := t.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.c, p.r = t, bufio.NewReader(t)
}

// talk plays a dialogue: lines "C: text" are sent, lines "S: text" must come,
// where a final "…" stands for anything; "EOF" is the server's closing and TLS
// a handshake.
func (p *peer) talk(cfg *tls.Config, script string) {
	p.t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(script), "\n") {
		l = strings.TrimLeft(l, " \t")
		if s, ok := strings.CutPrefix(l, "C: "); ok {
			p.send(s + "\r\n")
			continue
		}
		if l == "TLS" {
			p.startTLS(cfg)
			continue
		}
		got := p.line()
		want, ok := strings.CutPrefix(l, "S: ")
		if l == "EOF" {
			if got != "(EOF)" && !strings.Contains(got, "reset") {
				p.t.Errorf("got %q, want the end", got)
			}
			continue
		}
		if head, dots := strings.CutSuffix(want, "…"); !ok || got != want && !(dots && strings.HasPrefix(got, head)) {
			p.t.Errorf("got %q, want %q", got, want)
			return
		}
	}
}
