// Package postdrop is what sendmail(1) writes to the standard input of
// postdrop(1): one message. The reader trusts nothing of it: any user can start
// postdrop, which has rights that they have not.
//
// The stream is the line "postdrop/1", then frames: length of the payload
// (big-endian, 32 bits), type, payload.
//
//	Message    envelope.Message; the first frame
//	Recipient  envelope.Recipient; one or more
//	Data       content with CRLF line ends, any number
//	End        empty; nothing follows
package postdrop

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

const hello = "postdrop/1\n"

// Frame types.
const (
	typeMessage   = 1
	typeRecipient = 2
	typeData      = 3
	typeEnd       = 4
)

const (
	maxFrame = 256 << 10
	chunk    = 32 << 10
)

// ErrFormat is behind every violation of the format.
var ErrFormat = errors.New("malformed input")

// Writer writes a message. Its errors stick, and End returns the first.
type Writer struct {
	w   *bufio.Writer
	err error
}

// NewWriter starts a message.
func NewWriter(w io.Writer, m *envelope.Message) *Writer {
	wr := &Writer{w: bufio.NewWriterSize(w, 64<<10)}
	wr.w.WriteString(hello)
	var e wire.Encoder
	m.Encode(&e)
	wr.frame(typeMessage, e.B)
	return wr
}

func (w *Writer) frame(typ byte, p []byte) {
	if w.err != nil {
		return
	}
	var h [5]byte
	binary.BigEndian.PutUint32(h[:], uint32(len(p)))
	h[4] = typ
	w.w.Write(h[:])
	_, w.err = w.w.Write(p)
}

// Recipient adds a recipient.
func (w *Writer) Recipient(r *envelope.Recipient) error {
	var e wire.Encoder
	r.Encode(&e)
	w.frame(typeRecipient, e.B)
	return w.err
}

// Write adds content.
func (w *Writer) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, chunk)
		w.frame(typeData, p[done:done+n])
		if w.err != nil {
			return done, w.err
		}
		done += n
	}
	return len(p), w.err
}

// End completes the message.
func (w *Writer) End() error {
	w.frame(typeEnd, nil)
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Handler takes the parts of a message.
type Handler interface {
	Message(m *envelope.Message) error
	Recipient(r *envelope.Recipient) error
	Data(p []byte) error // valid during the call
}

// Read takes a message off r. An error of the handler ends it; input that ends
// early is io.ErrUnexpectedEOF: the message must not be used.
func Read(r io.Reader, h Handler) error {
	br := bufio.NewReaderSize(r, 64<<10)
	start := make([]byte, len(hello))
	if _, err := io.ReadFull(br, start); err != nil {
		return eof(err)
	}
	if string(start) != hello {
		return fmt.Errorf("%w: it does not start with %q", ErrFormat, hello)
	}
	var buf []byte
	begun := false
	for {
		var head [5]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return eof(err)
		}
		n, typ := binary.BigEndian.Uint32(head[:]), head[4]
		if n > maxFrame {
			return fmt.Errorf("%w: frame of %d bytes", ErrFormat, n)
		}
		if !begun != (typ == typeMessage) {
			return fmt.Errorf("%w: frame type %d out of place", ErrFormat, typ)
		}
		if int(n) > cap(buf) {
			buf = make([]byte, n)
		}
		p := buf[:n]
		if _, err := io.ReadFull(br, p); err != nil {
			return eof(err)
		}
		if typ == typeEnd {
			if _, err := br.ReadByte(); n != 0 || err != io.EOF {
				return fmt.Errorf("%w: data after the end", ErrFormat)
			}
			return nil
		}
		begun = true
		if err := dispatch(typ, p, h); err != nil {
			return err
		}
	}
}

func dispatch(typ byte, p []byte, h Handler) error {
	d := wire.NewDecoder(p)
	switch typ {
	case typeMessage:
		m := new(envelope.Message)
		m.Decode(d)
		if err := d.Done(); err != nil {
			return fmt.Errorf("%w: envelope: %v", ErrFormat, err)
		}
		if err := m.Validate(); err != nil {
			return fmt.Errorf("%w: %v", ErrFormat, err)
		}
		return h.Message(m)
	case typeRecipient:
		r := new(envelope.Recipient)
		r.Decode(d)
		if err := d.Done(); err != nil {
			return fmt.Errorf("%w: recipient: %v", ErrFormat, err)
		}
		if err := r.Validate(); err != nil {
			return fmt.Errorf("%w: %v", ErrFormat, err)
		}
		return h.Recipient(r)
	case typeData:
		return h.Data(p)
	}
	return fmt.Errorf("%w: frame type %d", ErrFormat, typ)
}

func eof(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
