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
	TypeLetGo     = 9 // postsuper: stop work on an active message and do something with it
)

// Action is what LetGo does with a message.
type Action uint8

const (
	Delete  Action = iota
	Hold           // into the hold queue
	Requeue        // into maildrop, to be taken in once more
	Expire         // return to the sender
)

// String is the log's word for what was done.
func (a Action) String() string {
	return [...]string{Delete: "removed", Hold: "placed on hold", Requeue: "requeued", Expire: "expired"}[a]
}

// LetGo asks qmgr to give a message up. Deliveries under way are awaited and
// their outcomes recorded first. The last request counts, but what is to be
// deleted is deleted.
type LetGo struct {
	Action Action
	ID     string
}

// Encode appends the payload.
func (l *LetGo) Encode(e *wire.Encoder) {
	e.Uint(uint64(l.Action))
	e.String(l.ID)
}

// DecodeLetGo parses a LetGo payload.
func DecodeLetGo(p []byte) (*LetGo, error) {
	d := wire.NewDecoder(p)
	l := &LetGo{Action: Action(d.Uint()), ID: d.String()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if l.Action > Expire {
		return nil, wire.ErrMalformed
	}
	return l, nil
}

// Texts of the Result of LetGo. Others tell what is wrong.
const (
	NotActive = "not active"              // qmgr is not working on it: the caller may do as it likes
	Again     = "try again"               // it is on its way to somewhere else
	UnderWay  = "a delivery is under way" // it will be done when that ends
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

// Status is the ledger of this process of qmgr, in recipients unless a comment
// says otherwise. Each recipient that enters the active queue leaves it in
// exactly one way:
//
//	Accepted + Retried = Delivered + Relayed + Bounced + Expired + Discarded +
//	                     Deferred + Removed + Active
type Status struct {
	Accepted  int64 // entered the active queue for the first time
	Retried   int64 // entered it again, from the deferred queue or after a restart
	Delivered int64 // delivered to their final place here
	Relayed   int64 // handed to another host
	Bounced   int64 // failed for good, and reported where that was wanted
	Expired   int64 // failed for having been too long in the queue
	Discarded int64 // thrown away by a named rule
	Deferred  int64 // put off to another time
	Removed   int64 // taken out by an administrator: deleted, held or requeued
	Active    int64 // in the active queue now

	Messages int64 // messages in the active queue
	InCore   int64 // recipients in memory
	Busy     int64 // delivery requests with agents
	Waiting  int64 // messages in the deferred queue, counted now
	Held     int64 // messages in the hold queue, counted now
}

// Balanced tells whether the ledger adds up.
func (s *Status) Balanced() bool {
	return s.Accepted+s.Retried == s.Delivered+s.Relayed+s.Bounced+s.Expired+s.Discarded+s.Deferred+s.Removed+s.Active
}

func (s *Status) fields() []*int64 {
	return []*int64{&s.Accepted, &s.Retried, &s.Delivered, &s.Relayed, &s.Bounced, &s.Expired, &s.Discarded, &s.Deferred,
		&s.Removed, &s.Active, &s.Messages, &s.InCore, &s.Busy, &s.Waiting, &s.Held}
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
