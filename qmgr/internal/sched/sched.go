// Package sched decides which delivery comes next. It is pure: recipients,
// results and the time go in, deliveries come out; it knows no files, sockets
// or goroutines, and its caller does the locking.
//
// Each transport is scheduled on its own, within the limit of master.cf's
// maxproc. The rule is round robin over messages: a free slot of a transport
// goes to the next message that has a recipient whose destination may take one
// more delivery, and that message goes to the end of the ring. So a message
// waits for at most one delivery of each message before it, whatever their
// size: one to 1,000 recipients takes half of the slots as long as a single
// small one is beside it, and all of them otherwise. A destination with more
// messages than its concurrency allows serves them round robin as well.
//
// Concurrency follows Postfix's SCHEDULER_README: a window per destination that
// grows with success and shrinks with failures of the site (not of single
// recipients), and a destination that fails too often in a row is suspended
// with all of its mail.
package sched

import (
	"math"
	"strconv"
	"strings"
	"time"

	"posthaste/pkg/envelope"
)

// Feedback is an expression of *_destination_concurrency_*_feedback: N,
// N/concurrency or N/sqrt_concurrency.
type Feedback struct {
	n    float64
	kind byte // 0, 'c' or 's'
}

// ParseFeedback reads an expression; ok is false if it is not one or N is not
// between 0 and 1.
func ParseFeedback(s string) (f Feedback, ok bool) {
	num, den, has := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || !(n >= 0 && n <= 1) {
		return f, false
	}
	f.n = n
	if has {
		switch strings.TrimSpace(den) {
		case "concurrency":
			f.kind = 'c'
		case "sqrt_concurrency":
			f.kind = 's'
		default:
			return f, false
		}
	}
	return f, true
}

func (f Feedback) at(window int) float64 {
	w := float64(max(window, 1))
	switch f.kind {
	case 'c':
		return f.n / w
	case 's':
		return f.n / math.Sqrt(w)
	}
	return f.n
}

// Params are the limits of one transport.
type Params struct {
	Limit            int // deliveries at a time; 0: no limit
	RecipientLimit   int // recipients in a delivery; 0: no limit
	ConcurrencyLimit int // deliveries at a time to a destination; 0: no limit
	Initial          int // initial_destination_concurrency
	Positive         Feedback
	Negative         Feedback
	CohortLimit      float64       // *_destination_concurrency_failed_cohort_limit; 0: never dead
	DestRateDelay    time.Duration // pause after a delivery to a destination
	TransportDelay   time.Duration // pause after a delivery by the transport
	Suspend          time.Duration // minimal_backoff_time: how long a dead destination rests
}

// Trouble is why recipients cannot be delivered to now.
type Trouble struct{ DSN, Text string }

// Message is the scheduler's handle of a message. The zero value is ready.
type Message struct {
	Ref  any // the caller's
	jobs map[*transport]*job
}

// Entry is one delivery: some recipients of a message that share transport,
// next hop and destination.
type Entry struct {
	Message    *Message
	Transport  string
	Nexthop    string
	Recipients []envelope.Recipient

	p *peer
}

// Refused holds the recipients of a message that are to be deferred without an
// attempt.
type Refused struct {
	Message    *Message
	Transport  string
	Nexthop    string
	Recipients []envelope.Recipient
	Trouble    Trouble
}

// Scheduler holds all transports.
type Scheduler struct {
	now        func() time.Time
	params     func(transport string) Params
	transports map[string]*transport
	todo       int // recipients waiting
	busy       int // deliveries under way
}

// transport is one master.cf service.
type transport struct {
	name   string
	p      Params
	dests  map[string]*dest
	ring   list[*job] // jobs with a peer that holds a reservation
	busy   int
	paused time.Time // *_transport_rate_delay
	dead   time.Time // suspended until then
	why    Trouble
}

// dest is a destination of a transport.
type dest struct {
	t        *transport
	key      string
	window   int
	success  float64
	failure  float64
	cohorts  float64
	busy     int
	reserved int         // peers in a job's ready list
	waiting  list[*peer] // peers with recipients and without a reservation
	peers    map[*peer]bool
	paused   time.Time // *_destination_rate_delay
	dead     time.Time
	why      Trouble
}

