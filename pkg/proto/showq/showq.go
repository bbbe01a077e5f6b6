// Package showq is the protocol of showq(8), which lists the queue for
// postqueue(1) and mailq(1). The client connects and reads: a Message frame
// opens each message, Recipient frames follow it, End closes the listing.
package showq

import (
	"fmt"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// Protocol is the name in the hello frames.
const Protocol = "showq/1"

// Service is the socket's place below the queue directory.
const Service = "public/showq"

// Frame types.
const (
	TypeMessage   = 1
	TypeRecipient = 2
	TypeEnd       = 3
)

// Message is one queued message.
type Message struct {
	Queue   string // maildrop, active, incoming, deferred or hold
	ID      string
	Arrival time.Time
	Size    int64  // bytes of content
	Sender  string // internal form, "" for the null sender
	Expire  bool   // postsuper -e was applied
	UTF8    bool
}

// Recipient is one recipient that has not been delivered to.
type Recipient struct {
	Address string // internal form
	Orig    string // before aliasing, "" if the same
	Reason  string // why the last attempt failed, "" if there was none
}

// Encode appends the payload.
func (m *Message) Encode(e *wire.Encoder) {
	e.String(m.Queue)
	e.String(m.ID)
	e.Time(m.Arrival)
	e.Int(m.Size)
	e.String(m.Sender)
	e.Bool(m.Expire)
	e.Bool(m.UTF8)
}

// DecodeMessage parses a Message payload.
func DecodeMessage(p []byte) (*Message, error) {
	d := wire.NewDecoder(p)
	m := &Message{Queue: d.String(), ID: d.String(), Arrival: d.Time(), Size: d.Int(), Sender: d.String(), Expire: d.Bool(), UTF8: d.Bool()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(m.ID) > 255 || len(m.Queue) > 40 || len(m.Sender) > envelope.MaxAddress || m.Size < 0 {
		return nil, fmt.Errorf("%w: queue entry", wire.ErrMalformed)
	}
	return m, nil
}

// Encode appends the payload.
func (r *Recipient) Encode(e *wire.Encoder) {
	e.String(r.Address)
	e.String(r.Orig)
	e.String(r.Reason)
}

// DecodeRecipient parses a Recipient payload.
func DecodeRecipient(p []byte) (*Recipient, error) {
	d := wire.NewDecoder(p)
	r := &Recipient{Address: d.String(), Orig: d.String(), Reason: d.String()}
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(r.Address) > envelope.MaxAddress || len(r.Orig) > envelope.MaxAddress || len(r.Reason) > envelope.MaxText {
		return nil, fmt.Errorf("%w: queue recipient", wire.ErrMalformed)
	}
	return r, nil
}

// Handler is told what a listing holds, in order.
type Handler interface {
	Message(m *Message) error
	Recipient(r *Recipient) error
}

// List reads one listing from the socket at path. The error is h's, or says
// that the listing is incomplete.
func List(path string, h Handler) error {
	c, err := ipc.Dial(path, Protocol, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	seen := false
	for {
		c.SetReadDeadline(time.Now().Add(10 * time.Minute))
		t, p, err := c.ReadFrame()
		if err != nil {
			return err
		}
		switch t {
		case TypeEnd:
			return nil
		case TypeMessage:
			m, err := DecodeMessage(p)
			if err != nil {
				return err
			}
			seen = true
			if err := h.Message(m); err != nil {
				return err
			}
		case TypeRecipient:
			r, err := DecodeRecipient(p)
			if err != nil {
				return err
			}
			if !seen {
				return fmt.Errorf("%w: recipient without a message", ipc.ErrProtocol)
			}
			if err := h.Recipient(r); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: frame type %d", ipc.ErrProtocol, t)
		}
	}
}

// Writer sends a listing, many frames in one system call.
type Writer struct {
	c   *ipc.Conn
	buf []byte
	e   wire.Encoder
}

// NewWriter returns a Writer on an accepted connection.
func NewWriter(c *ipc.Conn) *Writer { return &Writer{c: c} }

// Message opens a message; it implements Handler.
func (w *Writer) Message(m *Message) error {
	w.e.B = w.e.B[:0]
	m.Encode(&w.e)
	return w.add(TypeMessage)
}

// Recipient adds a recipient to the last message.
func (w *Writer) Recipient(r *Recipient) error {
	w.e.B = w.e.B[:0]
	r.Encode(&w.e)
	return w.add(TypeRecipient)
}

// End closes the listing.
func (w *Writer) End() error {
	w.e.B = w.e.B[:0]
	w.buf = ipc.AppendFrame(w.buf, TypeEnd, nil, 0)
	return w.flush()
}

func (w *Writer) add(typ byte) error {
	w.buf = ipc.AppendFrame(w.buf, typ, w.e.B, 0)
	if len(w.buf) < 32<<10 {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	w.c.SetWriteDeadline(time.Now().Add(time.Minute))
	err := w.c.WriteRaw(w.buf)
	w.buf = w.buf[:0]
	return err
}
