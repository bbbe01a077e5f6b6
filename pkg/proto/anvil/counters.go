package anvil

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"posthaste/pkg/ipc"
)

// Counters are what anvil(8) keeps. It is safe for concurrent use.
type Counters struct {
	unit time.Duration
	now  func() time.Time

	mu      sync.Mutex
	clients map[string]*client
	sweep   time.Time
	peak    Statistics
}

// client is what is known of one ident.
type client struct {
	conns int
	start time.Time // of the time unit that n belongs to
	n     [numEvents]int
}

// Peak is the highest value of something, and whose it was.
type Peak struct {
	Value int
	Ident string
	At    time.Time
}

// Statistics are the highest values since they were taken last.
type Statistics struct {
	Rates  [numEvents]Peak
	Count  Peak
	Cached Peak // idents at a time
}

// NewCounters returns counters of rates in a time unit. now may be nil.
func NewCounters(unit time.Duration, now func() time.Time) *Counters {
	if now == nil {
		now = time.Now
	}
	return &Counters{unit: max(unit, time.Second), now: now, clients: map[string]*client{}}
}

// client returns the entry of an ident. It is called with mu held.
func (a *Counters) client(ident string) *client {
	now := a.now()
	c := a.clients[ident]
	if c == nil {
		if now.Sub(a.sweep) > a.unit {
			a.sweep = now
			for k, c := range a.clients {
				if c.conns == 0 && now.Sub(c.start) >= a.unit {
					delete(a.clients, k)
				}
			}
		}
		c = &client{start: now}
		a.clients[ident] = c
		a.peak.Cached.raise(len(a.clients), "", now)
	}
	if now.Sub(c.start) >= a.unit {
		c.start, c.n = now, [numEvents]int{}
	}
	return c
}

func (p *Peak) raise(v int, ident string, at time.Time) {
	if v > p.Value {
		*p = Peak{v, ident, at}
	}
}

// count adds to an event's counter and returns the rate.
func (a *Counters) count(c *client, ident string, e Event) int {
	c.n[e]++
	a.peak.Rates[e].raise(c.n[e], ident, a.now())
	return c.n[e]
}

func (a *Counters) connect(ident string, n int, fresh bool) Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.client(ident)
	c.conns += n
	a.peak.Count.raise(c.conns, ident, a.now())
	if fresh {
		a.count(c, ident, Connect)
	}
	return Reply{c.conns, c.n[Connect]}
}

func (a *Counters) disconnect(ident string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[ident]; c != nil {
		c.conns = max(0, c.conns-n)
	}
}

func (a *Counters) event(ident string, e Event, add bool) Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !add {
		c := a.clients[ident]
		switch {
		case c == nil:
			return Reply{}
		case a.now().Sub(c.start) >= a.unit:
			return Reply{c.conns, 0}
		}
		return Reply{c.conns, c.n[e]}
	}
	c := a.client(ident)
	return Reply{c.conns, a.count(c, ident, e)}
}

// Peek returns how many connections an ident has.
func (a *Counters) Peek(ident string) int { return a.event(ident, Connect, false).Count }

// Take returns the statistics and begins new ones.
func (a *Counters) Take() Statistics {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.peak
	a.peak = Statistics{}
	return s
}

// Serve counts for one process until it leaves; then the connections that it
// has left open are over. waiting, which may be nil, is called when the process
// has no connection open, and its result when it has one.
func (a *Counters) Serve(ctx context.Context, nc net.Conn, draining <-chan struct{}, waiting func() (busy func())) error {
	p := &process{a: a, open: map[string]int{}, waiting: waiting}
	p.idle()
	defer p.leave()
	s := ipc.CallServer{Protocol: Protocol, Draining: draining, InOrder: true}
	return s.Serve(ctx, nc, p.handle)
}

// process is one of those that are counted for.
type process struct {
	a       *Counters
	open    map[string]int
	waiting func() (busy func())
	busy    func() // set while it has no connection
}

func (p *process) idle() {
	if len(p.open) == 0 && p.waiting != nil && p.busy == nil {
		p.busy = p.waiting()
	} else if len(p.open) > 0 && p.busy != nil {
		p.busy()
		p.busy = nil
	}
}

func (p *process) leave() {
	for ident, n := range p.open {
		p.a.disconnect(ident, n)
	}
	if p.busy != nil {
		p.busy()
	}
}

func (p *process) handle(c *ipc.Conn, typ byte, b []byte) ([]byte, error) {
	r, err := DecodeRequest(typ, b)
	if err != nil {
		return nil, err
	}
	var out Reply
	switch typ {
	case TypeConnect:
		out = p.a.connect(r.Ident, 1, true)
		if fd, err := c.TakeFD(); err == nil {
			p.a.until(fd, r.Ident)
		} else {
			p.open[r.Ident]++
		}
	case TypeResume:
		p.a.connect(r.Ident, r.Count, false)
		p.open[r.Ident] += r.Count
	case TypeDisconnect:
		if n := p.open[r.Ident]; n > 0 {
			p.a.disconnect(r.Ident, 1)
			if p.open[r.Ident] = n - 1; n == 1 {
				delete(p.open, r.Ident)
			}
		}
	case TypeCount, TypeRate:
		out = p.a.event(r.Ident, r.Event, typ == TypeCount)
	}
	p.idle()
	return out.Encode(), nil
}

// until ends a connection when the peer of a stream socket has closed it.
func (a *Counters) until(fd int, ident string) {
	f := os.NewFile(uintptr(fd), "connection")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		a.disconnect(ident, 1)
		return
	}
	go func() {
		defer a.disconnect(ident, 1)
		defer c.Close()
		io.Copy(io.Discard, c)
	}()
}
