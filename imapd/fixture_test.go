package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir/store"
	"posthaste/pkg/maillog"
)

// bench is a store with as many sessions as a test wants.
type testStore struct {
	t    testing.TB
	root string
	m    *store.Manager
	opt  options
	ctx  context.Context
	stop func()
	mbox bool // root is a directory of mbox files
}

func newTestStore(t testing.TB) *testStore {
	t.Helper()
	root := t.TempDir() + "/Maildir" // removed last, when nothing writes any more
	m, err := store.NewManager(store.Options{Host: "host.test", Create: []mailbox.Folder{
		{Name: "Drafts", Exists: true, Selectable: true, Subscribed: true, Use: mailbox.UseDrafts},
		{Name: "Sent", Exists: true, Selectable: true, Subscribed: true, Use: mailbox.UseSent},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &testStore{t: t, root: root, m: m, ctx: ctx, stop: cancel,
		opt: options{timeout: time.Minute, progress: time.Minute, appendLimit: 10 << 20, log: maillog.New("imapd", failing{t})}}
}

// dial starts a session and returns the client's end, past the greeting.
func (ts *testStore) dial() net.Conn { return ts.dialWith("") }

// dialWith is dial with something for the client to read first.
func (ts *testStore) dialWith(greeting string) net.Conn {
	ts.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		ts.t.Fatal(err)
	}
	srv, err := ln.Accept()
	if err != nil {
		ts.t.Fatal(err)
	}
	st, err := ts.m.OpenAt(location.Location{Mbox: ts.mbox, Root: ts.root, Inbox: ts.root + "/inbox"}, store.UserOptions{QuotaBytes: 50 << 20})
	if err != nil {
		ts.t.Fatal(err)
	}
	s := newSession(ts.ctx, &ts.opt, srv, nil, "anna", st)
	s.out.str(greeting)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer srv.Close()
		defer st.Close()
		s.run()
	}()
	ts.t.Cleanup(func() { c.Close(); <-done })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// failing is a log in which an error fails the test.
type failing struct{ t testing.TB }

func (f failing) Write(sev maillog.Severity, _ string, _ int, text string) {
	if sev == maillog.Error {
		f.t.Errorf("logged: %s", text)
	}
}

// client speaks IMAP line by line.
type client struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
	w io.Writer
	n int
}

func (ts *testStore) client() *client {
	c := ts.dial()
	return &client{t: ts.t, c: c, r: bufio.NewReader(c), w: c}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.w, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// response reads a response with its literals.
func (c *client) response() string {
	c.t.Helper()
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			c.t.Fatalf("after %q: %v", b.String(), err)
		}
		i := strings.LastIndexByte(line, '{')
		if i < 0 || !strings.HasSuffix(line, "}\r\n") {
			return b.String()
		}
		var n int64
		if _, err := fmt.Sscanf(line[i:], "{%d}", &n); err != nil {
			return b.String()
		}
		if _, err := io.CopyN(&b, c.r, n); err != nil {
			c.t.Fatal(err)
		}
	}
}

// do sends a command and returns all responses without their last line end;
// the tag is T.
func (c *client) do(format string, args ...any) (out []string) {
	c.t.Helper()
	c.send("T "+format+"\r\n", args...)
	return c.tagged()
}

func (c *client) tagged() (out []string) {
	c.t.Helper()
	for {
		r := c.response()
		out = append(out, strings.TrimSuffix(r, "\r\n"))
		if strings.HasPrefix(r, "T ") {
			return out
		}
	}
}

// ok is do of a command that must succeed.
func (c *client) ok(format string, args ...any) []string {
	c.t.Helper()
	out := c.do(format, args...)
	if !strings.HasPrefix(out[len(out)-1], "T OK") {
		c.t.Fatalf("%.200s: %q", fmt.Sprintf(format, args...), out)
	}
	return out
}

// append puts a message, with LF line ends here, into a mailbox.
func (c *client) append(box, flags, text string) string {
	c.t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	if flags != "" {
		flags = "(" + flags + ") "
	}
	out := c.ok("APPEND %s %s{%d+}\r\n%s", box, flags, len(text), text)
	return out[len(out)-1]
}

// has fails unless some response is exactly want.
func has(t testing.TB, out []string, want string) {
	t.Helper()
	for _, o := range out {
		if o == want {
			return
		}
	}
	t.Errorf("no %q in %q", want, out)
}

// hasPrefix fails unless some response begins with want.
func hasPrefix(t testing.TB, out []string, want string) {
	t.Helper()
	for _, o := range out {
		if strings.HasPrefix(o, want) {
			return
		}
	}
	t.Errorf("nothing begins with %q in %q", want, out)
}
