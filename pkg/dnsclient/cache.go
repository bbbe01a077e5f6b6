package dnsclient

import (
	"container/list"
	"sync"
	"time"

	"posthaste/pkg/proto/resolver"
)

// Bounds on how long an answer is believed, whatever it says of itself.
const (
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
	// failureTTL is how long a question without an answer is not asked again: a
	// name server that is down must not cost every client its time-out (RFC 9520,
	// section 3.2).
	failureTTL = 5 * time.Second
)

// cache remembers answers, at most a fixed number; the least recently used one
// goes first. Failures are remembered for some seconds.
type cache struct {
	mu   sync.Mutex
	most int
	m    map[question]*list.Element
	lru  list.List // front is the most recently used
}

type cached struct {
	q       question
	r       *resolver.Reply
	expires time.Time
}

func newCache(most int) *cache { return &cache{most: most, m: map[question]*list.Element{}} }

// get returns a copy with the time left to live, or nil.
func (c *cache) get(q question, now time.Time) *resolver.Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.m[q]
	if e == nil {
		return nil
	}
	x := e.Value.(*cached)
	left := x.expires.Sub(now)
	if left <= 0 {
		c.lru.Remove(e)
		delete(c.m, q)
		return nil
	}
	c.lru.MoveToFront(e)
	r := *x.r
	r.TTL = uint32(left / time.Second)
	return &r
}

func (c *cache) put(q question, r *resolver.Reply, now time.Time) {
	ttl := time.Duration(r.TTL) * time.Second
	switch r.Status {
	case resolver.OK:
		ttl = min(ttl, maxTTL)
	case resolver.NotFound, resolver.NoData:
		ttl = min(ttl, maxNegativeTTL)
	case resolver.Invalid:
		return
	default:
		ttl = failureTTL
	}
	if ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.m[q]; e != nil {
		e.Value = &cached{q, r, now.Add(ttl)}
		c.lru.MoveToFront(e)
		return
	}
	for len(c.m) >= c.most {
		last := c.lru.Back()
		c.lru.Remove(last)
		delete(c.m, last.Value.(*cached).q)
	}
	c.m[q] = c.lru.PushFront(&cached{q, r, now.Add(ttl)})
}
