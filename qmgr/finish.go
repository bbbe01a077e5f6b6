package main

import (
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/qmgr/internal/sched"
)

// immediate gives recipients an outcome without an agent, and logs it as the
// error agent does.
func (q *manager) immediate(m *message, g *group, status envelope.Status) {
	now := clock.Now()
	req := m.request(&sched.Entry{Transport: g.transport, Nexthop: g.nexthop, Recipients: g.rcpts}, now)
	log := q.errorLog
	if g.discard {
		log = q.log
	}
	for i := range g.rcpts {
		o := envelope.Outcome{Num: g.rcpts[i].Num, Status: status, DSN: g.trouble.DSN, Relay: "none", Reason: g.trouble.Text, When: now}
		delivery.LogOutcome(log, req, i, &o, delivery.StatusWord(status), time.Time{}, 0)
		if g.discard {
			o.Status = envelope.Discarded
		}
		q.mu.Lock()
		q.settle(m, &g.rcpts[i], o)
		q.mu.Unlock()
	}
}

// old tells whether a message has been in the queue for too long.
func (m *message) old(now time.Time) bool {
	return m.force || now.Sub(m.env.Arrival) >= m.lifetime
}

// settle takes one recipient's outcome; the caller holds mu. Failures are put
// down in the file only once the report about them is safe, so that a crash
// repeats a delivery that failed rather than losing its report.
func (q *manager) settle(m *message, r *envelope.Recipient, o envelope.Outcome) {
	m.inCore--
	q.inCore--
	o.Num = r.Num
	rec := bounce.Recipient{Recipient: *r, Outcome: o}
	if m.env.Verbose || m.env.VerifyOnly {
		m.trace.add(rec)
	}
	if m.env.VerifyOnly {
		// Nothing is delivered and nothing is tried again.
		q.count(m, &q.ledger.Discarded)
		m.outcomes = append(m.outcomes, o)
		return
	}
	switch o.Status {
	case envelope.Deferred:
		if !m.old(o.When) {
			m.outcomes = append(m.outcomes, o)
			m.postponed++
			if m.warn {
				m.delayed.add(rec)
			}
			return
		}
		rec.Status = envelope.Expired
		m.expired = true
		m.failed.add(rec)
	case envelope.Bounced, envelope.Expired, envelope.Undeliverable:
		m.failed.add(rec)
	default:
		q.count(m, q.column(&o))
		m.outcomes = append(m.outcomes, o)
		switch {
		case r.Flags&envelope.Implicit != 0 || o.Status != envelope.Sent && o.Status != envelope.Discarded:
		case r.Notify&envelope.NotifySuccess != 0 && o.Action != delivery.Delegated, m.cleared && r.Notify&envelope.NotifyNever == 0:
			m.success.add(rec)
		}
	}
}

// count books recipients out of the active queue; the caller holds mu.
func (q *manager) count(m *message, column *int64) {
	m.remaining--
	q.ledger.Active--
	*column++
}

// column is where the ledger counts an outcome.
func (q *manager) column(o *envelope.Outcome) *int64 {
	switch {
	case o.Status == envelope.Expired:
		return &q.ledger.Expired
	case o.Status == envelope.Bounced, o.Status == envelope.Undeliverable:
		return &q.ledger.Bounced
	case o.Status == envelope.Discarded:
		return &q.ledger.Discarded
	case strings.Contains(o.Relay, "["):
		return &q.ledger.Relayed // relay=host[address]:port, as only network agents log
	}
	return &q.ledger.Delivered
}

// poke has somebody work on m.
func (q *manager) poke(m *message) {
	q.mu.Lock()
	if m.working {
		m.again = true
		q.mu.Unlock()
		return
	}
	if q.ctx.Err() != nil || m.gone {
		q.mu.Unlock()
		return
	}
	m.working = true
	quick := m.atEnd && m.inCore == 0 && m.postponed == 0 && m.letGo == nil &&
		len(m.failed.l)+len(m.success.l)+len(m.trace.l) == 0
	q.mu.Unlock()
	if quick {
		q.service(m) // nothing but unlink: not worth a goroutine
		return
	}
	q.tasks.Go(func() { q.service(m) })
}

