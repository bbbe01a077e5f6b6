package main

import (
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/delivery"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/qmgr/internal/sched"
)

// message is one active message. The fields of the first group do not change;
// those of the second belong to the goroutine that works on the message (while
// working is set), but whoever uses the file's descriptor holds fd; mu of the
// manager guards the third.
type message struct {
	id        string
	env       *envelope.Message
	activated time.Time
	attempt   int
	lifetime  time.Duration
	filter    string
	force     bool // postsuper -e

	file     *queue.File
	cursor   queue.Cursor
	released bool // the descriptor is closed between uses

	sm        sched.Message
	working   bool
	gone      bool // left the active queue
	fresh     bool // its file may still be in incoming, for sweep to move
	again     bool // something happened while the goroutine was at work
	atEnd     bool // all recipients have been read
	cut       bool // some that were read are left without outcome, for the next process
	inCore    int  // recipients in memory that have no outcome yet
	remaining int  // recipients that count as active in the ledger
	outcomes  []envelope.Outcome
	failed    reportList
	delayed   reportList
	success   reportList
	trace     reportList
	postponed int  // recipients deferred in this pass
	expired   bool // some recipient failed for the message's age
	warn      bool // a delay notice is due
	cleared   bool // a notice that the delay is over is due
	retryAt   time.Time
	letGo     *qmgr.LetGo
	waiters   []waiter

	fd      sync.Mutex // held while the descriptor is in use, or the file moves
	removed bool       // guarded by fd
}

// reportList collects recipients for a report, as many as fit in one.
type reportList struct {
	l     []bounce.Recipient
	bytes int
}

func (r *reportList) add(x bounce.Recipient) {
	r.l = append(r.l, x)
	r.bytes += x.Size()
}

// full leaves room for the recipients of one more delivery.
func (r *reportList) full() bool {
	return len(r.l) >= bounce.MaxRecipients/2 || r.bytes >= bounce.MaxBytes/2
}

// take removes at most one report's worth.
func (r *reportList) take() []bounce.Recipient {
	n, bytes := 0, 0
	for n < len(r.l) && n < bounce.MaxRecipients && (n == 0 || bytes+r.l[n].Size() <= bounce.MaxBytes) {
		bytes += r.l[n].Size()
		n++
	}
	l := r.l[:n:n]
	r.l = r.l[n:]
	r.bytes -= bytes
	if len(r.l) == 0 {
		r.l, r.bytes = nil, 0
	}
	return l
}

// activateLoop takes candidates into the active queue.
func (q *manager) activateLoop() {
	for {
		c, ok := q.next()
		if !ok {
			return
		}
		q.begin(c)
	}
}

// begin activates a candidate that counts as starting.
func (q *manager) begin(c candidate) {
	m := q.activate(c)
	q.mu.Lock()
	q.starting--
	if q.draining {
		q.cond.Broadcast()
	}
	if m != nil {
		delete(q.known, c.id)
		q.active[m.id] = m
		m.working = true
		if m.fresh && !q.sweeping {
			q.sweeping = true
			time.AfterFunc(freshTime, q.sweep)
		}
	}
	q.mu.Unlock()
	if m != nil {
		q.service(m)
	}
}

// slow is how long the tables may take for a message, and stuck how long its
// activation as a whole, before new messages are left to the activators for a
// while. An activation that waits for a processor, while another goroutine's
// system call has it, is not slow in this sense.
const (
	slow      = 3 * time.Millisecond
	stuck     = 50 * time.Millisecond
	slowPause = 10 * time.Second
)

// handOverSince leaves new messages to the activators if more than limit has
// passed.
func (q *manager) handOverSince(start time.Time, limit time.Duration) {
	if time.Since(start) > limit {
		q.mu.Lock()
		q.handOver = time.Now().Add(slowPause)
		q.mu.Unlock()
	}
}

