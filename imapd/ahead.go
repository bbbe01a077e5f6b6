package main

import (
	"runtime"
	"sync"
	"sync/atomic"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// aheadMost is how many messages FETCH reads ahead.
const aheadMost = 256

// readAhead is called when a FETCH of cached items comes to message seq. If
// that is not in the cache, it and those after it are read by all processors
// and put there. What fails is left to be found again in its turn.
func (f *fetching) readAhead(seq uint32) {
	if seq < f.ahead {
		return
	}
	if _, ok := f.l.cached(mailbox.CacheEnvelope); ok {
		return
	}
	at := seq
	if f.uid {
		at = uint32(f.l.m.UID)
	}
	for len(f.r) > 1 && f.r[0].Hi < at {
		f.r = f.r[1:]
	}
	from := append([]imapwire.Range{{Lo: at, Hi: f.r[0].Hi}}, f.r[1:min(len(f.r), aheadMost)]...)
	var todo []*mailbox.Message
	l := loader{s: f.s}
	each(f.s.box.View(), from, f.uid, func(n uint32, m *mailbox.Message) bool {
		f.ahead = n + 1
		if f.hasSince && m.ModSeq <= f.since {
			return true
		}
		l.m = m
		if _, ok := l.cached(mailbox.CacheEnvelope); !ok {
			todo = append(todo, m)
		}
		return len(todo) < aheadMost
	})
	workers := min(runtime.GOMAXPROCS(0), len(todo)/8)
	if workers < 2 {
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			l := f.s.loader()
			defer l.close()
			for f.s.ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(todo) {
					return
				}
				l.set(todo[i])
				// Large messages go by the session's own cache of parts.
				if l.open() == nil && l.size <= parseWhole {
					l.fill(false)
				}
			}
		})
	}
	wg.Wait()
}
