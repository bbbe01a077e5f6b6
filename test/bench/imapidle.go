package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// atOnce does n things, so many at a time, and returns the first error.
func atOnce(n, limit int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range limit {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		}()
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// logins connects, logs in and out, ten clients at a time, ten users.
func logins(b *bench) error {
	const n, users = 1000, 10
	r, err := b.upReader(mixedClients)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		do   func(i int) error
	}{
		{"imap", func(i int) error {
			c, err := dialIMAP(r.imap, mailUser(i%users))
			if err != nil {
				return err
			}
			defer c.close()
			_, err = c.cmd("LOGOUT")
			return err
		}},
		{"pop3", func(i int) error {
			c, err := dialPOP3(r.pop3, mailUser(i%users), true)
			if err != nil {
				return err
			}
			defer c.close()
			_, _, err = c.cmd("QUIT", false)
			return err
		}},
	} {
		if err := atOnce(users, 1, p.do); err != nil { // makes the mailboxes
			return err
		}
		limit := 10
		if p.name == "pop3" {
			limit = users / 2 // a maildrop has one session at a time
		}
		clk := startClock(b.pid)
		t := time.Now()
		if err := atOnce(n, limit, p.do); err != nil {
			return err
		}
		r.put(p.name, n/time.Since(t).Seconds(), "login/s")
		clk.stop(b, n/1000, "_"+p.name+"_per_1000")
	}
	return nil
}

// readerRest measures a target that has done nothing but start.
func readerRest(b *bench) error {
	if _, err := b.upReader(1); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	b.putMemory(measureTree(b.pid, true))
	return nil
}

// settled is how long programs may take to give back what they only needed for
// a moment.
const settled = 8 * time.Second

// sessions holds 500 IMAP sessions of so many users, logged in only or in
// IDLE on a mailbox of ten messages, and measures what they cost. The first one
// starts the programs that all need; what each further one adds is the memory per
// session.
func sessions(users int, idling bool) func(*bench) error {
	return func(b *bench) error {
		const n = 500
		r, err := b.upReader(n)
		if err != nil {
			return err
		}
		if err := r.fill(users, 10); err != nil {
			return err
		}
		open := make([]*imapClient, n)
		defer func() {
			for _, c := range open {
				if c != nil {
					c.close()
				}
			}
		}()
		one := func(i int) (err error) {
			if open[i], err = dialIMAP(r.imap, mailUser(i%users)); err == nil && idling {
				err = open[i].idle()
			}
			return err
		}
		if err := one(0); err != nil {
			return err
		}
		time.Sleep(settled)
		before := measureTree(b.pid, true)
		start := time.Now()
		if err := atOnce(n-1, 20, func(i int) error { return one(i + 1) }); err != nil {
			return err
		}
		r.put("open", time.Since(start).Seconds(), "s")
		time.Sleep(settled)
		after := measureTree(b.pid, true)
		b.putMemory(after)
		r.put("per_session", (after.pss-before.pss)*1024/(n-1), "KiB")
		r.put("cpu_open", after.cpu-before.cpu, "s")
		return nil
	}
}

// idle selects the mailbox and begins IDLE.
func (m *imapClient) idle() error {
	if _, err := m.cmd("SELECT INBOX"); err != nil {
		return err
	}
	fmt.Fprint(m.w, "i IDLE\r\n")
	m.w.Flush()
	line, err := m.r.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+") {
		err = fmt.Errorf("IDLE: answer %q", line)
	}
	return err
}
