// Package qmgr is the protocol that qmgr(8) speaks on public/qmgr: cleanup
// tells it of new messages, postqueue and posthaste(1) ask for retries and for
// the ledger.
//
// The client sends frames; Notify and Scan are not answered, the others get one
// Result (or Status) frame each, in order.
package qmgr

import (
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "qmgr/1"

// Service is the socket's place below the queue directory.
const Service = "public/qmgr"

// Frame types.
const (
	TypeNotify    = 1 // queue ids of complete files in incoming/
	TypeScan      = 2 // notifications were lost: scan incoming/
	TypeFlush     = 3 // try all deferred mail now
	TypeFlushSite = 4 // try deferred mail for one domain now
	TypeFlushID   = 5 // try one message now
	TypeStatus    = 6 // ask for the ledger
	TypeResult    = 7
	TypeStatusAns = 8
)

// Result answers the flush requests.
type Result struct {
	OK   bool
	Text string // why not
}

// Encode appends the payload.
func (r *Result) Encode(e *wire.Encoder) {
	e.Bool(r.OK)
	e.String(r.Text)
}

// DecodeResult parses a Result payload.
func DecodeResult(p []byte) (*Result, error) {
	d := wire.NewDecoder(p)
	r := &Result{OK: d.Bool(), Text: d.String()}
	return r, d.Done()
}

// Status is the ledger: what became of every recipient that this process of
// qmgr has taken over. Accepted equals the sum of Delivered, Relayed, Bounced,
// Expired, Discarded and Queued; Deferred and Held are parts of Queued or
// beside it, as their comments say.
type Status struct {
	Accepted  int64 // recipients of messages that entered the active queue for the first time in this process
	Delivered int64 // to a final place
	Relayed   int64 // to another host
	Bounced   int64
	Expired   int64
	Discarded int64 // by a named rule
	Deferred  int64 // outcomes "try later" so far; a recipient counts each time
	Queued    int64 // accepted, not finished: active or deferred
	Removed   int64 // recipients that left the queue by an administrator's hand

	Messages int64 // messages now in the active queue
	InCore   int64 // recipients now in memory
	Busy     int64 // delivery requests now with agents
	Waiting  int64 // deferred messages known in the retry heap
	Held     int64 // messages in the hold queue at the last look
}

func (s *Status) fields() []*int64 {
	return []*int64{&s.Accepted, &s.Delivered, &s.Relayed, &s.Bounced, &s.Expired, &s.Discarded, &s.Deferred,
		&s.Queued, &s.Removed, &s.Messages, &s.InCore, &s.Busy, &s.Waiting, &s.Held}
}

// Encode appends the payload.
func (s *Status) Encode(e *wire.Encoder) {
	for _, f := range s.fields() {
		e.Int(*f)
	}
}

// DecodeStatus parses a Status payload.
func DecodeStatus(p []byte) (*Status, error) {
	d := wire.NewDecoder(p)
	s := new(Status)
	for _, f := range s.fields() {
		*f = d.Int()
	}
	return s, d.Done()
}
