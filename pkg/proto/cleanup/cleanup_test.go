package cleanup

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// recorder is a Session that keeps what it gets.
type recorder struct {
	mu      *sync.Mutex // orders the server's goroutines and the test's
	begin   *Begin
	rcpts   []string
	data    bytes.Buffer
	ended   bool
	aborted bool
}

func (r *recorder) lock() func() { r.mu.Lock(); return r.mu.Unlock }

func (r *recorder) Recipient(rc *envelope.Recipient) {
	defer r.lock()()
	r.rcpts = append(r.rcpts, rc.Address)
}

func (r *recorder) Data(p []byte) {
	defer r.lock()()
	r.data.Write(p)
}

func (r *recorder) End() *Result {
	defer r.lock()()
	r.ended = true
	return &Result{Status: OK, Size: int64(r.data.Len()), Reason: r.begin.Message.ID}
}

func (r *recorder) Abort() {
	defer r.lock()()
	r.aborted = true
}

type peer struct {
	s    *Server
	path string
	mu   sync.Mutex
	got  []*recorder
	n    int // connections
	errs []error
}

func start(t *testing.T) *peer {
	t.Helper()
	p := &peer{path: filepath.Join(t.TempDir(), "cleanup")}
	p.s = &Server{Grace: 50 * time.Millisecond, Begin: func(b *Begin) Session {
		p.mu.Lock()
		defer p.mu.Unlock()
		r := &recorder{mu: &p.mu, begin: b}
		p.got = append(p.got, r)
		return r
	}}
	l, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.n++
			p.mu.Unlock()
			go func() {
				err := p.s.Serve(c)
				c.Close()
				p.mu.Lock()
				p.errs = append(p.errs, err)
				p.mu.Unlock()
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return p
}

// wait waits for the end of all connections so far.
func (p *peer) wait(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		open := p.n - len(p.errs)
		p.mu.Unlock()
		if open == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections do not end", open)
		}
	}
}

// seen returns the sessions and the number of connections so far.
func (p *peer) seen() ([]*recorder, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*recorder(nil), p.got...), p.n
}

func begin(id string) *Begin {
	return &Begin{Flags: External, Message: envelope.Message{ID: id, Sender: "a@b.test", Arrival: time.Unix(1, 2)}, Prepend: []string{"X: y"}}
}

func submit(t *testing.T, c *Client, id string, rcpts, size int) {
	t.Helper()
	tx, err := c.Begin(begin(id))
	if err != nil {
		t.Fatal(err)
	}
	for i := range rcpts {
		if err := tx.Recipient(&envelope.Recipient{Address: fmt.Sprintf("u%d@x.test", i)}); err != nil {
			t.Fatal(err)
		}
	}
	content := bytes.Repeat([]byte("0123456789\r\n"), size/12+1)[:size]
	for len(content) > 0 {
		n := min(len(content), 5000)
		if _, err := tx.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		content = content[n:]
	}
	r, err := tx.End()
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != OK || r.Size != int64(size) || r.Reason != id {
		t.Fatalf("result %+v for %s, %d bytes", r, id, size)
	}
	if _, err := tx.End(); err != ErrTransaction {
		t.Fatalf("second End: %v", err)
	}
	tx.Abort()
}

func TestTransactions(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	defer c.Close()
	for i, tc := range []struct{ rcpts, size int }{{1, 10}, {0, 0}, {1, 70_000}, {5000, 3_000_000}, {3, batchSize}, {1, batchSize - 100}} {
		submit(t, c, fmt.Sprintf("id%d", i), tc.rcpts, tc.size)
		got, _ := p.seen()
		r := got[i]
		if len(r.rcpts) != tc.rcpts || !r.ended || r.aborted || r.begin.Prepend[0] != "X: y" {
			t.Errorf("case %d: %d recipients, ended %v, aborted %v", i, len(r.rcpts), r.ended, r.aborted)
		}
	}
	if _, n := p.seen(); n != 1 {
		t.Errorf("%d connections for messages one after the other, want 1", n)
	}
}

func TestAbort(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	defer c.Close()
	for _, size := range []int{0, 10, 200_000} {
		tx, _ := c.Begin(begin("x"))
		tx.Write(make([]byte, size))
		tx.Abort()
		if _, err := tx.Write([]byte("x")); err == nil {
			t.Error("Write after Abort: no error")
		}
	}
	submit(t, c, "after", 1, 100)
	got, _ := p.seen()
	last := got[len(got)-1]
	for _, r := range got[:len(got)-1] {
		if r.ended || !r.aborted {
			t.Errorf("aborted message: ended %v, aborted %v", r.ended, r.aborted)
		}
	}
	if last.begin.Message.ID != "after" {
		t.Errorf("last message is %q", last.begin.Message.ID)
	}
}

