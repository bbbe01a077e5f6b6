package main

import (
	"container/heap"
	"errors"
	"os"
	"time"

	"posthaste/pkg/clock"
	"posthaste/pkg/queue"
)

// candidate is a message that may enter the active queue.
type candidate struct {
	id        string
	queue     string
	recovered bool // it was active when an earlier process ended
	verify    bool // its content may not have survived a power failure
	fresh     bool // cleanup has just announced it
}

// maxListed bounds the candidates listed of one queue; a scan finds the others
// later.
const maxListed = 20000

// source lists candidates of one queue. more says that the directory holds some
// that are not listed.
type source struct {
	queue    string
	list     []candidate
	more     bool
	scanning bool
	all      bool // deferred: next attempts that lie in the future count as due
	verify   bool // incoming: the first scan after the start
}

// offer lists a candidate unless it is known; the caller holds mu.
func (q *manager) offer(c candidate) {
	if _, known := q.known[c.id]; known || q.active[c.id] != nil {
		return
	}
	s := &q.incoming
	if c.queue == queue.Deferred {
		s = &q.deferred
	}
	if len(s.list) >= maxListed && c.queue != queue.Active { // no scan looks there
		s.more = true
		return
	}
	q.known[c.id] = false
	s.list = append(s.list, c)
	q.cond.Signal()
}

// postpone offers c again after retryPause; the caller holds mu.
func (q *manager) postpone(c candidate) {
	if len(q.later) == 0 {
		q.laterAt = clock.Now().Add(q.set.pause)
		defer q.kick()
	}
	q.later = append(q.later, c)
}

// next waits for a candidate and for room in the active queue. The two queues
// take turns, so that neither a flood of new mail nor a large retry holds up
// the other. ok is false when the process ends.
func (q *manager) next() (c candidate, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.draining {
			return c, false
		}
		if len(q.active)+q.starting < q.set.activeLimit {
			for try := 0; try < 2; try++ {
				s := &q.incoming
				if q.turn {
					s = &q.deferred
				}
				q.turn = !q.turn
				if len(s.list) > 0 {
					c = s.list[0]
					s.list = s.list[1:]
					if len(s.list) == 0 {
						s.list = nil
						if s.more {
							q.kick()
						}
					}
					q.starting++
					return c, true
				}
			}
		}
		q.cond.Wait()
	}
}

// scansDue returns the sources to scan now; the caller holds mu.
func (q *manager) scansDue() (l []*source) {
	for _, s := range []*source{&q.incoming, &q.deferred} {
		if s.more && !s.scanning && len(s.list) == 0 && !q.draining && len(q.active) < q.set.activeLimit {
			s.more, s.scanning = false, true
			l = append(l, s)
		}
	}
	return l
}

// scan lists the messages of a directory that are due.
func (q *manager) scan(s *source) {
	q.mu.Lock()
	all, verify, nextRun := s.all, s.verify, q.nextRun
	s.all, s.verify = false, false
	q.mu.Unlock()
	now := clock.Now()
	err := q.spool.List(s.queue, func(e queue.Entry) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		if s.queue == queue.Deferred && !all && !e.ForceExpire && e.ModTime.After(now) {
			if e.ModTime.Before(nextRun) {
				q.heap.push(e.ID, e.ModTime)
			}
			return true
		}
		if e.Misplaced {
			q.spool.Rehome(s.queue, e.ID)
		}
		q.offer(candidate{id: e.ID, queue: s.queue, verify: verify})
		if s.more {
			s.all, s.verify = s.all || all, s.verify || verify
		}
		return !s.more && q.ctx.Err() == nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		q.log.Warningf("scan %s queue: %v", s.queue, err)
	}
	q.mu.Lock()
	s.scanning = false
	q.mu.Unlock()
	q.kick()
}

// requestScan makes the next tick scan a directory.
func (q *manager) requestScan(s *source, all bool) {
	q.mu.Lock()
	s.more = true
	s.all = s.all || all
	q.mu.Unlock()
	q.kick()
}

// maxHeap bounds the retry times kept in memory; scans find the others.
const maxHeap = 50000

// retryHeap holds deferred messages that are due before the next scan. An entry
// whose time has changed since is harmless: the message is looked at too early.
type retryHeap struct {
	h   retries
	ids map[string]bool
}

type retry struct {
	id string
	at time.Time
}

type retries []retry

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].at.Before(r[j].at) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)        { *r = append(*r, x.(retry)) }
func (r *retries) Pop() any {
	old := *r
	x := old[len(old)-1]
	*r = old[:len(old)-1]
	return x
}

// push adds a message and tells whether it is now the first.
func (r *retryHeap) push(id string, at time.Time) bool {
	if r.ids[id] || len(r.h) >= maxHeap {
		return false
	}
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	r.ids[id] = true
	heap.Push(&r.h, retry{id, at})
	return r.h[0].id == id
}

func (r *retryHeap) first() (id string, at time.Time, ok bool) {
	if len(r.h) == 0 {
		return "", at, false
	}
	return r.h[0].id, r.h[0].at, true
}

func (r *retryHeap) pop() {
	x := heap.Pop(&r.h).(retry)
	delete(r.ids, x.id)
}
