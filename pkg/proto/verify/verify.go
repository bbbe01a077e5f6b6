// Package verify is the protocol of private/verify: smtpd(8) asks whether mail
// to an address would be delivered, and bounce(8) tells what became of the
// probes. One connection carries one request after the other.
package verify

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "verify/1"

// Frame types.
const (
	TypeQuery  = 1 // answered with a Reply
	TypeUpdate = 2 // answered with a Reply, whose contents mean nothing
	TypeReply  = 3
)

// Limits on what a frame may hold, in bytes.
const (
	MaxAddress = 4096
	MaxText    = 8192
)

// Origin marks the messages that are probes: envelope.Message.Origin.
const Origin = "verify"

// Status says what is known of an address.
type Status uint8

const (
	Unknown       Status = iota // there is no result yet
	Deliverable                 // mail is delivered or accepted
	Undeliverable               // mail bounces
	Unreachable                 // that could not be found out for now
)

// Query asks about an address. The answer comes when there is one, at the latest
// after Wait.
type Query struct {
	Address string // in internal form
	Wait    time.Duration
}

// Update is the result of a probe.
type Update struct {
	Address string // as in the Query that led to the probe
	Status  Status
	Text    string // why
}

// Reply answers a Query.
type Reply struct {
	Status Status
	Text   string
}

// Encode appends the payload.
func (q *Query) Encode(e *wire.Encoder) {
	e.String(q.Address)
	e.Int(int64(q.Wait))
}

// DecodeQuery parses a Query payload.
func DecodeQuery(p []byte) (*Query, error) {
	d := wire.NewDecoder(p)
	q := &Query{Address: d.String(), Wait: time.Duration(d.Int())}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if q.Address == "" || len(q.Address) > MaxAddress || q.Wait < 0 {
		return nil, fmt.Errorf("%w: query", wire.ErrMalformed)
	}
	return q, nil
}

// Encode appends the payload.
func (u *Update) Encode(e *wire.Encoder) {
	e.String(u.Address)
	e.Uint(uint64(u.Status))
	e.String(u.Text)
}

// DecodeUpdate parses an Update payload.
func DecodeUpdate(p []byte) (*Update, error) {
	d := wire.NewDecoder(p)
	u := &Update{Address: d.String()}
	st := d.Uint()
	u.Text = d.String()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if u.Address == "" || len(u.Address) > MaxAddress || st == uint64(Unknown) || st > uint64(Unreachable) || len(u.Text) > MaxText {
		return nil, fmt.Errorf("%w: update", wire.ErrMalformed)
	}
	u.Status = Status(st)
	return u, nil
}

// Encode appends the payload.
func (r *Reply) Encode(e *wire.Encoder) {
	e.Uint(uint64(r.Status))
	e.String(r.Text)
}

// DecodeReply parses a Reply payload.
func DecodeReply(p []byte) (*Reply, error) {
	d := wire.NewDecoder(p)
	st := d.Uint()
	r := &Reply{Text: d.String()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if st > uint64(Unreachable) || len(r.Text) > MaxText {
		return nil, fmt.Errorf("%w: reply", wire.ErrMalformed)
	}
	r.Status = Status(st)
	return r, nil
}

// timeout is how long an answer may take beyond what the client is willing to
// wait for a probe.
const timeout = 10 * time.Second

// Ask sends q to the socket at path.
func Ask(ctx context.Context, path string, q *Query) (*Reply, error) {
	return ask(ctx, path, TypeQuery, q.Encode, q.Wait+timeout)
}

// Tell sends u to the socket at path.
func Tell(ctx context.Context, path string, u *Update) error {
	if len(u.Text) > MaxText {
		u.Text = u.Text[:MaxText]
	}
	_, err := ask(ctx, path, TypeUpdate, u.Encode, timeout)
	return err
}

func ask(ctx context.Context, path string, typ byte, encode func(*wire.Encoder), wait time.Duration) (*Reply, error) {
	c, err := ipc.Dial(path, Protocol, timeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	var e wire.Encoder
	encode(&e)
	c.SetDeadline(time.Now().Add(wait))
	if err := c.WriteFrame(typ, e.B); err != nil {
		return nil, err
	}
	t, p, err := c.ReadFrame()
	if err != nil {
		return nil, err
	}
	if t != TypeReply {
		return nil, fmt.Errorf("%w: frame type %d", ipc.ErrProtocol, t)
	}
	return DecodeReply(p)
}

// Handler is the service behind Serve.
type Handler interface {
	Query(ctx context.Context, q *Query) *Reply
	Update(u *Update)
}

// Serve answers one connection until the peer leaves or ctx ends.
func Serve(ctx context.Context, nc net.Conn, h Handler) error {
	c, err := ipc.Accept(nc, Protocol, timeout)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		t, p, err := c.ReadFrame()
		if err == io.EOF || err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		r := &Reply{}
		switch t {
		case TypeQuery:
			q, err := DecodeQuery(p)
			if err != nil {
				return err
			}
			r = h.Query(ctx, q)
		case TypeUpdate:
			u, err := DecodeUpdate(p)
			if err != nil {
				return err
			}
			h.Update(u)
		default:
			return fmt.Errorf("%w: frame type %d", ipc.ErrProtocol, t)
		}
		var e wire.Encoder
		r.Encode(&e)
		c.SetWriteDeadline(time.Now().Add(timeout))
		if err := c.WriteFrame(TypeReply, e.B); err != nil {
			return err
		}
	}
}
