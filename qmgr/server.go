package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/wire"
)

// maxNotify bounds the ids in one Notify frame.
const maxNotify = 1 << 16

// serve answers one client: cleanup, postqueue, postsuper, posthaste.
func (q *manager) serve(ctx context.Context, nc net.Conn, draining <-chan struct{}) {
	c, err := ipc.Accept(nc, qmgr.Protocol, 10*time.Second)
	if err != nil {
		q.log.Warningf("qmgr service: %v", err)
		return
	}
	defer c.Close()
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-ctx.Done():
		case <-draining:
		case <-gone:
			return
		}
		c.SetReadDeadline(time.Now())
	}()
	notifies := false
	for {
		typ, p, err := c.ReadFrame()
		if err != nil {
			if notifies {
				q.cleanupGone()
				q.requestScan(&q.incoming, false) // for messages that it could not announce any more
			}
			var ne net.Error
			if !errors.Is(err, io.EOF) && !(errors.As(err, &ne) && ne.Timeout()) {
				q.log.Warningf("qmgr service: %v", err)
			}
			return
		}
		notifies = notifies || typ == qmgr.TypeNotify
		if err := q.request(c, typ, p); err != nil {
			q.log.Warningf("qmgr service: %v", err)
			return
		}
	}
}

// request handles one frame.
func (q *manager) request(c *ipc.Conn, typ byte, p []byte) error {
	d := wire.NewDecoder(p)
	answer := func(text string) error {
		var e wire.Encoder
		(&qmgr.Result{OK: text == "", Text: text}).Encode(&e)
		c.WriteWithin(time.Minute)
		return c.WriteFrame(qmgr.TypeResult, e.B)
	}
	switch typ {
	case qmgr.TypeNotify:
		n := d.Count()
		if n > maxNotify {
			return ipc.ErrProtocol
		}
		for range n {
			id := d.String()
			if d.Err() != nil || !queue.ValidID(id) {
				return wire.ErrMalformed
			}
			q.notified(id)
		}
		return d.Done()
	case qmgr.TypeScan:
		q.requestScan(&q.incoming, false)
		return nil
	case qmgr.TypeFlush:
		q.flush()
		return answer("")
	case qmgr.TypeFlushSite:
		site := d.String()
		if err := d.Done(); err != nil {
			return err
		}
		return answer(q.flushSite(site))
	case qmgr.TypeFlushID:
		id := d.String()
		if err := d.Done(); err != nil {
			return err
		}
		q.flushID(id)
		return answer("")
	case qmgr.TypeStatus:
		var e wire.Encoder
		s := q.status()
		s.Encode(&e)
		c.WriteWithin(time.Minute)
		return c.WriteFrame(qmgr.TypeStatusAns, e.B)
	case qmgr.TypeLetGo:
		// smtpd and postqueue have business here, but not this one.
		if cred, err := c.PeerCred(); err != nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
			return errors.New("a process that may not administer the queue wants a message given up")
		}
		l, err := qmgr.DecodeLetGo(p)
		if err != nil {
			return err
		}
		return answer(q.drop(l))
	}
	return ipc.ErrProtocol
}

// flush revives what is suspended and has all deferred mail tried.
func (q *manager) flush() {
	q.mu.Lock()
	q.sched.Revive()
	q.mu.Unlock()
	q.requestScan(&q.deferred, true)
	q.requestScan(&q.incoming, false)
}

// flushID has one message tried.
func (q *manager) flushID(id string) {
	if !queue.ValidID(id) {
		return
	}
	where, err := q.spool.Find(id)
	if err != nil || where != queue.Deferred && where != queue.Incoming {
		return
	}
	q.mu.Lock()
	q.sched.Revive()
	q.offer(candidate{id: id, queue: where})
	q.mu.Unlock()
}

