package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"posthaste/test/tools/badmx"
)

// backlog fills the queue with messages to fifty recipients each, at a hundred
// destinations that are down, ten times as many as other workloads send. It
// measures what the server takes while it carries them: memory, listing the
// queue, delivering other mail, starting again, and getting rid of it all.
func backlog(b *bench) error {
	const each, domains = 50, 100
	messages := 10 * b.n
	recipients := each * messages
	if err := b.up(20); err != nil {
		return err
	}
	c := startClock(b.pid)
	res, err := load{sessions: 20, n: messages, rcpts: each, to: "u{i}@d{d}.test", span: recipients, domains: domains, keep: true, pipeline: true}.run(b.smtp)
	if err != nil {
		return err
	}
	b.put("inject", res.took.Seconds(), "s")
	peak := watchMemory(b.pid)
	err = b.until(messages, "deferred")
	b.put("settle", time.Since(res.start).Seconds(), "s")
	c.stop(b, 1, "_settle")
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	b.putMemory(measureTree(b.pid, true))

	t := time.Now()
	n, err := b.listed("@d")
	if err != nil {
		return err
	}
	if n < recipients {
		return fmt.Errorf("the list shows %d of %d recipients", n, recipients)
	}
	b.put("list", time.Since(t).Seconds(), "s")
	b.put("peak_settle_and_list", peak(), "MiB")

	// Other mail does not wait for what cannot be delivered.
	if err := b.throughBacklog("through", 1000, 1000); err != nil {
		return err
	}

	if _, err := b.ctl(0, "restart"); err != nil {
		return err
	}
	if err := b.find(); err != nil {
		return err
	}
	if err := b.throughBacklog("restarted", 100, 1100); err != nil {
		return err
	}
	peak = watchMemory(b.pid)
	var addrs []string
	for i := range domains {
		addrs = append(addrs, fmt.Sprintf("127.0.1.%d:%s", i+1, sinkPort))
	}
	s, err := startSink(badmx.Script{}, addrs...)
	if err != nil {
		return err
	}
	defer s.close()
	c = startClock(b.pid)
	t = time.Now()
	if _, err := b.ctl(0, "flush"); err != nil {
		return err
	}
	for have := int64(0); s.rcpts.Load() < int64(recipients); {
		time.Sleep(patience / 4)
		now := s.rcpts.Load()
		if now == have {
			return fmt.Errorf("only %d of %d recipients reached the sink", now, recipients)
		}
		have = now
	}
	b.put("drain", time.Unix(0, s.last.Load()).Sub(t).Seconds(), "s")
	c.stop(b, 1, "_drain")
	b.put("peak_drain", peak(), "MiB")
	return nil
}

// until waits until the target's script answers what with at least n.
func (b *bench) until(n int, what string) error {
	for have, since := 0, time.Now(); ; time.Sleep(500 * time.Millisecond) {
		out, err := b.ctl(0, what)
		if err != nil {
			return err
		}
		now, _ := strconv.Atoi(strings.TrimSpace(out))
		if now >= n {
			return nil
		}
		if now > have {
			have, since = now, time.Now()
		}
		if time.Since(since) > patience {
			return fmt.Errorf("%s: only %d of %d", what, now, n)
		}
	}
}

// listed lists the queue and counts the lines with text, without keeping them:
// they are many.
func (b *bench) listed(text string) (n int, err error) {
	cmd := exec.Command("bash", b.script, "listq")
	cmd.Env = b.env(0)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	in := bufio.NewScanner(out)
	for in.Scan() {
		if bytes.Contains(in.Bytes(), []byte(text)) {
			n++
		}
	}
	if err := in.Err(); err != nil {
		return 0, err
	}
	return n, cmd.Wait()
}

// throughBacklog sends n messages to Maildirs that then hold total.
func (b *bench) throughBacklog(figure string, n, total int) error {
	res, err := load{sessions: 10, n: n, to: "user{i}@local.test", span: users}.run(b.smtp)
	if err != nil {
		return err
	}
	end, err := waitMaildirs(b.maildir, users, total)
	if err != nil {
		return err
	}
	b.put(figure, float64(n)/end.Sub(res.start).Seconds(), "msg/s")
	return nil
}

// watchMemory follows what a process tree takes; the result stops that and
// returns the most that it saw, in MiB.
func watchMemory(pid int) (most func() float64) {
	stop, done := make(chan bool), make(chan float64)
	go func() {
		var max float64
		for {
			if u := measureTree(pid, true); u.pss > max {
				max = u.pss
			}
			select {
			case <-stop:
				done <- max
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() float64 { close(stop); return <-done }
}
