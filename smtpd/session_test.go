package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/xdg-go/scram"

	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/tlsconf"
)

// TestSmuggling sends every variant of a false end of data, with a second
// message behind it: exactly one message may come out, whole.
func TestSmuggling(t *testing.T) {
	for _, policy := range []string{"normalize", "yes", "no", "note"} {
		f := start(t, "smtpd_forbid_bare_newline = "+policy+"\n")
		for i, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r.\n",
			"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n\n.\r\n", "\r\n. \r\n"} {
			before := len(f.queued())
			p := f.dial()
			p.envelope()
			p.expect("DATA", "354 ...")
			p.send("first" + end + "MAIL FROM:<evil@x.example>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nsecond\r\n.\r\n")
			if got := p.reply(); !matches(got, "250 2.0.0 Ok: queued as ...") {
				t.Fatalf("%s: %q: %s", policy, end, got)
			}
			p.expect("QUIT", "221 ...")
			m := f.queued()
			if len(m) != before+1 {
				t.Errorf("%s: variant %d, %q: %d messages", policy, i, end, len(m)-before)
			}
			c := string(m[len(m)-1].content)
			if !strings.Contains(c, "second") || strings.Contains(strings.ReplaceAll(c, "\r\n", ""), "\n") {
				t.Errorf("%s: variant %d, %q: content %q", policy, i, end, c)
			}
		}
	}
}

// certificate writes a self-signed pair and returns the lines for main.cf.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.here.example"}, DNSNames: []string{"mx.here.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "chain.pem")
	b := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "smtpd_tls_chain_files = " + name + "\nsmtpd_tls_loglevel = 1\n"
}

func (p *peer) tls() {
	p.t.Helper()
	c := tls.Client(p.c, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.c, p.r = c, nil
}

func TestStarttls(t *testing.T) {
	f := start(t, certificate(t)+"smtpd_tls_security_level = encrypt\n")
	p := f.dial()
	p.expect("", "220 ...")
	p.expect("MAIL FROM:<>", "530 5.7.0 Must issue a STARTTLS command first")
	p.expect("EHLO c.example", "250-...|250-STARTTLS|...")
	// What follows STARTTLS in plain text must not be answered inside TLS.
	p.send("STARTTLS\r\nNOOP\r\nVRFY injected\r\n")
	if got := p.reply(); got != "220 2.0.0 Ready to start TLS" {
		t.Fatal(got)
	}
	p.tls()
	p.expect("MAIL FROM:<a@far.example>", "250 2.1.0 Ok") // the first reply is this one's
	p.expect("RSET", "250 2.0.0 Ok")
	p.expect("STARTTLS", "554 5.5.1 Error: TLS already active")
	p.expect("EHLO c.example", "250-...")
	p.expect("MAIL FROM:<a@far.example>", "250 2.1.0 Ok")
	p.expect("RCPT TO:<alice@here.example>", "250 2.1.5 Ok")
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "250 2.0.0 Ok: queued as ...")
	p.expect("QUIT", "221 2.0.0 Bye")
	f.done()
	m := f.queued()[0].begin.Message.Client
	if m.TLSProtocol != "TLSv1.3" || m.TLSCipher == "" || m.Helo != "c.example" {
		t.Errorf("client %+v", m)
	}
	if !strings.Contains(f.log(), "Anonymous TLS connection established from unknown[127.0.0.1]: TLSv1.3 with cipher TLS_") {
		t.Error(f.log())
	}
}

func TestStarttlsForgets(t *testing.T) {
	f := start(t, certificate(t)+"smtpd_tls_security_level = may\nsmtpd_helo_required = yes\n")
	p := f.dial()
	p.envelope()
	p.expect("STARTTLS", "220 ...")
	p.tls()
	p.expect("DATA", "503 5.5.1 Error: need RCPT command")
	p.expect("MAIL FROM:<>", "503 5.5.1 Error: send HELO/EHLO first")
}

func TestWrapperMode(t *testing.T) {
	f := start(t, certificate(t)+"smtpd_tls_wrappermode = yes\n")
	p := f.dial()
	p.tls()
	p.expect("", "220 ...")
	got := func() string { p.send("EHLO c\r\n"); return p.reply() }()
	if !strings.HasPrefix(got, "250-") || strings.Contains(got, "STARTTLS") {
		t.Error(got)
	}
	p = f.dial()
	p.send("EHLO plain text\r\n")
	if got := p.line(); got == "220 mx.here.example ESMTP Posthaste" {
		t.Error("greeted without TLS")
	}
}