// notified takes a new message up at once, in the goroutine that heard of it,
// which saves two switches of goroutines a message. It is left to the activators
// when others wait already, or when tables are slow.
func (q *manager) notified(id string) {
	c := candidate{id: id, queue: queue.Incoming, fresh: true}
	now := time.Now()
	q.mu.Lock()
	if _, known := q.known[id]; known {
		// A scan may have seen the file before it was complete.
		q.known[id] = true
		q.mu.Unlock()
		return
	}
	if q.active[id] != nil || q.draining || len(q.incoming.list) > 0 || q.handOver.After(now) ||
		len(q.active)+q.starting >= q.set.activeLimit {
		q.offer(c)
		q.mu.Unlock()
		return
	}
	q.known[id] = false
	q.starting++
	q.mu.Unlock()
	q.begin(c)
	q.handOverSince(now, stuck)
}

// forget drops a candidate; whoever knows of it tells qmgr, or a scan finds it.
// One that was announced while it was looked at is looked at again.
func (q *manager) forget(c candidate) {
	q.mu.Lock()
	announced := q.known[c.id]
	delete(q.known, c.id)
	if announced {
		q.offer(candidate{id: c.id, queue: queue.Incoming})
	}
	q.mu.Unlock()
}

// activate opens a message and moves it into the active queue; nil if it cannot
// be, for now or at all.
func (q *manager) activate(c candidate) *message {
	f, err := q.spool.Load(c.queue, c.id)
	if err == nil && (c.recovered || c.verify) {
		if err = f.Verify(); err != nil {
			f.Close()
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist), errors.Is(err, queue.ErrIncomplete):
		q.forget(c) // taken by an administrator, or still being written
		return nil
	case errors.Is(err, queue.ErrCorrupt):
		q.log.Warningf("%v: moved to the corrupt queue", err)
		if err := q.spool.Corrupt(c.queue, c.id); err != nil {
			q.log.Warningf("%v", err)
		}
		q.forget(c)
		return nil
	default:
		q.log.Warningf("%s: %v", c.id, err)
		q.putOff(c)
		return nil
	}
	if f = q.lock(f, c); f == nil {
		return nil
	}
	if c.fresh {
		return q.enter(f, c)
	}
	if err := f.Move(queue.Active); err != nil {
		f.Close()
		if errors.Is(err, os.ErrNotExist) {
			q.forget(c)
			return nil
		}
		q.log.Warningf("%s: %v", c.id, err)
		q.putOff(c)
		return nil
	}
	return q.enter(f, c)
}

func (q *manager) putOff(c candidate) {
	q.mu.Lock()
	q.postpone(c)
	q.mu.Unlock()
}

// lock marks the message as being delivered. The lock lies on the descriptor
// that agents get copies of, so that it lasts while one of them is at work, even
// if this process dies; a recovered message that is still locked waits. The file
// comes back as it is under the lock: who had it until now may have put down
// outcomes since it was read. Nil means that it cannot be had.
func (q *manager) lock(f *queue.File, c candidate) *queue.File {
	fd, err := f.FD()
	if err != nil {
		f.Close()
		q.putOff(c)
		return nil
	}
	// Any may be one that an earlier process had, in active or still in incoming.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		f.Close()
		if c.queue != queue.Active { // those were counted at the start
			q.log.Event(maillog.Line{ID: c.id, Message: "skipped, still being delivered"})
		}
		c.fresh, c.verify = false, true
		q.putOff(c)
		return nil
	}
	if !c.recovered && !c.verify {
		return f
	}
	defer f.Close()
	unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	again, err := q.spool.Load(c.queue, c.id)
	if err == nil {
		if fd, err = again.FD(); err == nil {
			unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
			return again
		}
		again.Close()
	}
	if errors.Is(err, os.ErrNotExist) {
		q.forget(c) // done meanwhile
		return nil
	}
	q.log.Warningf("%s: %v", c.id, err)
	q.putOff(c)
	return nil
}

// descriptor is the queue file's, for sending; the caller holds m.fd. One that
// is opened again needs its lock again.
func (m *message) descriptor() (int, error) {
	fd, err := m.file.FD()
	if err == nil && m.released {
		unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	}
	return fd, err
}

