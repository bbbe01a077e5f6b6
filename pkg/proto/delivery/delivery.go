// Package delivery is the protocol between qmgr(8) and the delivery agents:
// one connection per agent process, many requests at a time on it.
//
// qmgr dials the transport's socket and sends Request frames, each with a
// read-only descriptor of the queue file. The agent answers, in any order and
// interleaved, Outcome frames (one per recipient, as each is known) and then
// one Done per request. Every recipient of the request gets exactly one outcome
// before Done; qmgr defers those that a lost connection leaves without one.
// An agent that is about to leave sends Drain: qmgr sends it nothing more and
// dials again; requests that crossed the Drain come back as Done with Again.
package delivery

import (
	"fmt"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "delivery/1"

// Frame types.
const (
	TypeRequest = 1 // qmgr to agent, with one descriptor
	TypeOutcome = 2
	TypeDone    = 3
	TypeDrain   = 4
)

// Request asks an agent to deliver one message to some recipients that share
// transport and next hop.
type Request struct {
	Seq           uint64 // chosen by qmgr, unique on the connection
	Message       envelope.Message
	Transport     string // service name
	Nexthop       string
	ContentOffset int64     // where the content starts in the file
	ContentLength int64     // bytes, CRLF form
	DotLines      bool      // some line starts with "."
	EightBit      bool      // some byte is above 127
	Activated     time.Time // when qmgr moved the message to the active queue
	Started       time.Time // when qmgr handed the request out
	Attempt       int       // 0 for the first
	Recipients    []envelope.Recipient
}

// Done ends a request.
type Done struct {
	Seq   uint64
	Again bool // not started: ask another process
	// SiteProblem tells why the destination as a whole is in trouble (connect,
	// greeting or handshake failed): it counts for concurrency and dead
	// destinations. "" if it is well, or if no remote site was involved.
	SiteProblem string
	SiteDSN     string
}

// Encode appends the payload.
func (r *Request) Encode(e *wire.Encoder) {
	e.Uint(r.Seq)
	r.Message.Encode(e)
	e.String(r.Transport)
	e.String(r.Nexthop)
	e.Int(r.ContentOffset)
	e.Int(r.ContentLength)
	e.Bool(r.DotLines)
	e.Bool(r.EightBit)
	e.Time(r.Activated)
	e.Time(r.Started)
	e.Uint(uint64(r.Attempt))
	e.Uint(uint64(len(r.Recipients)))
	for i := range r.Recipients {
		r.Recipients[i].Encode(e)
	}
}

// DecodeRequest parses and validates a Request payload.
func DecodeRequest(p []byte) (*Request, error) {
	d := wire.NewDecoder(p)
	r := &Request{Seq: d.Uint()}
	r.Message.Decode(d)
	r.Transport = d.String()
	r.Nexthop = d.String()
	r.ContentOffset = d.Int()
	r.ContentLength = d.Int()
	r.DotLines = d.Bool()
	r.EightBit = d.Bool()
	r.Activated = d.Time()
	r.Started = d.Time()
	r.Attempt = int(d.Uint())
	n := d.Count()
	for i := 0; i < n && d.Err() == nil; i++ {
		var rc envelope.Recipient
		rc.Decode(d)
		if err := rc.Validate(); err != nil {
			return nil, err
		}
		r.Recipients = append(r.Recipients, rc)
	}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(r.Recipients) == 0 || r.ContentOffset < 0 || r.ContentLength < 0 {
		return nil, fmt.Errorf("delivery request %d: no recipients or bad offsets", r.Seq)
	}
	return r, r.Message.Validate()
}

// EncodeOutcome appends the payload of an Outcome frame.
func EncodeOutcome(e *wire.Encoder, seq uint64, o *envelope.Outcome) {
	e.Uint(seq)
	o.Encode(e)
}

// DecodeOutcome parses and validates an Outcome payload.
func DecodeOutcome(p []byte) (seq uint64, o *envelope.Outcome, err error) {
	d := wire.NewDecoder(p)
	seq = d.Uint()
	o = new(envelope.Outcome)
	o.Decode(d)
	if err := d.Done(); err != nil {
		return 0, nil, err
	}
	return seq, o, o.Validate()
}

// Encode appends the payload.
func (r *Done) Encode(e *wire.Encoder) {
	e.Uint(r.Seq)
	e.Bool(r.Again)
	e.String(r.SiteProblem)
	e.String(r.SiteDSN)
}

// DecodeDone parses a Done payload.
func DecodeDone(p []byte) (*Done, error) {
	d := wire.NewDecoder(p)
	r := &Done{Seq: d.Uint(), Again: d.Bool(), SiteProblem: d.String(), SiteDSN: d.String()}
	return r, d.Done()
}
