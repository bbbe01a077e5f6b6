package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

// where returns the queue that a message lies in.
func (w *world) where(id string) string {
	w.t.Helper()
	q, err := w.spool.Find(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// settle starts qmgr and waits for the end of its first look into incoming.
func (w *world) settle() {
	w.t.Helper()
	w.start()
	w.until("the scan has ended", func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		return !w.q.incoming.more && !w.q.incoming.scanning
	})
}

// What cleanup announces is delivered from incoming, and moves only if that
// takes long.
func TestFresh(t *testing.T) {
	w := newWorld(t)
	busy, end := w.slow("local", all(sent))
	w.settle()
	id := w.mail("a@local.example")
	w.await(busy, "the delivery begins")
	if q := w.where(id); q != queue.Incoming {
		t.Errorf("the message is in %s while it is delivered, want incoming", q)
	}
	w.in(id, queue.Active)
	end <- struct{}{}
	w.in(id, "")
	id = w.mail("a@local.example")
	w.await(busy, "the second delivery begins")
	if q := w.where(id); q != queue.Incoming {
		t.Errorf("the second message is in %s while it is delivered, want incoming", q)
	}
	end <- struct{}{}
	w.in(id, "")
	id = w.mail("b@local.example") // the sweep goes on
	w.await(busy, "the third delivery begins")
	w.in(id, queue.Active)
	end <- struct{}{}
	w.in(id, "")
	w.ledger(qmgr.Status{Accepted: 3, Delivered: 3})
}

// A message that is delivered from incoming and has to stay goes where others go.
func TestFreshFates(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(laterOn))
	w.settle()
	w.in(w.mail("a@local.example"), queue.Deferred)
	busy, end := w.slow("slow", all(laterOn))
	for action, want := range map[qmgr.Action]string{qmgr.Hold: queue.Hold, qmgr.Requeue: queue.Maildrop, qmgr.Delete: ""} {
		id := w.mail("a@slow.example")
		w.await(busy, "the delivery begins")
		text := make(chan string)
		go func() { text <- w.q.drop(&qmgr.LetGo{Action: action, ID: id}) }()
		w.until("the request is seen", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.active[id].letGo != nil })
		end <- struct{}{}
		if got := <-text; got != "" {
			t.Errorf("action %d: %s", action, got)
		}
		w.in(id, want)
	}
}

// On a stop the file is in active before the successor may start, which would
// take for new what is in incoming.
func TestFreshStop(t *testing.T) {
	w := newWorld(t)
	busy, end := make(chan struct{}), make(chan struct{})
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		close(busy)
		<-end
		all(sent)(ctx, j)
	})
	w.settle()
	id := w.mail("a@local.example")
	w.await(busy, "the delivery begins")
	w.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.q.stop(ctx, func() {
		if q := w.where(id); q != queue.Active {
			t.Errorf("the message is in %s when the successor may start, want active", q)
		}
		close(end)
	})
	w.in(id, "")
}

// postsuper gets a new message before qmgr begins with it, or not at all.
func TestLetGoOfANewMessage(t *testing.T) {
	w := newWorld(t)
	var deliveries atomic.Int32
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		deliveries.Add(1)
		all(sent)(ctx, j)
	})
	w.settle()
	for action, want := range map[qmgr.Action]string{qmgr.Hold: queue.Hold, qmgr.Requeue: queue.Maildrop, qmgr.Delete: ""} {
		id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "a@local.example")
		fd, err := unix.Open(w.spool.Path(queue.Incoming, id), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Flock(fd, unix.LOCK_SH) // as an agent that an earlier process gave it to
		if text := w.q.drop(&qmgr.LetGo{Action: action, ID: id}); text != "try again" {
			t.Errorf("action %d on a message being delivered: %q", action, text)
		}
		unix.Close(fd)
		if text := w.q.drop(&qmgr.LetGo{Action: action, ID: id}); text != "" {
			t.Errorf("action %d: %s", action, text)
		}
		w.q.notified(id)
		w.in(id, want)
		if text := w.q.drop(&qmgr.LetGo{Action: action, ID: id}); text != qmgr.NotActive {
			t.Errorf("action %d, done: %q", action, text)
		}
	}
	if n := deliveries.Load(); n != 0 {
		t.Errorf("%d deliveries", n)
	}
	// An expired one is returned.
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "a@local.example")
	if text := w.q.drop(&qmgr.LetGo{Action: qmgr.Expire, ID: id}); text != "" {
		t.Error(text)
	}
	w.in(id, "")
	if k := w.reports.kinds(); k != "failure: a@local.example" {
		t.Errorf("reports: %q", k)
	}
}

// What an agent of an earlier process still delivers from incoming waits, even if
// it is announced anew.
func TestFreshAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.set.pause = 50 * time.Millisecond
	var deliveries atomic.Int32
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		deliveries.Add(1)
		all(sent)(ctx, j)
	})
	w.settle()
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "a@local.example")
	fd, err := unix.Open(w.spool.Path(queue.Incoming, id), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Flock(fd, unix.LOCK_SH)
	w.q.notified(id)
	w.until("the message is skipped", func() bool { return w.log.has(id + ": skipped, still being delivered") })
	time.Sleep(200 * time.Millisecond)
	if n := deliveries.Load(); n != 0 || w.where(id) != queue.Incoming {
		t.Errorf("%d deliveries of a locked message", n)
	}
	unix.Close(fd)
	w.in(id, "")
	if n := deliveries.Load(); n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
}

func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// However an announcement and postsuper meet, a message is delivered or held.
func TestLetGoRace(t *testing.T) {
	w := newWorld(t)
	var delivered sync.Map
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		delivered.Store(j.Message.ID, true)
		all(sent)(ctx, j)
	})
	w.settle()
	held := 0
	for i := range 300 {
		id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "a@local.example")
		pause := time.Duration(i%30-15) * 5 * time.Microsecond
		go func() {
			spin(pause)
			w.q.notified(id)
		}()
		spin(-pause)
		for end := time.Now().Add(10 * time.Second); ; {
			text := w.q.drop(&qmgr.LetGo{Action: qmgr.Hold, ID: id})
			q, err := w.spool.Find(id)
			if text == "" && q == queue.Hold {
				held++
				break
			}
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s is in %q, %v: %q", id, q, err, text)
			}
		}
		w.until("the message is settled", func() bool {
			w.q.mu.Lock()
			defer w.q.mu.Unlock()
			_, known := w.q.known[id]
			return w.q.active[id] == nil && !known
		})
		_, sent := delivered.Load(id)
		if q, _ := w.spool.Find(id); sent == (q == queue.Hold) {
			t.Fatalf("%s: delivered %v, in %q", id, sent, q)
		}
	}
	if held == 0 || held == 300 {
		t.Logf("one side was always first: %d of 300 held", held)
	}
}
