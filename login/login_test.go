package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/cdb"
	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/sasl"
	"posthaste/pkg/service"
	"posthaste/pkg/tlsconf"
)

const imapCapa = imapBase

// TestCapabilities: login announces what imapd does.
func TestCapabilities(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../imapd/capability.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "capabilities" {
			return true
		}
		ast.Inspect(v, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok {
				s, _ := strconv.Unquote(l.Value)
				text += s
			}
			return true
		})
		return false
	})
	if text != imapBase {
		t.Errorf("imapd announces\n%s\nlogin announces\n%s", text, imapBase)
	}
}

func TestIMAP(t *testing.T) {
	plain := "AGFubmEAc2VjcmV0IHdvcmQ=" // \0anna\0secret word
	tests := []struct{ name, extra, script string }{
		{"login", "", `
			S: * OK [CAPABILITY ` + imapCapa + ` STARTTLS AUTH=PLAIN AUTH=LOGIN] mail.test ready
			C: a1 capability
			S: * CAPABILITY ` + imapCapa + ` STARTTLS AUTH=PLAIN AUTH=LOGIN
			S: a1 OK …
			C: a2 NOOP
			S: a2 OK …
			C: a3 ID ("name" "x" "version" NIL)
			S: * ID ("name" "Posthaste")
			S: a3 OK …
			C: a4 ID NIL
			S: * ID ("name" "Posthaste")
			S: a4 OK …
			C: a5 LOGIN anna "secret word"
			S: a5 OK welcome
			C: hello
			S: HELLO
			C: QUIT
			S: BYE
			EOF`},
		{"largest ID", "", `
			S: * OK …
			C: a ID (` + largestID() + `)
			S: * ID ("name" "Posthaste")
			S: a OK …`},
		{"literals", "", `
			S: * OK …
			C: a LOGIN {4}
			S: + OK
			C: anna {11+}
			C: secret word
			S: a OK welcome`},
		{"authenticate", "", `
			S: * OK …
			C: a AUTHENTICATE PLAIN
			S: +` + " " + `
			C: ` + plain + `
			S: a OK welcome`},
		{"initial response", "", `
			S: * OK …
			C: a authenticate plain ` + plain + `
			S: a OK welcome`},
		{"mechanism LOGIN", "", `
			S: * OK …
			C: a AUTHENTICATE LOGIN
			S: + VXNlcm5hbWU6
			C: YW5uYQ==
			S: + UGFzc3dvcmQ6
			C: c2VjcmV0IHdvcmQ=
			S: a OK welcome`},
		{"failures", "", `
			S: * OK …
			C: a LOGIN anna wrong
			S: a NO [AUTHENTICATIONFAILED] Authentication failed.
			C: b LOGIN sick x
			S: b NO [UNAVAILABLE] …
			C: c AUTHENTICATE PLAIN
			S: +` + " " + `
			C: *
			S: c BAD Authentication aborted by client.
			C: d AUTHENTICATE PLAIN
			S: +` + " " + `
			C: !!!
			S: d BAD …
			C: e AUTHENTICATE PLAIN !!!
			S: e BAD …
			C: f AUTHENTICATE TELEPATHY
			S: f NO …
			C: g LOGIN anna "secret word"
			S: g OK welcome`},
		{"bad commands", "", `
			S: * OK …
			C: 
			S: * BAD …
			C: a
			S: a BAD …
			C: a SELECT INBOX
			S: a BAD …
			C: a LOGIN anna
			S: a BAD …
			C: a LOGIN "anna secret
			S: a BAD …
			C: a ID (("x" "y"))
			S: a BAD …
			C: a LOGIN {99999}
			S: a BAD Error in IMAP command: literal too large
			C: a NOOP x
			S: a BAD …
			C: POST / HTTP/1.1
			S: POST BAD …
			C: Host: x
			S: Host: BAD …
			S: * BYE Too many invalid commands
			EOF`},
		{"huge literal", "", `
			S: * OK …
			C: a LOGIN {9223372036854775808+}
			S: * BYE …
			EOF`},
		{"logout", "", `
			S: * OK …
			C: a LOGOUT
			S: * BYE …
			S: a OK …
			EOF`},
		{"too many failures", "login_session_auth_failure_limit = 2\n", `
			S: * OK …
			C: a LOGIN anna x
			S: a NO …
			C: b LOGIN anna x
			S: b NO …
			S: * BYE …
			EOF`},
		{"starttls", "", `
			S: * OK …
			C: a STARTTLS
			S: a OK Begin TLS negotiation now.
			TLS
			C: b CAPABILITY
			S: * CAPABILITY ` + imapCapa + ` AUTH=PLAIN AUTH=LOGIN
			S: b OK …
			C: c STARTTLS
			S: c BAD …
			C: d LOGIN anna "secret word"
			S: d OK welcome
			C: hello
			S: HELLO
			C: QUIT
			S: BYE
			EOF`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, cfg := start(t, "protocol=imap", tt.extra)
			f.dial().talk(cfg, tt.script)
		})
	}
}

