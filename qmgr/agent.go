package main

import (
	"errors"
	"io"
	"time"

	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/delivery"
	"posthaste/pkg/wire"
	"posthaste/qmgr/internal/sched"
)

// agent is what qmgr knows of one transport's delivery agents. mu of the
// manager guards it.
type agent struct {
	name    string
	cur     *link // takes new requests
	links   map[*link]bool
	dialing bool
	crashes int // connections lost in a row, with requests and without any answer
}

// link is the connection with one agent process.
type link struct {
	a     *agent
	conn  *ipc.Conn
	reqs  map[uint64]*flight
	seq   uint64
	since time.Time // idle since
}

// flight is one request that an agent has.
type flight struct {
	e       *sched.Entry
	m       *message
	started time.Time
	left    map[uint32]int // recipients without outcome: Num to index; nil for a single one
	alone   bool           // the single recipient has no outcome yet
}

func newFlight(e *sched.Entry, m *message) *flight {
	f := &flight{e: e, m: m, started: clock.Now()}
	if len(e.Recipients) == 1 {
		f.alone = true
		return f
	}
	f.left = make(map[uint32]int, len(e.Recipients))
	for i := range e.Recipients {
		f.left[e.Recipients[i].Num] = i
	}
	return f
}

// take returns the index of a recipient that had no outcome so far.
func (f *flight) take(num uint32) (int, bool) {
	if f.left == nil {
		ok := f.alone && f.e.Recipients[0].Num == num
		f.alone = f.alone && !ok
		return 0, ok
	}
	i, ok := f.left[num]
	delete(f.left, num)
	return i, ok
}

// missing returns the recipients without outcome.
func (f *flight) missing() []envelope.Recipient {
	if f.left == nil {
		if f.alone {
			return f.e.Recipients
		}
		return nil
	}
	var l []envelope.Recipient
	for i := range f.e.Recipients {
		if _, ok := f.left[f.e.Recipients[i].Num]; ok {
			l = append(l, f.e.Recipients[i])
		}
	}
	return l
}

func (q *manager) agent(name string) *agent {
	a := q.agents[name]
	if a == nil {
		a = &agent{name: name, links: map[*link]bool{}}
		q.agents[name] = a
	}
	return a
}

// pump hands a transport's deliveries to its agent, as many as may run.
func (q *manager) pump(name string) {
	for sent := false; ; sent = true {
		q.mu.Lock()
		if q.draining || !q.sched.Runnable(name) {
			if sent && q.sched.Paused(name) {
				q.kick() // sets the timer for the end of the pause
			}
			q.mu.Unlock()
			return
		}
		a := q.agent(name)
		l := a.cur
		if l == nil {
			if !a.dialing {
				a.dialing = true
				q.tasks.Go(func() { q.dial(a) })
			}
			q.mu.Unlock()
			return
		}
		e := q.sched.Next(name)
		if e == nil {
			q.mu.Unlock()
			return
		}
		m := e.Message.Ref.(*message)
		f := newFlight(e, m)
		l.seq++
		seq := l.seq
		l.reqs[seq] = f
		q.mu.Unlock()
		q.send(l, seq, f)
	}
}

// send writes one request. If that fails, the agent cannot have begun with it.
func (q *manager) send(l *link, seq uint64, f *flight) {
	m := f.m
	r := m.request(f.e, f.started)
	r.Seq = seq
	var enc wire.Encoder
	enc.B = make([]byte, 0, 512+128*len(r.Recipients))
	r.Encode(&enc)
	m.fd.Lock()
	fd, err := m.descriptor()
	if err == nil {
		l.conn.WriteWithin(q.set.dialTimeout)
		err = l.conn.WriteFrame(delivery.TypeRequest, enc.B, fd)
		if err != nil {
			l.conn.Close() // its reader sees to the other requests
		}
	} else {
		q.log.Warningf("%s: %v", m.id, err)
	}
	if m.released {
		m.file.Release()
	}
	m.fd.Unlock()
	if err == nil {
		return
	}
	q.mu.Lock()
	if l.reqs[seq] != f {
		q.mu.Unlock()
		return // the reader was faster
	}
	delete(l.reqs, seq)
	if l.a.cur == l {
		l.a.cur = nil
	}
	q.mu.Unlock()
	q.giveUp(f, sched.Trouble{DSN: "4.3.0", Text: "mail transport unavailable"})
}

// giveUp defers what a request has no outcome for.
func (q *manager) giveUp(f *flight, why sched.Trouble) {
	if l := f.missing(); len(l) > 0 {
		q.immediate(f.m, &group{transport: f.e.Transport, nexthop: f.e.Nexthop, rcpts: l, trouble: &why}, envelope.Deferred)
	}
	q.mu.Lock()
	refused := q.sched.Done(f.e, nil)
	q.mu.Unlock()
	q.refused(refused)
	q.poke(f.m)
}

// refused defers recipients that the scheduler gave back.
func (q *manager) refused(l []sched.Refused) {
	for i := range l {
		r := &l[i]
		m := r.Message.Ref.(*message)
		q.immediate(m, &group{transport: r.Transport, nexthop: r.Nexthop, rcpts: r.Recipients, trouble: &r.Trouble}, envelope.Deferred)
		q.poke(m)
	}
}

