package sched

import (
	"fmt"
	"testing"
	"time"

	"posthaste/pkg/envelope"
)

// fleet is a simulated set of agents on a simulated clock: every delivery takes
// took, and site decides how it ends.
type fleet struct {
	t       *testing.T
	s       *Scheduler
	now     time.Time
	flying  []flight
	took    func(e *Entry) time.Duration
	site    func(e *Entry) *Trouble
	done    []string // "message key" in order of completion
	refused []Refused
	most    map[string]int // most deliveries at a time by nexthop
	cur     map[string]int
}

type flight struct {
	e  *Entry
	at time.Time
}

func newFleet(t *testing.T, p Params) *fleet {
	f := &fleet{t: t, now: time.Unix(1e9, 0), most: map[string]int{}, cur: map[string]int{}}
	f.took = func(*Entry) time.Duration { return time.Second }
	f.site = func(*Entry) *Trouble { return nil }
	f.s = New(func() time.Time { return f.now }, func(string) Params { return p })
	return f
}

func one(n int) envelope.Recipient { return envelope.Recipient{Num: uint32(n)} }

func (f *fleet) add(m *Message, key string, n int) *Trouble {
	var l []envelope.Recipient
	for i := 0; i < n; i++ {
		l = append(l, one(i))
	}
	return f.s.Add(m, "smtp", key, key, l...)
}

// dispatch starts all deliveries that may start.
func (f *fleet) dispatch() {
	for e := f.s.Next("smtp"); e != nil; e = f.s.Next("smtp") {
		f.flying = append(f.flying, flight{e, f.now.Add(f.took(e))})
		f.cur[e.Nexthop]++
		f.most[e.Nexthop] = max(f.most[e.Nexthop], f.cur[e.Nexthop])
	}
}

// step ends the delivery that ends first; false if there is none.
func (f *fleet) step() bool {
	f.dispatch()
	if len(f.flying) == 0 {
		next, _ := f.s.Tick()
		if next.IsZero() {
			return false
		}
		f.now = next
		f.s.Tick()
		f.dispatch()
		if len(f.flying) == 0 {
			return false
		}
	}
	first := 0
	for i := range f.flying {
		if f.flying[i].at.Before(f.flying[first].at) {
			first = i
		}
	}
	fl := f.flying[first]
	f.flying = append(f.flying[:first], f.flying[first+1:]...)
	if fl.at.After(f.now) {
		f.now = fl.at
	}
	f.cur[fl.e.Nexthop]--
	f.done = append(f.done, fmt.Sprint(fl.e.Message.Ref, " ", fl.e.Nexthop))
	f.refused = append(f.refused, f.s.Done(fl.e, f.site(fl.e))...)
	return true
}

func (f *fleet) run() {
	for i := 0; f.step(); i++ {
		if i > 1e6 {
			f.t.Fatal("deliveries never end")
		}
	}
	if f.s.Todo() != 0 || f.s.Busy() != 0 {
		f.t.Errorf("at the end %d recipients wait, %d deliveries are busy, want none", f.s.Todo(), f.s.Busy())
	}
}

var usual = Params{Limit: 20, RecipientLimit: 50, ConcurrencyLimit: 20, Initial: 5, Positive: Feedback{n: 1}, Negative: Feedback{n: 1}, CohortLimit: 1, Suspend: 300 * time.Second}

func TestSmallMessageIsNotStuckBehindLargeOne(t *testing.T) {
	p := usual
	p.Limit = 1
	f := newFleet(t, p)
	big := &Message{Ref: "big"}
	for i := 0; i < 1000; i++ {
		f.add(big, fmt.Sprintf("d%d.example", i), 1)
	}
	for i := 0; i < 10; i++ {
		f.step()
	}
	before := len(f.done)
	for i := 0; i < 5; i++ {
		f.add(&Message{Ref: "small"}, fmt.Sprintf("s%d.example", i), 1)
	}
	for i := 0; i < 12; i++ {
		f.step()
	}
	small := 0
	for _, d := range f.done[before:] {
		if d[:5] == "small" {
			small++
		}
	}
	if small != 5 {
		t.Errorf("of 5 small messages %d were delivered within 12 deliveries, want all: %v", small, f.done[before:])
	}
	f.run()
	if len(f.done) != 1005 {
		t.Errorf("%d deliveries, want 1005", len(f.done))
	}
}