// largestID has as many fields, as long, as a client may send (RFC 2971).
func largestID() string {
	var fields []string
	for i := range 30 {
		fields = append(fields, fmt.Sprintf(`"%030d" "%01024d"`, i, i))
	}
	return strings.Join(fields, " ")
}

func TestPOP3(t *testing.T) {
	tests := []struct{ name, extra, script string }{
		{"user", "", `
			S: +OK mail.test ready
			C: USER anna
			S: +OK
			C: PASS secret word
			S:  OK welcome
			C: stat
			S: STAT`},
		{"utf8", "", `
			S: +OK …
			C: UTF8
			S: +OK …
			C: AUTH PLAIN AGFubmEAc2VjcmV0IHdvcmQ=
			S: UTF8 OK welcome`},
		{"auth", "", `
			S: +OK …
			C: AUTH
			S: +OK
			S: PLAIN
			S: LOGIN
			S: .
			C: AUTH PLAIN =
			S: -ERR …
			C: AUTH PLAIN
			S: +` + " " + `
			C: *
			S: -ERR …
			C: AUTH LOGIN
			S: + VXNlcm5hbWU6
			C: YW5uYQ==
			S: + UGFzc3dvcmQ6
			C: c2VjcmV0IHdvcmQ=
			S:  OK welcome`},
		{"failures", "", `
			S: +OK …
			C: PASS x
			S: -ERR No username given.
			C: USER anna
			S: +OK
			C: PASS x
			S: -ERR [AUTH] Authentication failed.
			C: PASS secret word
			S: -ERR No username given.
			C: USER sick
			S: +OK
			C: PASS x
			S: -ERR [SYS/TEMP] …
			C: STAT
			S: -ERR …
			C: APOP x y
			S: -ERR …
			C: USER
			S: -ERR …
			C: QUIT
			S: +OK …
			EOF`},
		{"stls", "", `
			S: +OK …
			C: CAPA
			S: +OK
			S: CAPA
			S: TOP
			S: UIDL
			S: RESP-CODES
			S: PIPELINING
			S: AUTH-RESP-CODE
			S: EXPIRE NEVER
			S: STLS
			S: USER
			S: SASL PLAIN LOGIN
			S: UTF8 USER
			S: IMPLEMENTATION Posthaste
			S: .
			C: STLS
			S: +OK …
			TLS
			C: STLS
			S: -ERR …
			C: USER anna
			S: +OK
			C: PASS secret word
			S:  OK welcome`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, cfg := start(t, "protocol=pop3", tt.extra)
			f.dial().talk(cfg, tt.script)
		})
	}
}

func TestWrapper(t *testing.T) {
	f, cfg := start(t, "protocol=imap tls=wrapper", "")
	p := f.dial()
	p.startTLS(cfg)
	p.talk(cfg, "S: * OK [CAPABILITY "+imapCapa+" AUTH=PLAIN AUTH=LOGIN]…\nC: a LOGIN anna \"secret word\"\nS: a OK welcome")
	f.mu.Lock()
	o := f.opens[0]
	f.mu.Unlock()
	if !o.TLS || o.Service != "imaps" || o.Tag != "a" || o.Remote != p.c.LocalAddr().String() || o.Local != f.addr {
		t.Errorf("%+v", o)
	}
}

