package main

import (
	"context"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/delivery"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

func TestLetGo(t *testing.T) {
	w := newWorld(t)
	w.limits.Limit = 1
	w.limits.RecipientLimit = 1
	var once sync.Once
	first, release := make(chan struct{}), make(chan struct{})
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		once.Do(func() { close(first) })
		<-release
		all(sent)(ctx, j)
	})
	w.start()
	id := w.mail("a@local.example", "b@local.example")
	<-first
	text := make(chan string, 1)
	go func() { text <- w.q.drop(&qmgr.LetGo{Action: qmgr.Hold, ID: id}) }()
	w.until("the message is given up", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.active[id].letGo != nil })
	close(release)
	if s := <-text; s != "" {
		t.Errorf("LetGo says %q, want nothing", s)
	}
	w.in(id, queue.Hold)
	w.ledger(qmgr.Status{Accepted: 2, Delivered: 1, Removed: 1})
	f, err := w.spool.Load(queue.Hold, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Pending() != 1 {
		t.Errorf("%d recipients pending in hold, want 1: the delivered one is recorded", f.Pending())
	}
	if s := w.q.drop(&qmgr.LetGo{ID: id}); s != qmgr.NotActive {
		t.Errorf("LetGo of a message that is not active says %q", s)
	}
}

// A delivery that takes long does not keep postsuper waiting: what is asked for
// is done when it ends, and the last request counts.
func TestLetGoDuringALongDelivery(t *testing.T) {
	w := newWorld(t)
	busy, end := w.slow("local", all(laterOn))
	w.set.letGoWait = 10 * time.Millisecond
	w.make()
	w.start()
	for _, tc := range []struct {
		asked []qmgr.Action
		where string
	}{
		{[]qmgr.Action{qmgr.Hold}, queue.Hold},
		{[]qmgr.Action{qmgr.Hold, qmgr.Hold, qmgr.Requeue}, queue.Maildrop},
		{[]qmgr.Action{qmgr.Requeue, qmgr.Delete}, ""},
	} {
		id := w.mail("a@local.example")
		w.await(busy, "the delivery begins")
		for _, a := range tc.asked {
			if s := w.q.drop(&qmgr.LetGo{Action: a, ID: id}); s != qmgr.UnderWay {
				t.Errorf("action %d of %v: %q, want %q", a, tc.asked, s, qmgr.UnderWay)
			}
		}
		if tc.where == "" {
			if s := w.q.drop(&qmgr.LetGo{Action: qmgr.Hold, ID: id}); s != "it is about to be deleted" {
				t.Errorf("hold of what is to be deleted: %q", s)
			}
		}
		end <- struct{}{}
		w.in(id, tc.where)
		last := tc.asked[len(tc.asked)-1].String()
		w.until("the end is logged", func() bool { return w.log.has(id + ": " + last) })
	}
}

// Of two who wait, the one whose request came first looks again.
func TestLetGoByTwo(t *testing.T) {
	w := newWorld(t)
	busy, end := w.slow("local", all(laterOn))
	w.start()
	id := w.mail("a@local.example")
	w.await(busy, "the delivery begins")
	texts := map[qmgr.Action]chan string{qmgr.Hold: make(chan string, 1), qmgr.Delete: make(chan string, 1)}
	for _, a := range []qmgr.Action{qmgr.Hold, qmgr.Delete} {
		go func() { texts[a] <- w.q.drop(&qmgr.LetGo{Action: a, ID: id}) }()
		w.until("the request is seen", func() bool {
			w.q.mu.Lock()
			defer w.q.mu.Unlock()
			l := w.q.active[id].letGo
			return l != nil && l.Action == a
		})
	}
	end <- struct{}{}
	if s := <-texts[qmgr.Delete]; s != "" {
		t.Errorf("delete: %q", s)
	}
	if s := <-texts[qmgr.Hold]; s != qmgr.Again {
		t.Errorf("hold: %q, want %q", s, qmgr.Again)
	}
	w.in(id, "")
}

// A message that is done while postsuper asks for it: postsuper hears so at
// once.
func TestLetGoOfAMessageThatLeaves(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(refused))
	text := make(chan string, 1)
	var id string
	w.reports.hook = func() {
		go func() { text <- w.q.drop(&qmgr.LetGo{Action: qmgr.Hold, ID: id}) }()
		w.until("the request is known", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.active[id].letGo != nil })
	}
	w.make()
	id = w.mail("a@local.example")
	w.start()
	select {
	case s := <-text:
		if s != qmgr.NotActive {
			t.Errorf("LetGo says %q, want %q", s, qmgr.NotActive)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("LetGo has no answer")
	}
	w.in(id, "")
}

// Only root and the queue's owner may take messages out.
func TestLetGoByStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: another uid needs root")
	}
	w := newWorld(t)
	w.start()
	os.Chmod(w.dir, 0o755)
	path := w.listen()
	os.Chmod(path, 0o666)
	ask := func() error {
		c, err := qmgr.Dial(path)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.LetGo(qmgr.Delete, "4jYFPP6zcRzmTrSK")
	}
	if err := ask(); err == nil || err.Error() != qmgr.NotActive {
		t.Errorf("root is told %v", err)
	}
	got := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 20001, ^uintptr(0)); e != 0 {
			got <- e
			return
		}
		got <- ask()
	}()
	if err := <-got; err == nil || err.Error() == qmgr.NotActive {
		t.Errorf("a stranger is told %v", err)
	}
	w.until("the log", func() bool { return w.log.has("may not administer the queue") })
}
