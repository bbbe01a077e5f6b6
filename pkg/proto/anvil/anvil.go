// Package anvil is the protocol of private/anvil, and what stands behind it: the
// counters of clients' connections and requests that all processes of smtpd(8)
// and login(8) share. Who is counted is named by an ident, such as
// "smtp:192.0.2.7".
//
// A connection that was counted is counted until its process says that it is
// over, or is gone itself.
package anvil

import (
	"fmt"

	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "anvil/1"

// Service is the socket's place below the queue directory.
const Service = "private/anvil"

// Types of calls. The payload begins with an ident; TypeCount and TypeRate
// follow with an Event, TypeResume with a number. Disconnect and Resume have no
// answer; the others' is a Reply.
const (
	TypeConnect    = 1 // a connection begins; with a descriptor, it lasts until that one's peer closes
	TypeDisconnect = 2
	TypeCount      = 3 // something has happened
	TypeRate       = 4 // how often has it?
	TypeResume     = 5 // connections that a former process of anvil knew of
)

// Event is something whose rate is limited.
type Event uint8

const (
	Connect Event = iota
	Message
	Recipient
	NewTLS
	Auth
	numEvents
)

// MaxIdent bounds an ident.
const MaxIdent = 512

// Request is any call.
type Request struct {
	Type  byte
	Ident string
	Event Event
	Count int // TypeResume
}

// Reply says how many connections there are at this time, and how often the
// event has happened in this time unit.
type Reply struct{ Count, Rate int }

// Encode makes the payload.
func (r *Request) Encode() []byte {
	var e wire.Encoder
	e.String(r.Ident)
	switch r.Type {
	case TypeCount, TypeRate:
		e.Uint(uint64(r.Event))
	case TypeResume:
		e.Uint(uint64(r.Count))
	}
	return e.B
}

// DecodeRequest parses the payload of a call.
func DecodeRequest(typ byte, p []byte) (*Request, error) {
	d := wire.NewDecoder(p)
	r := &Request{Type: typ, Ident: d.String()}
	bad := r.Ident == "" || len(r.Ident) > MaxIdent
	switch typ {
	case TypeConnect, TypeDisconnect:
	case TypeCount, TypeRate:
		n := d.Uint()
		r.Event = Event(n)
		bad = bad || n >= uint64(numEvents)
	case TypeResume:
		n := d.Uint()
		r.Count = int(n)
		bad = bad || n == 0 || n > 1<<20
	default:
		bad = true
	}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if bad {
		return nil, fmt.Errorf("%w: request of type %d", wire.ErrMalformed, typ)
	}
	return r, nil
}

// Encode makes the payload.
func (r *Reply) Encode() []byte {
	var e wire.Encoder
	e.Uint(uint64(r.Count))
	e.Uint(uint64(r.Rate))
	return e.B
}

// DecodeReply parses the payload of an answer.
func DecodeReply(p []byte) (*Reply, error) {
	d := wire.NewDecoder(p)
	count, rate := d.Uint(), d.Uint()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if count > 1<<31 || rate > 1<<31 {
		return nil, fmt.Errorf("%w: reply", wire.ErrMalformed)
	}
	return &Reply{int(count), int(rate)}, nil
}