// TestPlaintextRefused: from another host, a password in plain text is not
// even looked at.
func TestPlaintextRefused(t *testing.T) {
	for _, tt := range []struct{ protocol, extra, script, log string }{
		{"imap", "", `
			S: * OK [CAPABILITY ` + imapCapa + ` STARTTLS LOGINDISABLED] …
			C: a LOGIN anna "secret word"
			S: * BAD [ALERT] …
			S: a NO [PRIVACYREQUIRED] …
			C: b AUTHENTICATE PLAIN
			S: * BAD [ALERT] …
			S: b NO [PRIVACYREQUIRED] …
			C: c LOGOUT
			S: * BYE …`, "imap-login: Disconnected: Aborted login by logging out (tried to use disallowed plaintext auth): user=<>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1"},
		{"pop3", "", `
			S: +OK …
			C: USER anna
			S: -ERR [AUTH] …
			C: AUTH PLAIN AGFubmEAc2VjcmV0IHdvcmQ=
			S: -ERR [AUTH] …
			C: QUIT
			S: +OK …`, "pop3-login: Disconnected: Aborted login by logging out (tried to use disallowed plaintext auth): user=<"},
		{"imap", "login_disable_plaintext_auth = no\n", `
			S: * OK [CAPABILITY ` + imapCapa + ` STARTTLS AUTH=PLAIN AUTH=LOGIN] …
			C: a LOGIN anna "secret word"
			S: a OK welcome`, "imap-login: Login: user=<anna>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1"},
	} {
		f, cfg := start(t, "protocol="+tt.protocol, tt.extra)
		srv := f.srv
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			nc, err := l.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			c := newClient(t.Context(), srv, nc)
			c.remote = netip.MustParseAddrPort("192.0.2.7:4000")
			c.sameBox = false
			srv.waiting.enter(c)
			defer srv.waiting.leave(c)
			c.run()
		}()
		f.addr = l.Addr().String()
		f.dial().talk(cfg, tt.script)
		<-done
		l.Close()
		if !strings.Contains(f.log(), tt.log) {
			t.Errorf("%s\nwant %s", f.log(), tt.log)
		}
	}
}

// TestInjection: what comes in plain text behind STARTTLS never reaches the
// session under TLS (CVE-2011-0411 and its kin).
func TestInjection(t *testing.T) {
	for _, tt := range []struct{ protocol, start, probe, want string }{
		{"imap", "a STARTTLS\r\nb NOOP\r\n", "c NOOP\r\n", "c OK NOOP completed."},
		{"pop3", "STLS\r\nUSER mallory\r\n", "PASS x\r\n", "-ERR No username given."},
		{"pop3", "USER mallory\r\nSTLS\r\n", "PASS x\r\n", "-ERR No username given."},
	} {
		f, cfg := start(t, "protocol="+tt.protocol, "")
		p := f.dial()
		p.line()
		p.send(tt.start)
		for !strings.Contains(p.line(), "OK Begin TLS") {
		}
		p.startTLS(cfg)
		p.send(tt.probe)
		if got := p.line(); got != tt.want {
			t.Errorf("%s: got %q", tt.protocol, got)
		}
	}
}