// enter makes a loaded file an active message.
func (q *manager) enter(f *queue.File, c candidate) *message {
	env := f.Message()
	m := &message{id: c.id, env: env, file: f, activated: clock.Now(), filter: f.Filter(), force: f.ForceExpire(), fresh: c.fresh}
	m.lifetime = q.set.lifetime
	if env.Sender == "" {
		m.lifetime = q.set.bounceLife
	}
	if f.Attempted() || c.queue == queue.Deferred {
		m.attempt = 1
	}
	n := f.Pending()
	warned := !f.Marked(queue.DelayWarned).IsZero()
	m.warn = q.set.delayWarning > 0 && !warned && env.Sender != "" && m.activated.Sub(env.Arrival) >= q.set.delayWarning
	m.cleared = q.set.delayCleared && warned && env.Sender != ""
	m.remaining = n
	m.sm.Ref = m
	q.log.Event(maillog.QueueActive{ID: m.id, From: address.Quote(env.Sender), Size: f.ContentLength(), Rcpts: n})
	q.mu.Lock()
	if m.attempt == 0 && !c.recovered {
		q.ledger.Accepted += int64(n)
	} else {
		q.ledger.Retried += int64(n)
	}
	q.ledger.Active += int64(n)
	if q.open >= maxOpen {
		m.released = true
	} else {
		q.open++
	}
	q.mu.Unlock()
	if m.released {
		f.Release()
	}
	return m
}

// freshTime is how long the file of a message that was just announced may stay
// in incoming. Most are delivered by then, and need no rename.
const freshTime = time.Second

