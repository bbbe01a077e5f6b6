package main

import (
	"net/netip"
	"sync"
	"time"
)

// event is something whose rate is limited.
type event uint8

const (
	evConnect event = iota
	evMessage
	evRcpt
	evAuth
	evTLS
	numEvents
)

// limiter counts the clients of one process: what anvil(8) does for Postfix.
type limiter struct {
	unit             time.Duration
	prefix4, prefix6 int
	now              func() time.Time

	mu      sync.Mutex
	clients map[netip.Prefix]*clientCount
	sweep   time.Time
}

type clientCount struct {
	conns int
	start time.Time // of the current time unit
	n     [numEvents]int
}

func newLimiter(unit time.Duration, p4, p6 int) *limiter {
	return &limiter{unit: unit, prefix4: p4, prefix6: p6, now: time.Now, clients: map[netip.Prefix]*clientCount{}}
}

func (l *limiter) key(addr string) (netip.Prefix, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.Unmap().WithZone("")
	bits := l.prefix6
	if a.Is4() {
		bits = l.prefix4
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

func (l *limiter) client(k netip.Prefix) *clientCount {
	now := l.now()
	c := l.clients[k]
	if c == nil {
		if now.Sub(l.sweep) > l.unit {
			l.sweep = now
			for k, c := range l.clients {
				if c.conns == 0 && now.Sub(c.start) > l.unit {
					delete(l.clients, k)
				}
			}
		}
		c = &clientCount{start: now}
		l.clients[k] = c
	}
	if now.Sub(c.start) >= l.unit {
		c.start, c.n = now, [numEvents]int{}
	}
	return c
}

// connect counts a new connection and returns how many there are and how many
// were made in this time unit.
func (l *limiter) connect(addr string) (count, rate int) {
	k, ok := l.key(addr)
	if !ok {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(k)
	c.conns++
	c.n[evConnect]++
	return c.conns, c.n[evConnect]
}

// disconnect ends what connect began.
func (l *limiter) disconnect(addr string) {
	k, ok := l.key(addr)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[k]; c != nil && c.conns > 0 {
		c.conns--
	}
}

// add counts an event and returns how many there were in this time unit.
func (l *limiter) add(addr string, e event) int {
	k, ok := l.key(addr)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(k)
	c.n[e]++
	return c.n[e]
}