// TestPipelined: what a client sends behind its login reaches the session.
func TestPipelined(t *testing.T) {
	f, _ := start(t, "protocol=pop3", "")
	p := f.dial()
	p.send("USER anna\r\nPASS secret word\r\nstat\r\nlist\r\nQUIT\r\n")
	for _, want := range []string{"+OK mail.test ready", "+OK", " OK welcome", "STAT", "LIST", "BYE", "(EOF)"} {
		if got := p.line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProxy(t *testing.T) {
	login := func(f *fixture, cfg *tls.Config) (*peer, *tls.Conn) {
		p := f.dial()
		p.startTLS(cfg)
		p.line()
		p.send("a LOGIN anna \"secret word\"\r\n")
		if got := p.line(); got != "a OK welcome" {
			t.Fatal(got)
		}
		return p, p.c.(*tls.Conn)
	}
	f, cfg := start(t, "protocol=imap tls=wrapper", "")
	p, c := login(f, cfg)
	p.send("BULK\r\n")
	if n, err := io.CopyN(io.Discard, p.r, 1<<20); err != nil {
		t.Fatal(n, err)
	}
	const up = 3<<20 + 17
	p.send(fmt.Sprintf("COUNT %d\r\n", up))
	p.c.Write(make([]byte, up))
	if got, want := p.line(), fmt.Sprintf("GOT %d", up); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// The client's half of the connection ends; the session's answer still comes.
	p.send("last")
	c.CloseWrite()
	if got := p.line(); got != "END OF INPUT" {
		t.Errorf("after the client's end: %q", got)
	}
	if got := p.line(); got != "(EOF)" {
		t.Errorf("after the session's end: %q", got)
	}
	c.Close()
	<-f.ended
	// A client that is cut off: login must end, too.
	p, c = login(f, cfg)
	p.send("hello\r\n")
	p.line()
	c.NetConn().Close()
	<-f.ended
	// Many at a time.
	done := make(chan bool)
	for range 20 {
		go func() {
			p := f.dial()
			p.startTLS(cfg)
			p.send("a LOGIN anna \"secret word\"\r\nBULK\r\nQUIT\r\n")
			p.line()
			p.line()
			n, _ := io.Copy(io.Discard, p.r)
			done <- n == 1<<20+5
		}()
	}
	for range 20 {
		if !<-done {
			t.Error("not the bytes that were sent")
		}
	}
}

func TestMasterRefuses(t *testing.T) {
	for _, protocol := range []string{"imap", "pop3"} {
		f, cfg := start(t, "protocol="+protocol, "")
		f.mu.Lock()
		f.busy = true
		f.mu.Unlock()
		p := f.dial()
		if protocol == "imap" {
			p.talk(cfg, "S: * OK…\nC: a LOGIN anna \"secret word\"\nS: a NO [UNAVAILABLE] …\nS: * BYE …\nEOF")
		} else {
			p.talk(cfg, "S: +OK…\nC: USER anna\nS: +OK\nC: PASS secret word\nS: -ERR [SYS/TEMP] …\nEOF")
		}
		<-f.ended
		if l := f.log(); !strings.Contains(l, "cannot hand over: master: no room") || !strings.Contains(l, "Disconnected: Internal login failure (") {
			t.Error(l)
		}
	}
}

func TestAuthGone(t *testing.T) {
	f, cfg := start(t, "protocol=imap", "")
	if err := os.Remove(f.sockets + "/auth"); err != nil {
		t.Fatal(err)
	}
	f.dial().talk(cfg, "S: * OK [CAPABILITY "+imapCapa+" STARTTLS LOGINDISABLED]…\nC: a LOGIN anna x\nS: a NO [UNAVAILABLE]…")
}

// TestTimeout: a connection has its time as a whole, however busy it is.
func TestTimeout(t *testing.T) {
	for protocol, bye := range map[string]string{"imap": "* BYE Disconnected for inactivity", "pop3": "-ERR Disconnected for inactivity"} {
		f, _ := start(t, "protocol="+protocol, "login_timeout = 1s\n")
		p := f.dial()
		p.line()
		if got := p.line(); got != bye {
			t.Errorf("got %q", got)
		}
		if got := p.line(); got != "(EOF)" {
			t.Errorf("got %q", got)
		}
		<-f.ended
		if l := f.log(); !strings.Contains(l, protocol+"-login: Disconnected: Inactivity (no auth attempts in 1 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, secured") {
			t.Error(l)
		}
	}
	f, _ := start(t, "protocol=imap tls=wrapper", "login_timeout = 1s\n")
	f.dial()
	<-f.ended
	if l := f.log(); !strings.Contains(l, "TLS handshaking") {
		t.Error(l)
	}
}

// TestFlood: a thousand silent connections neither stop others nor pile up.
func TestFlood(t *testing.T) {
	f, cfg := start(t, "protocol=imap", "login_client_connection_count_limit = 50\n")
	var first *peer
	for n := range 300 {
		p := f.dial()
		if n == 0 {
			first = p
		}
		if got := p.line(); !strings.HasPrefix(got, "* OK ") {
			t.Fatal(got)
		}
	}
	if got := first.line(); got != "* BYE Too many connections are waiting to log in" {
		t.Errorf("the oldest was told %q", got)
	}
	for range 250 {
		<-f.ended
	}
	f.dial().talk(cfg, "S: * OK …\nC: a LOGIN anna \"secret word\"\nS: a OK welcome")
	r := f.srv.waiting
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.waiting.Len(); n > 50 {
		t.Errorf("%d are waiting", n)
	}
}

func TestRegistry(t *testing.T) {
	r := newRegistry(10, 3)
	mk := func(addr string) *client {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		c := &client{raw: a, key: clientKey(netip.MustParseAddr(addr))}
		r.enter(c)
		return c
	}
	a := mk("192.0.2.1")
	a.asking.Store(true) // is logging in just now
	b := mk("192.0.2.1")
	c := mk("192.0.2.1")
	if b.evicted.Load() {
		t.Error("closed below the limit")
	}
	mk("192.0.2.1")
	if a.evicted.Load() || !b.evicted.Load() || c.evicted.Load() {
		t.Error("not the oldest idle one was closed")
	}
	if !r.in(a) || r.in(b) {
		t.Error("in")
	}
	v6 := mk("2001:db8::1")
	for range 3 {
		mk("2001:db8::ffff")
	}
	if !v6.evicted.Load() {
		t.Error("one IPv6 network counts as several clients")
	}
	// The whole process: 8 are there, 10 are too many.
	mk("192.0.2.50")
	if !c.evicted.Load() {
		t.Error("a full process closed nobody")
	}
}

// TestUserLimit: sessions of a user from one address are counted whether login
// stays with them or not, and the end of one makes room.
func TestUserLimit(t *testing.T) {
	f, cfg := start(t, "protocol=imap", "mail_max_userip_connections = 2\n")
	login := func(secure bool) *peer {
		p := f.dial()
		p.line()
		if secure {
			p.send("s STARTTLS\r\n")
			p.line()
			p.startTLS(cfg)
		}
		p.send("a LOGIN anna \"secret word\"\r\n")
		return p
	}
	const no = "a NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)"
	for _, secure := range []bool{false, true} {
		a, b := login(secure), login(!secure)
		for _, p := range []*peer{a, b} {
			if got := p.line(); got != "a OK welcome" {
				t.Fatalf("TLS %v: %s", secure, got)
			}
		}
		for _, s := range []bool{false, true} {
			p := login(s)
			if got := p.line(); got != no {
				t.Errorf("third, TLS %v: %s", s, got)
			}
			if got := p.line(); !strings.HasPrefix(got, "* BYE Maximum number") {
				t.Errorf("third, TLS %v: %s", s, got)
			}
		}
		a.send("QUIT\r\n")
		b.send("QUIT\r\n")
		a.c.Close()
		b.c.Close()
		for deadline := time.Now().Add(20 * time.Second); f.counters.Peek("imap:anna:127.0.0.1") > 0; {
			if time.Now().After(deadline) {
				t.Fatal("sessions that are over are still counted")
			}
			runtime.Gosched()
		}
	}
	for range 4 {
		<-f.ended
	}
	if l := f.log(); !strings.Contains(l, "imap-login: Disconnected: Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2): user=<anna>, method=PLAIN, rip=127.0.0.1") {
		t.Error(l)
	}
}

func TestFailureLimit(t *testing.T) {
	f, cfg := start(t, "protocol=imap", "login_client_auth_failure_limit = 2\n")
	f.dial().talk(cfg, "S: * OK …\nC: a LOGIN x y\nS: a NO [AUTH…\nC: b LOGIN x y\nS: b NO [AUTH…\nC: c LOGIN x y\nS: c NO [UNAVAILABLE] Too many…\nS: * BYE …\nEOF")
	f.dial().talk(cfg, "S: * OK …\nC: a LOGIN anna \"secret word\"\nS: a NO [UNAVAILABLE] Too many…\nS: * BYE …\nEOF")
	<-f.ended
	<-f.ended
	if l := f.log(); !strings.Contains(l, "imap-login: Disconnected: Too many failures from this address (auth failed, 3 attempts in 0 secs): user=<>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, secured") {
		t.Error(l)
	}
}

// TestSNI: the certificate goes by the name that the client asks for, and a
// rebuilt table makes the process leave for one that knows it.
func TestSNI(t *testing.T) {
	dir := t.TempDir()
	other := certificate(t, dir)
	key, err1 := os.ReadFile(dir + "/key.pem")
	cert, err2 := os.ReadFile(dir + "/cert.pem")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	build := func() {
		w, err := cdb.Create(dir+"/sni.cdb", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Put([]byte("imap.other.test"), base64.StdEncoding.AppendEncode(nil, append(key, cert...)), cdb.Replace); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	build()
	f, cfg := start(t, "protocol=imap tls=wrapper", "tls_server_sni_maps = hash:"+dir+"/sni\n")
	p := f.dial()
	p.startTLS(cfg)
	p = f.dial()
	p.startTLS(&tls.Config{RootCAs: other, ServerName: "imap.other.test", VerifyConnection: func(tls.ConnectionState) error { return nil }, InsecureSkipVerify: true})
	got := p.c.(*tls.Conn).ConnectionState().PeerCertificates[0]
	if b, _ := pem.Decode(cert); !bytes.Equal(b.Bytes, got.Raw) {
		t.Error("the certificate of another name")
	}
	told := make(chan string, 10)
	sni, err := openSNI([]string{"hash:" + dir + "/sni"}, func(n string) { told <- n })
	if err != nil {
		t.Fatal(err)
	}
	sni.Get("x")
	build()
	sni.checked.Store(0)
	if v, ok, err := sni.Get("imap.other.test"); v == "" || !ok || err != nil {
		t.Error(v, ok, err)
	}
	if got := <-told; got != "hash:"+dir+"/sni" {
		t.Error(got)
	}
	if _, err := openSNI([]string{"pcre:/x"}, nil); err == nil {
		t.Error("pcre: was taken")
	}
}

func TestBadSettings(t *testing.T) {
	for _, tt := range []struct{ args, extra, want string }{
		{"", "", "no argument protocol=imap"},
		{"protocol=smtp", "", "unknown argument"},
		{"protocol=imap tls=wrapper", "", "no server certificate"},
		{"protocol=imap", "login_greeting = a [b]\n", "login_greeting"},
		{"protocol=imap", "login_tls_cert_file = /nonexistent\nlogin_tls_key_file = /nonexistent\n", "/nonexistent"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/main.cf", []byte(tt.extra), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: "login"})
		if err != nil {
			t.Fatal(err)
		}
		err = (&server{}).open(&service.Env{Config: cfg, Log: maillog.New("x", maillog.Discard{}), Args: strings.Fields(tt.args)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %q: %v, want %q", tt.args, tt.extra, err, tt.want)
		}
	}
}

// TestScram: the server's last word reaches the client before it is logged in.
func TestScram(t *testing.T) {
	for _, initial := range []bool{false, true} {
		f, _ := start(t, "protocol=imap", "")
		p := f.dial()
		p.line()
		mech, err := sasl.NewClient("SCRAM-SHA-256", "anna", "secret word", &sasl.Offer{})
		if err != nil {
			t.Fatal(err)
		}
		msg, _ := mech.Start()
		e := base64.StdEncoding
		if initial {
			p.send("a AUTHENTICATE SCRAM-SHA-256 " + e.EncodeToString(msg) + "\r\n")
		} else {
			p.send("a AUTHENTICATE SCRAM-SHA-256\r\n")
			if got := p.line(); got != "+ " {
				t.Fatal(got)
			}
			p.send(e.EncodeToString(msg) + "\r\n")
		}
		for range 2 {
			got := p.line()
			b, err := e.DecodeString(strings.TrimPrefix(got, "+ "))
			if err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			if msg, err = mech.Next(b); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			p.send(e.EncodeToString(msg) + "\r\n")
		}
		if got := p.line(); got != "a OK welcome" {
			t.Error(got)
		}
	}
}

// TestScramPlus: mechanisms with channel binding are offered under TLS alone, and
// a client that was not shown them is refused.
func TestScramPlus(t *testing.T) {
	for _, tt := range []struct {
		scram []string // on offer
		mech  string
		seen  []string // what the client believes to be on offer
		ok    bool
	}{
		{[]string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, "SCRAM-SHA-256-PLUS", []string{"SCRAM-SHA-256-PLUS"}, true},
		{[]string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, "SCRAM-SHA-256", []string{"SCRAM-SHA-256-PLUS"}, true},
		{[]string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, "SCRAM-SHA-256", nil, false},
		{[]string{"SCRAM-SHA-256"}, "SCRAM-SHA-256", nil, true},
	} {
		f, cfg := start(t, "protocol=imap", "")
		f.mu.Lock()
		f.scram = tt.scram
		f.mu.Unlock()
		p := f.dial()
		if l := p.line(); strings.Contains(l, "-PLUS") {
			t.Errorf("offered without TLS: %s", l)
		}
		p.send("s STARTTLS\r\n")
		p.line()
		p.startTLS(cfg)
		p.send("c CAPABILITY\r\n")
		if l := p.line(); strings.Contains(l, " AUTH=SCRAM-SHA-256-PLUS") != (len(tt.scram) == 2) {
			t.Errorf("%v: %s", tt.scram, l)
		}
		p.line()
		cs := p.c.(*tls.Conn).ConnectionState()
		m, err := sasl.NewClient(tt.mech, "anna", "secret word", &sasl.Offer{Mechanisms: tt.seen, Bindings: tlsconf.Bindings(&cs, nil)})
		if err != nil {
			t.Fatal(err)
		}
		e := base64.StdEncoding
		msg, _ := m.Start()
		p.send("a AUTHENTICATE " + tt.mech + " " + e.EncodeToString(msg) + "\r\n")
		got := p.line()
		for strings.HasPrefix(got, "+ ") {
			b, _ := e.DecodeString(got[2:])
			if msg, err = m.Next(b); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			p.send(e.EncodeToString(msg) + "\r\n")
			got = p.line()
		}
		if want := "a OK welcome"; (got == want) != tt.ok {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
