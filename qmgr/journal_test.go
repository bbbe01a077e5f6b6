package main

import (
	"os"
	"path/filepath"
	"testing"

	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/journal/journaltest"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

// TestJournal: what a power failure took from the queue, but not from the journal of
// new messages, is delivered, at the start and when another cleanup has died.
func TestJournal(t *testing.T) {
	w := newWorld(t)
	w.agent("now", all(sent))
	lose := func() (id string) {
		id = w.message(queue.Hold, envelope.Message{Sender: "a@x.example"}, "u@now.example")
		path := w.spool.Path(queue.Hold, id)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		journaltest.Lost(t, filepath.Join(w.dir, queue.JournalDir), content)
		return id
	}
	delivered := func(id string) {
		t.Helper()
		w.until(id+" is delivered", func() bool { return w.log.has(id + ": removed") })
		if !w.log.has(id + ": restored from the journal of new messages") {
			t.Error("nothing says where it came from")
		}
		w.until("the journal is gone", func() bool {
			l, err := os.ReadDir(filepath.Join(w.dir, queue.JournalDir))
			return err == nil && len(l) == 0
		})
	}
	id := lose()
	w.start()
	delivered(id)

	// The next queue run looks again.
	id = lose()
	w.q.mu.Lock()
	w.q.nextRun = clock.Now()
	w.q.mu.Unlock()
	w.q.kick()
	delivered(id)

	// And when a cleanup goes.
	id = lose()
	n := qmgr.NewNotifier(w.listen())
	other := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "u@now.example")
	n.Notify(other)
	w.in(other, "")
	n.Close()
	delivered(id)
}