// authority is a password file behind the Dovecot protocol.
type authority struct{ file *passwd.File }

func (a authority) Mechs() (l []dovecot.Mech) {
	for _, n := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		m, _ := dovecot.MechByName(n)
		l = append(l, m)
	}
	return l
}
func (a authority) Begin(_ context.Context, q *dovecot.Request) (sasl.Server, bool) {
	return sasl.NewServer(q.Mech, a.file, q.Bindings)
}
func (a authority) Result(_ context.Context, _ *dovecot.Request, _ string, err error) dovecot.Outcome {
	return dovecot.Outcome{Err: err}
}

// withAuth starts a server with users anna:secret.
func withAuth(t testing.TB, extra string) *fixture {
	t.Helper()
	dir := t.TempDir()
	h, err := passwd.HashScram("secret")
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("anna:"+h+":1000:1000::/home/anna::\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := passwd.Open(users, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "auth")
	l, err := net.Listen("unix", sock)
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
			go (&dovecot.Server{Handler: authority{file}}).Serve(context.Background(), c)
		}
	}()
	return start(t, "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_path = "+sock+"\nmynetworks =\n"+extra)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	f := withAuth(t, "broken_sasl_auth_clients = yes\n")
	p := f.dial()
	p.expect("", "220 ...")
	p.expect("EHLO c", "250-...|250-AUTH PLAIN LOGIN SCRAM-SHA-256|250-AUTH=PLAIN LOGIN SCRAM-SHA-256|...")
	p.expect("AUTH", "501 5.5.4 Syntax: AUTH mechanism")
	p.expect("AUTH CRAM-MD5", "535 5.7.8 Error: authentication failed: Invalid authentication mechanism")
	p.expect("AUTH PLAIN "+b64("\x00anna\x00wrong"), "535 5.7.8 Error: authentication failed: (reason unavailable)")
	p.expect("AUTH PLAIN "+b64("\x00nobody\x00secret"), "535 5.7.8 Error: authentication failed: (reason unavailable)")
	p.expect("AUTH PLAIN !!", "535 5.7.8 ...")
	p.expect("AUTH LOGIN", "334 "+b64("Username:"))
	p.expect("*", "501 5.7.0 Authentication aborted")
	p.expect("AUTH LOGIN", "334 "+b64("Username:"))
	p.expect(strings.Repeat("A", 13000), "500 5.5.6 Authentication Exchange line is too long")
	p.expect("MAIL FROM:<a@far.example>", "250 ...")
	p.expect("AUTH LOGIN", "503 5.5.1 Error: MAIL transaction in progress")
	p.expect("RCPT TO:<x@elsewhere.example>", "554 5.7.1 ...")
	p.expect("RSET", "250 ...")
	p.expect("AUTH PLAIN", "334 ")
	p.expect(b64("\x00anna\x00secret"), "235 2.7.0 Authentication successful")
	p.expect("AUTH PLAIN", "503 5.5.1 Error: already authenticated")
	p.expect("MAIL FROM:<a@far.example> AUTH=a+2Bb@far.example", "250 ...")
	p.expect("RCPT TO:<x@elsewhere.example>", "250 2.1.5 Ok")
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "250 ...")
	p.expect("QUIT", "221 ...")
	f.done()
	for _, want := range []string{
		"warning: unknown[127.0.0.1]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=anna",
		", sasl_method=PLAIN, sasl_username=anna, sasl_sender=a+b@far.example",
		" auth=1/10 ",
	} {
		if !strings.Contains(f.log(), want) {
			t.Errorf("no %q in\n%s", want, f.log())
		}
	}
	c := f.queued()[0].begin.Message.Client
	if c.SASLUser != "anna" || c.SASLMethod != "PLAIN" || c.SASLSender != "a+b@far.example" {
		t.Errorf("%+v", c)
	}
}

