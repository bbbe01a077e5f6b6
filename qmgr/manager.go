package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/clock"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/route"
	"posthaste/qmgr/internal/sched"
)

// settings are the parameters, read once at start.
type settings struct {
	activeLimit   int // messages in the active queue
	rcptLimit     int // recipients in memory, all messages together
	rcptMinimum   int // recipients in memory that each message may have anyway
	runDelay      time.Duration
	minBackoff    time.Duration
	maxBackoff    time.Duration
	lifetime      time.Duration
	bounceLife    time.Duration // lifetime of mail from the null sender
	delayWarning  time.Duration // 0: none
	delayCleared  bool
	retryTime     time.Duration // transport_retry_time
	idle          time.Duration // ipc_idle
	dialTimeout   time.Duration
	deferred      map[string]bool // defer_transports
	doubleBounce  string          // double_bounce_sender
	filterNexthop string          // default_filter_nexthop
	localName     string          // transport of local_transport
	delims        string          // recipient_delimiter
	agentDir      string          // directory of the transports' sockets
	pause         time.Duration   // retryPause
	letGoWait     time.Duration   // letGoWait
}

// resolver is what qmgr needs of pkg/route.
type resolver interface {
	Resolve(sender, rcpt string) (route.Route, error)
	IsLocal(domain string) (bool, error)
}

// reporter is what qmgr needs of the bounce service.
type reporter interface {
	Report(ctx context.Context, r *bounce.Request, fd int) error
}

// retryPause is how long qmgr waits after trouble with the file system before
// it tries the same again.
const retryPause = 10 * time.Second

// maxOpen is how many active messages keep their descriptor.
const maxOpen = 2048

// manager is the queue manager. mu guards the scheduler, the ledger, the lists
// of messages and the fields of messages that say so.
type manager struct {
	set      settings
	log      *maillog.Logger
	errorLog *maillog.Logger // as the error agent logs
	spool    *queue.Spool
	router   resolver
	reports  reporter
	flushSet func(domain string) (bool, error) // fast_flush_domains

	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // kicks loop
	tasks  sync.WaitGroup

	mu       sync.Mutex
	cond     *sync.Cond // news for the activators, and for stop
	sched    *sched.Scheduler
	agents   map[string]*agent
	active   map[string]*message
	starting int             // candidates being activated
	known    map[string]bool // candidates listed or being activated; true: announced meanwhile
	incoming source
	deferred source
	turn     bool // take the next candidate from deferred
	heap     retryHeap
	sweeping bool        // sweep will run
	later    []candidate // to be offered again after retryPause
	laterAt  time.Time
	nextRun  time.Time // of the deferred queue
	replayAt time.Time // when a cleanup that has gone may have left a journal; zero if none
	draining bool
	handOver time.Time // until then, notified leaves messages to the activators
	open     int       // messages with an open descriptor
	inCore   int       // recipients in memory
	ledger   qmgr.Status
}

// newManager returns a manager that does nothing until start.
func newManager(set settings, log *maillog.Logger, spool *queue.Spool, router resolver, reports reporter, params func(string) sched.Params) *manager {
	q := &manager{
		set: set, log: log, spool: spool, router: router, reports: reports,
		wake:   make(chan struct{}, 1),
		agents: map[string]*agent{}, active: map[string]*message{}, known: map[string]bool{},
	}
	tag, _, _ := cutLast(log.Tag, "/")
	q.errorLog = log.With(tag + "/error")
	q.cond = sync.NewCond(&q.mu)
	q.sched = sched.New(clock.Now, params)
	q.incoming.queue, q.deferred.queue = queue.Incoming, queue.Deferred
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// rescanAfter is when qmgr looks into the incoming queue for the second time;
// the process before it has stopped listening by then.
const rescanAfter = 2 * time.Second

// activators is how many messages are loaded and resolved at a time.
const activators = 4

// start takes back what an earlier process left in the active queue, and begins
// to work. It returns at once.
func (q *manager) start() {
	q.replay()
	q.recover()
	q.mu.Lock()
	q.nextRun = clock.Now()
	q.incoming.more, q.incoming.verify = true, true
	q.mu.Unlock()
	for i := 0; i < activators; i++ {
		q.tasks.Go(q.activateLoop)
	}
	q.tasks.Go(q.loop)
	// What the process before was told of while it left, it dropped.
	rescan := time.AfterFunc(rescanAfter, func() { q.requestScan(&q.incoming, false) })
	context.AfterFunc(q.ctx, func() { rescan.Stop() })
}

// replay makes the messages anew that were accepted, and that the file system has lost
// in a power failure.
func (q *manager) replay() {
	n := 0
	err := q.spool.Replay(func(id string) {
		n++
		q.log.Infof("%s: restored from the journal of new messages", id)
	})
	if err != nil {
		q.log.Warningf("%v", err)
	}
	if n > 0 {
		q.requestScan(&q.incoming, false)
	}
}

// replayAfter is how long a process takes to leave after its connections have.
const replayAfter = time.Second

// cleanupGone has the next tick look for a journal, some time later. One that is
// there for a failure to write it is also looked for at each queue run.
func (q *manager) cleanupGone() {
	q.mu.Lock()
	q.replayAt = clock.Now().Add(replayAfter)
	q.mu.Unlock()
}

// recover moves every message of the active queue back to incoming, but for
// those that the process before is still delivering.
func (q *manager) recover() {
	n, busy := 0, 0
	err := q.spool.List(queue.Active, func(e queue.Entry) bool {
		if q.spool.Locked(queue.Active, e.ID) {
			busy++
			q.mu.Lock()
			q.known[e.ID] = false
			q.postpone(candidate{id: e.ID, queue: queue.Active, recovered: true})
			q.mu.Unlock()
			return true
		}
		if err := q.spool.Move(e.ID, queue.Active, queue.Incoming); err != nil {
			if !errors.Is(err, os.ErrNotExist) { // it has left in its own way
				q.log.Warningf("%s: %v", e.ID, err)
			}
			return true
		}
		n++
		q.mu.Lock()
		q.offer(candidate{id: e.ID, queue: queue.Incoming, recovered: true})
		q.mu.Unlock()
		return true
	})
	if err != nil {
		q.log.Warningf("scan active queue: %v", err)
	}
	if n > 0 {
		q.log.Infof("%d messages of the active queue are taken up again", n)
	}
	if busy > 0 {
		q.log.Infof("%d messages of the active queue are still being delivered", busy)
	}
}

// kick makes loop look again.
func (q *manager) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// loop does what the time makes due.
func (q *manager) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-timer.C:
		case <-q.wake:
		}
		d := q.tick()
		timer.Reset(d)
	}
}

