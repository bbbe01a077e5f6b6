package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/route"
	"posthaste/pkg/service"
	"posthaste/qmgr/internal/sched"
)

// logLines is a log that tests read.
type logLines struct {
	mu sync.Mutex
	l  []string
}

func (l *logLines) Write(_ maillog.Severity, tag string, _ int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.l = append(l.l, tag+": "+text)
}

func (l *logLines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.l {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.l, "\n")
}

// routes sends each domain to the transport named by its first label.
type routes struct{}

func (routes) Resolve(_, rcpt string) (route.Route, error) {
	d := address.Domain(rcpt)
	if d == "trouble.example" {
		return route.Route{}, errors.New("table is gone")
	}
	t, _, _ := strings.Cut(d, ".")
	return route.Route{Transport: t, Nexthop: d, Recipient: rcpt}, nil
}

func (routes) IsLocal(d string) (bool, error) { return d == "here.example", nil }

// reports remembers what bounce was asked for.
type reports struct {
	mu   sync.Mutex
	l    []*bounce.Request
	err  error
	hook func() // called before the answer
}

func (r *reports) Report(_ context.Context, q *bounce.Request, fd int) error {
	if r.hook != nil {
		r.hook()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l = append(r.l, q)
	return r.err
}

// kinds lists the reports as "kind:recipients".
func (r *reports) kinds() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l []string
	for _, q := range r.l {
		s := []string{"failure", "delay", "success", "trace", "cleared"}[q.Kind] + ":"
		for i := range q.Recipients {
			s += " " + q.Recipients[i].Address
		}
		l = append(l, s)
	}
	return strings.Join(l, "; ")
}

// world is a queue manager in a temporary spool.
type world struct {
	t       *testing.T
	dir     string
	spool   *queue.Spool
	q       *manager
	log     *logLines
	reports *reports
	env     *service.Env
	set     settings
	limits  sched.Params
	stopped bool
	started bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := queue.Init(dir); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(filepath.Join(dir, "private"), 0o700)
	os.WriteFile(filepath.Join(dir, "main.cf"), nil, 0o600)
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := queue.Open(dir, queue.Options{Syncfs: "no"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, spool: sp, log: &logLines{}, reports: &reports{}}
	w.env = &service.Env{Config: cfg, Log: maillog.New("postfix/fake", w.log), Service: "fake"}
	w.set = readSettings(cfg)
	w.set.agentDir = filepath.Join(dir, "private")
	w.set.idle = time.Minute
	w.set.dialTimeout = 5 * time.Second
	w.set.letGoWait = 20 * time.Second
	w.limits = sched.Params{Limit: 10, RecipientLimit: 50, ConcurrencyLimit: 20, Initial: 5, CohortLimit: 1, Suspend: time.Minute}
	w.limits.Positive, _ = sched.ParseFeedback("1")
	w.limits.Negative, _ = sched.ParseFeedback("1")
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Log("log:\n" + w.log.String())
		}
	})
	return w
}

// make prepares a queue manager that is not started.
func (w *world) make() {
	w.q = newManager(w.set, maillog.New("postfix/qmgr", w.log), w.spool, routes{}, w.reports, func(string) sched.Params { return w.limits })
	w.started = false
	w.q.flushSet = func(d string) (bool, error) { return d == "slow.example", nil }
	w.stopped = false
}

func (w *world) start() {
	if w.q == nil || w.stopped {
		w.make()
	}
	w.q.start()
	w.started = true
}

func (w *world) stop() {
	if w.q != nil && !w.stopped {
		w.halt(3 * time.Second)
	}
}

// slow is an agent that tells when a delivery begins, and ends it when it is told.
func (w *world) slow(transport string, outcome func(context.Context, *delivery.Job)) (busy, end chan struct{}) {
	busy, end = make(chan struct{}), make(chan struct{})
	w.agent(transport, func(ctx context.Context, j *delivery.Job) {
		busy <- struct{}{}
		<-end
		outcome(ctx, j)
	})
	return busy, end
}

func (w *world) await(c <-chan struct{}, what string) {
	w.t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		w.t.Fatal("in vain: " + what)
	}
}

// halt stops the queue manager; deliveries under way get patience.
func (w *world) halt(patience time.Duration) {
	w.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.q.stop(ctx, func() {})
}

// agent serves a transport with fn until the test ends or the result is called.
func (w *world) agent(name string, fn func(ctx context.Context, j *delivery.Job)) (kill func()) {
	w.t.Helper()
	ln, err := net.Listen("unix", filepath.Join(w.dir, "private", name))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() { delivery.Serve(ctx, w.env, c, fn); c.Close() })
		}
	})
	kill = sync.OnceFunc(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		cancel()
		wg.Wait()
	})
	w.t.Cleanup(func() { w.stop(); kill() })
	return kill
}

