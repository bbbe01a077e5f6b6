package dovecot

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/sasl"
)

// verifier knows anna:secret; "slow" waits to be released.
type verifier struct{ release chan struct{} }

func (v verifier) Verify(user, password string) (string, error) {
	switch {
	case user == "slow":
		<-v.release
		return user, nil
	case user == "sick":
		return "", sasl.ErrTemporary
	case user == "anna" && password == "secret":
		return "anna", nil
	}
	return "", sasl.ErrCredentials
}
func (v verifier) Scram(string, string) (sasl.ScramKeys, error) {
	return sasl.ScramKeys{}, sasl.ErrCredentials
}

type handler struct{ v verifier }

func (h handler) Mechs() []Mech {
	a, _ := MechByName("plain")
	b, _ := MechByName("LOGIN")
	return []Mech{a, b}
}
func (h handler) Begin(_ context.Context, q *Request) (sasl.Server, bool) {
	if q.Mech == "SCRAM-SHA-256" {
		return nil, false
	}
	return sasl.NewServer(q.Mech, h.v, q.Bindings)
}
func (h handler) Result(_ context.Context, q *Request, _ string, err error) Outcome {
	o := Outcome{Err: err}
	if err == nil && q.Program != "" {
		o.User, o.Fields = "Anna", []string{"cookie=" + q.Program + "\tx"}
	}
	return o
}

// serve listens; the result is the socket's path.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); s.Serve(ctx, c); c.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return path
}

func TestClientAndServer(t *testing.T) {
	h := handler{verifier{make(chan struct{})}}
	c := NewClient(serve(t, &Server{Handler: h}))
	defer c.Close()
	ctx := context.Background()
	m, err := c.Mechanisms(ctx)
	if err != nil || len(m) != 2 || m[0].Name != "PLAIN" || !m[0].Plaintext || m[1].Name != "LOGIN" {
		t.Fatalf("%+v %v", m, err)
	}
	// A slow exchange does not hold up others on the same connection.
	slow := make(chan *Result)
	go func() {
		_, r, err := c.Start(ctx, Request{Mech: "PLAIN", Initial: []byte("\x00slow\x00x")})
		if err != nil {
			t.Error(err)
		}
		slow <- r
	}()
	for in, want := range map[string]Result{
		"\x00anna\x00secret":    {Done: true, OK: true, User: "anna"},
		"\x00anna\x00wrong":     {Done: true, User: "anna"},
		"bob\x00anna\x00secret": {Done: true, User: "anna"},
		"\x00ta\tb\x00x":        {Done: true, User: "ta\tb"},
		"\x00sick\x00x":         {Done: true, User: "sick", Temp: true},
		"garbage":               {Done: true, Reason: "Invalid authentication message"},
	} {
		_, r, err := c.Start(ctx, Request{Mech: "PLAIN", Service: "smtp", LocalIP: "::1", RemoteIP: "192.0.2.1", Secured: true, Initial: []byte(in)})
		if err != nil || r.Done != want.Done || r.OK != want.OK || r.User != want.User || r.Temp != want.Temp || r.Reason != want.Reason {
			t.Errorf("%q: %+v, %v; want %+v", in, r, err, want)
		}
	}
	_, r, err := c.Start(ctx, Request{Mech: "PLAIN", Program: "imapd", Initial: []byte("\x00anna\x00secret")})
	if err != nil || r.User != "Anna" || r.Field("cookie") != "imapd\tx" || r.Field("resp") != "" {
		t.Errorf("%+v %v", r, err)
	}
	x, r, err := c.Start(ctx, Request{Mech: "LOGIN"})
	if err != nil || r.Done || string(r.Data) != "Username:" {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err = x.Respond(ctx, []byte("anna")); err != nil || string(r.Data) != "Password:" {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err = x.Respond(ctx, []byte("secret")); err != nil || !r.OK {
		t.Fatalf("%+v %v", r, err)
	}
	x, _, _ = c.Start(ctx, Request{Mech: "LOGIN"})
	x.Cancel()
	if _, r, err = c.Start(ctx, Request{Mech: "SCRAM-SHA-256"}); err != nil || !r.Done || r.OK {
		t.Errorf("%+v %v", r, err)
	}
	close(h.v.release)
	if r := <-slow; r == nil || !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestServerGone(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "nothing"))
	if _, _, err := c.Start(context.Background(), Request{Mech: "PLAIN"}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	// A server that stops when idle: the client comes back on a new connection.
	stop := make(chan struct{})
	srv := &Server{Handler: handler{}, Stop: stop}
	path := serve(t, srv)
	c = NewClient(path)
	if _, err := c.Mechanisms(context.Background()); err != nil {
		t.Fatal(err)
	}
	cc := c.conn
	close(stop)
	for cc.alive() {
		time.Sleep(time.Millisecond)
	}
}

func TestDovecotsHandshake(t *testing.T) {
	// What Dovecot 2.3 sends, and an answer that carries more than we need.
	a, b := net.Pipe()
	go func() {
		buf := make([]byte, 1000)
		n, _ := b.Read(buf)
		got := string(buf[:n])
		if !strings.HasPrefix(got, "VERSION\t1\t2\nCPID\t") {
			t.Errorf("client's handshake %q", got)
		}
		b.Write([]byte("VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tXOAUTH2\tprivate\tfancy\nSPID\t41\nCUID\t7\nCOOKIE\tabc\nDONE\n"))
	}()
	cc := &clientConn{c: a, pending: map[uint32]chan []string{}}
	if err := cc.handshake(bufio.NewReader(a)); err != nil {
		t.Fatal(err)
	}
	if len(cc.mechs) != 2 || cc.mechs[1].Name != "XOAUTH2" || !cc.mechs[1].Private {
		t.Errorf("%+v", cc.mechs)
	}
	res, err := parseResult(fields("OK\t1\tuser=anna\x01t@x\toriginal_user=anna\tresp=eA=="))
	if err != nil || res.User != "anna\t@x" || string(res.Data) != "x" {
		t.Errorf("%+v %v", res, err)
	}
}

func FuzzDovecotAuth(f *testing.F) {
	for _, s := range []string{"VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\tresp=AGEAYg==\n", "VERSION\t1\t2\nAUTH\t1\tLOGIN\nCONT\t1\tYQ==\nCANCEL\t1\n",
		"OK\t1\tuser=x\n", "CONT\t1\t!!!\n", "FAIL\n", "\x01\x01\t\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		go func() { a.Write(in); a.Close() }()
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := a.Read(buf); err != nil {
					return
				}
			}
		}()
		(&Server{Handler: handler{}}).Serve(context.Background(), b)
		b.Close()
		for _, l := range strings.Split(string(in), "\n") {
			fl := fields(l)
			if len(fl) >= 2 {
				parseResult(fl)
			}
			if got := unescape(escape(l)); got != l {
				t.Fatalf("%q becomes %q", l, got)
			}
		}
	})
}