// Mechanisms with channel binding are offered under TLS, unless the filter
// takes them out; a client that was not shown what was offered is refused.
func TestAuthPlus(t *testing.T) {
	for _, tt := range []struct {
		extra, mech string
		seen        []string
		want        string
	}{
		{"", "SCRAM-SHA-256-PLUS", []string{"SCRAM-SHA-256-PLUS"}, "235 "},
		{"", "SCRAM-SHA-256", []string{"SCRAM-SHA-256-PLUS"}, "235 "},
		{"", "SCRAM-SHA-256", nil, "535 "},
		{"smtpd_sasl_mechanism_filter = !SCRAM-SHA-256-PLUS, static:all\n", "SCRAM-SHA-256", nil, "235 "},
		{"smtpd_sasl_mechanism_filter = !SCRAM-SHA-256-PLUS, static:all\n", "SCRAM-SHA-256-PLUS", nil, "535 "},
	} {
		f := withAuth(t, certificate(t)+"smtpd_tls_security_level = may\n"+tt.extra)
		p := f.dial()
		p.expect("", "220 ...")
		p.expect("EHLO c", "250-...|250-AUTH PLAIN LOGIN SCRAM-SHA-256|...")
		p.expect("STARTTLS", "220 ...")
		p.tls()
		p.send("EHLO c\r\n")
		if got := p.reply(); strings.Contains(got, "SCRAM-SHA-256-PLUS") != (tt.extra == "") {
			t.Errorf("%q: %s", tt.extra, got)
		}
		cs := p.c.(*tls.Conn).ConnectionState()
		m, err := sasl.NewClient(tt.mech, "anna", "secret", &sasl.Offer{Mechanisms: tt.seen, Bindings: tlsconf.Bindings(&cs, nil)})
		if err != nil {
			t.Fatal(err)
		}
		msg, _ := m.Start()
		p.send("AUTH " + tt.mech + " " + b64(string(msg)) + "\r\n")
		got := p.reply()
		for strings.HasPrefix(got, "334 ") {
			b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(got[4:]))
			if msg, err = m.Next(b); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			p.send(b64(string(msg)) + "\r\n")
			got = p.reply()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q, %s: %s", tt.extra, tt.mech, got)
		}
	}
}

func TestAuthScram(t *testing.T) {
	f := withAuth(t, "")
	for password, want := range map[string]string{"secret": "235 ...", "wrong": "535 5.7.8 ..."} {
		p := f.dial()
		p.expect("", "220 ...")
		p.expect("EHLO c", "250-...")
		cl, err := scram.SHA256.NewClient("anna", password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := cl.NewConversation()
		first, _ := conv.Step("")
		p.send("AUTH SCRAM-SHA-256 " + b64(first) + "\r\n")
		for range 3 {
			l := p.reply()
			if !strings.HasPrefix(l, "334 ") {
				if !matches(l, want) {
					t.Errorf("password %s: %s", password, l)
				}
				break
			}
			ch, _ := base64.StdEncoding.DecodeString(l[4:])
			resp, err := conv.Step(string(ch))
			if err != nil {
				t.Fatal(err)
			}
			p.send(b64(resp) + "\r\n")
		}
		if password == "secret" && !conv.Valid() {
			t.Error("the server did not prove itself")
		}
	}
}

func TestAuthNeedsTLS(t *testing.T) {
	f := withAuth(t, certificate(t)+"smtpd_tls_security_level = may\nsmtpd_tls_auth_only = yes\n")
	p := f.dial()
	p.expect("", "220 ...")
	p.send("EHLO c\r\n")
	if got := p.reply(); strings.Contains(got, "AUTH") {
		t.Error(got)
	}
	p.expect("AUTH PLAIN "+b64("\x00anna\x00secret"), "504 5.5.4 ...")
	p.expect("STARTTLS", "220 ...")
	p.tls()
	p.expect("EHLO c", "250-...|250-AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS|...")
	p.expect("AUTH PLAIN "+b64("\x00anna\x00secret"), "235 ...")
}

func TestAuthServerGone(t *testing.T) {
	f := start(t, "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_path = /nonexistent/auth\n")
	p := f.dial()
	p.expect("", "220 ...")
	p.expect("EHLO c", "250-...")
	p.expect("NOOP", "250 ...")
}

func TestXclient(t *testing.T) {
	f := start(t, "smtpd_authorized_xclient_hosts = 127.0.0.0/8\nsmtpd_authorized_xforward_hosts = 127.0.0.0/8\n")
	p := f.dial()
	p.expect("", "220 ...")
	p.expect("EHLO front", "250-...|250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT|250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT|...")
	p.expect("XCLIENT COLOUR=red", "501 5.5.4 ...")
	p.expect("XCLIENT ADDR=300.1.1.1", "501 5.5.4 Bad ADDR syntax: 300.1.1.1")
	p.expect("XCLIENT NAME=bad..name ADDR=10.0.0.1", "501 5.5.4 Bad NAME syntax: bad..name")
	p.expect("XCLIENT NAME=h.far.example ADDR=IPv6:2001:db8::7 PORT=4711 LOGIN=anna HELO=h+2Bx", "220 mx.here.example ...")
	p.expect("EHLO again", "250-...")
	p.send("MAIL FROM:<a@far.example>\r\nRCPT TO:<x@elsewhere.example>\r\n")
	p.expect("", "250 2.1.0 Ok")
	p.expect("", "250 2.1.5 Ok")
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "250 ...")
	p.expect("XCLIENT ADDR=127.0.0.1", "550 5.7.0 Error: insufficient authorization")
	p.expect("QUIT", "221 ...")
	f.done()
	if !strings.Contains(f.log(), "client=h.far.example[2001:db8::7], sasl_method=XCLIENT, sasl_username=anna") {
		t.Error(f.log())
	}
	p = f.dial()
	p.expect("", "220 ...")
	p.expect("EHLO front", "250-...")
	p.expect("XFORWARD NAME=mx.far.example ADDR=198.51.100.3 IDENT=99FF", "250 2.0.0 Ok")
	p.expect("MAIL FROM:<a@far.example>", "250 ...")
	p.expect("RCPT TO:<alice@here.example>", "250 ...")
	p.expect("QUIT", "221 ...")
	f.done()
	if !strings.Contains(f.log(), "client=unknown[127.0.0.1], orig_queue_id=99FF, orig_client=mx.far.example[198.51.100.3]") {
		t.Error(f.log())
	}
}