// dial connects to a transport's agent; if there is none, the transport is
// suspended for transport_retry_time.
func (q *manager) dial(a *agent) {
	path := q.set.agentDir + "/" + a.name
	conn, err := ipc.Dial(path, delivery.Protocol, q.set.dialTimeout)
	q.mu.Lock()
	a.dialing = false
	if err == nil && q.ctx.Err() != nil {
		conn.Close()
		err = q.ctx.Err()
	}
	if err != nil {
		q.mu.Unlock()
		if q.ctx.Err() == nil {
			q.log.Warningf("connect to transport %s: %v", path, err)
			q.suspend(a)
		}
		return
	}
	l := &link{a: a, conn: conn, reqs: map[uint64]*flight{}, since: clock.Now()}
	a.cur = l
	a.links[l] = true
	q.mu.Unlock()
	q.kick() // sets the timer that closes idle connections
	q.tasks.Go(func() { q.read(l) })
	q.pump(a.name)
}

func (q *manager) suspend(a *agent) {
	q.mu.Lock()
	a.crashes = 0
	l := q.sched.Suspend(a.name, sched.Trouble{DSN: "4.3.0", Text: "mail transport unavailable"}, q.set.retryTime)
	q.mu.Unlock()
	q.refused(l)
}

// maxCrashes is how many connections in a row may be lost before the transport
// is suspended.
const maxCrashes = 3

// read takes an agent's answers until the connection ends.
func (q *manager) read(l *link) {
	err := q.answers(l)
	l.conn.Close()
	q.mu.Lock()
	a := l.a
	if a.cur == l {
		a.cur = nil
	}
	delete(a.links, l)
	lost := l.reqs
	l.reqs = nil
	if len(lost) > 0 {
		a.crashes++
	}
	crashes := a.crashes
	quiet := q.ctx.Err() != nil
	q.mu.Unlock()
	if len(lost) > 0 && !quiet {
		if errors.Is(err, io.EOF) {
			q.log.Warningf("premature end-of-input on %s/%s", q.set.agentDir, a.name)
		} else {
			q.log.Warningf("%s/%s: %v", q.set.agentDir, a.name, err)
		}
	}
	if quiet {
		return // the files stay in active, without outcomes that nobody reported
	}
	if crashes >= maxCrashes {
		q.suspend(a)
	}
	for _, f := range lost {
		q.giveUp(f, sched.Trouble{DSN: "4.3.0", Text: "unknown mail transport error"})
	}
	q.pump(a.name)
}

func (q *manager) answers(l *link) error {
	for {
		typ, p, err := l.conn.ReadFrame()
		if err != nil {
			return err
		}
		switch typ {
		case delivery.TypeOutcome:
			seq, o, err := delivery.DecodeOutcome(p)
			if err != nil {
				return err
			}
			q.mu.Lock()
			if f := l.reqs[seq]; f != nil {
				if i, ok := f.take(o.Num); ok {
					q.settle(f.m, &f.e.Recipients[i], *o)
				}
			}
			q.mu.Unlock()
		case delivery.TypeDone:
			d, err := delivery.DecodeDone(p)
			if err != nil {
				return err
			}
			q.finished(l, d)
		case delivery.TypeDrain:
			q.mu.Lock()
			if l.a.cur == l {
				l.a.cur = nil
			}
			empty := len(l.reqs) == 0
			q.mu.Unlock()
			if empty {
				return nil
			}
			q.pump(l.a.name)
		default:
			return ipc.ErrProtocol
		}
		if q.left(l) {
			return nil
		}
	}
}

// left tells whether a draining agent owes nothing more.
func (q *manager) left(l *link) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return l.a.cur != l && len(l.reqs) == 0
}

// finished ends a request.
func (q *manager) finished(l *link, d *delivery.Done) {
	q.mu.Lock()
	f := l.reqs[d.Seq]
	if f == nil {
		q.mu.Unlock()
		return
	}
	delete(l.reqs, d.Seq)
	if len(l.reqs) == 0 {
		l.since = clock.Now()
	}
	l.a.crashes = 0
	if d.Again && len(f.missing()) == len(f.e.Recipients) {
		if l.a.cur == l {
			l.a.cur = nil
		}
		refused := q.sched.Requeue(f.e)
		unwanted := f.m.letGo != nil || q.draining
		if unwanted {
			q.cancelLocked(f.m)
		}
		q.mu.Unlock()
		q.refused(refused)
		if unwanted {
			q.poke(f.m)
		}
		q.pump(l.a.name)
		return
	}
	if len(f.missing()) > 0 {
		q.mu.Unlock()
		q.giveUp(f, sched.Trouble{DSN: "4.3.0", Text: "unknown mail transport error"})
		q.pump(l.a.name)
		return
	}
	var site *sched.Trouble
	if d.SiteProblem != "" {
		site = &sched.Trouble{DSN: d.SiteDSN, Text: d.SiteProblem}
		if site.DSN == "" || site.DSN[0] != '4' {
			site.DSN = "4.4.1"
		}
	}
	refused := q.sched.Done(f.e, site)
	if q.sched.Paused(l.a.name) {
		q.kick()
	}
	q.mu.Unlock()
	q.refused(refused)
	q.poke(f.m)
	q.pump(l.a.name)
}

// closeIdle hangs up on agents that had nothing to do for ipc_idle, so that they
// can leave, and returns how many connections remain; the caller holds mu.
func (q *manager) closeIdle(now time.Time) (n int) {
	for _, a := range q.agents {
		for l := range a.links {
			if len(l.reqs) == 0 && now.Sub(l.since) >= q.set.idle {
				if a.cur == l {
					a.cur = nil
				}
				l.conn.Close()
				continue
			}
			n++
		}
	}
	return n
}
