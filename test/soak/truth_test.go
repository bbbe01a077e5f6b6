package main

import (
	"math/rand/v2"
	"testing"

	"posthaste/test/tools/imaptalk"
)

func reg(w ...write) (r register) {
	for _, x := range w {
		r = append(r, &x)
	}
	return r
}

// TestRegister: which values of a flag may be seen, and which may not.
func TestRegister(t *testing.T) {
	arrival := write{start: 0, end: 10}
	set, clear := write{start: 20, end: 30, on: true}, write{start: 40, end: 50}
	for _, tt := range []struct {
		name     string
		r        register
		on       bool
		from, to int64
		want     bool
	}{
		{"as it came", reg(arrival), false, 15, 16, true},
		{"set by nobody", reg(arrival), true, 15, 16, false},
		{"set later", reg(arrival, set), true, 15, 19, false},
		{"being set", reg(arrival, set), true, 15, 25, true},
		{"being set, not seen yet", reg(arrival, set), false, 15, 25, true},
		{"looked while it was being set", reg(arrival, set), false, 25, 60, true},
		{"set before the look", reg(arrival, set), false, 35, 36, false},
		{"cleared before the look", reg(arrival, set, clear), true, 55, 56, false},
		{"being cleared", reg(arrival, set, clear), true, 45, 60, true},
		{"cleared and set at the same time", reg(arrival, write{start: 20, end: 45, on: true}, clear), true, 55, 56, true},
		{"nobody knows whether it was cleared", reg(arrival, set, write{start: 40}), true, 100, 101, true},
		{"nobody knows whether it was cleared, and it is", reg(arrival, set, write{start: 40}), false, 100, 101, true},
		{"a change that never was", reg(arrival, set, write{start: 1 << 62, end: 1 << 62}), false, 100, 101, false},
	} {
		if got := tt.r.allows(tt.on, tt.from, tt.to); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestPrune: dropping old writes changes no answer about the time since.
func TestPrune(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var r register
		for range 50 {
			w := &write{start: rng.Int64N(1000), on: rng.IntN(2) == 0}
			if rng.IntN(10) > 0 {
				w.end = w.start + rng.Int64N(50)
			}
			r = append(r, w)
		}
		then := rng.Int64N(1000)
		p := r.prune(then)
		for range 200 {
			from := then + rng.Int64N(500)
			to := from + rng.Int64N(100)
			on := rng.IntN(2) == 0
			if a, b := r.allows(on, from, to), p.allows(on, from, to); a != b {
				t.Fatalf("seed %d: allows(%v, %d, %d) is %v, and %v of the %d kept since %d", seed, on, from, to, a, b, len(p), then)
			}
		}
	}
}

func newBox() *box {
	return &box{w: &world{}, user: "u", name: "INBOX", msgs: map[uint32]*message{}, live: map[uint32]*message{}, letters: map[string]*letter{}}
}

// TestTruth: what the checker must object to.
func TestTruth(t *testing.T) {
	b := newBox()
	good := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bad := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("no objection: %s", what)
		}
	}
	bad("a message that nobody put there", b.bind(1, "d1", 0))
	over := b.coming("d1", false)
	good(b.bind(1, "d1", 0))
	over(true)
	bad("a message twice", b.bind(2, "d1", 0))
	b.coming("d2", false)(true)
	bad("another message under the UID", b.bind(1, "d2", 0))
	good(b.observe(1, seen{hasFlags: true, modSeq: 5, date: "x", size: 7}, now()))
	bad("another date", b.observe(1, seen{date: "y"}, now()))
	bad("another size", b.observe(1, seen{size: 8}, now()))
	bad("a flag from nowhere", b.observe(1, seen{hasFlags: true, flags: 1}, now()))
	bad("a lower mod-sequence", b.observe(1, seen{modSeq: 4}, now()))
	end := b.change([]uint32{1}, 1, 0, "test")
	bad("other flags with the same mod-sequence", b.observe(1, seen{hasFlags: true, flags: 1, modSeq: 5}, now()))
	end(0)
	bad("a flag that is lost", b.observe(1, seen{hasFlags: true, modSeq: 6}, now()))
	bad("octets of another message", b.octets(1, text("d2")))
	bad("other octets", b.octets(1, text("d1")+"x"))
	bad("a message that is lost", b.missing(map[uint32]bool{}, now()))
	bad("a message that nobody removed", b.expunged(1))
	b.remove(nil, true, "test")
	bad("a message without \\Deleted", b.expunged(1))
	b.change([]uint32{1}, 1<<deleted, 0, "test")
	b.remove(nil, true, "test")
	good(b.expunged(1))
	good(b.missing(map[uint32]bool{}, now()))
	bad("a message that is back", b.there(1, now()))
	bad("a message that is still there", b.missing(map[uint32]bool{1: true}, now()))
	bad("a message that never came", b.accounts())
	good(b.selected(1, 10, 10, now()))
	bad("another UIDVALIDITY", b.selected(2, 10, 10, now()))
	bad("a lower UIDNEXT", b.selected(1, 9, 10, now()))
	bad("a lower HIGHESTMODSEQ", b.selected(1, 10, 9, now()))
}

