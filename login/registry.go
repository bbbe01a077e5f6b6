package main

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// registry knows the connections that have not logged in yet, and counts the
// failures of clients. It belongs to one process: with several, each address has
// its share in each of them.
type registry struct {
	total    int // most connections, logged in or not; 0 means no limit
	perAddr  int // most waiting connections of one client
	failures int // most failures of one client in a time unit
	unit     time.Duration
	now      func() time.Time

	mu      sync.Mutex
	all     int        // connections, logged in or not
	waiting *list.List // of *client, the oldest first
	clients map[netip.Prefix]*clientCount
	sweep   time.Time
}

// clientCount is what is known of one client address.
type clientCount struct {
	waiting  int
	failures int
	start    time.Time // of the time unit that failures belongs to
}

// headroom is how many connections below the limit the oldest waiting one is
// closed: the limit itself would stop the process from accepting.
const headroom = 2

func newRegistry(total, perAddr, failures int, unit time.Duration) *registry {
	return &registry{total: total, perAddr: perAddr, failures: failures, unit: max(unit, time.Second), now: time.Now,
		waiting: list.New(), clients: map[netip.Prefix]*clientCount{}}
}

// clientKey is an address, or for IPv6 the network that one client usually has.
func clientKey(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (r *registry) client(k netip.Prefix) *clientCount {
	now := r.now()
	n := r.clients[k]
	if n == nil {
		if now.Sub(r.sweep) > r.unit {
			r.sweep = now
			for k, n := range r.clients {
				if n.waiting == 0 && now.Sub(n.start) >= r.unit {
					delete(r.clients, k)
				}
			}
		}
		n = &clientCount{start: now}
		r.clients[k] = n
	}
	if now.Sub(n.start) >= r.unit {
		n.start, n.failures = now, 0
	}
	return n
}

// enter registers a new connection. It closes others to make room for it.
func (r *registry) enter(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	n := r.client(c.key)
	n.waiting++
	c.place = r.waiting.PushBack(c)
	if r.perAddr > 0 && n.waiting > r.perAddr {
		r.evict(&c.key, c)
	}
	if r.total > 0 && r.all > r.total-min(headroom, r.total/2) {
		r.evict(nil, c)
	}
	return true
}

// evict closes the connection that has waited longest, of one client or of all,
// except the newest. One that waits for auth's answer is passed over, unless all do.
func (r *registry) evict(key *netip.Prefix, newest *client) {
	var second *client
	for e := r.waiting.Front(); e != nil; e = e.Next() {
		c := e.Value.(*client)
		if c == newest || key != nil && c.key != *key {
			continue
		}
		if !c.asking.Load() {
			r.drop(c)
			return
		}
		if second == nil {
			second = c
		}
	}
	if second != nil {
		r.drop(second)
	}
}

func (r *registry) drop(c *client) {
	r.loggedIn(c)
	c.evicted.Store(true)
	// The reader wakes up, says good-bye and closes.
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// in takes a connection that has logged in off the list of those that wait. It
// is false for one that is being closed.
func (r *registry) in(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loggedIn(c)
	return !c.evicted.Load()
}

func (r *registry) loggedIn(c *client) {
	if c.place == nil {
		return
	}
	r.waiting.Remove(c.place)
	c.place = nil
	if n := r.clients[c.key]; n != nil && n.waiting > 0 {
		n.waiting--
	}
}

// leave ends what enter began.
func (r *registry) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	r.loggedIn(c)
}

// failed counts a failed login.
func (r *registry) failed(k netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client(k).failures++
}

// mayTry tells whether a client may try to log in.
func (r *registry) mayTry(k netip.Prefix) bool {
	if r.failures == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.clients[k]
	return n == nil || n.failures < r.failures || r.now().Sub(n.start) >= r.unit
}