// service does what can be done for m now: read more recipients, record
// outcomes, have reports made, and finish. One goroutine at a time runs it.
func (q *manager) service(m *message) {
	for {
		q.mu.Lock()
		m.again = false
		if wait := m.retryAt.Sub(clock.Now()); !m.retryAt.IsZero() && wait > 0 {
			m.working = false
			q.mu.Unlock()
			time.AfterFunc(wait, func() { q.poke(m) })
			return
		}
		m.retryAt = time.Time{}
		n := q.want(m)
		done := (m.atEnd || m.letGo != nil || q.draining) && m.inCore == 0
		full := m.failed.full() || m.success.full() || m.delayed.full() || m.trace.full()
		record := len(m.outcomes) > 0
		q.mu.Unlock()
		switch {
		case done:
			if q.finish(m) {
				return
			}
		case full:
			if !q.report(m) {
				q.pause(m)
			}
		case n > 0:
			q.readMore(m, n)
		case record:
			if !q.record(m) {
				q.pause(m)
			}
		default:
			q.mu.Lock()
			if !m.again {
				m.working = false
				q.mu.Unlock()
				return
			}
			q.mu.Unlock()
		}
		if q.ctx.Err() != nil {
			q.mu.Lock()
			m.working = false
			q.mu.Unlock()
			return
		}
	}
}

// pause puts m off after trouble with the file system.
func (q *manager) pause(m *message) {
	q.mu.Lock()
	m.retryAt = clock.Now().Add(q.set.pause)
	q.mu.Unlock()
}

// record puts outcomes into the file.
func (q *manager) record(m *message) bool {
	q.mu.Lock()
	l := m.outcomes
	m.outcomes = nil
	q.mu.Unlock()
	if len(l) == 0 {
		return true
	}
	m.fd.Lock()
	err := m.file.Append(l)
	m.fd.Unlock()
	if err == nil {
		return true
	}
	if q.moved(m, err) {
		return true
	}
	q.log.Warningf("%s: %v", m.id, err)
	q.mu.Lock()
	m.outcomes = append(l, m.outcomes...)
	q.mu.Unlock()
	return false
}

// moved tells whether an administrator took the file away.
func (q *manager) moved(m *message, err error) bool {
	if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.letGo == nil {
		q.log.Warningf("%s: queue file is gone", m.id)
		m.letGo = &qmgr.LetGo{Action: qmgr.Delete, ID: m.id}
		q.cancelLocked(m)
	}
	return true
}

// reportRequest starts a request to the bounce service.
func (m *message) reportRequest(kind bounce.Kind, l []bounce.Recipient) *bounce.Request {
	return &bounce.Request{Kind: kind, Message: *m.env, ContentOffset: m.file.ContentOffset(), ContentLength: m.file.ContentLength(),
		EightBit: m.file.EightBit(), RetryEnd: m.env.Arrival.Add(m.lifetime), Recipients: l}
}

// ask has one report made. The descriptor is used while it is sent only, but
// the message is not finished before the answer, so that it stays open; unless
// it is closed between uses, which a delivery of the message may do meanwhile.
func (q *manager) ask(m *message, kind bounce.Kind, l []bounce.Recipient) error {
	m.fd.Lock()
	fd, err := m.descriptor()
	if err == nil && m.released {
		fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		m.file.Release()
	}
	m.fd.Unlock()
	if err != nil {
		return err
	}
	if m.released {
		defer unix.Close(fd)
	}
	return q.reports.Report(q.ctx, m.reportRequest(kind, l), fd)
}