// listen has the queue manager serve a socket until the test ends.
func (w *world) listen() (path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(func() { cancel(); ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.q.serve(ctx, c, nil)
		}
	}()
	return path
}

// outcome reports the same for all recipients.
func all(o envelope.Outcome) func(context.Context, *delivery.Job) {
	return func(_ context.Context, j *delivery.Job) {
		for i := range j.Recipients {
			j.Report(i, o, time.Time{}, 0)
		}
	}
}

var (
	sent    = envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: "local", Reason: "delivered to mailbox"}
	relayed = envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Relay: "mx.example[192.0.2.1]:25", Reason: "250 ok"}
	refused = envelope.Outcome{Status: envelope.Bounced, DSN: "5.1.1", Relay: "local", Reason: "unknown user"}
	laterOn = envelope.Outcome{Status: envelope.Deferred, DSN: "4.2.2", Relay: "local", Reason: "mailbox full"}
)

// message puts a message into a queue.
func (w *world) message(in string, m envelope.Message, rcpts ...string) string {
	w.t.Helper()
	if m.Arrival.IsZero() {
		m.Arrival = clock.Now()
	}
	m.ID = queue.NewID(m.Arrival)
	f, err := w.spool.Create(in, &m)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rcpts {
		if err := f.Recipient(&envelope.Recipient{Address: r}); err != nil {
			w.t.Fatal(err)
		}
	}
	f.Write([]byte("Subject: x\r\n\r\nbody\r\n"))
	if err := f.Commit(); err != nil {
		w.t.Fatal(err)
	}
	return m.ID
}

// mail puts a message from a@x.example into incoming and tells qmgr: once that
// has started as cleanup does, before as if a scan had found it.
func (w *world) mail(rcpts ...string) string {
	w.t.Helper()
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example"}, rcpts...)
	switch {
	case w.started:
		w.q.notified(id)
	case w.q != nil:
		w.q.mu.Lock()
		w.q.offer(candidate{id: id, queue: queue.Incoming})
		w.q.mu.Unlock()
	}
	return id
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("never happened: %s\n%s", what, w.log)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// in waits until a message is in a queue ("" for none).
func (w *world) in(id, where string) {
	w.t.Helper()
	w.until(id+" in "+where, func() bool {
		q, err := w.spool.Find(id)
		return err == nil && q == where || where == "" && errors.Is(err, os.ErrNotExist)
	})
	if where != queue.Active {
		w.until(id+" leaves the books", func() bool {
			w.q.mu.Lock()
			defer w.q.mu.Unlock()
			return w.q.active[id] == nil
		})
	}
}

func (w *world) ledger(want qmgr.Status) {
	w.t.Helper()
	got := w.q.status()
	if !got.Balanced() {
		w.t.Errorf("the ledger does not balance: %+v", got)
	}
	got.Messages, got.InCore, got.Busy, got.Waiting, got.Held = 0, 0, 0, 0, 0
	if got != want {
		w.t.Errorf("ledger %+v, want %+v", got, want)
	}
}

func TestDelivered(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(sent))
	w.start()
	id := w.mail("anna@local.example")
	w.in(id, "")
	w.ledger(qmgr.Status{Accepted: 1, Delivered: 1})
	for _, line := range []string{
		"postfix/qmgr: " + id + ": from=<a@x.example>, size=20, nrcpt=1 (queue active)",
		"postfix/fake: " + id + ": to=<anna@local.example>, relay=local, delay=",
		"postfix/qmgr: " + id + ": removed",
	} {
		if !w.log.has(line) {
			t.Errorf("the log lacks %q", line)
		}
	}
}

