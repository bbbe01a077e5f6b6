package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posthaste/pkg/ipc"
)

const cookie = "0123456789abcdef"

// master serves the protocol; what it was granted can be opened once.
type master struct {
	t  *testing.T
	mu sync.Mutex
	l  net.Listener
	cs []net.Conn
	g  map[string]*Grant
}

func (m *master) grant(g *Grant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g.Program != "imapd" {
		return fmt.Errorf("no session service %q", g.Program)
	}
	m.g[g.Cookie] = g
	return nil
}

// open answers on the connection it is given.
func (m *master) open(o *Open, fd int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.g[o.Cookie]
	delete(m.g, o.Cookie)
	if g == nil {
		return errors.New("unknown cookie")
	}
	syscall.Write(fd, []byte("hello "+g.User+" "+o.Tag))
	return syscall.Close(fd)
}

func serve(t *testing.T) (*master, string) {
	path := filepath.Join(t.TempDir(), "session")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := &master{t: t, l: l, g: map[string]*Grant{}}
	var wg sync.WaitGroup
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.cs = append(m.cs, nc)
			m.mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				if c, err := ipc.Accept(nc, Protocol, 5*time.Second); err == nil {
					Serve(c, m.grant, m.open)
				}
			})
		}
	}()
	t.Cleanup(func() { l.Close(); m.drop(); wg.Wait() })
	return m, path
}

func (m *master) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.cs {
		c.Close()
	}
	m.cs = nil
}

func named(n int) string { return fmt.Sprintf("%016d", n) }

func TestManyAtATime(t *testing.T) {
	m, path := serve(t)
	auth, login := NewClient(path), NewClient(path)
	defer auth.Close()
	defer login.Close()
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			g := &Grant{Cookie: named(i), Program: "imapd", User: fmt.Sprint("user", i), UID: 1000, GID: 1000, Home: "/h"}
			if err := auth.Grant(ctx, g); err != nil {
				t.Error(err)
				return
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			err = login.Open(ctx, &Open{Cookie: named(i), Tag: fmt.Sprint("t", i)}, int(w.Fd()))
			w.Close()
			if err != nil {
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(r)
			if got, want := string(b), fmt.Sprintf("hello user%d t%d", i, i); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	wg.Wait()
	m.mu.Lock()
	n := len(m.cs)
	m.mu.Unlock()
	if n != 2 {
		t.Errorf("%d connections for two clients", n)
	}
}

func TestRefusals(t *testing.T) {
	m, path := serve(t)
	c := NewClient(path)
	defer c.Close()
	ctx := context.Background()
	g := Grant{Cookie: cookie, Program: "imapd", User: "anna", UID: 1, GID: 1}
	root, noUser, short, slash := g, g, g, g
	root.UID, noUser.User, short.Cookie, slash.Program = 0, "", "x", "../imapd"
	for _, b := range []Grant{root, noUser, short, slash} {
		if err := c.Grant(ctx, &b); err == nil {
			t.Errorf("%+v was granted", b)
		}
	}
	other := g
	other.Program = "pop3d"
	if err := c.Grant(ctx, &other); err == nil || !strings.Contains(err.Error(), "no session service") || errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if err := c.Grant(ctx, &g); err != nil {
		t.Error(err)
	}
	open := func() error {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		return c.Open(ctx, &Open{Cookie: cookie}, int(w.Fd()))
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	if err := open(); err == nil {
		t.Error("a cookie served twice")
	}
	// The kept connection breaks: the next request makes another.
	m.drop()
	if err := c.Grant(ctx, &g); err != nil {
		t.Error(err)
	}
	m.l.Close()
	m.drop()
	if err := c.Grant(ctx, &g); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestRoundTrip(t *testing.T) {
	v := &Deliver{
		Grant: Grant{Cookie: cookie, Program: "imapd", User: "anna", UID: 7, GID: 8, Home: "/home/anna", Mail: "maildir:~/M", Extra: []string{"quota_rule=*:bytes=1"}},
		Open:  Open{Cookie: cookie, TLS: true, Remote: "192.0.2.1:99", Local: "192.0.2.2:143", Input: []byte("a NOOP\r\n"), Tag: "a1", Service: "imap"},
	}
	got, err := DecodeDeliver(EncodeDeliver(v))
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(EncodeDeliver(&Deliver{Grant: Grant{Cookie: cookie, Program: "imapd", User: "a", UID: 1, GID: 1}, Open: Open{Cookie: cookie}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		DecodeGrant(p)
		DecodeOpen(p)
		DecodeResult(p)
		v, err := DecodeDeliver(p)
		if err != nil {
			return
		}
		w, err := DecodeDeliver(EncodeDeliver(v))
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("%+v becomes %+v, %v", v, w, err)
		}
	})
}