// lastWords is a handler whose mechanism has something to say with success.
type lastWords struct{ handler }

type talker struct{}

func (talker) Next([]byte) ([]byte, bool, error) { return []byte("v=proof"), true, nil }
func (talker) User() string                      { return "anna" }

func (lastWords) Begin(context.Context, *Request) (sasl.Server, bool) { return talker{}, true }

// TestLastWords: a peer that does not say that it can take the mechanism's last
// words with OK, as Postfix does not, gets them as a challenge before.
func TestLastWords(t *testing.T) {
	path := serve(t, &Server{Handler: lastWords{}})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if l == "DONE\n" {
			break
		}
	}
	for _, step := range [][2]string{
		{"VERSION\t1\t1\nCPID\t1\nAUTH\t1\tX\tservice=smtp\n", "CONT\t1\tdj1wcm9vZg==\n"},
		{"CONT\t1\t\n", "OK\t1\tuser=anna\n"},
		{"AUTH\t2\tX\tservice=smtp\tfinal-resp-ok\n", "OK\t2\tuser=anna\tresp=dj1wcm9vZg==\n"},
		{"AUTH\t3\tX\tservice=smtp\n", "CONT\t3\tdj1wcm9vZg==\n"},
		{"CANCEL\t3\nAUTH\t3\tX\tservice=smtp\tfinal-resp-ok\n", "OK\t3\tuser=anna\tresp=dj1wcm9vZg==\n"},
	} {
		c.Write([]byte(step[0]))
		if l, err := r.ReadString('\n'); err != nil || l != step[1] {
			t.Errorf("after %q: %q, %v", step[0], l, err)
		}
	}
	own := NewClient(path)
	defer own.Close()
	if _, r, err := own.Start(context.Background(), Request{Mech: "X"}); err != nil || !r.OK || string(r.Data) != "v=proof" {
		t.Errorf("our client: %+v %v", r, err)
	}
}