// job is a message at a transport.
type job struct {
	m      *Message
	t      *transport
	peers  map[string]*peer
	ready  list[*peer]
	inRing bool
}

// peer is a job at a destination.
type peer struct {
	j       *job
	d       *dest
	nexthop string
	todo    []envelope.Recipient
	state   byte // idle, ready (holds a reservation, in j.ready) or waiting (in d.waiting)
	busy    int
}

const (
	idle = iota
	ready
	waiting
)

// New returns an empty Scheduler. params is asked once for each transport.
func New(now func() time.Time, params func(transport string) Params) *Scheduler {
	return &Scheduler{now: now, params: params, transports: map[string]*transport{}}
}

// Todo is how many recipients wait; Busy how many deliveries are under way.
func (s *Scheduler) Todo() int { return s.todo }

// Busy is how many deliveries are under way.
func (s *Scheduler) Busy() int { return s.busy }

func (s *Scheduler) transport(name string) *transport {
	t := s.transports[name]
	if t == nil {
		t = &transport{name: name, p: s.params(name), dests: map[string]*dest{}}
		s.transports[name] = t
	}
	return t
}

// RecipientLimit is the most recipients in one delivery of a transport.
func (s *Scheduler) RecipientLimit(transport string) int {
	return s.transport(transport).p.RecipientLimit
}

// Add takes recipients of a message that share transport, next hop and the
// destination key dest. A non-nil Trouble says that they were not taken,
// because the transport or the destination is suspended.
func (s *Scheduler) Add(m *Message, name, nexthop, key string, rcpts ...envelope.Recipient) *Trouble {
	t := s.transport(name)
	now := s.now()
	if t.dead.After(now) {
		return &t.why
	}
	d := t.dests[key]
	if d == nil {
		d = &dest{t: t, key: key, peers: map[*peer]bool{}}
		d.window = t.initial()
		t.dests[key] = d
	}
	if !d.dead.IsZero() {
		if d.dead.After(now) {
			return &d.why
		}
		d.revive()
	}
	if m.jobs == nil {
		m.jobs = map[*transport]*job{}
	}
	j := m.jobs[t]
	if j == nil {
		j = &job{m: m, t: t, peers: map[string]*peer{}}
		m.jobs[t] = j
	}
	p := j.peers[key]
	if p == nil {
		p = &peer{j: j, d: d, nexthop: nexthop}
		j.peers[key] = p
		d.peers[p] = true
	}
	p.todo = append(p.todo, rcpts...)
	s.todo += len(rcpts)
	if p.state == idle {
		s.park(p)
	}
	return nil
}

func (t *transport) initial() int {
	w := max(t.p.Initial, 1)
	if t.p.ConcurrencyLimit > 0 {
		w = min(w, t.p.ConcurrencyLimit)
	}
	if t.p.DestRateDelay > 0 {
		w = 1
	}
	return w
}

func (d *dest) revive() {
	d.dead = time.Time{}
	d.window, d.success, d.failure, d.cohorts = d.t.initial(), 0, 0, 0
}

// park puts a peer with recipients in line at its destination.
func (s *Scheduler) park(p *peer) {
	p.state = waiting
	p.d.waiting.push(p)
	s.wake(p.d)
}

// wake gives reservations to as many waiting peers as the window allows.
func (s *Scheduler) wake(d *dest) {
	if !d.paused.IsZero() {
		if d.paused.After(s.now()) {
			return
		}
		d.paused = time.Time{}
	}
	for d.busy+d.reserved < d.window {
		p, ok := d.waiting.pop()
		if !ok {
			return
		}
		if len(p.todo) == 0 {
			p.state = idle
			s.forget(p)
			continue
		}
		p.state = ready
		d.reserved++
		p.j.ready.push(p)
		if !p.j.inRing {
			p.j.inRing = true
			d.t.ring.push(p.j)
		}
	}
}

// Next returns the delivery that comes next in a transport, or nil.
func (s *Scheduler) Next(name string) *Entry {
	t := s.transports[name]
	if t == nil || t.p.Limit > 0 && t.busy >= t.p.Limit {
		return nil
	}
	now := s.now()
	if t.dead.After(now) || t.paused.After(now) {
		return nil
	}
	for {
		j, ok := t.ring.pop()
		if !ok {
			return nil
		}
		j.inRing = false
		for {
			p, ok := j.ready.pop()
			if !ok {
				break
			}
			p.d.reserved--
			p.state = idle
			if len(p.todo) == 0 {
				s.forget(p)
				s.wake(p.d)
				continue
			}
			return s.start(p)
		}
	}
}

