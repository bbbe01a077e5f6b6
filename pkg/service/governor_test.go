package service

import (
	"slices"
	"testing"
	"time"
)

func TestGovernor(t *testing.T) {
	var procs []int
	var now time.Time
	var cpu time.Duration
	g := &governor{most: 4, set: func(n int) { procs = append(procs, n) }, used: func() time.Duration { return cpu }, now: func() time.Time { return now }}
	periods := func(n int, load float64) (again bool) {
		for range n {
			now = now.Add(governorPeriod)
			cpu += time.Duration(load * float64(governorPeriod))
			again = g.look()
		}
		return again
	}
	for _, c := range []struct {
		periods int
		load    float64
		again   bool
		procs   []int
	}{
		{10, 0, false, nil},
		{50, 0.7, true, nil},
		{1, 0.8, true, []int{4}},
		{100, 3, true, nil},
		{15, 0.3, true, nil},
		{1, 0.6, true, nil},
		{19, 0.3, true, nil},
		{1, 0.3, true, []int{1}},
		{1, 0.01, false, nil},
		{1, 1, true, []int{4}},
		{19, 0, true, nil}, // it goes on until it is back to one
		{1, 0, false, []int{1}},
	} {
		procs = nil
		if again := periods(c.periods, c.load); again != c.again || !slices.Equal(procs, c.procs) {
			t.Errorf("%d periods of %v: processors %v, look again %v; want %v, %v", c.periods, c.load, procs, again, c.procs, c.again)
		}
	}
}

// TestGovernorBlocked: a process that waits in system calls is left alone.
func TestGovernorBlocked(t *testing.T) {
	var procs []int
	looks := 0
	g := &governor{most: 2, set: func(n int) { procs = append(procs, n) }, used: func() time.Duration { looks++; return 0 }, now: time.Now}
	g.blocks()
	g.blocks()
	g.working()
	if again := g.look(); again || looks > 0 || !slices.Equal(procs, []int{blockedProcs}) {
		t.Errorf("looks again: %v, %d times so far; processors %v", again, looks, procs)
	}
	(*governor)(nil).blocks()
	(*governor)(nil).working()
}

// TestGovernorLooks: work starts the timer, idleness ends it.
func TestGovernorLooks(t *testing.T) {
	looks := make(chan struct{}, 100)
	g := &governor{most: 2, set: func(int) {}, used: func() time.Duration { looks <- struct{}{}; return 0 }, now: time.Now}
	g.looking.Store(true)
	g.working() // somebody looks already
	if len(looks) > 0 {
		t.Error("looks twice at a time")
	}
	g.looking.Store(false)
	for range 2 {
		g.working()
		for range 2 { // at the start and at the end of one period
			select {
			case <-looks:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody looks")
			}
		}
		for deadline := time.Now().Add(20 * time.Second); g.looking.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("still looking")
			}
		}
	}
	if len(looks) > 0 {
		t.Errorf("%d looks too many", len(looks))
	}
}
