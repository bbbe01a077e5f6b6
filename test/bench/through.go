package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/test/tools/badmx"
)

// This file has the workloads that send messages through a target: into
// Maildirs, or on to a sink.

// patience bounds how long the last message may take after the first.
const patience = 4 * time.Minute

// sink counts what a target relays.
type sink struct {
	servers     []*badmx.Server
	msgs, rcpts atomic.Int64
	last        atomic.Int64 // when the last message came, Unix nanoseconds
}

// startSink listens on the given addresses.
func startSink(script badmx.Script, addrs ...string) (*sink, error) {
	s := new(sink)
	script.Forget = true
	script.Done = func(_ int, m *badmx.Mail) string {
		s.last.Store(time.Now().UnixNano())
		s.msgs.Add(1)
		s.rcpts.Add(int64(len(m.To)))
		return ""
	}
	for _, a := range addrs {
		srv, err := badmx.Start(a, script)
		if err != nil {
			s.close()
			return nil, err
		}
		s.servers = append(s.servers, srv)
	}
	return s, nil
}

func (s *sink) close() {
	for _, x := range s.servers {
		x.Close()
	}
}

// wait waits until counter has reached n and returns when the last message came.
func (s *sink) wait(counter *atomic.Int64, n int) (time.Time, error) {
	for end := time.Now().Add(patience); counter.Load() < int64(n); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return time.Time{}, fmt.Errorf("only %d of %d reached the sink", counter.Load(), n)
		}
	}
	return time.Unix(0, s.last.Load()), nil
}

// waitMaildirs waits until the Maildirs of the first users hold n messages.
func waitMaildirs(pattern string, users, n int) (time.Time, error) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		have := 0
		for u := range users {
			d, err := os.Open(strings.ReplaceAll(pattern, "{u}", fmt.Sprint(u)) + "/new")
			if err != nil {
				continue // not yet made
			}
			names, _ := d.Readdirnames(-1)
			d.Close()
			have += len(names)
		}
		if have >= n {
			return time.Now(), nil
		}
		if time.Now().After(end) {
			return time.Time{}, fmt.Errorf("only %d of %d are in the Maildirs", have, n)
		}
	}
}

const warmUp = 100

// users is how many mailboxes the messages are spread over.
const users = 10

// measure runs l, after a warm-up, and records how fast messages came in and
// how fast they were where they belong, as done tells.
func (b *bench) measure(l load, done func(total int) (time.Time, error)) error {
	warm := l
	warm.n = warmUp
	if _, err := warm.run(b.smtp); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	if _, err := done(warmUp); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	time.Sleep(500 * time.Millisecond)
	l.n = b.n
	c := startClock(b.pid)
	res, err := l.run(b.smtp)
	if err != nil {
		return err
	}
	// Not before: reading growing Maildirs again and again took more time than the
	// servers, and kept their renames waiting.
	end, err := done(warmUp + b.n)
	if err != nil {
		return err
	}
	c.stop(b, float64(b.n)/1000, "_per_1000")
	b.put("accepted", float64(b.n)/res.took.Seconds(), "msg/s")
	b.put("done", float64(b.n)/end.Sub(res.start).Seconds(), "msg/s")
	b.put("accept_p50", percentile(res.latency, .50), "ms")
	b.put("accept_p99", percentile(res.latency, .99), "ms")
	b.put("generator_cpu", res.cpu, "s")
	return nil
}

func toMaildir(l load) func(*bench) error {
	return func(b *bench) error {
		if err := b.up(l.sessions); err != nil {
			return err
		}
		l.to, l.span = "user{i}@local.test", users
		return b.measure(l, func(n int) (time.Time, error) { return waitMaildirs(b.maildir, users, n) })
	}
}

func relay(l load) func(*bench) error {
	return func(b *bench) error { return b.relay(l, badmx.Script{}) }
}

func (b *bench) relay(l load, script badmx.Script) error {
	s, err := startSink(script, "127.0.0.1:"+sinkPort)
	if err != nil {
		return err
	}
	defer s.close()
	if err := b.up(l.sessions); err != nil {
		return err
	}
	l.to = "u{i}@far.test"
	err = b.measure(l, func(n int) (time.Time, error) { return s.wait(&s.msgs, n) })
	b.put("connections", float64(s.servers[0].Connections()), "conn")
	return err
}

// farAway relays to a destination beyond a slow network, or to one that takes
// its time for each answer.
func farAway(rtt, each time.Duration) func(*bench) error {
	return func(b *bench) error {
		b.n /= 2
		return b.relay(load{sessions: 20, keep: true}, badmx.Script{RTT: rtt, PerAnswer: each})
	}
}

// fanout sends one message to many recipients, to a server just started and
// again.
func fanout(b *bench) error {
	const rcpts, domains = 1000, 100
	var addrs []string
	for i := range domains {
		addrs = append(addrs, fmt.Sprintf("127.0.1.%d:%s", i+1, sinkPort))
	}
	if err := b.up(1); err != nil {
		return err
	}
	for _, state := range []string{"cold", "warm"} {
		s, err := startSink(badmx.Script{}, addrs...)
		if err != nil {
			return err
		}
		c := startClock(b.pid)
		res, err := load{sessions: 1, n: 1, rcpts: rcpts, span: rcpts, domains: domains, to: "r{i}@d{d}.test", pipeline: true}.run(b.smtp)
		var end time.Time
		if err == nil {
			end, err = s.wait(&s.rcpts, rcpts)
		}
		if err == nil {
			b.put(state+"_accept", res.took.Seconds(), "s")
			b.put(state+"_done", end.Sub(res.start).Seconds(), "s")
			c.stop(b, 1, "_"+state)
		}
		s.close()
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	return nil
}