func TestClientGone(t *testing.T) {
	p := start(t)
	conn, err := ipc.Dial(p.path, Protocol, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var e wire.Encoder
	begin("gone").Encode(&e)
	conn.WriteFrame(TypeBegin, e.B)
	conn.WriteFrame(TypeData, []byte("half"))
	conn.Close()
	p.wait(t)
	got, _ := p.seen()
	if r := got[0]; r.ended || !r.aborted || p.errs[0] == nil {
		t.Errorf("ended %v, aborted %v, error %v", r.ended, r.aborted, p.errs[0])
	}
}

// TestDrain: a drain loses no message, and kept connections are given up.
func TestDrain(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	defer c.Close()
	submit(t, c, "one", 1, 10)
	tx, _ := c.Begin(begin("two"))
	tx.Write(make([]byte, 100_000)) // under way
	p.s.Drain()
	if r, err := tx.End(); err != nil || r.Status != OK {
		t.Fatalf("transaction during a drain: %v", err)
	}
	p.wait(t)
	if _, n := p.seen(); n != 1 {
		t.Errorf("%d connections", n)
	}
	// The next one goes to the successor on the same path.
	p.s.mu.Lock()
	p.s.draining = false
	p.s.mu.Unlock()
	submit(t, c, "three", 1, 10)
	if _, n := p.seen(); n != 2 {
		t.Errorf("%d connections after the drain, want 2", n)
	}
}

// TestDrainIdle: an idle kept connection sees the drain before its next use.
func TestDrainIdle(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	defer c.Close()
	submit(t, c, "one", 1, 10)
	p.s.Drain()
	p.s.mu.Lock()
	p.s.draining = false
	p.s.mu.Unlock()
	submit(t, c, "two", 1, 10)
	if _, n := p.seen(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestLeaveWithoutReadingDrain: a client process that ends meanwhile is no
// trouble worth a warning.
func TestLeaveWithoutReadingDrain(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	submit(t, c, "one", 1, 10)
	p.s.Drain()
	c.Close()
	p.wait(t)
	if p.errs[0] != nil {
		t.Errorf("Serve: %v", p.errs[0])
	}
}

func TestConcurrent(t *testing.T) {
	p := start(t)
	c := NewClient(p.path)
	defer c.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				submit(t, c, fmt.Sprintf("g%d-%d", g, i), 2, 3000)
			}
		})
	}
	wg.Wait()
	if got, _ := p.seen(); len(got) != 160 {
		t.Errorf("%d messages", len(got))
	}
}

func TestBadInput(t *testing.T) {
	p := start(t)
	var e wire.Encoder
	begin("x").Encode(&e)
	var rcpt wire.Encoder
	(&envelope.Recipient{Address: "a\nb"}).Encode(&rcpt)
	frame := func(typ byte, b []byte) []byte { return ipc.AppendFrame(nil, typ, b, 0) }
	for _, tc := range []struct {
		name   string
		frames [][]byte
		want   Status // of the result; 255: the connection is closed
	}{
		{"bad begin", [][]byte{frame(TypeBegin, []byte("junk")), frame(TypeData, []byte("x")), frame(TypeEnd, nil)}, BadProtocol},
		{"line break in a recipient", [][]byte{frame(TypeBegin, e.B), frame(TypeRecipient, rcpt.B), frame(TypeEnd, nil)}, BadProtocol},
		{"data first", [][]byte{frame(TypeData, []byte("x"))}, 255},
		{"begin twice", [][]byte{frame(TypeBegin, e.B), frame(TypeBegin, e.B)}, 255},
		{"unknown type", [][]byte{frame(TypeBegin, e.B), frame(99, nil)}, 255},
		{"end with payload", [][]byte{frame(TypeBegin, e.B), frame(TypeEnd, []byte("x"))}, BadProtocol},
		{"good", [][]byte{frame(TypeBegin, e.B), frame(TypeEnd, nil)}, OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := ipc.Dial(p.path, Protocol, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			conn.WriteRaw(bytes.Join(tc.frames, nil))
			typ, b, err := conn.ReadFrame()
			if tc.want == 255 {
				if err == nil {
					t.Errorf("frame %d, want the connection closed", typ)
				}
				return
			}
			if err != nil || typ != TypeResult {
				t.Fatalf("frame %d, %v", typ, err)
			}
			if r, err := DecodeResult(b); err != nil || r.Status != tc.want {
				t.Errorf("result %+v, %v; want status %d", r, err, tc.want)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	tx, err := c.Begin(begin("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.End(); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("End without a server: %v", err)
	}
}

// FuzzCleanupSession feeds a server arbitrary bytes after the hello.
func FuzzCleanupSession(f *testing.F) {
	var e, r wire.Encoder
	begin("4XkP1Q2n3Rz5C").Encode(&e)
	(&envelope.Recipient{Address: "a@b.test"}).Encode(&r)
	var b []byte
	b = ipc.AppendFrame(b, TypeBegin, e.B, 0)
	b = ipc.AppendFrame(b, TypeRecipient, r.B, 0)
	b = ipc.AppendFrame(b, TypeData, []byte("Subject: x\r\n\r\n"), 0)
	b = ipc.AppendFrame(b, TypeEnd, nil, 0)
	f.Add(b)
	f.Add(append(b, b...))
	f.Add(ipc.AppendFrame(b[:len(b)-6], TypeAbort, nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		conns := make([]net.Conn, 2)
		for i, fd := range fds {
			fl := os.NewFile(uintptr(fd), "pair")
			if conns[i], err = net.FileConn(fl); err != nil {
				t.Fatal(err)
			}
			fl.Close()
		}
		var open, over int
		s := &Server{Begin: func(b *Begin) Session {
			open++
			return &counted{recorder: recorder{mu: new(sync.Mutex), begin: b}, over: &over}
		}}
		go func() {
			conns[0].Write(ipc.AppendFrame(nil, 0, []byte(Protocol), 0))
			conns[0].Write(b)
			conns[0].(*net.UnixConn).CloseWrite()
			var sink [4096]byte
			for {
				if _, err := conns[0].Read(sink[:]); err != nil {
					return
				}
			}
		}()
		s.Serve(conns[1])
		conns[1].Close()
		conns[0].Close()
		if open != over {
			t.Errorf("%d sessions begun, %d ended", open, over)
		}
	})
}

// counted counts how often a session ends: exactly once.
type counted struct {
	recorder
	over *int
}

func (c *counted) End() *Result { *c.over++; return c.recorder.End() }
func (c *counted) Abort()       { *c.over++; c.recorder.Abort() }