// tick starts what is due and returns how long it can wait for the next time.
func (q *manager) tick() time.Duration {
	now := clock.Now()
	q.mu.Lock()
	next := now.Add(q.set.runDelay)
	soonest := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	for {
		id, at, ok := q.heap.first()
		if !ok || at.After(now) {
			soonest(at)
			break
		}
		q.heap.pop()
		q.offer(candidate{id: id, queue: queue.Deferred})
	}
	if !q.nextRun.After(now) {
		q.nextRun = now.Add(q.set.runDelay)
		q.deferred.more = true
		q.replayAt = now
	}
	if !q.replayAt.IsZero() && !q.replayAt.After(now) {
		q.replayAt = time.Time{}
		q.tasks.Go(q.replay)
	}
	soonest(q.replayAt)
	soonest(q.nextRun)
	if len(q.later) > 0 && !q.laterAt.After(now) {
		l := q.later
		q.later = nil
		for _, c := range l {
			delete(q.known, c.id)
			q.offer(c)
		}
	}
	if len(q.later) > 0 {
		soonest(q.laterAt)
	}
	at, runnable := q.sched.Tick()
	soonest(at)
	links := q.closeIdle(now)
	if links > 0 {
		soonest(now.Add(q.set.idle))
	}
	scans := q.scansDue()
	q.mu.Unlock()
	for _, s := range scans {
		q.tasks.Go(func() { q.scan(s) })
	}
	for _, t := range runnable {
		q.pump(t)
	}
	return max(next.Sub(now), 10*time.Millisecond)
}

// stop ends the process in good order. Nothing new is begun; what waits for a
// delivery is left in the active queue for the successor, which may start once
// release has been called. Deliveries under way are seen to their ends, however
// long that takes, and their messages stay locked until then. The end of ctx
// cuts that short: then only the outcomes known so far are recorded.
func (q *manager) stop(ctx context.Context, release func()) {
	wakes := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		q.cond.Broadcast()
		q.mu.Unlock()
	})
	defer wakes()
	q.mu.Lock()
	q.draining = true
	q.cond.Broadcast()
	for q.starting > 0 && ctx.Err() == nil {
		q.cond.Wait()
	}
	rest := make([]*message, 0, len(q.active))
	for _, m := range q.active {
		q.cancelLocked(m)
		rest = append(rest, m)
	}
	q.mu.Unlock()
	for _, m := range rest {
		q.keepLocked(m)
		if err := q.intoActive(m); err != nil && !errors.Is(err, os.ErrNotExist) {
			q.log.Warningf("%s: %v", m.id, err) // the successor will find it locked all the same
		}
	}
	release()
	for _, m := range rest {
		q.poke(m)
	}
	q.mu.Lock()
	for len(q.active) > 0 && ctx.Err() == nil {
		q.cond.Wait()
	}
	q.mu.Unlock()
	q.cancel()
	q.mu.Lock()
	q.cond.Broadcast()
	for _, a := range q.agents {
		for l := range a.links { // those of agents that drain too
			l.conn.Close()
		}
	}
	q.mu.Unlock()
	q.tasks.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.active {
		if len(m.outcomes) > 0 {
			if err := m.file.Append(m.outcomes); err != nil {
				q.log.Warningf("%s: %v", m.id, err)
			}
		}
		m.file.Close()
	}
}

// keepLocked keeps the descriptor of a message, and so its lock, from now on:
// between its delivery and the record of the outcome, too, the successor must
// not take it.
func (q *manager) keepLocked(m *message) {
	m.fd.Lock()
	defer m.fd.Unlock()
	if !m.released {
		return
	}
	if _, err := m.descriptor(); err != nil {
		q.log.Warningf("%s: %v", m.id, err)
		return
	}
	m.released = false
	q.mu.Lock()
	q.open++
	q.mu.Unlock()
}

// status is the ledger with the present figures.
func (q *manager) status() qmgr.Status {
	count := func(name string) (n int64) {
		q.spool.List(name, func(queue.Entry) bool { n++; return true })
		return n
	}
	waiting, held := count(queue.Deferred), count(queue.Hold)
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.ledger
	s.Messages, s.InCore, s.Busy = int64(len(q.active)), int64(q.inCore), int64(q.sched.Busy())
	s.Waiting, s.Held = waiting, held
	return s
}
