package main

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// aheadMost is how many messages of a FETCH are read ahead at a time.
const aheadMost = 256

// holdMost bounds what a worker keeps until all of a batch is cached together, in
// the order in which it will be asked for.
const holdMost = 512 << 10

// ahead is what a FETCH of cached items reads ahead of their turns: messages
// that are not in the cache are read by all processors and put there, while
// those before them are sent.
type ahead struct {
	ready   uint32 // messages before it have been looked at
	next    uint32 // messages before it are being looked at
	running sync.WaitGroup
	runs    bool
	stopped atomic.Bool
	loaders []*loader // one for each processor
}

// stop ends reading ahead.
func (a *ahead) stop() {
	a.stopped.Store(true)
	a.wait()
}

// wait waits for the workers and has the store cache what they found.
func (a *ahead) wait() {
	a.running.Wait()
	if len(a.loaders) == 0 {
		return
	}
	first := a.loaders[0]
	for _, l := range a.loaders[1:] {
		first.values = append(first.values, l.values...)
	}
	slices.SortFunc(first.values, func(x, y mailbox.CacheValue) int { return cmp.Compare(x.UID, y.UID) })
	first.s.box.SetCached(first.values...)
	for _, l := range a.loaders {
		l.forget()
	}
}

// readAhead is called when a FETCH comes to message seq. What fails is left to
// be found again in its turn.
func (f *fetching) readAhead(seq uint32) {
	a := &f.ahead
	for seq >= a.ready {
		if !a.runs {
			if _, ok := f.l.cached(); ok {
				return
			}
			f.look(seq)
		}
		a.wait()
		a.ready = a.next
		if a.runs {
			f.look(a.next)
		}
	}
}

// look starts reading messages of the set from message seq on: those that are
// not in the cache, as long as it is worth while.
func (f *fetching) look(seq uint32) {
	a := &f.ahead
	a.runs, a.next = false, seq+1
	v := f.s.box.View()
	if int(seq) > len(v.Messages) {
		return
	}
	at := seq
	if f.uid {
		at = uint32(v.Messages[seq-1].UID)
	}
	for len(f.r) > 1 && f.r[0].Hi < at {
		f.r = f.r[1:]
	}
	from := append([]imapwire.Range{{Lo: max(at, f.r[0].Lo), Hi: f.r[0].Hi}}, f.r[1:min(len(f.r), aheadMost)]...)
	var todo []*mailbox.Message
	l := loader{s: f.s}
	each(v, from, f.uid, func(n uint32, m *mailbox.Message) bool {
		a.next = n + 1
		if f.hasSince && m.ModSeq <= f.since {
			return true
		}
		l.m = m
		if _, ok := l.cached(); !ok {
			todo = append(todo, m)
		}
		return len(todo) < aheadMost
	})
	workers := min(runtime.GOMAXPROCS(0), len(todo)/8)
	if workers < 2 {
		return
	}
	a.runs = true
	var next atomic.Int64
	for i := range workers {
		if i == len(a.loaders) {
			a.loaders = append(a.loaders, &loader{s: f.s, kept: &partCache{}, holds: true})
		}
		l := a.loaders[i]
		a.running.Go(func() {
			defer l.close()
			for f.s.ctx.Err() == nil && !a.stopped.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(todo) {
					return
				}
				l.set(todo[i])
				// Large messages go by the session's own cache of parts.
				if l.open() == nil && l.size <= parseWhole {
					l.fill(false)
				}
				if len(l.held) > holdMost {
					l.flush()
				}
			}
		})
	}
}