func TestEachRecipientItsOwnOutcome(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.agent("local", func(_ context.Context, j *delivery.Job) {
		for i := range j.Recipients {
			o := sent
			switch {
			case strings.HasPrefix(j.Recipients[i].Address, "no"):
				o = refused
			case strings.HasPrefix(j.Recipients[i].Address, "full"):
				o = laterOn
			}
			j.Report(i, o, time.Time{}, 0)
		}
	})
	w.agent("smtp", all(relayed))
	w.start()
	id := w.mail("anna@local.example", "no@local.example", "full@local.example", "x@smtp.example")
	w.in(id, queue.Deferred)
	w.ledger(qmgr.Status{Accepted: 4, Delivered: 1, Relayed: 1, Bounced: 1, Deferred: 1})
	if got := w.reports.kinds(); got != "failure: no@local.example" {
		t.Errorf("reports %q, want one failure", got)
	}
	f, err := w.spool.Load(queue.Deferred, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cur queue.Cursor
	l, _ := f.Recipients(&cur, 10)
	if len(l) != 1 || l[0].Address != "full@local.example" {
		t.Errorf("recipients left: %v, want the deferred one", l)
	}
	if d := time.Until(f.ModTime()); d < 55*time.Minute || d > 65*time.Minute {
		t.Errorf("next attempt in %v, want minimal_backoff_time, 1h", d)
	}
}

func TestRetryAfterBackoff(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff, w.set.maxBackoff = 20*time.Millisecond, 20*time.Millisecond
	var n atomic.Int32
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		if n.Add(1) < 3 {
			all(laterOn)(ctx, j)
			return
		}
		all(sent)(ctx, j)
	})
	w.start()
	id := w.mail("anna@local.example")
	w.in(id, "")
	w.ledger(qmgr.Status{Accepted: 1, Retried: 2, Deferred: 2, Delivered: 1})
}

func TestAgentDiesInMidRequest(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	block := make(chan struct{})
	reached := make(chan struct{})
	kill := w.agent("local", func(ctx context.Context, j *delivery.Job) {
		j.Report(0, sent, time.Time{}, 0)
		time.Sleep(2 * delivery.HoldBack)
		j.Report(1, sent, time.Time{}, 0) // sends both
		close(reached)
		select {
		case <-block:
		case <-ctx.Done():
		}
	})
	w.start()
	id := w.mail("a@local.example", "b@local.example", "c@local.example")
	<-reached
	w.until("two outcomes", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.ledger.Delivered == 2 })
	go kill()
	w.in(id, queue.Deferred)
	w.ledger(qmgr.Status{Accepted: 3, Delivered: 2, Deferred: 1})
	if !w.log.has("to=<c@local.example>, relay=none") || !w.log.has("dsn=4.3.0, status=deferred (unknown mail transport error)") {
		t.Error("the recipient without outcome was not deferred in the log")
	}
	close(block)
}

func TestNoAgent(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.start()
	id := w.mail("a@gone.example", "b@gone.example")
	w.in(id, queue.Deferred)
	if !w.log.has("status=deferred (mail transport unavailable)") || !w.log.has("postfix/error: "+id) {
		t.Error("no deferral by postfix/error in the log")
	}
	id2 := w.mail("c@gone.example")
	w.in(id2, queue.Deferred)
	w.ledger(qmgr.Status{Accepted: 3, Deferred: 3})
}

func TestDeadDestination(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.limits.Initial = 1
	w.agent("smtp", func(ctx context.Context, j *delivery.Job) {
		j.SiteProblem("4.4.1", "connect to mx: Connection refused")
		all(laterOn)(ctx, j)
	})
	w.start()
	w.in(w.mail("a@smtp.example"), queue.Deferred)
	w.in(w.mail("b@smtp.example"), queue.Deferred)
	if !w.log.has("to=<b@smtp.example>, relay=none") || !w.log.has("(delivery temporarily suspended: connect to mx: Connection refused)") {
		t.Error("the second message was not refused by the suspended destination")
	}
}

func TestBounceServiceDown(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.reports.err = errors.New("no bounce service")
	w.agent("local", all(refused))
	w.start()
	id := w.mail("no@local.example")
	w.in(id, queue.Deferred)
	w.ledger(qmgr.Status{Accepted: 1, Deferred: 1})
}

func TestExpired(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(laterOn))
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example", Arrival: clock.Now().Add(-6 * 24 * time.Hour)}, "full@local.example")
	w.start()
	w.in(id, "")
	w.ledger(qmgr.Status{Accepted: 1, Expired: 1})
	if got := w.reports.kinds(); got != "failure: full@local.example" {
		t.Errorf("reports %q, want one failure", got)
	}
	if !w.log.has(id + ": from=<a@x.example>, status=expired, returned to sender") {
		t.Error("no expired line in the log")
	}
}

func TestForceExpire(t *testing.T) {
	w := newWorld(t)
	id := w.message(queue.Deferred, envelope.Message{Sender: "a@x.example"}, "u@local.example")
	if err := w.spool.SetForceExpire(queue.Deferred, id); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.in(id, "")
	if !w.log.has("(message is administratively expired)") || !w.log.has("status=force-expired, returned to sender") {
		t.Error("the log does not tell of the forced expiry")
	}
}

