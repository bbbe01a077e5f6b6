// Package gopool runs functions in goroutines that are used again. A fresh
// goroutine starts with a small stack, which is copied several times on the way
// to what a session needs; one that has done such work before has it already.
package gopool

import "sync"

// Pool starts functions. The zero value is ready, keeps no goroutines and so is
// the same as the go statement.
type Pool struct {
	// Idle is how many goroutines without work are kept.
	Idle int

	mu   sync.Mutex
	free []chan func() // the last to become idle is the first to be used
}

// Go calls f in a goroutine of its own.
func (p *Pool) Go(f func()) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		c <- f
		return
	}
	p.mu.Unlock()
	go p.work(f)
}

func (p *Pool) work(f func()) {
	var c chan func()
	for {
		f()
		p.mu.Lock()
		if len(p.free) >= p.Idle {
			p.mu.Unlock()
			return
		}
		if c == nil {
			c = make(chan func(), 1)
		}
		p.free = append(p.free, c)
		p.mu.Unlock()
		f = <-c
	}
}
