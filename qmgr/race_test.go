package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	proto "posthaste/pkg/proto/delivery"
	"posthaste/pkg/queue"
)

// On a reload agents drain as well as qmgr: what one of them is busy with must
// not keep the next qmgr from its start.
func TestStopLeavesADrainingAgent(t *testing.T) {
	w := newWorld(t)
	busy := make(chan struct{})
	w.rawAgent("local", func(c *ipc.Conn) {
		nextRequest(c)
		c.WriteFrame(proto.TypeDrain, nil)
		close(busy)
		c.ReadFrame() // until qmgr hangs up
	})
	w.start()
	id := w.mail("a@local.example")
	<-busy
	w.until("the Drain is seen", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.agents["local"].cur == nil })
	w.stopped = true
	ctx, cancel := context.WithCancel(context.Background())
	released, stopped := make(chan struct{}), make(chan struct{})
	go func() { w.q.stop(ctx, func() { close(released) }); close(stopped) }()
	w.await(released, "the successor may start although an agent is busy")
	cancel()
	<-stopped
	w.in(id, queue.Active)
}

// On a reload two processes are at work for a while. The old one sees its
// delivery to the end; the new one takes everything else, at once, and what the
// old one leaves of that message: nobody gets it twice.
func TestHandOver(t *testing.T) {
	for _, released := range []bool{false, true} {
		w := newWorld(t)
		w.set.pause = 50 * time.Millisecond
		w.limits.RecipientLimit = 1
		w.limits.Limit = 1
		busy, end := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		got := map[string]int{}
		w.agent("local", func(ctx context.Context, j *delivery.Job) {
			mu.Lock()
			got[j.Recipients[0].Address]++
			first := len(got) == 1
			mu.Unlock()
			if first {
				close(busy)
				<-end
			}
			all(sent)(ctx, j)
		})
		w.make()
		if released {
			w.q.open = maxOpen
		}
		slow := w.mail("a@local.example", "b@local.example")
		w.start()
		<-busy
		quick := w.mail("c@local.example")
		old := w.q
		ctx, cancel := context.WithCancel(context.Background())
		free, gone := make(chan struct{}), make(chan struct{})
		go func() { old.stop(ctx, func() { close(free) }); close(gone) }()
		w.await(free, "the successor may start")
		w.make()
		w.start()
		w.in(quick, "")
		w.in(slow, queue.Active)
		close(end)
		w.await(gone, "the old process has left")
		w.in(slow, "")
		cancel()
		mu.Lock()
		if fmt.Sprint(got) != "map[a@local.example:1 b@local.example:1 c@local.example:1]" {
			t.Errorf("released %v: deliveries: %v, want one each", released, got)
		}
		mu.Unlock()
		w.stop()
	}
}

// A scan sees a file that is still being written; the notice comes while it
// looks.
func TestAnnouncedWhileBeingLookedAt(t *testing.T) {
	w := newWorld(t)
	w.make()
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, "a@local.example")
	c := candidate{id: id, queue: queue.Incoming}
	w.q.mu.Lock()
	w.q.offer(c)
	w.q.incoming.list = nil // somebody has taken it
	w.q.mu.Unlock()
	w.q.notified(id)
	w.q.forget(c) // it was incomplete
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if len(w.q.incoming.list) != 1 {
		t.Error("the notice is lost")
	}
}

// The lock that tells the next qmgr that a message is being delivered is there
// for messages whose descriptor is closed between uses, too; and such a message
// waits in incoming though two restarts lie behind it.
func TestLockOfReleasedDescriptors(t *testing.T) {
	w := newWorld(t)
	w.set.pause = time.Hour
	busy, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		close(busy)
		<-end
	})
	w.make()
	w.q.open = maxOpen
	id := w.mail("a@local.example")
	w.start()
	<-busy
	w.halt(10 * time.Millisecond)
	if err := w.spool.Move(id, queue.Active, queue.Incoming); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.until("the message is left alone", func() bool { return w.log.has("skipped, still being delivered") })
	w.in(id, queue.Incoming)
}
