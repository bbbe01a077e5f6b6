// Package clock is the time of day as the queue sees it: the system's clock
// plus POSTHASTE_CLOCK_OFFSET from the environment. An offset of "26h" lets a
// test or an administrator see today what the queue will do tomorrow; preloaded
// libraries that fake the time do not reach Go programs. Deadlines of sockets
// stay with package time.
package clock

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// Variable is the name of the environment variable.
const Variable = "POSTHASTE_CLOCK_OFFSET"

var offset = sync.OnceValue(func() time.Duration { return parse(os.Getenv(Variable)) })

// parse reads a Go duration ("26h", "-90s") or a number of seconds; anything
// else is no offset.
func parse(s string) time.Duration {
	if d, err := time.ParseDuration(s); err == nil {
		return d
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	return 0
}

// Now is the current time plus the offset.
func Now() time.Time { return time.Now().Add(offset()) }

// Since is the time passed since t, which came from Now.
func Since(t time.Time) time.Duration { return Now().Sub(t) }

// Until is the time left until t, on the scale of Now.
func Until(t time.Time) time.Duration { return t.Sub(Now()) }

// Offset is what Now adds to the system's clock.
func Offset() time.Duration { return offset() }