// TestSession: what a client must object to by its model.
func TestSession(t *testing.T) {
	for _, tt := range []struct {
		what, command string
		resyncs, bad  bool
		responses     []string
	}{
		{"an orderly mailbox", "NOOP", false, false, []string{"* 3 EXISTS", "* 3 FETCH (UID 9)", "* 1 FETCH (UID 2 FLAGS (\\Seen))"}},
		{"fewer messages", "NOOP", false, true, []string{"* 3 EXISTS", "* 2 EXISTS"}},
		{"EXPUNGE of none", "NOOP", false, true, []string{"* 1 EXISTS", "* 2 EXPUNGE"}},
		{"EXPUNGE within FETCH", "FETCH 1 UID", false, true, []string{"* 1 EXISTS", "* 1 EXPUNGE"}},
		{"EXPUNGE within UID FETCH", "UID FETCH 1 UID", false, false, []string{"* 1 EXISTS", "* 1 EXPUNGE"}},
		{"EXPUNGE with QRESYNC", "NOOP", true, true, []string{"* 1 EXISTS", "* 1 EXPUNGE"}},
		{"VANISHED without QRESYNC", "NOOP", false, true, []string{"* 1 EXISTS", "* VANISHED 1"}},
		{"VANISHED within STORE", "STORE 1 FLAGS ()", true, true, []string{"* 1 EXISTS", "* VANISHED 1"}},
		{"VANISHED of what is not there", "NOOP", true, true, []string{"* 2 EXISTS", "* 1 FETCH (UID 4)", "* 2 FETCH (UID 5)", "* VANISHED 6"}},
		{"another UID", "NOOP", false, true, []string{"* 1 EXISTS", "* 1 FETCH (UID 4)", "* 1 FETCH (UID 5)"}},
		{"UIDs that fall", "NOOP", false, true, []string{"* 2 EXISTS", "* 1 FETCH (UID 4)", "* 2 FETCH (UID 3)"}},
		{"FETCH of none", "NOOP", false, true, []string{"* 1 EXISTS", "* 2 FETCH (UID 4)"}},
		{"a flag from nowhere", "NOOP", false, true, []string{"* 1 EXISTS", "* 1 FETCH (UID 4 FLAGS (odd))"}},
	} {
		s := &session{w: &world{commands: map[string]int{}}, box: newBox(), flags: map[uint32]flags{}, resyncs: tt.resyncs}
		s.begin(tt.command)
		var err error
		for _, r := range tt.responses {
			l := &line{raw: r}
			var ok bool
			if l.fields, ok = imaptalk.Parse(r); !ok {
				t.Fatalf("%s: %q", tt.what, r)
			}
			// Nobody objects to an expunge as such.
			s.box.mu.Lock()
			s.box.expunges = []*removal{{who: "test"}}
			s.box.mu.Unlock()
			if err = s.handle(l); err != nil {
				break
			}
		}
		if (err != nil) != tt.bad {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}