// drip sends text again and again until the result is called.
func (p *peer) drip(text string) (stop func()) {
	quit := make(chan struct{})
	go func(c net.Conn) {
		for {
			select {
			case <-quit:
				return
			case <-time.After(100 * time.Millisecond):
				c.Write([]byte(text))
			}
		}
	}(p.c)
	return func() { close(quit) }
}

func TestTimeouts(t *testing.T) {
	f := start(t, "smtpd_timeout = 1s\nsmtpd_per_request_deadline = yes\nsmtpd_min_data_rate = 1000000\n")
	p := f.dial()
	p.expect("", "220 ...")
	if got := p.reply(); got != "421 4.4.2 mx.here.example Error: timeout exceeded" {
		t.Error(got)
	}
	if got := p.line(); got != "EOF" {
		t.Error(got)
	}
	// A line that comes a byte at a time is cut, not held.
	p = f.dial()
	p.expect("", "220 ...")
	stop := p.drip("N")
	if got := p.reply(); !matches(got, "421 4.4.2 ...") {
		t.Error(got)
	}
	stop()
	// So is content.
	p = f.dial()
	p.envelope()
	p.expect("DATA", "354 ...")
	stop = p.drip("x\r\n")
	if got := p.reply(); !matches(got, "421 4.4.2 ...") {
		t.Error(got)
	}
	stop()
	p.c.Close()
	f.done()
	for _, want := range []string{"timeout after CONNECT from unknown[127.0.0.1]", "timeout after DATA ("} {
		if !strings.Contains(f.log(), want) {
			t.Errorf("no %q in\n%s", want, f.log())
		}
	}
	if len(f.queued()) != 0 {
		t.Error("half a message was queued")
	}
}

func TestClientLimits(t *testing.T) {
	f := start(t, "smtpd_client_connection_count_limit = 2\nsmtpd_client_message_rate_limit = 1\nsmtpd_client_recipient_rate_limit = 1\n")
	a, b := f.dial(), f.dial()
	a.expect("", "220 ...")
	b.expect("", "220 ...")
	c := f.dial()
	c.expect("", "421 4.7.0 mx.here.example Error: too many connections from 127.0.0.1")
	a.expect("MAIL FROM:<>", "250 ...")
	a.expect("RCPT TO:<alice@here.example>", "250 ...")
	a.expect("RCPT TO:<bob@here.example>", "450 4.7.1 Error: too many recipients from 127.0.0.1")
	b.expect("MAIL FROM:<>", "450 4.7.1 Error: too much mail from 127.0.0.1")
	a.expect("QUIT", "221 ...")
	b.expect("QUIT", "221 ...")
	f.done()
	d := f.dial()
	d.expect("", "220 ...")
	if !strings.Contains(f.log(), "warning: Connection concurrency limit exceeded: 3 from unknown[127.0.0.1] for service smtp") {
		t.Error(f.log())
	}
}