func TestDelayNoticeOnce(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff, w.set.maxBackoff = 20*time.Millisecond, 20*time.Millisecond
	w.set.delayWarning = time.Hour
	var n atomic.Int32
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		if n.Add(1) < 4 {
			all(laterOn)(ctx, j)
			return
		}
		all(sent)(ctx, j)
	})
	id := w.message(queue.Incoming, envelope.Message{Sender: "a@x.example", Arrival: clock.Now().Add(-2 * time.Hour)}, "u@local.example")
	w.start()
	w.in(id, "")
	if got := w.reports.kinds(); got != "delay: u@local.example" {
		t.Errorf("reports %q, want one delay notice", got)
	}
}

func TestSuccessReport(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(sent))
	w.start()
	m := envelope.Message{ID: queue.NewID(clock.Now()), Arrival: clock.Now(), Sender: "a@x.example"}
	f, err := w.spool.Create(queue.Incoming, &m)
	if err != nil {
		t.Fatal(err)
	}
	f.Recipient(&envelope.Recipient{Address: "s@local.example", Notify: envelope.NotifySuccess})
	f.Recipient(&envelope.Recipient{Address: "n@local.example"})
	f.Write([]byte("\r\n"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	w.q.requestScan(&w.q.incoming, false)
	w.in(m.ID, "")
	if got := w.reports.kinds(); got != "success: s@local.example" {
		t.Errorf("reports %q, want one success", got)
	}
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	id := w.message(queue.Active, envelope.Message{Sender: "a@x.example"}, "a@local.example", "b@local.example")
	f, err := w.spool.Load(queue.Active, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Append([]envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0"}}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var mu sync.Mutex
	var got []string
	w.agent("local", func(ctx context.Context, j *delivery.Job) {
		mu.Lock()
		for i := range j.Recipients {
			got = append(got, j.Recipients[i].Address)
		}
		mu.Unlock()
		all(sent)(ctx, j)
	})
	w.start()
	w.in(id, "")
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(got) != "[b@local.example]" {
		t.Errorf("delivered to %v after the restart, want only b", got)
	}
}

func TestStopRecordsOutcomes(t *testing.T) {
	w := newWorld(t)
	half := make(chan struct{})
	w.limits.RecipientLimit = 1
	w.limits.Initial = 2
	kill := w.agent("local", func(ctx context.Context, j *delivery.Job) {
		if j.Recipients[0].Address == "a@local.example" {
			all(sent)(ctx, j)
			return
		}
		close(half)
		<-ctx.Done()
	})
	w.start()
	id := w.mail("a@local.example", "b@local.example")
	<-half
	w.until("one delivery", func() bool { w.q.mu.Lock(); defer w.q.mu.Unlock(); return w.q.ledger.Delivered == 1 })
	w.halt(50 * time.Millisecond)
	kill()
	f, err := w.spool.Load(queue.Active, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Pending() != 1 || !f.Done(0) {
		t.Errorf("%d recipients pending after the stop, want the one that was not delivered", f.Pending())
	}
}

func TestCorruptAndIncomplete(t *testing.T) {
	w := newWorld(t)
	w.agent("local", all(sent))
	bad := queue.NewID(clock.Now())
	os.WriteFile(w.spool.Path(queue.Incoming, bad), []byte(strings.Repeat("garbage", 100)), 0o600)
	m := envelope.Message{ID: queue.NewID(clock.Now()), Arrival: clock.Now()}
	half, err := w.spool.Create(queue.Incoming, &m)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Abort()
	half.Write(make([]byte, 300<<10))
	good := w.message(queue.Incoming, envelope.Message{}, "a@local.example")
	w.start()
	w.in(good, "")
	w.in(bad, queue.Corrupt)
	w.in(m.ID, queue.Incoming)
}

func TestResolverTroubleAndDoubleBounce(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.start()
	w.in(w.mail("u@trouble.example"), queue.Deferred)
	if !w.log.has("dsn=4.3.0, status=deferred (address resolver failure)") {
		t.Error("no resolver failure in the log")
	}
	w.in(w.mail("double-bounce@here.example"), "")
	if !w.log.has("status=sent (undeliverable postmaster notification discarded)") {
		t.Error("mail to double-bounce was not discarded")
	}
	w.ledger(qmgr.Status{Accepted: 2, Deferred: 1, Discarded: 1})
}

func TestFilterAndDeferTransports(t *testing.T) {
	w := newWorld(t)
	w.set.minBackoff = time.Hour
	w.set.deferred = map[string]bool{"slow": true}
	nexthop := make(chan string, 1)
	w.agent("scan", func(ctx context.Context, j *delivery.Job) {
		nexthop <- j.Nexthop
		all(relayed)(ctx, j)
	})
	w.start()
	w.in(w.mail("u@slow.example"), queue.Deferred)
	if !w.log.has("dsn=4.3.2, status=deferred (deferred transport)") {
		t.Error("no deferred transport in the log")
	}
	m := envelope.Message{ID: queue.NewID(clock.Now()), Arrival: clock.Now()}
	f, err := w.spool.Create(queue.Incoming, &m)
	if err != nil {
		t.Fatal(err)
	}
	f.Recipient(&envelope.Recipient{Address: "u@far.example"})
	if err := f.Attr(queue.AttrFilter, "scan:[127.0.0.1]:10025"); err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("\r\n"))
	f.Commit()
	w.q.requestScan(&w.q.incoming, false)
	w.in(m.ID, "")
	if got := <-nexthop; got != "[127.0.0.1]:10025" {
		t.Errorf("next hop %q, want the content filter's", got)
	}
}

func TestFlush(t *testing.T) {
	w := newWorld(t)
	w.agent("slow", all(sent))
	next := clock.Now().Add(time.Hour)
	var ids []string
	for range 3 {
		id := w.message(queue.Deferred, envelope.Message{}, "u@slow.example")
		w.spool.Schedule(queue.Deferred, id, next)
		ids = append(ids, id)
	}
	w.start()
	w.q.flushID(ids[0])
	w.in(ids[0], "")
	if text := w.q.flushSite("other.example"); text != `Flush service is not configured for destination "other.example"` {
		t.Errorf("flushSite of an unlisted domain says %q", text)
	}
	if text := w.q.flushSite("slow.example"); text != "" {
		t.Errorf("flushSite says %q, want nothing", text)
	}
	w.in(ids[1], "")
	w.in(ids[2], "")
	id := w.message(queue.Deferred, envelope.Message{}, "u@slow.example")
	w.spool.Schedule(queue.Deferred, id, next)
	w.q.flush()
	w.in(id, "")
}

func TestManyRecipientsInASmallWindow(t *testing.T) {
	w := newWorld(t)
	w.set.rcptLimit = 2000
	w.limits.Limit = 4
	const n = 100000
	var mu sync.Mutex
	seen := make([]bool, n)
	most, twice := 0, 0
	w.make()
	w.agent("smtp", func(ctx context.Context, j *delivery.Job) {
		w.q.mu.Lock()
		in := w.q.inCore
		w.q.mu.Unlock()
		mu.Lock()
		most = max(most, in)
		for i := range j.Recipients {
			if seen[j.Recipients[i].Num] {
				twice++
			}
			seen[j.Recipients[i].Num] = true
		}
		mu.Unlock()
		for i := range j.Recipients {
			j.Report(i, relayed, time.Time{}, 0)
		}
	})
	w.env.Log = maillog.New("postfix/fake", maillog.Discard{})
	m := envelope.Message{ID: queue.NewID(clock.Now()), Arrival: clock.Now()}
	f, err := w.spool.Create(queue.Incoming, &m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f.Recipient(&envelope.Recipient{Address: fmt.Sprintf("u%d@smtp.d%d.example", i, i%100)})
	}
	f.Write([]byte("\r\n"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.in(m.ID, "")
	w.ledger(qmgr.Status{Accepted: n, Relayed: n})
	mu.Lock()
	defer mu.Unlock()
	missing := 0
	for _, s := range seen {
		if !s {
			missing++
		}
	}
	if missing > 0 || twice > 0 {
		t.Errorf("%d recipients never tried, %d twice, want none", missing, twice)
	}
	if most > 2000 {
		t.Errorf("%d recipients in memory, want at most the limit of 2000", most)
	}
}

// TestManyMessagesInASmallWindow: a message that found no room for its
// recipients is not forgotten when there is room again.
func TestManyMessagesInASmallWindow(t *testing.T) {
	for _, limit := range []int{20, 310, 1000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := newWorld(t)
			w.set.rcptLimit = limit
			const messages, each = 50, 50
			w.make()
			w.env.Log = maillog.New("postfix/fake", maillog.Discard{})
			w.agent("smtp", all(relayed))
			for m := range messages {
				var rcpts []string
				for i := range each {
					rcpts = append(rcpts, fmt.Sprintf("u%d@smtp.d%d.example", i, (m+i)%20))
				}
				w.mail(rcpts...)
			}
			w.start()
			w.until("all messages are gone", func() bool {
				s := w.q.status()
				return s.Relayed == messages*each && s.Messages == 0
			})
			w.ledger(qmgr.Status{Accepted: messages * each, Relayed: messages * each})
		})
	}
}
