package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/clock"
	"posthaste/pkg/delivery"
	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/wire"
)

// rawAgent accepts one connection after the other on a transport's socket and
// hands each to the next function.
func (w *world) rawAgent(name string, fns ...func(c *ipc.Conn)) {
	w.t.Helper()
	ln, err := net.Listen("unix", filepath.Join(w.dir, "private", name))
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, fn := range fns {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c, err := ipc.Accept(nc, proto.Protocol, 5*time.Second)
			if err != nil {
				nc.Close()
				return
			}
			fn(c)
			c.Close()
		}
	}()
	w.t.Cleanup(func() { w.stop(); ln.Close(); <-done })
}

// nextRequest reads a request and closes its descriptor.
func nextRequest(c *ipc.Conn) *proto.Request {
	typ, p, err := c.ReadFrame()
	if err != nil || typ != proto.TypeRequest {
		return nil
	}
	if fd, err := c.TakeFD(); err == nil {
		f := os.NewFile(uintptr(fd), "")
		f.Close()
	}
	r, err := proto.DecodeRequest(p)
	if err != nil {
		return nil
	}
	return r
}

// reply answers a request: all sent, or again.
func reply(c *ipc.Conn, r *proto.Request, again bool) {
	var b []byte
	if !again {
		for i := range r.Recipients {
			o := sent
			o.Num, o.When = r.Recipients[i].Num, clock.Now()
			var e wire.Encoder
			proto.EncodeOutcome(&e, r.Seq, &o)
			b = ipc.AppendFrame(b, proto.TypeOutcome, e.B, 0)
		}
	}
	var e wire.Encoder
	(&proto.Done{Seq: r.Seq, Again: again}).Encode(&e)
	c.WriteRaw(ipc.AppendFrame(b, proto.TypeDone, e.B, 0))
}

func TestDrainingAgent(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	hungUp := make(chan bool, 1)
	served := make(chan *proto.Request, 1)
	w.rawAgent("local", func(c *ipc.Conn) {
		r := nextRequest(c)
		c.WriteFrame(proto.TypeDrain, nil)
		reply(c, r, true) // it crossed the Drain
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _, err := c.ReadFrame()
		hungUp <- err != nil
	}, func(c *ipc.Conn) {
		r := nextRequest(c)
		served <- r
		reply(c, r, false)
		c.ReadFrame() // until qmgr hangs up
	})
	w.start()
	id := w.mail("a@local.example")
	w.in(id, "")
	if !<-hungUp {
		t.Error("qmgr did not hang up on the draining agent")
	}
	if r := <-served; len(r.Recipients) != 1 {
		t.Errorf("the second agent got %v", r.Recipients)
	}
	w.ledger(qmgr.Status{Accepted: 1, Delivered: 1})
}

func TestLyingAgent(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.rawAgent("local", func(c *ipc.Conn) {
		r := nextRequest(c)
		// Outcomes for nobody, twice, for another request, and a Done without one.
		for _, num := range []uint32{77, 0, 0} {
			o := sent
			o.Num = num
			var e wire.Encoder
			proto.EncodeOutcome(&e, r.Seq, &o)
			c.WriteFrame(proto.TypeOutcome, e.B)
			e.B = nil
			proto.EncodeOutcome(&e, r.Seq+50, &o)
			c.WriteFrame(proto.TypeOutcome, e.B)
		}
		var e wire.Encoder
		(&proto.Done{Seq: r.Seq}).Encode(&e)
		c.WriteFrame(proto.TypeDone, e.B)
		c.WriteFrame(99, nil)
		c.ReadFrame()
	})
	w.start()
	id := w.mail("a@local.example", "b@local.example")
	w.in(id, queue.Deferred)
	w.ledger(qmgr.Status{Accepted: 2, Delivered: 1, Deferred: 1})
}

