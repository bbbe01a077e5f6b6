// Package bounce is the protocol by which qmgr(8) has reports made: a request
// names the message, says what became of some of its recipients, and carries a
// read-only descriptor of the queue file, for the part of the original that is
// returned. The answer comes when the report is on stable storage, or was not
// wanted by anybody. Requests of one connection are served side by side.
package bounce

import (
	"fmt"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "bounce/1"

// Service is the socket's place below the queue directory.
const Service = "private/bounce"

// Frame types.
const (
	TypeRequest = 1 // with one descriptor
	TypeResult  = 2
)

// Kind says what a report is about.
type Kind uint8

const (
	Failure    Kind = iota // Bounced and Expired recipients
	Delay                  // Deferred recipients; sent once a message
	Success                // NOTIFY=SUCCESS
	Trace                  // sendmail -v and -bv
	DelayClear             // confirm_delay_cleared
)

// MaxRecipients and MaxBytes bound one request; more recipients make more
// reports.
const (
	MaxRecipients = 1000
	MaxBytes      = 512 << 10
)

// Recipient is a recipient with its outcome.
type Recipient struct {
	envelope.Recipient
	envelope.Outcome
}

// Size estimates the encoded size of r.
func (r *Recipient) Size() int {
	return len(r.Address) + len(r.Orig) + len(r.Orcpt) + len(r.DSN) + len(r.Relay) + len(r.Reason) +
		len(r.DiagType) + len(r.DiagText) + len(r.MTAName) + len(r.Action) + 48
}

// Request asks for one report.
type Request struct {
	Seq           uint64
	Kind          Kind
	Message       envelope.Message
	ContentOffset int64
	ContentLength int64
	EightBit      bool
	RetryEnd      time.Time // Delay: when the message is given up
	Recipients    []Recipient
}

// Result answers a Request.
type Result struct {
	Seq  uint64
	OK   bool
	Text string // why not; trying again later may help
}

// Encode appends the payload.
func (r *Request) Encode(e *wire.Encoder) {
	e.Uint(r.Seq)
	e.Uint(uint64(r.Kind))
	r.Message.Encode(e)
	e.Int(r.ContentOffset)
	e.Int(r.ContentLength)
	e.Bool(r.EightBit)
	e.Time(r.RetryEnd)
	e.Uint(uint64(len(r.Recipients)))
	for i := range r.Recipients {
		r.Recipients[i].Recipient.Encode(e)
		r.Recipients[i].Outcome.Encode(e)
	}
}

// DecodeRequest parses and validates a Request payload.
func DecodeRequest(p []byte) (*Request, error) {
	d := wire.NewDecoder(p)
	r := &Request{Seq: d.Uint(), Kind: Kind(d.Uint())}
	r.Message.Decode(d)
	r.ContentOffset = d.Int()
	r.ContentLength = d.Int()
	r.EightBit = d.Bool()
	r.RetryEnd = d.Time()
	n := d.Count()
	if n > MaxRecipients {
		return nil, fmt.Errorf("bounce request with %d recipients", n)
	}
	for i := 0; i < n && d.Err() == nil; i++ {
		var rc Recipient
		rc.Recipient.Decode(d)
		rc.Outcome.Decode(d)
		if err := rc.Recipient.Validate(); err != nil {
			return nil, err
		}
		if err := rc.Outcome.Validate(); err != nil {
			return nil, err
		}
		r.Recipients = append(r.Recipients, rc)
	}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(r.Recipients) == 0 || r.Kind > DelayClear || r.ContentOffset < 0 || r.ContentLength < 0 {
		return nil, fmt.Errorf("bounce request %d: no recipients, bad kind or bad offsets", r.Seq)
	}
	return r, r.Message.Validate()
}

// Encode appends the payload.
func (r *Result) Encode(e *wire.Encoder) {
	e.Uint(r.Seq)
	e.Bool(r.OK)
	e.String(r.Text)
}

// DecodeResult parses a Result payload.
func DecodeResult(p []byte) (*Result, error) {
	d := wire.NewDecoder(p)
	r := &Result{Seq: d.Uint(), OK: d.Bool(), Text: d.String()}
	return r, d.Done()
}