// report has all pending reports made. Failures whose report cannot be made are
// deferred.
func (q *manager) report(m *message) bool {
	if !q.record(m) {
		return false // deliveries that took place come first
	}
	for {
		q.mu.Lock()
		l := m.failed.take()
		q.mu.Unlock()
		if len(l) == 0 {
			break
		}
		err := q.ask(m, bounce.Failure, l)
		if err != nil && q.ctx.Err() != nil {
			return false
		}
		if err != nil {
			q.log.Warningf("%s: non-delivery report: %v", m.id, err)
		}
		q.mu.Lock()
		for i := range l {
			o := l[i].Outcome
			o.Num = l[i].Recipient.Num
			if err != nil {
				o.Status = envelope.Deferred
				m.postponed++
			} else {
				q.count(m, q.column(&o))
			}
			m.outcomes = append(m.outcomes, o)
		}
		q.mu.Unlock()
	}
	kind := bounce.Success
	if m.cleared {
		kind = bounce.DelayClear
	}
	q.inform(m, kind, &m.success)
	q.inform(m, bounce.Trace, &m.trace)
	q.inform(m, bounce.Delay, &m.delayed)
	return true
}

// inform has reports made whose loss is bearable: after some attempts there
// will be none.
func (q *manager) inform(m *message, kind bounce.Kind, list *reportList) {
	for {
		q.mu.Lock()
		l := list.take()
		q.mu.Unlock()
		if len(l) == 0 {
			return
		}
		var err error
		for try := 0; try < 3; try++ {
			if err = q.ask(m, kind, l); err == nil || q.ctx.Err() != nil {
				break
			}
			select {
			case <-time.After(time.Duration(1+try) * time.Second):
			case <-q.ctx.Done():
			}
		}
		switch {
		case err != nil:
			q.log.Warningf("%s: delivery status report: %v", m.id, err)
		case kind == bounce.Delay:
			m.fd.Lock()
			err = m.file.Mark(queue.DelayWarned, clock.Now())
			m.fd.Unlock()
			if err != nil {
				q.log.Warningf("%s: %v", m.id, err)
			}
		}
	}
}

// finish ends a message's time in the active queue; false if that has to be
// tried again.
func (q *manager) finish(m *message) bool {
	q.mu.Lock()
	reports := len(m.failed.l) + len(m.success.l) + len(m.delayed.l) + len(m.trace.l)
	letGo := m.letGo
	if letGo != nil && letGo.Action != qmgr.Delete && m.remaining == 0 && m.atEnd && !m.cut && reports == 0 {
		letGo = nil // too late: nothing is left to be done with it
	}
	q.mu.Unlock()
	if letGo != nil && letGo.Action == qmgr.Delete {
		reports = 0
	}
	if reports > 0 && !q.report(m) {
		q.pause(m)
		return false
	}
	if letGo != nil {
		return q.release(m, letGo)
	}
	q.mu.Lock()
	postponed, rest := m.postponed, m.cut || !m.atEnd
	q.mu.Unlock()
	if rest {
		return q.handBack(m)
	}
	if postponed > 0 && !m.env.VerifyOnly {
		return q.putBack(m)
	}
	// Removed before it is closed: a successor takes what is not locked.
	m.fd.Lock()
	err := q.spool.Remove(m.file.Queue(), m.id)
	if err == nil {
		m.removed = true
		m.file.Close()
	}
	m.fd.Unlock()
	if err != nil {
		// The recipients are done: put that down, or it would be for nothing.
		q.log.Warningf("%v", err)
		q.record(m)
		q.pause(m)
		return false
	}
	if m.expired {
		q.log.Event(maillog.ExpiredMessage{ID: m.id, From: address.Quote(m.env.Sender), Forced: m.force})
	}
	q.log.Event(maillog.Removed{ID: m.id})
	q.leave(m, &q.ledger.Removed)
	return true
}