func TestSmallMessageToTheSameDestination(t *testing.T) {
	p := usual
	p.RecipientLimit = 1
	p.ConcurrencyLimit = 2
	f := newFleet(t, p)
	big := &Message{Ref: "big"}
	f.add(big, "one.example", 1000)
	for i := 0; i < 10; i++ {
		f.step()
	}
	f.add(&Message{Ref: "small"}, "one.example", 1)
	before := len(f.done)
	for i := 0; i < 6; i++ {
		f.step()
	}
	found := false
	for _, d := range f.done[before:] {
		found = found || d == "small one.example"
	}
	if !found {
		t.Errorf("the small message was not among the next 6 deliveries: %v", f.done[before:])
	}
}

func TestBatchesFollowRecipientLimit(t *testing.T) {
	f := newFleet(t, usual)
	f.add(&Message{Ref: "m"}, "a.example", 120)
	sizes := []int{}
	f.took = func(e *Entry) time.Duration { sizes = append(sizes, len(e.Recipients)); return time.Second }
	f.run()
	if fmt.Sprint(sizes) != "[50 50 20]" {
		t.Errorf("delivery sizes %v, want [50 50 20]", sizes)
	}
}

func TestWindowGrowsToLimit(t *testing.T) {
	p := usual
	p.Limit = 100
	f := newFleet(t, p)
	for i := 0; i < 500; i++ {
		f.add(&Message{Ref: i}, "a.example", 1)
	}
	f.dispatch()
	if got := f.cur["a.example"]; got != 5 {
		t.Errorf("%d deliveries at first, want the initial 5", got)
	}
	f.run()
	if got := f.most["a.example"]; got != 20 {
		t.Errorf("at most %d deliveries at a time, want the limit 20", got)
	}
}

func TestWindowShrinksAndDestinationDies(t *testing.T) {
	f := newFleet(t, usual)
	for i := 0; i < 200; i++ {
		f.add(&Message{Ref: i}, "down.example", 1)
		f.add(&Message{Ref: i}, "up.example", 1)
	}
	f.site = func(e *Entry) *Trouble {
		if e.Nexthop == "down.example" {
			return &Trouble{"4.4.1", "connect to down.example: Connection refused"}
		}
		return nil
	}
	f.run()
	down, up := 0, 0
	for _, d := range f.done {
		if d[len(d)-10:] == "up.example" {
			up++
		} else {
			down++
		}
	}
	if up != 200 {
		t.Errorf("%d deliveries to the live site, want 200", up)
	}
	if down > 8 {
		t.Errorf("%d attempts at the dead site, want a handful", down)
	}
	n := 0
	for _, r := range f.refused {
		n += len(r.Recipients)
		if want := "delivery temporarily suspended: connect to down.example: Connection refused"; r.Trouble.Text != want {
			t.Errorf("reason %q, want %q", r.Trouble.Text, want)
		}
	}
	if n+down != 200 {
		t.Errorf("%d refused and %d tried, want 200 together", n, down)
	}
	if tr := f.add(&Message{}, "down.example", 1); tr == nil {
		t.Error("a suspended destination took a recipient")
	}
	f.now = f.now.Add(301 * time.Second)
	if tr := f.add(&Message{}, "down.example", 1); tr != nil {
		t.Errorf("after minimal_backoff_time: %v, want the destination revived", tr)
	}
}

func TestNegativeFeedbackWithoutCohortLimit(t *testing.T) {
	p := usual
	p.CohortLimit = 0
	p.Limit = 100
	f := newFleet(t, p)
	f.site = func(*Entry) *Trouble { return &Trouble{"4.4.1", "no"} }
	for i := 0; i < 50; i++ {
		f.add(&Message{Ref: i}, "a.example", 1)
	}
	f.run()
	if len(f.done) != 50 || len(f.refused) != 0 {
		t.Errorf("%d deliveries, %d refused, want 50 and 0", len(f.done), len(f.refused))
	}
	if w := f.s.Window("smtp", "a.example"); w > 1 {
		t.Errorf("window %d, want 1 or forgotten", w)
	}
}