func TestCleanupResults(t *testing.T) {
	f := start(t, "")
	for _, c := range []struct {
		res  cleanup.Result
		want string
	}{
		{cleanup.Result{Status: cleanup.NoSpace}, "452 4.3.1 Insufficient system storage"},
		{cleanup.Result{Status: cleanup.TooManyHops}, "554 5.4.0 Error: too many hops"},
		{cleanup.Result{Status: cleanup.WriteError}, "451 4.3.0 Error: queue file write error"},
		{cleanup.Result{Status: cleanup.Rejected, Code: 550, DSN: "5.7.9", Reason: "no viruses"}, "550 5.7.9 no viruses"},
	} {
		f.mu.Lock()
		f.result = &c.res
		f.mu.Unlock()
		p := f.dial()
		p.envelope()
		p.expect("DATA", "354 ...")
		p.expect("x\r\n.", c.want)
		p.expect("MAIL FROM:<>", "250 ...") // the session goes on
	}
	f.srv.cleanup = cleanup.NewClient("/nonexistent/cleanup")
	p := f.dial()
	p.envelope()
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "451 4.3.0 Error: queue file write error")
}

func TestNoSpace(t *testing.T) {
	f := start(t, "queue_minfree = 1000000\n")
	f.srv.freeMu.Lock()
	f.srv.freeNow = 1000000
	f.srv.freeMu.Unlock()
	p := f.dial()
	p.expect("", "220 ...")
	p.expect("MAIL FROM:<>", "452 4.3.1 Insufficient system storage")
}

func TestPrependAndFilter(t *testing.T) {
	f := start(t, "smtpd_sender_restrictions = check_sender_access inline:{{a@far.example=PREPEND X-Seen: yes}}, check_client_access inline:{{127.0.0.1=FILTER smtp:[h]:26}}\n"+
		"smtpd_recipient_restrictions = check_recipient_access inline:{{alice@=BCC copy@here.example}}, check_helo_access inline:{c.example=HOLD}\n")
	p := f.dial()
	p.envelope()
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "250 ...")
	b := f.queued()[0].begin
	if len(b.Prepend) != 1 || b.Prepend[0] != "X-Seen: yes" || b.FilterTo != "smtp:[h]:26" || len(b.AddBCC) != 1 || b.Flags&cleanup.Hold == 0 {
		t.Errorf("%+v", b)
	}
}

// TestJunkForgiven: a client that delivers may reset and ask often.
func TestJunkForgiven(t *testing.T) {
	f := start(t, "smtpd_junk_command_limit = 2\nsmtpd_hard_error_limit = 2\nsmtpd_soft_error_limit = 1000\n")
	p := f.dial()
	p.expect("", "220 ...")
	for range 5 {
		p.expect("NOOP", "250 ...")
		p.expect("RSET", "250 ...")
		p.expect("EHLO c.example", "250...")
		p.expect("MAIL FROM:<a@far.example>", "250 ...")
		p.expect("RCPT TO:<alice@here.example>", "250 ...")
		p.expect("DATA", "354 ...")
		p.expect("x\r\n.", "250 ...")
	}
}

func TestContentFilter(t *testing.T) {
	f := start(t, "content_filter = scan:[127.0.0.1]:10024\n")
	p := f.dial()
	p.envelope()
	p.expect("DATA", "354 ...")
	p.expect("x\r\n.", "250 ...")
	if b := f.queued()[0].begin; b.FilterTo != "scan:[127.0.0.1]:10024" {
		t.Errorf("filter %q", b.FilterTo)
	}
}

func TestDrain(t *testing.T) {
	f := start(t, "")
	f.srv.grace = 10 * time.Millisecond
	p := f.dial()
	p.envelope()
	f.srv.draining.Store(true)
	p.expect("DATA", "354 ...") // the transaction is finished
	p.expect("x\r\n.", "250 ...")
	if got := p.reply(); !matches(got, "421 4.3.2 ...") {
		t.Error(got)
	}
}

