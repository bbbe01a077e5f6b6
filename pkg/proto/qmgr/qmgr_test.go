package qmgr

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// listen collects the ids and the Scan frames that arrive at path.
func listen(t *testing.T, path string) (ids chan string, scans chan bool, ln net.Listener) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ids, scans = make(chan string, 10000), make(chan bool, 10000)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c, err := ipc.Accept(nc, Protocol, time.Second)
			if err != nil {
				continue
			}
			go func() {
				defer c.Close()
				for {
					typ, p, err := c.ReadFrame()
					if err != nil {
						return
					}
					if typ == TypeScan {
						scans <- true
						continue
					}
					for _, id := range wire.NewDecoder(p).Strings() {
						if id == "hang up" {
							return
						}
						ids <- id
					}
				}
			}()
		}
	}()
	return ids, scans, ln
}

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ids, scans, ln := listen(t, path)
	defer ln.Close()
	n := NewNotifier(path)
	defer n.Close()
	seen := map[string]bool{}
	for i := range 1000 {
		n.Notify(fmt.Sprint(i))
	}
	<-scans // the first connection cannot know what was lost before it
	for range 1000 {
		seen[<-ids] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d ids arrived, want 1000", len(seen))
	}
	n.Notify("hang up")
	// Until the broken connection is noticed, ids may be lost; then comes a Scan.
	for again := false; !again; {
		n.Notify("x")
		select {
		case again = <-scans:
		case <-ids:
		case <-time.After(5 * time.Millisecond): // lost
		}
	}
}

func TestNotifierWithoutQmgr(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	n := NewNotifier(path)
	defer n.Close()
	for range 3 * maxPending {
		n.Notify("lost")
	}
	ids, scans, ln := listen(t, path)
	defer ln.Close()
	for found := false; !found; {
		n.Notify("x")
		select {
		case <-scans:
			found = true
		case <-ids:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestStatusRoundTripAndBalance(t *testing.T) {
	s := &Status{Accepted: 10, Retried: 2, Delivered: 3, Relayed: 2, Bounced: 1, Expired: 1, Discarded: 1, Deferred: 2, Removed: 1, Active: 1, Held: 9}
	var e wire.Encoder
	s.Encode(&e)
	got, err := DecodeStatus(e.B)
	if err != nil || *got != *s {
		t.Errorf("DecodeStatus = %+v, %v, want %+v", got, err, s)
	}
	if !s.Balanced() {
		t.Error("a ledger that adds up is not balanced")
	}
	s.Relayed++
	if s.Balanced() {
		t.Error("a ledger that does not add up is balanced")
	}
}

func FuzzQmgr(f *testing.F) {
	var e wire.Encoder
	(&LetGo{Hold, "4XkP1Q2n3RzcJh4"}).Encode(&e)
	f.Add(e.B)
	e.B = nil
	(&Status{Accepted: 1}).Encode(&e)
	f.Add(e.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := DecodeLetGo(b); err == nil {
			var e wire.Encoder
			l.Encode(&e)
			if l2, err := DecodeLetGo(e.B); err != nil || *l2 != *l {
				t.Errorf("%+v became %+v, %v", l, l2, err)
			}
		}
		DecodeResult(b)
		DecodeStatus(b)
	})
}