// sweep moves the files of messages that take longer into the active queue.
func (q *manager) sweep() {
	now := clock.Now()
	var l []*message
	q.mu.Lock()
	q.sweeping = false
	for _, m := range q.active {
		switch {
		case !m.fresh:
		case now.Sub(m.activated) < freshTime/2:
			q.sweeping = true
		default:
			l = append(l, m)
		}
	}
	q.mu.Unlock()
	for _, m := range l {
		if err := q.intoActive(m); err != nil && !errors.Is(err, os.ErrNotExist) {
			q.log.Warningf("%s: %v", m.id, err) // it can be delivered all the same
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range l {
		m.fresh = false
	}
	if q.sweeping {
		time.AfterFunc(freshTime, q.sweep)
	}
}

// intoActive moves the file of an active message that was left in incoming.
// Whatever but its removal happens to it happens in the active queue.
func (q *manager) intoActive(m *message) error {
	m.fd.Lock()
	defer m.fd.Unlock()
	if m.removed || m.file.Queue() == queue.Active {
		return nil
	}
	return m.file.Move(queue.Active)
}

// chunk is the most recipients read at a time.
const chunk = 1000

// want is how many more recipients of m may be read; the caller holds mu. One
// message may take half of the room for recipients. Where there is little room,
// each may still have qmgr_message_recipient_minimum: what has no recipient in
// memory gets some whatever the others have, since nothing would call for it
// again.
func (q *manager) want(m *message) int {
	if m.atEnd || q.draining || m.letGo != nil {
		return 0
	}
	if room := min(q.set.rcptLimit-q.inCore, q.set.rcptLimit/2-m.inCore, chunk); room >= min(50, q.set.rcptLimit/4) {
		return room
	}
	most := max(q.set.rcptMinimum, 1)
	if low := most - m.inCore; low >= (most+1)/2 {
		return low
	}
	return 0
}

// readMore reads recipients, resolves them and hands them to the scheduler.
func (q *manager) readMore(m *message, n int) {
	m.fd.Lock()
	rcpts, err := m.file.Recipients(&m.cursor, n)
	if m.released {
		m.file.Release()
	}
	m.fd.Unlock()
	if err != nil {
		q.log.Warningf("%v", err)
		q.mu.Lock()
		if errors.Is(err, queue.ErrCorrupt) {
			m.atEnd = true
			m.postponed++ // keep the file
		} else {
			m.retryAt = clock.Now().Add(q.set.pause)
		}
		q.mu.Unlock()
		return
	}
	start := time.Now()
	groups := q.resolve(m, rcpts)
	q.handOverSince(start, slow)
	q.mu.Lock()
	m.inCore += len(rcpts)
	q.inCore += len(rcpts)
	if m.cursor.AtEnd() || len(rcpts) < n {
		m.atEnd = true
	}
	var names []string
	if m.letGo != nil || q.draining {
		// They are somebody else's now.
		m.cut = true
		m.inCore -= len(rcpts)
		q.inCore -= len(rcpts)
		groups = nil
	}
	for _, g := range groups {
		if g.trouble == nil {
			if g.trouble = q.sched.Add(&m.sm, g.transport, g.nexthop, g.key, g.rcpts...); g.trouble == nil {
				names = append(names, g.transport)
			}
		}
	}
	q.mu.Unlock()
	for _, g := range groups {
		switch {
		case g.discard:
			q.immediate(m, g, envelope.Sent)
		case g.trouble != nil:
			q.immediate(m, g, envelope.Deferred)
		}
	}
	for i, t := range names {
		if i == 0 || names[i-1] != t {
			q.pump(t)
		}
	}
}

// group is recipients that go the same way.
type group struct {
	transport, nexthop, key string
	rcpts                   []envelope.Recipient
	trouble                 *sched.Trouble
	discard                 bool
}

// resolve finds each recipient's way and puts those of the same way together,
// in the order in which they were first seen.
func (q *manager) resolve(m *message, rcpts []envelope.Recipient) []*group {
	var l []*group
	var index map[string]*group
	for i := range rcpts {
		g := q.resolveOne(m, &rcpts[i])
		key := g.transport + "\x00" + g.key + "\x00" + g.nexthop
		if g.trouble != nil {
			key += "\x00" + g.trouble.Text
		}
		if len(rcpts) > 1 {
			if o := index[key]; o != nil && o.discard == g.discard {
				o.rcpts = append(o.rcpts, rcpts[i])
				continue
			}
			if index == nil {
				index = map[string]*group{}
			}
			index[key] = g
		}
		g.rcpts = append(g.rcpts, rcpts[i])
		l = append(l, g)
	}
	return l
}

// resolveOne finds the way of r, and its final address.
func (q *manager) resolveOne(m *message, r *envelope.Recipient) *group {
	if m.force {
		return &group{trouble: &sched.Trouble{DSN: "4.7.0", Text: "message is administratively expired"}}
	}
	local, domain := address.Split(r.Address)
	if strings.EqualFold(local, q.set.doubleBounce) {
		if ok, err := q.router.IsLocal(domain); err == nil && (ok || domain == "") {
			q.log.Warningf("%s: undeliverable postmaster notification discarded", m.id)
			return &group{discard: true, trouble: &sched.Trouble{DSN: "2.0.0", Text: "undeliverable postmaster notification discarded"}}
		}
	}
	g := &group{}
	if m.filter != "" {
		g.transport, g.nexthop, _ = strings.Cut(m.filter, ":")
		if g.nexthop == "" {
			if g.nexthop = q.set.filterNexthop; g.nexthop == "" {
				g.nexthop = domain
			}
		}
	} else {
		w, err := q.router.Resolve(m.env.Sender, r.Address)
		if err != nil {
			q.log.Warningf("%s: resolve %s: %v", m.id, r.Address, err)
			g.trouble = &sched.Trouble{DSN: "4.3.0", Text: "address resolver failure"}
			return g
		}
		g.transport, g.nexthop = w.Transport, w.Nexthop
		if w.Recipient != "" {
			r.Address = w.Recipient
		}
	}
	if q.set.deferred[g.transport] {
		g.trouble = &sched.Trouble{DSN: "4.3.2", Text: "deferred transport"}
		return g
	}
	g.key = g.nexthop
	if q.rcptLimit(g.transport) == 1 {
		local, _ := address.Split(r.Address)
		if g.transport == q.set.localName && q.set.delims != "" {
			local, _ = address.SplitExtension(local, q.set.delims)
		}
		g.key = address.Fold(local) + "@" + g.nexthop
	}
	return g
}

func (q *manager) rcptLimit(transport string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sched.RecipientLimit(transport)
}

// request makes the part of a delivery request that all share.
func (m *message) request(e *sched.Entry, started time.Time) *delivery.Request {
	return &delivery.Request{
		Message: *m.env, Transport: e.Transport, Nexthop: e.Nexthop,
		ContentOffset: m.file.ContentOffset(), ContentLength: m.file.ContentLength(), DotLines: m.file.DotLines(), EightBit: m.file.EightBit(),
		Activated: m.activated, Started: started, Attempt: m.attempt, Recipients: e.Recipients,
	}
}
