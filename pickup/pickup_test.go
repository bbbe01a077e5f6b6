package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
)

type lines struct {
	mu sync.Mutex
	l  []string
}

func (l *lines) Write(_ maillog.Severity, _ string, _ int, text string) {
	l.mu.Lock()
	l.l = append(l.l, text)
	l.mu.Unlock()
}

func (l *lines) count(part string) (n int) {
	for _, t := range l.l {
		if strings.Contains(t, part) {
			n++
		}
	}
	return n
}

// got is a message as cleanup gets it.
type got struct {
	begin *cleanup.Begin
	rcpts []string
	data  bytes.Buffer
	world *world
}

func (g *got) Recipient(r *envelope.Recipient) {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	g.rcpts = append(g.rcpts, r.Address)
}

func (g *got) Data(p []byte) {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	g.data.Write(p)
}

func (g *got) Abort() {}
func (g *got) End() *cleanup.Result {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	g.world.got = append(g.world.got, g)
	return g.world.answer(g)
}

type world struct {
	mu     sync.Mutex
	got    []*got
	answer func(*got) *cleanup.Result
	p      *pickup
	log    *lines
	dir    string
	listen func()
}

func ok(*got) *cleanup.Result { return &cleanup.Result{} }

func newWorld(t *testing.T, maincf string) *world {
	t.Helper()
	etc := t.TempDir()
	os.WriteFile(filepath.Join(etc, "main.cf"), []byte("compatibility_level = 3.9\n"+maincf), 0o644)
	c, err := config.Load(config.Options{Dir: etc, Known: params.All, Program: "pickup"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{answer: ok, log: &lines{}, dir: t.TempDir()}
	if err := queue.Init(w.dir); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(w.dir, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "cleanup")
	w.p = newPickup(c, maillog.New("test/pickup", w.log), s, socket)
	t.Cleanup(func() { s.Close(); w.p.client.Close() })
	w.listen = func() {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		srv := &cleanup.Server{Begin: func(b *cleanup.Begin) cleanup.Session { return &got{begin: b, world: w} }}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { srv.Serve(c); c.Close() }()
			}
		}()
	}
	return w
}