// start makes an Entry of a peer that held a reservation.
func (s *Scheduler) start(p *peer) *Entry {
	t, d := p.d.t, p.d
	n := len(p.todo)
	if t.p.RecipientLimit > 0 {
		n = min(n, t.p.RecipientLimit)
	}
	e := &Entry{Message: p.j.m, Transport: t.name, Nexthop: p.nexthop, Recipients: p.todo[:n:n], p: p}
	p.todo = p.todo[n:]
	if len(p.todo) == 0 {
		p.todo = nil
	}
	s.todo -= n
	s.busy++
	t.busy++
	d.busy++
	p.busy++
	if t.p.TransportDelay > 0 {
		t.paused = s.now().Add(t.p.TransportDelay)
	}
	if len(p.todo) > 0 {
		s.park(p) // at the end of the line of its destination
	}
	if p.j.ready.len() > 0 && !p.j.inRing {
		p.j.inRing = true
		t.ring.push(p.j)
	}
	return e
}

// Done ends a delivery. site is the trouble that concerns the destination as a
// whole, nil if it is well. What the destination's suspension refuses is
// returned.
func (s *Scheduler) Done(e *Entry, site *Trouble) []Refused {
	p := e.p
	d := p.d
	var out []Refused
	if site == nil {
		d.succeeded()
	} else {
		d.failed(s.now(), *site)
	}
	s.release(p)
	if !d.dead.IsZero() {
		out = s.drain(d, d.why)
	} else if d.t.p.DestRateDelay > 0 {
		d.paused = s.now().Add(d.t.p.DestRateDelay)
	}
	s.wake(d)
	s.tidy(p)
	return out
}

// Requeue undoes the start of a delivery that no agent took.
func (s *Scheduler) Requeue(e *Entry) []Refused {
	p := e.p
	s.release(p)
	t := p.d.t
	if !p.d.dead.IsZero() || t.dead.After(s.now()) {
		why := p.d.why
		if p.d.dead.IsZero() {
			why = t.why
		}
		s.tidy(p)
		return []Refused{{Message: e.Message, Transport: e.Transport, Nexthop: e.Nexthop, Recipients: e.Recipients, Trouble: why}}
	}
	p.todo = append(append([]envelope.Recipient(nil), e.Recipients...), p.todo...)
	s.todo += len(e.Recipients)
	if p.state == idle {
		// Its peer may have been tidied away meanwhile.
		p.j.m.jobs[t] = p.j
		p.j.peers[p.d.key] = p
		t.dests[p.d.key] = p.d
		p.d.peers[p] = true
		s.park(p)
	} else {
		s.wake(p.d)
	}
	return nil
}

func (s *Scheduler) release(p *peer) {
	s.busy--
	p.busy--
	p.d.busy--
	p.d.t.busy--
}

// tidy forgets a peer, its job and its destination when nothing keeps them.
func (s *Scheduler) tidy(p *peer) {
	d := p.d
	if len(p.todo) > 0 || p.busy > 0 {
		return
	}
	s.forget(p)
	if len(d.peers) == 0 && d.busy == 0 && d.dead.IsZero() && !d.paused.After(s.now()) && d.waiting.len() == 0 {
		delete(d.t.dests, d.key)
	}
}

// forget takes a peer that has nothing to do out of the books.
func (s *Scheduler) forget(p *peer) {
	if p.state != idle || len(p.todo) > 0 || p.busy > 0 {
		return
	}
	j := p.j
	delete(j.peers, p.d.key)
	delete(p.d.peers, p)
	if len(j.peers) == 0 {
		delete(j.m.jobs, j.t)
	}
}

func (d *dest) succeeded() {
	p := &d.t.p
	d.cohorts = 0
	if !d.dead.IsZero() {
		return
	}
	if d.window < d.busy+max(p.Initial, 1) && p.DestRateDelay == 0 {
		d.success += p.Positive.at(d.window)
		for d.success >= 1 {
			d.window++
			d.failure = 0
			d.success--
		}
		if p.ConcurrencyLimit > 0 {
			d.window = min(d.window, p.ConcurrencyLimit)
		}
	}
}

