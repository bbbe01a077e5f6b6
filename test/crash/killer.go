package main

import (
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"posthaste/test/tools/rig"
)

// killer kills the system's processes, one program as likely as another.
type killer struct {
	s     *rig.System
	every time.Duration

	mu      sync.Mutex // held while master is dead
	rng     *rand.Rand
	killed  map[string]int // by program
	masters int
}

// begin starts killing; the function that it returns ends that.
func (k *killer) begin() (stop func()) {
	end := make(chan bool)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			k.mu.Lock()
			// Between nothing and twice the mean, so that two may die at once.
			pause := time.Duration(k.rng.Int63n(int64(2*k.every) + 1))
			k.mu.Unlock()
			select {
			case <-end:
				return
			case <-time.After(pause):
				k.one()
			}
		}
	}()
	return func() { close(end); wg.Wait() }
}

func (k *killer) one() {
	k.mu.Lock()
	defer k.mu.Unlock()
	by := map[string][]rig.Process{}
	for _, p := range k.s.Processes() {
		by[p.Name] = append(by[p.Name], p)
	}
	var names []string
	for n := range by {
		names = append(names, n)
	}
	if len(names) == 0 {
		return
	}
	sort.Strings(names)
	list := by[names[k.rng.Intn(len(names))]]
	p := list[k.rng.Intn(len(list))]
	if rig.Kill(p) {
		k.killed[p.Name]++
	}
}

// master kills master and starts the system again, perhaps while what the old
// master left is still at work.
func (k *killer) master() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pid, ok := k.s.Master()
	if !ok {
		return fmt.Errorf("master is gone, and was not killed by us")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	k.masters++
	time.Sleep(time.Duration(k.rng.Intn(300)) * time.Millisecond)
	var last error
	err := rig.Until(30*time.Second, "start again after master was killed", func() bool {
		last = k.s.Start()
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %v", err, last)
	}
	return nil
}

func (k *killer) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var l []string
	for n, c := range k.killed {
		l = append(l, fmt.Sprintf("%s %d", n, c))
	}
	sort.Strings(l)
	return strings.Join(l, ", ") + fmt.Sprintf(", master %d", k.masters)
}
