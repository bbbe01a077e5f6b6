package smtpclient

import (
	"sync"
	"time"
)

// maxIdle bounds the connections that a process keeps without a message.
const maxIdle = 200

// connCache keeps connections that may take another message, by what makes two
// deliveries alike: destination, TLS and credentials.
type connCache struct {
	mu     sync.Mutex
	idle   map[string][]*session
	n      int
	closed bool
}

// take returns a kept connection for key, the one used last, or nil.
func (c *connCache) take(key string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.idle[key]
	for len(l) > 0 {
		s := l[len(l)-1]
		l = l[:len(l)-1]
		c.set(key, l)
		c.n--
		if s.timer.Stop() {
			return s
		}
		// Its time has come: the timer's function closes it.
	}
	return nil
}

func (c *connCache) set(key string, l []*session) {
	if len(l) == 0 {
		delete(c.idle, key)
		return
	}
	c.idle[key] = l
}

// put keeps s for at most d; it is closed politely when nobody takes it.
func (c *connCache) put(key string, s *session, d time.Duration) {
	c.mu.Lock()
	if c.closed || c.n >= maxIdle {
		c.mu.Unlock()
		s.c.Quit(false)
		return
	}
	if c.idle == nil {
		c.idle = map[string][]*session{}
	}
	c.idle[key] = append(c.idle[key], s)
	c.n++
	s.timer = time.AfterFunc(d, func() {
		c.forget(key, s)
		s.c.Quit(false)
	})
	c.mu.Unlock()
}

func (c *connCache) forget(key string, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.idle[key]
	for i := range l {
		if l[i] == s {
			c.n--
			c.set(key, append(l[:i:i], l[i+1:]...))
			return
		}
	}
}

// drain closes what is kept, and keeps nothing from now on.
func (c *connCache) drain() {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.n, c.closed = nil, 0, true
	c.mu.Unlock()
	for _, l := range idle {
		for _, s := range l {
			if s.timer.Stop() {
				s.c.Quit(false)
			}
		}
	}
}