func TestRateDelayForcesWindowOne(t *testing.T) {
	p := usual
	p.DestRateDelay = 10 * time.Second
	f := newFleet(t, p)
	start := f.now
	for i := 0; i < 5; i++ {
		f.add(&Message{Ref: i}, "a.example", 1)
	}
	f.run()
	if len(f.done) != 5 || f.most["a.example"] != 1 {
		t.Errorf("%d deliveries, %d at a time, want 5 and 1", len(f.done), f.most["a.example"])
	}
	if got := f.now.Sub(start); got < 45*time.Second {
		t.Errorf("5 deliveries took %v, want four pauses of 10 s between them", got)
	}
}

func TestTransportRateDelay(t *testing.T) {
	p := usual
	p.TransportDelay = 10 * time.Second
	f := newFleet(t, p)
	start := f.now
	for i := 0; i < 4; i++ {
		f.add(&Message{Ref: i}, fmt.Sprintf("d%d.example", i), 1)
	}
	f.run()
	if got := f.now.Sub(start); len(f.done) != 4 || got < 30*time.Second {
		t.Errorf("%d deliveries in %v, want 4 in 30 s or more", len(f.done), got)
	}
}

func TestSuspendedTransport(t *testing.T) {
	f := newFleet(t, usual)
	m := &Message{Ref: "m"}
	f.add(m, "a.example", 3)
	f.add(m, "b.example", 2)
	why := Trouble{"4.3.0", "mail transport unavailable"}
	n := 0
	for _, r := range f.s.Suspend("smtp", why, time.Minute) {
		n += len(r.Recipients)
	}
	if n != 5 || f.s.Todo() != 0 || f.s.Next("smtp") != nil {
		t.Errorf("%d recipients came back, %d wait, want 5 and 0", n, f.s.Todo())
	}
	if tr := f.add(m, "c.example", 1); tr == nil || *tr != why {
		t.Errorf("Add to a suspended transport = %v, want %v", tr, why)
	}
	f.s.Revive()
	if tr := f.add(m, "a.example", 1); tr != nil {
		t.Errorf("Add after Revive = %v, want nil", tr)
	}
	f.run()
	if len(f.done) != 1 {
		t.Errorf("%d deliveries after Revive, want 1", len(f.done))
	}
}

func TestRequeueAndCancel(t *testing.T) {
	f := newFleet(t, usual)
	m := &Message{Ref: "m"}
	f.add(m, "a.example", 60)
	e := f.s.Next("smtp")
	if r := f.s.Requeue(e); r != nil || f.s.Todo() != 60 {
		t.Fatalf("Requeue refused %v, %d wait, want nil and 60", r, f.s.Todo())
	}
	e = f.s.Next("smtp")
	n := 0
	for _, r := range f.s.Cancel(m) {
		n += len(r.Recipients)
	}
	if n != 60-len(e.Recipients) {
		t.Errorf("Cancel gave %d recipients back, want those not under way, %d", n, 60-len(e.Recipients))
	}
	f.s.Done(e, nil)
	if f.s.Next("smtp") != nil || f.s.Todo() != 0 || f.s.Busy() != 0 {
		t.Error("something is left after Cancel and Done")
	}
}

func TestParseFeedback(t *testing.T) {
	for s, want := range map[string]float64{"1": 1, "0.5": .5, "1/concurrency": .25, "1 / sqrt_concurrency": .5} {
		f, ok := ParseFeedback(s)
		if !ok || f.at(4) != want {
			t.Errorf("ParseFeedback(%q) at 4 = %v, %v, want %v", s, f.at(4), ok, want)
		}
	}
	for _, s := range []string{"", "2", "-1", "1/x", "NaN", "x"} {
		if _, ok := ParseFeedback(s); ok {
			t.Errorf("ParseFeedback(%q) is ok, want refused", s)
		}
	}
}

func TestManyDestinationsLeaveNoState(t *testing.T) {
	f := newFleet(t, usual)
	m := &Message{Ref: "m"}
	for i := 0; i < 3000; i++ {
		f.add(m, fmt.Sprintf("d%d.example", i), 1)
	}
	f.run()
	f.s.Tick()
	if n := len(f.s.transports["smtp"].dests); n != 0 {
		t.Errorf("%d destinations remembered, want 0", n)
	}
	if len(m.jobs) != 0 {
		t.Errorf("%d jobs remembered, want 0", len(m.jobs))
	}
}
