package anvil

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is an anvil that can be replaced.
type world struct {
	t        *testing.T
	path     string
	l        net.Listener
	a        *Counters
	draining chan struct{}
	sessions sync.WaitGroup
}

func newWorld(t *testing.T, now func() time.Time) *world {
	w := &world{t: t, path: filepath.Join(t.TempDir(), "anvil")}
	w.start(now)
	t.Cleanup(w.stop)
	return w
}

func (w *world) start(now func() time.Time) {
	w.t.Helper()
	l, err := net.Listen("unix", w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.l, w.a, w.draining = l, NewCounters(time.Minute, now), make(chan struct{})
	a, draining := w.a, w.draining
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.sessions.Go(func() { a.Serve(context.Background(), c, draining, nil); c.Close() })
		}
	}()
}

func (w *world) stop() {
	w.l.Close()
	close(w.draining)
	w.sessions.Wait()
}

func (w *world) client() *Client {
	c := NewClient(w.path)
	c.Trouble = func(err error) { w.t.Logf("trouble: %v", err) }
	w.t.Cleanup(func() { c.Close() })
	return c
}

// conns waits until an ident has n connections.
func (w *world) conns(ident string, n int) {
	w.t.Helper()
	var got int
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = w.a.Peek(ident); got == n {
			return
		}
	}
	w.t.Errorf("%s has %d connections, want %d", ident, got, n)
}

func TestCounts(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	w := newWorld(t, func() time.Time { mu.Lock(); defer mu.Unlock(); return now })
	ctx := context.Background()
	one, two := w.client(), w.client()
	for i, c := range []*Client{one, two, one} {
		if n, rate, ok := c.Connect(ctx, "smtp:192.0.2.7"); n != i+1 || rate != i+1 || !ok {
			t.Errorf("connection %d: %d, %d", i+1, n, rate)
		}
	}
	if n, rate, _ := two.Connect(ctx, "smtp:192.0.2.8"); n != 1 || rate != 1 {
		t.Errorf("another client: %d, %d", n, rate)
	}
	one.Disconnect("smtp:192.0.2.7")
	one.Disconnect("smtp:192.0.2.8") // not its own
	if n, rate, _ := one.Connect(ctx, "smtp:192.0.2.7"); n != 3 || rate != 4 {
		t.Errorf("after one is over: %d, %d", n, rate)
	}
	w.conns("smtp:192.0.2.8", 1)
	if one.Count(ctx, "x:1", Message) != 1 || two.Count(ctx, "x:1", Message) != 2 || one.Count(ctx, "x:1", Auth) != 1 {
		t.Error("events are not counted together, or not apart")
	}
	if n := two.Rate(ctx, "x:1", Message); n != 2 {
		t.Errorf("rate %d", n)
	}
	s := w.a.Take()
	if p := s.Rates[Connect]; p.Value != 4 || p.Ident != "smtp:192.0.2.7" || s.Count.Value != 3 || s.Rates[Message].Value != 2 || s.Cached.Value != 3 || s.Rates[Recipient].Value != 0 {
		t.Errorf("%+v", s)
	}
	if s := w.a.Take(); s.Count.Value != 0 {
		t.Errorf("statistics are not begun anew: %+v", s)
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if n := two.Rate(ctx, "x:1", Message); n != 0 {
		t.Errorf("rate of the time unit before: %d", n)
	}
	if n := two.Count(ctx, "x:1", Message); n != 1 {
		t.Errorf("first in a time unit: %d", n)
	}
	one.Close() // as if the process had died
	w.conns("smtp:192.0.2.7", 1)
}

// A successor hears of the connections that are open.
func TestReplaced(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	one, two := w.client(), w.client()
	one.Connect(ctx, "smtp:1")
	one.Connect(ctx, "smtp:1")
	two.Connect(ctx, "smtp:1")
	two.Connect(ctx, "smtp:2")
	two.Disconnect("smtp:2")
	w.stop()
	w.start(nil)
	w.conns("smtp:1", 3)
	w.conns("smtp:2", 0)
	two.Disconnect("smtp:1")
	w.conns("smtp:1", 2)
	if n, rate, _ := two.Connect(ctx, "smtp:1"); n != 3 || rate != 1 {
		t.Errorf("%d, %d", n, rate)
	}
}

// A connection that was handed on is over when whoever has it closes.
func TestUntil(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := c.ConnectUntil(context.Background(), "imap:anna", fds[0]); n != 1 || !ok {
		t.Errorf("%d, %v", n, ok)
	}
	unix.Close(fds[0])
	c.Close()
	w.conns("imap:anna", 1)
	unix.Close(fds[1])
	w.conns("imap:anna", 0)
}

// Without anvil nobody is refused, and not everybody waits.
func TestAway(t *testing.T) {
	var told []error
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	c.Trouble = func(err error) { told = append(told, err) }
	for range 3 {
		if n, rate, ok := c.Connect(context.Background(), "x"); n != 0 || rate != 0 || ok {
			t.Errorf("%d, %d, %v", n, rate, ok)
		}
		c.Disconnect("x")
	}
	if len(told) != 1 || !errors.Is(told[0], unix.ENOENT) {
		t.Errorf("told %v", told)
	}
}

// An anvil that does not answer makes nobody wait twice, however many ask.
func TestSilent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anvil")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var tries atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tries.Add(1)
			defer c.Close()
		}
	}()
	c := NewClient(path)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, _, ok := c.Connect(context.Background(), "x"); ok {
				t.Error("counted by nobody")
			}
		})
	}
	wg.Wait()
	if n := tries.Load(); n == 0 || n > 5 {
		t.Errorf("%d tries, one after the other, for 50 clients", n)
	}
}

// FuzzAnvilProtocol holds that what decodes encodes to something that decodes to
// the same.
func FuzzAnvilProtocol(f *testing.F) {
	f.Add(byte(TypeCount), (&Request{Type: TypeCount, Ident: "smtp:192.0.2.1", Event: Auth}).Encode())
	f.Add(byte(TypeResume), (&Request{Type: TypeResume, Ident: "smtp:192.0.2.1", Count: 7}).Encode())
	f.Add(byte(TypeConnect), (&Reply{1, 2}).Encode())
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		if r, err := DecodeRequest(typ, b); err == nil {
			if again, err := DecodeRequest(typ, r.Encode()); err != nil || *again != *r {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
		if r, err := DecodeReply(b); err == nil {
			if again, err := DecodeReply(r.Encode()); err != nil || *again != *r {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
	})
}