func (w *world) drop(t *testing.T, content string, rcpts ...string) string {
	t.Helper()
	m := &envelope.Message{ID: queue.NewID(time.Now()), Arrival: time.Now(), Sender: "anna", Local: true}
	q, err := w.p.spool.Create(queue.Maildrop, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range rcpts {
		q.Recipient(&envelope.Recipient{Address: a})
	}
	q.Write([]byte(content))
	if err := q.Commit(); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// scan runs the pickup; the lock orders what the server's goroutines did before.
func (w *world) scan() {
	w.p.scan(context.Background(), nil)
	w.mu.Lock()
	defer w.mu.Unlock()
}

// set changes cleanup's answer.
func (w *world) set(answer func(*got) *cleanup.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func (w *world) left() []string {
	var l []string
	w.p.spool.List(queue.Maildrop, func(e queue.Entry) bool { l = append(l, e.ID); return true })
	return l
}

func TestTake(t *testing.T) {
	w := newWorld(t, "content_filter = smtp:[127.0.0.1]:10025\nreceive_override_options = no_header_body_checks\n")
	w.listen()
	id := w.drop(t, "Subject: x\r\n\r\nbody\r\n", "a@x.test", "b@x.test")
	big := w.drop(t, strings.Repeat("x", 300_000), "c@x.test")
	w.scan()
	if len(w.got) != 2 || len(w.left()) != 0 {
		t.Fatalf("%d messages, left %q, log %q", len(w.got), w.left(), w.log.l)
	}
	for _, g := range w.got {
		m := &g.begin.Message
		if m.ID == id || m.ID == big || m.Origin != "pickup" || m.UID != os.Getuid() || m.Sender != "anna" || !m.Local {
			t.Errorf("envelope %+v", m)
		}
		if g.begin.FilterTo != "smtp:[127.0.0.1]:10025" || g.begin.Flags != cleanup.Map|cleanup.BCC|cleanup.MessageInfo {
			t.Errorf("filter %q, flags %b", g.begin.FilterTo, g.begin.Flags)
		}
		if n := g.data.Len(); n != 20 && n != 300_000 {
			t.Errorf("content of %d bytes", n)
		}
		if w.log.count(m.ID+": uid=") != 1 {
			t.Errorf("no uid= line for %s in %q", m.ID, w.log.l)
		}
	}
}

// TestCleanupAway: mail waits, and goes when cleanup is there again.
func TestCleanupAway(t *testing.T) {
	w := newWorld(t, "")
	id := w.drop(t, "x\r\n", "a@x.test")
	w.scan()
	if l := w.left(); len(l) != 1 || l[0] != id || w.log.count("uid=") != 0 {
		t.Fatalf("left %q, log %q", l, w.log.l)
	}
	w.listen()
	for _, st := range []cleanup.Status{cleanup.TempFail, cleanup.WriteError, cleanup.NoSpace} {
		w.set(func(*got) *cleanup.Result { return &cleanup.Result{Status: st} })
		w.scan()
		if len(w.left()) != 1 {
			t.Fatalf("status %d: the message is gone", st)
		}
	}
	w.set(ok)
	w.scan()
	if len(w.left()) != 0 {
		t.Error("the message stayed")
	}
}

func TestRefusedForGood(t *testing.T) {
	for _, tc := range []struct {
		r       cleanup.Result
		filter  string
		content string
	}{
		{cleanup.Result{Status: cleanup.Rejected, Code: 550, DSN: "5.7.1", Reason: "no such words"}, "error:5.7.1 no such words", "Received: a\r\nSubject: x\r\n\r\nbody\r\n"},
		{cleanup.Result{Status: cleanup.TooManyHops, DSN: "5.4.0"}, "error:5.4.0 too many hops", "Subject: x\r\n\r\n"},
	} {
		w := newWorld(t, "")
		w.listen()
		w.set(func(g *got) *cleanup.Result {
			if g.begin.FilterTo == "" {
				return &tc.r
			}
			return &cleanup.Result{}
		})
		w.drop(t, "Received: a\r\nSubject: x\r\n\r\nbody\r\n", "a@x.test")
		w.scan()
		if len(w.got) != 2 || len(w.left()) != 0 {
			t.Fatalf("%d submissions, left %q", len(w.got), w.left())
		}
		g := w.got[1]
		if g.begin.FilterTo != tc.filter || g.begin.Flags&cleanup.Filter != 0 || g.data.String() != tc.content || len(g.rcpts) != 1 {
			t.Errorf("sent back with %q, flags %b, content %q", g.begin.FilterTo, g.begin.Flags, g.data.String())
		}
	}
}

// TestBroken: incomplete and damaged files stay where they are.
func TestBroken(t *testing.T) {
	w := newWorld(t, "")
	w.listen()
	half, bad := w.drop(t, "x\r\n", "a@x.test"), w.drop(t, "x\r\n", "a@x.test")
	p := w.p.spool.Path(queue.Maildrop, half)
	b, _ := os.ReadFile(p)
	os.WriteFile(p, b[:len(b)-1], 0o600)
	p = w.p.spool.Path(queue.Maildrop, bad)
	b[100] ^= 1
	os.WriteFile(p, b, 0o600)
	os.WriteFile(filepath.Join(w.dir, queue.Maildrop, "stranger"), nil, 0o600)
	good := w.drop(t, "x\r\n", "a@x.test")
	w.scan()
	w.scan()
	if len(w.got) != 1 || len(w.left()) != 2 {
		t.Errorf("%d messages, left %q", len(w.got), w.left())
	}
	if n := w.log.count("left alone"); n != 1 {
		t.Errorf("%d warnings: %q", n, w.log.l)
	}
	_ = good
}

// TestRequeued: of a message that postsuper moved back, only recipients that are
// not done go on.
func TestRequeued(t *testing.T) {
	w := newWorld(t, "")
	w.listen()
	for _, all := range []bool{false, true} {
		id := w.drop(t, "x\r\n", "a@x.test", "b@x.test")
		f, err := w.p.spool.Load(queue.Maildrop, id)
		if err != nil {
			t.Fatal(err)
		}
		o := []envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0"}, {Num: 1, Status: envelope.Bounced, DSN: "5.0.0"}}
		if !all {
			o = o[:1]
		}
		f.Append(o)
		f.Close()
		w.scan()
		if len(w.left()) != 0 {
			t.Errorf("left %q", w.left())
		}
	}
	if len(w.got) != 1 || len(w.got[0].rcpts) != 1 || w.got[0].rcpts[0] != "b@x.test" {
		t.Errorf("%d messages: %+v", len(w.got), w.got)
	}
}

func TestMany(t *testing.T) {
	w := newWorld(t, "")
	w.listen()
	for range 50 {
		w.drop(t, "x\r\n", "a@x.test")
	}
	w.scan()
	if len(w.got) != 50 || len(w.left()) != 0 {
		t.Errorf("%d messages, %d left", len(w.got), len(w.left()))
	}
	// A process that leaves stops between messages.
	w.drop(t, "x\r\n", "a@x.test")
	gone := make(chan struct{})
	close(gone)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.p.scan(ctx, gone)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.got)+len(w.left()) != 51 {
		t.Errorf("%d messages, %d left", len(w.got), len(w.left()))
	}
}

// TestTwoProcesses: one that leaves and its successor look at the same files.
func TestTwoProcesses(t *testing.T) {
	w := newWorld(t, "")
	w.set(func(*got) *cleanup.Result { time.Sleep(2 * time.Millisecond); return &cleanup.Result{} })
	w.listen()
	const n = 200
	for range n {
		w.drop(t, "Subject: x\n\nx\n", "bob@b.example")
	}
	spool, err := queue.Open(w.dir, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	other := &pickup{log: w.p.log, spool: spool, client: w.p.client, flags: w.p.flags, warned: map[string]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() { w.p.scan(context.Background(), nil) })
	wg.Go(func() { other.scan(context.Background(), nil) })
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.got) != n {
		t.Errorf("cleanup got %d messages, want each of the %d once", len(w.got), n)
	}
	if l := w.left(); len(l) > 0 {
		t.Errorf("%d messages are left in maildrop", len(l))
	}
}