// flushSite has the deferred mail with a recipient in a domain tried, and says
// why it does not.
func (q *manager) flushSite(site string) string {
	if q.flushSet == nil {
		return "Flush service is not configured for destination \"" + site + "\""
	}
	ok, err := q.flushSet(site)
	if err != nil {
		return "fast_flush_domains: " + err.Error()
	}
	if !ok {
		return "Flush service is not configured for destination \"" + site + "\""
	}
	q.mu.Lock()
	q.sched.Revive()
	q.mu.Unlock()
	// The queue itself is the index: it is read when somebody asks, not kept for
	// each deferral.
	want := address.Fold(site)
	err = q.spool.List(queue.Deferred, func(e queue.Entry) bool {
		if q.hasRecipientAt(e.ID, want) {
			q.mu.Lock()
			q.offer(candidate{id: e.ID, queue: queue.Deferred})
			q.mu.Unlock()
		}
		return q.ctx.Err() == nil
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

func (q *manager) hasRecipientAt(id, domain string) bool {
	f, err := q.spool.Load(queue.Deferred, id)
	if err != nil {
		return false
	}
	defer f.Close()
	var cur queue.Cursor
	for {
		l, err := f.Recipients(&cur, chunk)
		if err != nil || len(l) == 0 {
			return false
		}
		for i := range l {
			if address.Fold(address.Domain(l[i].Address)) == domain {
				return true
			}
		}
	}
}

// drop gives a message up, once the deliveries under way have ended.
func (q *manager) drop(l *qmgr.LetGo) string {
	q.mu.Lock()
	m := q.active[l.ID]
	if m == nil {
		if _, listed := q.known[l.ID]; listed {
			q.mu.Unlock()
			return qmgr.Again
		}
		q.known[l.ID] = false // so that it is not begun meanwhile
		q.mu.Unlock()
		return q.dropNew(l)
	}
	if m.letGo != nil && m.letGo.Action == qmgr.Delete && l.Action != qmgr.Delete {
		q.mu.Unlock()
		return "it is about to be deleted"
	}
	m.letGo = l
	w := make(chan string, 1)
	m.waiters = append(m.waiters, waiter{l.Action, w})
	q.cancelLocked(m)
	m.retryAt = time.Time{}
	q.mu.Unlock()
	q.poke(m)
	select {
	case text := <-w:
		return text
	case <-q.ctx.Done():
		return qmgr.Again
	case <-time.After(q.set.letGoWait):
		q.mu.Lock()
		defer q.mu.Unlock()
		m.waiters = slices.DeleteFunc(m.waiters, func(o waiter) bool { return o.text == w })
		select {
		case text := <-w: // at the last moment
			return text
		default:
			return qmgr.UnderWay
		}
	}
}

// letGoWait is how long postsuper waits for deliveries under way: longer than
// one to a mailbox takes, shorter than anybody likes to wait for each of many.
const letGoWait = time.Second

// waiter is told when a message has been given up.
type waiter struct {
	action qmgr.Action
	text   chan string
}

// trouble is the Text for an error.
func trouble(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return qmgr.Again // it moved
	}
	return err.Error()
}

// dropNew disposes of a message that qmgr has not begun with, and may not begin
// with meanwhile. It does so itself: what cleanup announces is delivered from
// incoming, where postsuper could not take it away in one step.
func (q *manager) dropNew(l *qmgr.LetGo) string {
	text := ""
	where, err := q.spool.Find(l.ID)
	switch {
	case err != nil || where != queue.Incoming:
		text = qmgr.NotActive
	case q.spool.Locked(where, l.ID): // an earlier process began with it
		text = qmgr.Again
	default:
		if err = q.dispose(where, l); err != nil {
			text = trouble(err)
		}
	}
	q.forget(candidate{id: l.ID})
	if text == "" && l.Action == qmgr.Expire {
		q.mu.Lock()
		q.offer(candidate{id: l.ID, queue: queue.Deferred})
		q.mu.Unlock()
	}
	return text
}
