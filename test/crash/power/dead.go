package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// illness is how a disk fails.
type illness struct {
	name     string
	strikes  func(op byte, data []byte, rng *rand.Rand) bool // whether a read, write or flush fails
	passing  bool                                            // it recovers
	complete bool                                            // nothing can become durable meanwhile
}

const read = 'R'

var illnesses = []illness{
	{"everything fails", func(byte, []byte, *rand.Rand) bool { return true }, false, true},
	{"nothing can be written", func(op byte, _ []byte, _ *rand.Rand) bool { return op != read }, false, true},
	{"flushes fail", func(op byte, _ []byte, _ *rand.Rand) bool { return op == flush }, false, true},
	{"one write in a hundred fails", func(op byte, _ []byte, rng *rand.Rand) bool { return op == write && rng.Intn(100) == 0 }, false, false},
	// The file system goes on without these, since they are not its own: that a
	// message is lost is told to whoever syncs it, and to nobody else.
	{"one write of messages in ten fails", messages(10), false, false},
	{"one write of messages in ten fails for 200 ms", messages(10), true, false},
	{"no message can be written for 200 ms", messages(1), true, false},
}

// messages strikes one of n writes that hold parts of messages.
func messages(n int) func(byte, []byte, *rand.Rand) bool {
	return func(op byte, data []byte, rng *rand.Rand) bool {
		return op == write && bytes.Contains(data, []byte("the quick brown fox")) && rng.Intn(n) == 0
	}
}

// deaths lets the disk fail while mail comes in, one way after another, and looks
// on what it holds by then for the mail that was acknowledged.
func (b *bench) deaths() (bool, error) {
	rng := rand.New(rand.NewSource(b.o.seed))
	b.dev.rec.forget = true
	fmt.Printf("%s: seed %d\n", b.o.fs, b.o.seed)
	ok := true
	for round := range b.o.deaths {
		for i, ill := range illnesses {
			good, err := b.death(&ill, fmt.Sprintf("m%d-%d", round, i), rng)
			if err != nil {
				return false, fmt.Errorf("%s: %w", ill.name, err)
			}
			ok = ok && good
		}
	}
	return ok, nil
}

func (b *bench) death(ill *illness, name string, rng *rand.Rand) (bool, error) {
	clear(b.dev.rec.disk)
	if err := b.format(); err != nil {
		return false, err
	}
	if err := b.mount("disk"); err != nil {
		return false, err
	}
	o := b.o
	o.seed = rng.Int63()
	var err error
	if b.mail, err = newTraffic(o, b.dev.rec); err != nil {
		return false, err
	}
	defer b.mail.sink.Close()
	if err := b.system(name); err != nil {
		return false, err
	}
	if err := b.s.Start(); err != nil {
		return false, err
	}
	unix.Sync()
	c := &callers{t: b.mail, addr: b.s.SMTP(), ill: ill}
	end := c.begin(40)
	limit := 50 + rng.Int63n(400)
	if err := rig.Until(time.Minute, "take mail", func() bool { return c.acked.Load() >= limit }); err != nil {
		return false, err
	}
	tree := b.s.Processes()
	master, _ := b.s.Master()
	b.dev.rec.infect(ill, rng.Int63())
	c.failing.Store(true)
	if ill.passing {
		time.Sleep(200 * time.Millisecond)
		b.dev.rec.infect(nil, 0)
		c.failing.Store(false)
	}
	time.Sleep(2 * time.Second)
	tree = append(tree, b.s.Processes()...)
	end()
	// As a machine whose disk is dead ends: by force.
	syscall.Kill(master, syscall.SIGKILL)
	for _, p := range tree {
		rig.Kill(p)
	}
	if err := b.unmount(); err != nil {
		return false, err
	}
	k := &known{acked: c.tokens, taken: map[string]bool{}}
	b.mail.mu.Lock()
	for key := range b.mail.taken {
		k.taken[key] = true
	}
	b.mail.mu.Unlock()
	b.dev.rec.infect(nil, 0)

	copy(b.dev.img.base, b.dev.rec.disk)
	b.dev.img.reset()
	var t tally
	if err := b.examine(&t, k, false); err != nil {
		return false, err
	}
	b.dev.img.reset()
	if err := b.examine(&t, k, true); err != nil {
		return false, err
	}
	fmt.Printf("%s, %s: %d messages acknowledged, %d refused for now, %d connections failed; on the disk: %d of %d recipients lost, %d torn, %d twice; %d finished after a restart\n",
		b.o.fs, ill.name, len(k.acked), c.refused.Load(), c.failed.Load(), t.lost, t.checked, t.torn, t.doubled, t.redelivered)
	for _, x := range append(t.examples, c.wrong...) {
		fmt.Printf("%s, %s: WRONG: %s\n", b.o.fs, ill.name, x)
	}
	return t.unmountable == 0 && t.lost+t.torn == 0 && len(t.examples)+len(c.wrong) == 0, nil
}

// callers are clients who send what they can.
type callers struct {
	t       *traffic
	addr    string
	ill     *illness
	failing atomic.Bool

	acked, refused, failed atomic.Int64

	mu     sync.Mutex
	tokens []string // acknowledged
	wrong  []string
}

// begin starts n clients; end waits until they have stopped.
func (c *callers) begin(n int) (end func()) {
	var wg sync.WaitGroup
	var next atomic.Int64
	stop := make(chan struct{})
	for range n {
		wg.Go(func() {
			var s smtptalk.Client
			defer s.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := int(next.Add(1)) - 1
				if i >= len(c.t.tokens) {
					return
				}
				if !c.one(&s, c.t.letters[c.t.tokens[i]]) {
					s.Close()
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	return func() { close(stop); wg.Wait() }
}

// one sends a letter.
func (c *callers) one(s *smtptalk.Client, l *letter) bool {
	if !s.Live() && s.Open(c.addr, 10*time.Second) != nil {
		c.failed.Add(1)
		return false
	}
	hopeless := c.ill.complete && c.failing.Load()
	r := s.Send(fmt.Sprintf("user%d@local.test", l.sender), l.to, l.body)
	var re *smtptalk.ReplyError
	switch {
	case r.Acked:
		c.acked.Add(1)
		c.mu.Lock()
		c.tokens = append(c.tokens, l.token)
		if hopeless {
			c.wrong = append(c.wrong, l.token+": acknowledged although the disk was dead when it was sent")
		}
		c.mu.Unlock()
		return true
	case errors.As(r.Err, &re) && !re.Temporary():
		c.mu.Lock()
		c.wrong = append(c.wrong, l.token+": "+re.Line)
		c.mu.Unlock()
	case errors.As(r.Err, &re):
		c.refused.Add(1)
	default:
		c.failed.Add(1)
	}
	return false
}

// infect makes the disk ill, or well if ill is nil.
func (r *recorder) infect(ill *illness, seed int64) {
	r.mu.Lock()
	r.ill, r.rng = ill, rand.New(rand.NewSource(seed))
	r.mu.Unlock()
}

// fails tells whether an operation fails. r.mu is held.
func (r *recorder) fails(op byte, data []byte) bool {
	return r.ill != nil && r.ill.strikes(op, data, r.rng)
}

// note records an event, if that is wanted. r.mu is held.
func (r *recorder) note(e entry) {
	if !r.forget {
		r.log = append(r.log, e)
	}
}