// TestGoSMTPClient has an independent client submit.
func TestGoSMTPClient(t *testing.T) {
	f := withAuth(t, certificate(t)+"smtpd_tls_security_level = may\nmessage_size_limit = 1000000\n")
	conn, err := net.Dial("tcp", f.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.NewClientStartTLS(conn, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(gosasl.NewPlainClient("", "anna", "secret")); err != nil {
		t.Fatal(err)
	}
	body := "Subject: x\r\n\r\n" + strings.Repeat(".line\r\n..two\r\n", 10000)
	if err := c.SendMail("a@far.example", []string{"x@elsewhere.example", "alice@here.example"}, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("b@far.example", []string{"alice@here.example"}, strings.NewReader("y\r\n")); err != nil {
		t.Fatal(err)
	}
	c.Quit()
	m := f.queued()
	if len(m) != 2 || string(m[0].content) != body || len(m[0].rcpts) != 2 || m[0].rcpts[1].Address != "alice@here.example" {
		t.Errorf("%d messages", len(m))
	}
}

// TestFlood sends nonsense of several kinds: each session ends, and another
// client is served meanwhile.
func TestFlood(t *testing.T) {
	f := start(t, "")
	for _, junk := range []string{strings.Repeat("NOOP\r\n", 10000), strings.Repeat("XYZZY\r\n", 1000), strings.Repeat("\x00", 1<<20), strings.Repeat("A", 1<<20) + "\r\n",
		strings.Repeat("RCPT TO:<a@b>\r\n", 1000), "HELO c\r\n" + strings.Repeat("MAIL FROM:<>\r\nRSET\r\n", 5000)} {
		p := f.dial()
		go p.c.Write([]byte(junk + "QUIT\r\n"))
		q := f.dial()
		q.expect("", "220 ...")
		q.expect("QUIT", "221 ...")
		for l := ""; l != "EOF" && l != "TIMEOUT"; l = p.line() {
			if strings.HasPrefix(l, "500 5.5.2 mx.here.example Error: line too long") || strings.HasPrefix(l, "221") {
				break
			}
		}
		p.c.Close()
	}
}

func FuzzSession(f *testing.F) {
	for _, s := range []string{"EHLO x\r\nMAIL FROM:<a@b>\r\n", "DATA\r\n.\r\n", "BDAT 3 LAST\r\nabc", "XCLIENT ADDR=1.2.3.4\r\n", "AUTH PLAIN\r\n*\r\n", "\x00\xff\n", "ETRN x\r\nVRFY <>\r\nHELP\r\n"} {
		f.Add([]byte(s))
	}
	fx := start(f, "smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_authorized_xforward_hosts = 127.0.0.1\nsmtpd_forbid_unauth_pipelining = no\nsmtpd_hard_error_limit = 1000\n")
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		go func() {
			a.Write([]byte("EHLO c\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<alice@here.example>\r\n"))
			a.Write(in)
			a.Close()
		}()
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := a.Read(buf); err != nil {
					return
				}
			}
		}()
		fx.mu.Lock()
		fx.lines, fx.mails = nil, nil
		fx.mu.Unlock()
		ss := newSession(context.Background(), fx.srv, b)
		ss.facts.ClientAddr = "127.0.0.1"
		ss.run()
		if strings.Contains(fx.log(), "panic:") {
			t.Fatal(fx.log())
		}
	})
}

// BenchmarkReception measures a kept session with small messages.
func BenchmarkReception(b *testing.B) {
	f := start(b, "smtpd_hard_error_limit = 100000000\n")
	p := f.dial()
	p.c.SetDeadline(time.Time{})
	p.expect("", "220 ...")
	p.expect("EHLO c", "250-...")
	body := strings.Repeat("0123456789012345678901234567890123456789012345678901234567890\r\n", 64) + ".\r\n"
	b.ReportAllocs()
	for b.Loop() {
		p.send("MAIL FROM:<a@far.example>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\n")
		for range 3 {
			p.reply()
		}
		p.send(body)
		if l := p.reply(); !strings.HasPrefix(l, "250") {
			b.Fatal(l)
		}
		f.mu.Lock()
		f.mails, f.lines = f.mails[:0], f.lines[:0]
		f.mu.Unlock()
	}
}
