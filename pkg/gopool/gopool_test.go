package gopool

import (
	"sync"
	"testing"
)

func TestGo(t *testing.T) {
	for _, idle := range []int{0, 1, 4} {
		p := Pool{Idle: idle}
		var mu sync.Mutex
		n := 0
		for range 50 {
			var wg sync.WaitGroup
			// All are under way at the same time, however many are idle.
			start := make(chan struct{})
			for range 8 {
				wg.Add(1)
				p.Go(func() {
					defer wg.Done()
					<-start
					mu.Lock()
					n++
					mu.Unlock()
				})
			}
			close(start)
			wg.Wait()
		}
		if n != 400 {
			t.Errorf("%d idle: %d of 400 calls", idle, n)
		}
		p.mu.Lock()
		if len(p.free) > idle {
			t.Errorf("%d idle goroutines are kept, want at most %d", len(p.free), idle)
		}
		p.mu.Unlock()
	}
}
