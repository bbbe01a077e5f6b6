package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"posthaste/pkg/address"
	proto "posthaste/pkg/proto/verify"
)

// probeTime is how long a probe may be under way before it is taken for lost.
const probeTime = 1000 * time.Second

// maxEntries bounds the results in memory, some 300 bytes each.
const maxEntries = 500_000

// verifier is the cache of results, and the questions that wait for one.
type verifier struct {
	positiveExpire, positiveRefresh time.Duration
	negativeExpire, negativeRefresh time.Duration
	keepNegative                    bool
	limit                           int           // probes under way at a time
	interval                        time.Duration // between clean-ups of the file; 0 means none
	probe                           func(addr string) error
	warnf                           func(format string, a ...any)
	now                             func() time.Time
	file                            *journal // nil without one

	mu      sync.Mutex
	entries map[string]*entry
	pending int
	waiting map[string][]chan *proto.Reply
}

func (v *verifier) load() error {
	if v.file == nil {
		return nil
	}
	if err := v.file.load(func(addr string, e entry) { v.entries[addr] = &e }); err != nil {
		v.warnf("address_verify_map: %v", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget()
	return nil
}

// expired tells whether a result is too old to be believed; stale whether it is
// time to find out anew.
func (v *verifier) expired(e *entry) bool {
	return v.old(e, v.positiveExpire, v.negativeExpire)
}

func (v *verifier) stale(e *entry) bool {
	return v.old(e, v.positiveRefresh, v.negativeRefresh)
}

func (v *verifier) old(e *entry, positive, negative time.Duration) bool {
	limit := negative
	if e.status == proto.Deliverable {
		limit = positive
	}
	return v.now().Sub(e.updated) > limit
}

// Query is proto.Handler's.
func (v *verifier) Query(ctx context.Context, q *proto.Query) *proto.Reply {
	addr := address.Fold(q.Address)
	v.mu.Lock()
	e := v.entry(addr)
	if !e.updated.IsZero() && v.expired(e) {
		*e = entry{probed: e.probed}
	}
	if (e.updated.IsZero() || v.stale(e)) && v.now().Sub(e.probed) > probeTime {
		v.send(addr, q.Address, e)
	}
	if !e.updated.IsZero() {
		defer v.mu.Unlock()
		return &proto.Reply{Status: e.status, Text: e.text}
	}
	come := make(chan *proto.Reply, 1)
	v.waiting[addr] = append(v.waiting[addr], come)
	v.mu.Unlock()

	t := time.NewTimer(q.Wait)
	defer t.Stop()
	select {
	case r := <-come:
		return r
	case <-t.C:
	case <-ctx.Done():
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	l := slices.DeleteFunc(v.waiting[addr], func(c chan *proto.Reply) bool { return c == come })
	if v.waiting[addr] = l; len(l) == 0 {
		delete(v.waiting, addr)
	}
	return &proto.Reply{Text: "Address verification in progress"}
}

// entry returns the entry of an address; the caller holds mu. When there are too
// many, another one goes.
func (v *verifier) entry(addr string) *entry {
	e := v.entries[addr]
	if e != nil {
		return e
	}
	if len(v.entries) >= maxEntries {
		for a, o := range v.entries {
			if o.probed.IsZero() {
				delete(v.entries, a)
				break
			}
		}
	}
	e = &entry{}
	v.entries[addr] = e
	return e
}

// send sends a probe, behind the caller's back; the caller holds mu.
func (v *verifier) send(key, addr string, e *entry) {
	if v.pending >= v.limit {
		v.warnf("address_verify_pending_request_limit (%d) reached: no probe for %s", v.limit, key)
		return
	}
	v.pending++
	e.probed = v.now()
	go func() {
		err := v.probe(addr)
		v.mu.Lock()
		defer v.mu.Unlock()
		if err != nil {
			v.warnf("probe for %s: %v", key, err)
			v.pending--
			if e := v.entries[key]; e != nil {
				e.probed = time.Time{}
			}
		}
	}()
}

// Update is proto.Handler's.
func (v *verifier) Update(u *proto.Update) {
	addr := address.Fold(u.Address)
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.entry(addr)
	if !e.probed.IsZero() {
		v.pending = max(v.pending-1, 0)
		e.probed = time.Time{}
	}
	// That it did not work this time does not take back that the address is good.
	if u.Status == proto.Deliverable || e.status != proto.Deliverable || v.expired(e) {
		e.status, e.updated, e.text = u.Status, v.now(), u.Text
		if v.file != nil && (v.keepNegative || u.Status == proto.Deliverable) {
			if err := v.file.add(addr, e); err != nil {
				v.warnf("address_verify_map: %v", err)
			}
		}
	}
	for _, c := range v.waiting[addr] {
		c <- &proto.Reply{Status: e.status, Text: e.text}
	}
	delete(v.waiting, addr)
	if e.status != proto.Deliverable && !v.keepNegative {
		delete(v.entries, addr)
	}
}

// clean forgets what has expired, every interval.
func (v *verifier) clean(ctx context.Context) {
	if v.interval <= 0 {
		return
	}
	t := time.NewTicker(v.interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			v.mu.Lock()
			v.forget()
			v.mu.Unlock()
		}
	}
}

// forget drops expired entries and rewrites the file; the caller holds mu.
func (v *verifier) forget() {
	v.pending = 0
	for addr, e := range v.entries {
		under := !e.probed.IsZero() && v.now().Sub(e.probed) <= probeTime
		if under {
			v.pending++
		}
		if !under && (e.updated.IsZero() || v.expired(e)) && len(v.waiting[addr]) == 0 {
			delete(v.entries, addr)
		}
	}
	if v.file != nil {
		if err := v.file.rewrite(v.entries); err != nil {
			v.warnf("address_verify_map: %v", err)
		}
	}
}
