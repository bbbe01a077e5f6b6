package main

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// registry knows the connections that have not logged in yet. It belongs to one
// process, whose connections they are.
type registry struct {
	total   int // most connections, logged in or not; 0 means no limit
	perAddr int // most waiting connections of one client

	mu      sync.Mutex
	all     int                  // connections, logged in or not
	waiting *list.List           // of *client, the oldest first
	clients map[netip.Prefix]int // waiting connections of a client address
}

// headroom is how many connections below the limit the oldest waiting one is
// closed: the limit itself would stop the process from accepting.
const headroom = 2

func newRegistry(total, perAddr int) *registry {
	return &registry{total: total, perAddr: perAddr, waiting: list.New(), clients: map[netip.Prefix]int{}}
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

// enter registers a new connection. It closes others to make room for it.
func (r *registry) enter(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	r.clients[c.key]++
	c.place = r.waiting.PushBack(c)
	if r.perAddr > 0 && r.clients[c.key] > r.perAddr {
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
	if r.clients[c.key]--; r.clients[c.key] <= 0 {
		delete(r.clients, c.key)
	}
}

// leave ends what enter began.
func (r *registry) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	r.loggedIn(c)
}
