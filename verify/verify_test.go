package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	proto "posthaste/pkg/proto/verify"
)

// world is a verifier with a faked clock, whose probes wait to be answered.
type world struct {
	*verifier
	t      *testing.T
	at     time.Time
	probes chan string

	mu  sync.Mutex
	log []string
}

func newWorld(t *testing.T, file string) *world {
	w := &world{t: t, at: time.Unix(1_800_000_000, 0), probes: make(chan string, 10)}
	w.verifier = &verifier{
		positiveExpire: 31 * 24 * time.Hour, positiveRefresh: 7 * 24 * time.Hour, negativeExpire: 72 * time.Hour, negativeRefresh: 3 * time.Hour,
		keepNegative: true, limit: 2, entries: map[string]*entry{}, waiting: map[string][]chan *proto.Reply{},
		now: func() time.Time { return w.at },
		warnf: func(f string, a ...any) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, fmt.Sprintf(f, a...))
		},
		probe: func(addr string) error { w.probes <- addr; return nil },
	}
	var err error
	if w.file, err = openJournal(file); err != nil {
		t.Fatal(err)
	}
	if err := w.load(); err != nil {
		t.Fatal(err)
	}
	return w
}

// ask asks without waiting.
func (w *world) ask(addr string) string {
	r := w.Query(context.Background(), &proto.Query{Address: addr})
	return fmt.Sprint(r.Status, " ", r.Text)
}

func (w *world) want(addr, want string, probe bool) {
	w.t.Helper()
	if got := w.ask(addr); got != want {
		w.t.Errorf("%s: %q, want %q", addr, got, want)
	}
	select {
	case p := <-w.probes:
		if !probe || p != addr {
			w.t.Errorf("%s: probe for %s", addr, p)
		}
	case <-time.After(map[bool]time.Duration{true: 5 * time.Second, false: 20 * time.Millisecond}[probe]):
		if probe {
			w.t.Errorf("%s: no probe", addr)
		}
	}
}

const progress = "0 Address verification in progress"

func TestCache(t *testing.T) {
	w := newWorld(t, "")
	w.want("User@x.example", progress, true)
	w.want("User@x.example", progress, false) // one is under way
	w.Update(&proto.Update{Address: "user@X.example", Status: proto.Deliverable, Text: "250 ok"})
	w.want("user@x.example", "1 250 ok", false)
	w.at = w.at.Add(8 * 24 * time.Hour) // refresh: answered from the cache, asked anew
	w.want("user@x.example", "1 250 ok", true)
	w.Update(&proto.Update{Address: "user@x.example", Status: proto.Unreachable, Text: "timed out"})
	w.want("user@x.example", "1 250 ok", true) // a failure does not take it back
	w.at = w.at.Add(24 * 24 * time.Hour)       // expired, and the probe lost
	w.want("user@x.example", progress, true)
	w.Update(&proto.Update{Address: "user@x.example", Status: proto.Undeliverable, Text: "550 no"})
	w.want("user@x.example", "2 550 no", false)
	w.at = w.at.Add(4 * time.Hour)
	w.want("user@x.example", "2 550 no", true)
	w.Update(&proto.Update{Address: "user@x.example", Status: proto.Deliverable, Text: "250 again"})
	w.want("user@x.example", "1 250 again", false)
}

func TestWaiting(t *testing.T) {
	w := newWorld(t, "")
	w.keepNegative = false
	got := make(chan *proto.Reply)
	for range 3 {
		go func() { got <- w.Query(context.Background(), &proto.Query{Address: "u@x.example", Wait: time.Minute}) }()
	}
	<-w.probes
	for n := 0; n < 3; {
		w.verifier.mu.Lock()
		n = len(w.waiting["u@x.example"])
		w.verifier.mu.Unlock()
	}
	w.Update(&proto.Update{Address: "u@x.example", Status: proto.Undeliverable, Text: "550 no"})
	for range 3 {
		if r := <-got; r.Status != proto.Undeliverable || r.Text != "550 no" {
			t.Errorf("%+v", r)
		}
	}
	w.want("u@x.example", progress, true) // failures are not kept
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := w.Query(ctx, &proto.Query{Address: "u@x.example", Wait: time.Minute}); r.Status != proto.Unknown || len(w.waiting) != 0 {
		t.Errorf("%+v, %d wait", r, len(w.waiting))
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t, "")
	w.want("a@x.example", progress, true)
	w.want("b@x.example", progress, true)
	w.want("c@x.example", progress, false)
	if len(w.log) == 0 || !strings.Contains(w.log[0], "address_verify_pending_request_limit (2) reached") {
		t.Errorf("log %q", w.log)
	}
	w.Update(&proto.Update{Address: "a@x.example", Status: proto.Deliverable})
	w.want("c@x.example", progress, true)
	w.verifier.mu.Lock()
	w.forget()
	w.verifier.mu.Unlock()
	if w.pending != 2 {
		t.Errorf("%d pending", w.pending)
	}
	w.at = w.at.Add(probeTime + time.Second) // both are lost
	w.verifier.mu.Lock()
	w.forget()
	w.verifier.mu.Unlock()
	if w.pending != 0 || len(w.entries) != 1 {
		t.Errorf("%d pending, %d entries", w.pending, len(w.entries))
	}
}

func TestJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cache")
	w := newWorld(t, "btree:"+file)
	w.Update(&proto.Update{Address: "good@x.example", Status: proto.Deliverable, Text: "250 \"ok\"\n"})
	w.Update(&proto.Update{Address: `"odd one"@x.example`, Status: proto.Undeliverable, Text: "550"})
	w.Update(&proto.Update{Address: "good@x.example", Status: proto.Deliverable, Text: "250 later"})
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("garbage\n\"torn@x.example\" 1 18")
	f.Close()
	w = newWorld(t, "btree:"+file)
	w.want("good@x.example", "1 250 later", false)
	w.want(`"odd one"@x.example`, "2 550", false)
	b, _ := os.ReadFile(file)
	if n := strings.Count(string(b), "\n"); n != 2 || strings.Contains(string(b), "torn") {
		t.Errorf("not compacted: %q", b)
	}
	w.at = w.at.Add(4 * 24 * time.Hour)
	w.verifier.mu.Lock()
	w.forget()
	w.verifier.mu.Unlock()
	if b, _ := os.ReadFile(file); strings.Count(string(b), "\n") != 1 {
		t.Errorf("expired results are kept: %q", b)
	}
	if _, err := openJournal("x:" + t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
}

// FuzzJournal holds that a line that is read is written as one that means the
// same.
func FuzzJournal(f *testing.F) {
	f.Add(`"a@b.example" 1 1800000000 "250 ok"`)
	f.Add(`"a" 4 1 ""`)
	f.Fuzz(func(t *testing.T, line string) {
		addr, e, err := parse(line)
		if err != nil {
			return
		}
		again := strings.TrimSuffix(format(addr, &e), "\n")
		addr2, e2, err := parse(again)
		if err != nil || addr2 != addr || e2 != e || strings.Contains(again, "\n") {
			t.Fatalf("%q gives %q, which gives %q %+v, %v", line, again, addr2, e2, err)
		}
	})
}
