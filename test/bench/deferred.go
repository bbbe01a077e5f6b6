package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthaste/test/tools/badmx"
)

// deferred fills a target with messages whose destination is down, lists the
// queue, brings the destination up and has the queue flushed.
func deferred(b *bench) error {
	const n = 5000
	if err := b.up(20); err != nil {
		return err
	}
	c := startClock(b.pid)
	res, err := load{sessions: 20, n: n, to: "u{i}@far.test", keep: true}.run(b.smtp)
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, err := b.ctl(0, "deferred")
		if err != nil {
			return err
		}
		have, _ := strconv.Atoi(strings.TrimSpace(out))
		if have >= n {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("only %d of %d messages were deferred", have, n)
		}
	}
	b.put("inject", time.Since(res.start).Seconds(), "s")
	c.stop(b, 1, "_inject")

	t := time.Now()
	list, err := b.ctl(0, "listq")
	if err != nil {
		return err
	}
	b.put("list", time.Since(t).Seconds(), "s")
	if have := strings.Count(list, "@far.test"); have < n {
		return fmt.Errorf("the list shows %d of %d messages", have, n)
	}

	s, err := startSink(badmx.Script{}, "127.0.0.1:"+sinkPort)
	if err != nil {
		return err
	}
	defer s.close()
	c = startClock(b.pid)
	t = time.Now()
	if _, err := b.ctl(0, "flush"); err != nil {
		return err
	}
	end, err := s.wait(&s.msgs, n)
	if err != nil {
		return err
	}
	b.put("drain", end.Sub(t).Seconds(), "s")
	c.stop(b, 1, "_drain")
	return nil
}