// recorded puts down all outcomes before a message leaves for another queue or
// process; false if it comes back to finish, since that failed or somebody has
// taken the message away meanwhile.
func (q *manager) recorded(m *message) bool {
	if err := q.intoActive(m); err != nil && !q.moved(m, err) {
		q.log.Warningf("%s: %v", m.id, err)
		q.pause(m)
		return false
	}
	if !q.record(m) {
		q.pause(m)
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return m.letGo == nil
}

// handBack leaves a message in the active queue, where the next process finds
// the recipients that this one did not get to.
func (q *manager) handBack(m *message) bool {
	if !q.recorded(m) {
		return false
	}
	m.fd.Lock()
	m.file.Close()
	m.fd.Unlock()
	q.leave(m, &q.ledger.Deferred)
	return true
}

// putBack moves a message to the deferred queue.
func (q *manager) putBack(m *message) bool {
	if !q.recorded(m) {
		return false
	}
	now := clock.Now()
	next := now.Add(min(max(now.Sub(m.env.Arrival), q.set.minBackoff), q.set.maxBackoff))
	if err := q.spool.Defer(m.id, next); err != nil {
		if !q.moved(m, err) {
			q.log.Warningf("%v", err)
			q.pause(m)
		}
		return false
	}
	m.fd.Lock()
	m.file.Close()
	m.fd.Unlock()
	q.leave(m, &q.ledger.Deferred)
	q.mu.Lock()
	first := next.Before(q.nextRun) && q.heap.push(m.id, next)
	q.mu.Unlock()
	if first {
		q.kick()
	}
	return true
}

// dispose does what postsuper asked for with a message that nobody works on.
func (q *manager) dispose(from string, l *qmgr.LetGo) error {
	switch l.Action {
	case qmgr.Delete:
		return q.spool.Remove(from, l.ID)
	case qmgr.Expire:
		if err := q.spool.SetForceExpire(from, l.ID); err != nil {
			return err
		}
	}
	to := map[qmgr.Action]string{qmgr.Hold: queue.Hold, qmgr.Requeue: queue.Maildrop, qmgr.Expire: queue.Deferred}[l.Action]
	return q.spool.Move(l.ID, from, to)
}

// release gives a message up as postsuper asked for.
func (q *manager) release(m *message, l *qmgr.LetGo) bool {
	text := ""
	if l.Action != qmgr.Delete && !q.record(m) {
		q.pause(m)
		return false
	}
	err := q.intoActive(m)
	if err == nil || l.Action == qmgr.Delete {
		err = q.dispose(queue.Active, l)
	}
	if err != nil {
		text = trouble(err)
	}
	m.fd.Lock()
	m.file.Close()
	m.fd.Unlock()
	q.mu.Lock()
	told := err != nil
	for _, w := range m.waiters {
		if w.action != l.Action {
			w.text <- qmgr.Again // it came too late
			continue
		}
		w.text <- text
		told = true
	}
	m.waiters = nil
	q.mu.Unlock()
	if !told { // else postsuper logs it
		q.log.Event(maillog.Line{ID: m.id, Message: l.Action.String()})
	}
	q.leave(m, &q.ledger.Removed)
	q.mu.Lock()
	if l.Action == qmgr.Expire && err == nil {
		q.offer(candidate{id: m.id, queue: queue.Deferred})
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		q.postpone(candidate{id: m.id, queue: queue.Active})
	}
	q.mu.Unlock()
	return true
}

// leave takes m out of the books; what it had left goes to column.
func (q *manager) leave(m *message, column *int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*column += int64(m.remaining)
	q.ledger.Active -= int64(m.remaining)
	m.remaining = 0
	m.gone, m.working = true, false
	for _, w := range m.waiters {
		w.text <- qmgr.NotActive // asked for when it was on its way out
	}
	m.waiters = nil
	delete(q.active, m.id)
	if !m.released {
		q.open--
	}
	if q.incoming.more || q.deferred.more {
		q.kick()
	}
	if q.draining {
		q.cond.Broadcast()
	} else {
		q.cond.Signal()
	}
}

// cancelLocked takes a message's waiting recipients from the scheduler; the
// caller holds mu.
func (q *manager) cancelLocked(m *message) {
	for _, r := range q.sched.Cancel(&m.sm) {
		m.inCore -= len(r.Recipients)
		q.inCore -= len(r.Recipients)
		m.cut = true
	}
}
