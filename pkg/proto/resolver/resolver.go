// Package resolver is the protocol of private/resolver: programs without a
// network of their own ask resolver(8) one DNS question a frame, many at a
// time on one connection, and get the records back in a form that needs no DNS
// parser.
package resolver

import (
	"fmt"
	"net/netip"

	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "resolver/1"

// Frame types.
const (
	TypeQuery = 1
	TypeReply = 2
)

// Limits on what a frame may hold.
const (
	MaxName    = 255
	MaxRecords = 2000
	MaxText    = 4096 // bytes of TXT data kept a record
)

// Status says how a question was answered.
type Status uint8

const (
	OK       Status = iota
	NotFound        // the name does not exist (NXDOMAIN)
	NoData          // the name exists without such a record
	TryAgain        // no answer, or SERVFAIL
	Failed          // the server refuses or does not understand (REFUSED, FORMERR, NOTIMP)
	Invalid         // no legal name, or an answer without any usable record
)

// Query asks for the records of one name and type (RFC 1035 numbers).
type Query struct {
	Seq  uint64
	Name string
	Type uint16
}

// Record is one record of the asked type. Which fields are set depends on the
// type: Addr for A and AAAA, Host for MX, NS, PTR and CNAME, Text for TXT.
type Record struct {
	Pref uint16
	Host string
	Text string
	Addr netip.Addr
}

// Reply answers a Query.
type Reply struct {
	Seq     uint64
	Status  Status
	Detail  string // why, for Failed, TryAgain and Invalid; may be ""
	Name    string // the name at the end of the CNAME chain
	TTL     uint32 // seconds: the least of the records used, or how long to believe a negative answer
	Secure  bool   // the AD bit, from a server that is trusted with it
	Records []Record
}

// Encode appends the payload.
func (q *Query) Encode(e *wire.Encoder) {
	e.Uint(q.Seq)
	e.String(q.Name)
	e.Uint(uint64(q.Type))
}

// DecodeQuery parses a Query payload.
func DecodeQuery(p []byte) (*Query, error) {
	d := wire.NewDecoder(p)
	q := &Query{Seq: d.Uint(), Name: d.String()}
	t := d.Uint()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(q.Name) > 4*MaxName || t == 0 || t > 65535 {
		return nil, fmt.Errorf("%w: query", wire.ErrMalformed)
	}
	q.Type = uint16(t)
	return q, nil
}

// Encode appends the payload.
func (r *Reply) Encode(e *wire.Encoder) {
	e.Uint(r.Seq)
	e.Uint(uint64(r.Status))
	e.String(r.Detail)
	e.String(r.Name)
	e.Uint(uint64(r.TTL))
	e.Bool(r.Secure)
	e.Uint(uint64(len(r.Records)))
	for i := range r.Records {
		rec := &r.Records[i]
		e.Uint(uint64(rec.Pref))
		e.String(rec.Host)
		e.String(rec.Text)
		e.Bytes(rec.Addr.AsSlice())
	}
}

// DecodeReply parses a Reply payload.
func DecodeReply(p []byte) (*Reply, error) {
	d := wire.NewDecoder(p)
	r := &Reply{Seq: d.Uint()}
	st := d.Uint()
	r.Detail = d.String()
	r.Name = d.String()
	ttl := d.Uint()
	r.Secure = d.Bool()
	n := d.Count()
	if d.Err() == nil && (st > uint64(Invalid) || ttl > 1<<32-1 || n > MaxRecords) {
		return nil, fmt.Errorf("%w: reply", wire.ErrMalformed)
	}
	r.Status, r.TTL = Status(st), uint32(ttl)
	for i := 0; i < n && d.Err() == nil; i++ {
		pref := d.Uint()
		rec := Record{Pref: uint16(pref), Host: d.String(), Text: d.String()}
		b := d.Bytes()
		if len(b) > 0 {
			a, ok := netip.AddrFromSlice(b)
			if !ok {
				return nil, fmt.Errorf("%w: address of %d bytes", wire.ErrMalformed, len(b))
			}
			rec.Addr = a
		}
		if pref > 65535 {
			return nil, fmt.Errorf("%w: preference %d", wire.ErrMalformed, pref)
		}
		r.Records = append(r.Records, rec)
	}
	return r, d.Done()
}
