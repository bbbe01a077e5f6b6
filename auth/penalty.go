package main

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// penaltyLife is how long a failure counts.
	penaltyLife = 5 * time.Minute
	// penaltyDoublings bounds the growth of the delay: Postfix, as a client, waits for
	// 10 seconds.
	penaltyDoublings = 2
	// maxPenalties bounds what is remembered; beyond it the oldest half goes.
	maxPenalties = 20000
)

// penalties makes repeated failures slower, by client and by user name. Only
// failures wait: whoever has the right password is answered at once, however many
// others guess. The zero value with base set is ready.
type penalties struct {
	base time.Duration
	now  func() time.Time // nil means time.Now

	mu sync.Mutex
	m  map[string]penalty
}

type penalty struct {
	n    int
	last time.Time
}

// failed counts a failure and returns how long its answer must wait.
func (p *penalties) failed(ip, user string) time.Duration {
	if p.base == 0 {
		return 0
	}
	now := time.Now
	if p.now != nil {
		now = p.now
	}
	t := now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[string]penalty{}
	}
	n := 1
	for _, k := range [...]string{client(ip), "user " + strings.ToLower(user)} {
		e := p.m[k]
		if t.Sub(e.last) >= penaltyLife {
			e.n = 0
		}
		e.n, e.last = e.n+1, t
		p.m[k] = e
		n = max(n, e.n)
	}
	p.sweep(t)
	return p.base << min(n-1, penaltyDoublings)
}

// client is an address, or for IPv6 the network that one client usually has.
func client(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		if n, err := a.Prefix(64); err == nil {
			return n.String()
		}
	}
	return a.String()
}

func (p *penalties) sweep(t time.Time) {
	for life := penaltyLife; len(p.m) > maxPenalties; life /= 2 {
		for k, e := range p.m {
			if t.Sub(e.last) >= life {
				delete(p.m, k)
			}
		}
	}
}