func (d *dest) failed(now time.Time, site Trouble) {
	p := &d.t.p
	if !d.dead.IsZero() {
		return
	}
	d.cohorts += 1 / float64(max(d.window, 1))
	if p.CohortLimit > 0 && d.cohorts >= p.CohortLimit {
		d.window = 0
		d.dead = now.Add(p.Suspend)
		d.why = Trouble{site.DSN, "delivery temporarily suspended: " + site.Text}
		return
	}
	d.failure -= p.Negative.at(d.window)
	for d.failure < 0 {
		d.window--
		d.failure++
		d.success = 0
	}
	d.window = max(d.window, 1)
}

// drain takes the waiting recipients from a destination.
func (s *Scheduler) drain(d *dest, why Trouble) []Refused {
	var out []Refused
	for p := range d.peers {
		out = s.empty(p, why, out)
	}
	return out
}

// empty takes a peer's waiting recipients and adds them to out. Next and wake
// skip peers without recipients.
func (s *Scheduler) empty(p *peer, why Trouble, out []Refused) []Refused {
	if len(p.todo) == 0 {
		return out
	}
	s.todo -= len(p.todo)
	out = append(out, Refused{Message: p.j.m, Transport: p.d.t.name, Nexthop: p.nexthop, Recipients: p.todo, Trouble: why})
	p.todo = nil
	return out
}

// Suspend stops a transport for a while; its waiting recipients are returned.
func (s *Scheduler) Suspend(name string, why Trouble, d time.Duration) []Refused {
	t := s.transport(name)
	t.dead, t.why = s.now().Add(d), why
	var out []Refused
	for _, d := range t.dests {
		out = append(out, s.drain(d, why)...)
	}
	return out
}

// Revive ends all suspensions (postqueue -f), or those of one transport and
// destination.
func (s *Scheduler) Revive() {
	for _, t := range s.transports {
		t.dead = time.Time{}
		for _, d := range t.dests {
			if !d.dead.IsZero() {
				d.revive()
			}
		}
	}
}

// Cancel takes a message's waiting recipients out.
func (s *Scheduler) Cancel(m *Message) []Refused {
	var out []Refused
	for _, j := range m.jobs {
		for _, p := range j.peers {
			out = s.empty(p, Trouble{}, out)
		}
	}
	return out
}

// Tick wakes destinations whose pause is over, forgets those that are idle, and
// returns when it wants to be called again (zero: not before something
// happens) and the transports in which Next may have something.
func (s *Scheduler) Tick() (next time.Time, runnable []string) {
	now := s.now()
	earliest := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, t := range s.transports {
		if t.paused.After(now) {
			if t.ring.len() > 0 {
				earliest(t.paused)
			}
		} else {
			t.paused = time.Time{}
		}
		if t.p.DestRateDelay > 0 || len(t.dests) > 256 {
			for key, d := range t.dests {
				if d.paused.After(now) {
					if len(d.peers) > 0 {
						earliest(d.paused)
					}
					continue
				}
				s.wake(d)
				if len(d.peers) == 0 && d.busy == 0 && !d.dead.After(now) {
					delete(t.dests, key)
				}
			}
		}
		if t.ring.len() > 0 && t.paused.IsZero() && !t.dead.After(now) {
			runnable = append(runnable, t.name)
		}
	}
	return next, runnable
}

// Runnable tells whether Next may have a delivery, so that an agent is worth
// dialling.
func (s *Scheduler) Runnable(name string) bool {
	t := s.transports[name]
	if t == nil || t.p.Limit > 0 && t.busy >= t.p.Limit || t.ring.len() == 0 {
		return false
	}
	now := s.now()
	return !t.dead.After(now) && !t.paused.After(now)
}

// Paused tells whether some rate delay is in force, so that Tick has work.
func (s *Scheduler) Paused(name string) bool {
	t := s.transports[name]
	return t != nil && (t.p.DestRateDelay > 0 || t.p.TransportDelay > 0)
}

// Window is the concurrency window of a destination; 0: suspended or unknown.
func (s *Scheduler) Window(transport, key string) int {
	if t := s.transports[transport]; t != nil {
		if d := t.dests[key]; d != nil {
			return d.window
		}
	}
	return 0
}