func TestCrashingAgentSuspendsTransport(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	crash := func(c *ipc.Conn) { nextRequest(c) }
	w.rawAgent("local", crash, crash, crash)
	w.start()
	for range 3 {
		w.in(w.mail("a@local.example"), queue.Deferred)
	}
	w.in(w.mail("b@local.example"), queue.Deferred)
	if !w.log.has("premature end-of-input on ") || !w.log.has("to=<b@local.example>, relay=none") || !w.log.has("status=deferred (mail transport unavailable)") {
		t.Error("the transport was not suspended after three crashes")
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	w := newWorld(t)
	w.set.idle = 30 * time.Millisecond
	hungUp := make(chan struct{})
	w.rawAgent("local", func(c *ipc.Conn) {
		reply(c, nextRequest(c), false)
		c.ReadFrame()
		close(hungUp)
	})
	w.start()
	w.in(w.mail("a@local.example"), "")
	<-hungUp
}

func TestService(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(sent))
	w.start()
	path := w.listen()
	n := qmgr.NewNotifier(path)
	defer n.Close()
	var ids []string
	for range 20 {
		id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "u@local.example")
		n.Notify(id)
		ids = append(ids, id)
	}
	for _, id := range ids {
		w.in(id, "")
	}
	c, err := qmgr.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held := w.message(queue.Hold, envelope.Message{}, "u@local.example")
	s, err := c.Status()
	if err != nil || s.Delivered != 20 || s.Held != 1 || !s.Balanced() {
		t.Errorf("Status = %+v, %v, want 20 delivered, 1 held", s, err)
	}
	if err := c.FlushSite("x.example"); err == nil {
		t.Error("FlushSite of an unlisted domain is no error")
	}
	if err := c.Flush(); err != nil {
		t.Errorf("Flush = %v", err)
	}
	if err := c.FlushID(held); err != nil {
		t.Errorf("FlushID of a held message = %v", err)
	}
	if err := c.LetGo(qmgr.Delete, held); err == nil || err.Error() != qmgr.NotActive {
		t.Errorf("LetGo of a held message = %v, want %q", err, qmgr.NotActive)
	}
	w.in(held, queue.Hold)
}

// A message whose file cannot be moved or written stays where it is.
func TestSpoolTrouble(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.agent("local", all(sent))
	w.make()
	w.q.postpone(candidate{id: "x", queue: queue.Incoming})
	w.q.later = nil
	id := w.mail("a@local.example")
	c := candidate{id: id, queue: queue.Deferred} // it is in incoming: not found
	if m := w.q.activate(c); m != nil {
		t.Error("a message was activated from where it is not")
	}
	w.q.start()
	w.in(id, "")
}

func TestReportsAreSplit(t *testing.T) {
	w := newWorld(t)
	w.agent("local", func(_ context.Context, j *delivery.Job) {
		for i := range j.Recipients {
			j.Report(i, refused, time.Time{}, 0)
		}
	})
	w.make()
	m := envelope.Message{ID: queue.NewID(clock.Now()), Arrival: clock.Now(), Sender: "a@x.example"}
	f, err := w.spool.Create(queue.Incoming, &m)
	if err != nil {
		t.Fatal(err)
	}
	for range 2500 {
		f.Recipient(&envelope.Recipient{Address: "u@local.example"})
	}
	f.Write([]byte("\r\n"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	w.q.start()
	w.in(m.ID, "")
	w.reports.mu.Lock()
	defer w.reports.mu.Unlock()
	n := 0
	for _, r := range w.reports.l {
		n += len(r.Recipients)
		if len(r.Recipients) > 1000 {
			t.Errorf("a report with %d recipients", len(r.Recipients))
		}
	}
	if n != 2500 || len(w.reports.l) < 3 {
		t.Errorf("%d recipients in %d reports, want 2500 in 3 or more", n, len(w.reports.l))
	}
}

// With a full disk, outcomes cannot be written and files cannot be moved: the
// message stays active, keeps its outcomes in memory, and goes on when there is
// room.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.set.pause = 20 * time.Millisecond
	var full atomic.Bool
	var refusals atomic.Int32
	real := (*durable.Ops)(nil).Fill()
	ops := *real
	ops.Pwrite = func(fd int, p []byte, off int64) (int, error) {
		if full.Load() {
			refusals.Add(1)
			return 0, unix.ENOSPC
		}
		return real.Pwrite(fd, p, off)
	}
	sp, err := queue.Open(w.dir, queue.Options{Syncfs: "no", Ops: &ops})
	if err != nil {
		t.Fatal(err)
	}
	w.spool = sp
	var deliveries atomic.Int32
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		full.Store(true)
		deliveries.Add(1)
		for i := range j.Recipients {
			o := sent
			if i == 1 {
				o = laterOn
			}
			j.Report(i, o, time.Time{}, 0)
		}
	})
	w.start()
	id := w.mail("a@local.example", "b@local.example")
	w.until("some refused writes", func() bool { return refusals.Load() > 3 })
	if q, err := w.spool.Find(id); err != nil || q != queue.Active {
		t.Errorf("with a full disk the message is in %q, %v, want active", q, err)
	}
	full.Store(false)
	w.in(id, queue.Deferred)
	if n := deliveries.Load(); n != 1 {
		t.Errorf("%d delivery requests, want 1", n)
	}
	w.ledger(qmgr.Status{Accepted: 2, Delivered: 1, Deferred: 1})
}
