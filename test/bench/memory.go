package main

import (
	"fmt"
	"sort"
	"sync"
	"time"

	"posthaste/test/tools/smtptalk"
)

// rest measures a target that has done nothing but start.
func rest(b *bench) error {
	if err := b.up(1); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	b.putMemory(measureTree(b.pid, true))
	return nil
}

// idle opens sessions, which say EHLO and then nothing.
func idle(b *bench) error {
	const n = 500
	if err := b.up(n); err != nil {
		return err
	}
	before := measureTree(b.pid, true)
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var firstErr error
	var open []*smtptalk.Client
	slots := make(chan bool, 20) // so many connect at a time
	for range n {
		wg.Add(1)
		slots <- true
		go func() {
			defer func() { <-slots; wg.Done() }()
			s, err := smtptalk.Dial(b.smtp, 2*time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				firstErr = err
				return
			}
			open = append(open, s)
		}()
	}
	wg.Wait()
	defer func() {
		for _, s := range open {
			s.Close()
		}
	}()
	if len(open) < n {
		return fmt.Errorf("only %d of %d sessions: %w", len(open), n, firstErr)
	}
	b.put("open", time.Since(start).Seconds(), "s")
	time.Sleep(3 * time.Second)
	after := measureTree(b.pid, true)
	b.putMemory(after)
	b.put("per_session", (after.pss-before.pss)*1024/n, "KiB")
	b.put("cpu_open", after.cpu-before.cpu, "s")
	return nil
}

func (b *bench) putMemory(u usage) {
	b.put("pss", u.pss, "MiB")
	b.put("rss", u.rss, "MiB")
	b.put("processes", float64(u.procs), "")
	var names []string
	for name := range u.byName {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.put("pss_"+name, u.byName[name], "MiB")
	}
}
