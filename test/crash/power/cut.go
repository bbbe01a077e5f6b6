package main

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"time"
)

// tally counts what the cuts left.
type tally struct {
	states, unmountable   int
	checked, lost, torn   int // acknowledged recipients; in all states together
	doubled, incomplete   int
	restarts, redelivered int
	restored, again       int // messages made anew, recipients done and still to do; in all states together
	examples              []string
}

func (t *tally) wrong(format string, args ...any) {
	if len(t.examples) < 5 {
		t.examples = append(t.examples, fmt.Sprintf(format, args...))
	}
}

// known is what the outside world knows at a moment.
type known struct {
	acked []string        // tokens
	taken map[string]bool // token and address that the remote server took
}

// cut goes through the record.
func (b *bench) cut(start int) (bool, error) {
	log := b.dev.rec.log
	rng := rand.New(rand.NewSource(b.o.seed))
	var flushes []int
	for i := start; i < len(log); i++ {
		if log[i].kind == flush {
			flushes = append(flushes, i)
		}
	}
	if len(flushes) == 0 {
		return false, errors.New("no flush was recorded: nothing was durable")
	}
	fmt.Printf("%s: seed %d, %d messages: %d writes, %d flushes\n", b.o.fs, b.o.seed, b.o.n, count(log[start:], write), len(flushes))
	b.dev.rec.disk = nil
	var t tally
	k := &known{taken: map[string]bool{}}
	every := max(1, len(flushes)/max(1, b.o.restarts))
	at := 0
	begin := time.Now()
	// The disk before the first flush, and then after each.
	for n := -1; n < len(flushes); n++ {
		from, to := start, len(log)
		if n >= 0 {
			from = flushes[n] + 1
		}
		if n+1 < len(flushes) {
			to = flushes[n+1]
		}
		for ; at < from; at++ {
			switch e := log[at]; e.kind {
			case write:
				b.dev.img.advance(e)
			case mark:
				k.note(e)
			}
		}
		interval := log[from:to]
		b.dev.img.reset()
		before := *k
		ahead := k.with(interval)
		if err := b.examine(&t, ahead, b.o.restarts > 0 && n%every == every/2); err != nil {
			return false, err
		}
		for range b.o.subsets {
			if count(interval, write) == 0 {
				break
			}
			b.dev.img.reset()
			end := 1 + rng.Intn(len(interval))
			b.scatter(interval[:end], rng)
			if err := b.examine(&t, before.with(interval[:end]), false); err != nil {
				return false, err
			}
		}
	}
	if b.o.files {
		fmt.Printf("%s: %d states in %.0f s, %d of them not mountable; %d looks for synced files: %d lost, %d torn\n",
			b.o.fs, t.states, time.Since(begin).Seconds(), t.unmountable, t.checked, t.lost, t.torn)
		for _, e := range t.examples {
			fmt.Printf("%s: WRONG: %s\n", b.o.fs, e)
		}
		return t.lost+t.torn == 0 && len(t.examples) == 0, nil
	}
	fmt.Printf("%s: %d states in %.0f s, %d of them not mountable; %d looks for acknowledged recipients: %d lost, %d torn, %d twice in a Maildir; %d delivered and still in the queue; %d messages restored from journals, %d incomplete queue files of nobody's\n",
		b.o.fs, t.states, time.Since(begin).Seconds(), t.unmountable, t.checked, t.lost, t.torn, t.doubled, t.again, t.restored, t.incomplete)
	if t.restarts > 0 {
		fmt.Printf("%s: the system was started again on %d of these disks and finished the work, %d messages\n", b.o.fs, t.restarts, t.redelivered)
	}
	for _, e := range t.examples {
		fmt.Printf("%s: WRONG: %s\n", b.o.fs, e)
	}
	return t.lost == 0 && t.torn == 0 && t.doubled == 0 && len(t.examples) == 0, nil
}

func count(log []entry, kind byte) (n int) {
	for _, e := range log {
		if e.kind == kind {
			n++
		}
	}
	return n
}

// scatter applies a random subset of writes, some of them in part.
func (b *bench) scatter(log []entry, rng *rand.Rand) {
	for _, e := range log {
		if e.kind != write {
			continue
		}
		switch rng.Intn(3) {
		case 0:
			b.dev.img.apply(e.data, e.off)
		case 1:
			for o := 0; o < len(e.data); o += block {
				if rng.Intn(2) == 0 {
					b.dev.img.apply(e.data[o:min(o+block, len(e.data))], e.off+int64(o))
				}
			}
		}
	}
}

func (k *known) note(e entry) {
	verb, rest, _ := strings.Cut(string(e.data), " ")
	switch verb {
	case "ack":
		k.acked = append(k.acked, rest)
	case "taken":
		k.taken[rest] = true
	}
}

// with is k and what the marks in log add to it.
func (k *known) with(log []entry) *known {
	n := &known{acked: append([]string(nil), k.acked...), taken: map[string]bool{}}
	for x := range k.taken {
		n.taken[x] = true
	}
	for _, e := range log {
		if e.kind == mark {
			n.note(e)
		}
	}
	return n
}

// examine mounts the image and looks for what k knows of: in the files, or, with
// restart, after the mail system has finished the work there.
func (b *bench) examine(t *tally, k *known, restart bool) error {
	t.states++
	err := b.mount("crash")
	var me *mountError
	if errors.As(err, &me) {
		t.unmountable++
		if b.o.fs == "ext4" || b.o.fs == "xfs" {
			t.wrong("state %d: %v", t.states, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case b.o.files:
		err = b.lookFiles(t, k)
	case restart:
		err = b.finish(t, k)
	default:
		err = b.look(t, k)
	}
	if e := b.unmount(); err == nil {
		err = e
	}
	return err
}
