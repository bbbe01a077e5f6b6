package service

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	governorPeriod = 100 * time.Millisecond
	// governorWide is the share of one processor from which on a process gets more.
	governorWide = 0.75
	// governorCalm is the share of one processor below which it goes back to one,
	// once that has lasted for governorPatience periods.
	governorCalm     = 0.5
	governorPatience = 20
	// governorIdle is the share below which nobody looks until there is work again.
	governorIdle = 0.02
	// blockedProcs are processors for a process whose system calls take long.
	blockedProcs = 8
)

// governor keeps a process on one processor as long as that one has time left.
//
// The Go runtime wakes another thread whenever there is something to do and a
// processor free. Where work comes in pieces of some microseconds, which is
// what a mail server's does, that thread finds nothing left: it cost a sixth of
// all processor time. With one processor the pieces wait for each other, and a
// wake-up serves several.
type governor struct {
	most int                  // processors, when one is not enough
	set  func(procs int)      // runtime.GOMAXPROCS
	used func() time.Duration // processor time of the process so far
	now  func() time.Time

	looking atomic.Bool // a look is to come

	mu      sync.Mutex
	blocked bool // by system calls: see Env.Blocks
	at      time.Time
	cpu     time.Duration
	wide    bool
	calm    int // periods
}

func newGovernor() *governor {
	g := &governor{most: min(runtime.NumCPU(), 8), set: func(n int) { runtime.GOMAXPROCS(n) }, used: processorTime, now: time.Now}
	if g.most > 1 {
		g.set(1)
	}
	return g
}

// working is called when there is something to do.
func (g *governor) working() {
	if g == nil || g.most == 1 || g.looking.Load() || !g.looking.CompareAndSwap(false, true) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blocked {
		return // and looking stays set: nobody comes here again
	}
	g.at, g.cpu = g.now(), g.used()
	time.AfterFunc(governorPeriod, g.tick)
}

func (g *governor) tick() {
	if g.look() {
		time.AfterFunc(governorPeriod, g.tick)
	} else {
		g.looking.Store(false)
	}
}

// look decides by what the process has used since the last look, and returns
// whether to look again.
func (g *governor) look() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blocked {
		return false
	}
	now, cpu := g.now(), g.used()
	load := float64(cpu-g.cpu) / float64(max(now.Sub(g.at), 1))
	g.at, g.cpu = now, cpu
	switch {
	case !g.wide && load >= governorWide:
		g.wide, g.calm = true, 0
		g.set(g.most)
	case g.wide && load >= governorCalm:
		g.calm = 0
	case g.wide:
		if g.calm++; g.calm == governorPatience {
			g.wide = false
			g.set(1)
		}
	}
	return g.wide || load >= governorIdle
}

// blocks ends the watch: a processor that waits in a system call does nothing
// else for some milliseconds, so that there have to be more of them than the
// machine has.
func (g *governor) blocks() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.blocked {
		g.blocked = true
		g.set(max(g.most, blockedProcs))
	}
}

func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
