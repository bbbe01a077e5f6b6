package deadline

import (
	"testing"
	"time"
)

func TestMove(t *testing.T) {
	start := time.Now()
	var l Limit
	for _, c := range []struct {
		after, d time.Duration
		set      bool
	}{
		{0, time.Minute, true},
		{0, time.Minute, false},
		{900 * time.Millisecond, time.Minute, false},
		{1001 * time.Millisecond, time.Minute, true}, // too early by more than a second
		{1001 * time.Millisecond, 59 * time.Second, true},
		{1001 * time.Millisecond, 800 * time.Millisecond, true},
		{1090 * time.Millisecond, 800 * time.Millisecond, false},
		{1110 * time.Millisecond, 800 * time.Millisecond, true}, // by more than an eighth
	} {
		set := false
		now := start.Add(c.after)
		l.Move(now, c.d, func(at time.Time) error {
			if set = true; !at.Equal(now.Add(c.d)) {
				t.Errorf("%v: set to %v", c, at)
			}
			return nil
		})
		if set != c.set {
			t.Errorf("%v: set: %v", c, set)
		}
	}
	for _, want := range []bool{true, false, true} {
		if want {
			l.Forget()
		}
		set := false
		l.Move(start, time.Minute, func(time.Time) error { set = true; return nil })
		if set != want {
			t.Errorf("set again: %v, want %v", set, want)
		}
	}
}
