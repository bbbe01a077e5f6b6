// Package wire encodes the fields of internal messages and queue-file records:
// unsigned varints, length-prefixed strings, nothing self-describing. A
// Decoder never reads past its input, never allocates more than its input
// holds, and remembers its first error, so that callers check once at the end.
package wire

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrMalformed is every decoding error: input too short, too long, or a value
// out of range.
var ErrMalformed = errors.New("malformed internal message")

// Encoder appends fields to B. The zero value is ready.
type Encoder struct{ B []byte }

// usual is more than most messages need.
const usual = 256

// Uint appends v as a varint.
func (e *Encoder) Uint(v uint64) {
	if e.B == nil {
		e.B = make([]byte, 0, usual)
	}
	e.B = binary.AppendUvarint(e.B, v)
}

// Int appends v zigzag-coded.
func (e *Encoder) Int(v int64) { e.B = binary.AppendVarint(e.B, v) }

// Bool appends one byte.
func (e *Encoder) Bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	e.B = append(e.B, b)
}

// String appends length and bytes.
func (e *Encoder) String(s string) {
	e.Uint(uint64(len(s)))
	e.B = append(e.B, s...)
}

// Bytes appends length and bytes.
func (e *Encoder) Bytes(b []byte) {
	e.Uint(uint64(len(b)))
	e.B = append(e.B, b...)
}

// Strings appends a count and that many strings.
func (e *Encoder) Strings(l []string) {
	e.Uint(uint64(len(l)))
	for _, s := range l {
		e.String(s)
	}
}

// Time appends t in nanoseconds since 1970; the zero time is kept.
func (e *Encoder) Time(t time.Time) {
	if t.IsZero() {
		e.Int(0)
		return
	}
	e.Int(t.UnixNano())
}

// Decoder takes fields off the front of a byte slice.
type Decoder struct {
	b    []byte
	text string // the last len(text) bytes of the input, from which strings are cut
	err  error
}

// textMax is the most input that is turned into strings as a whole, so that one
// string that is kept does not keep more than that.
const textMax = 1024

// NewDecoder returns a Decoder of b, which it does not modify. Byte fields
// that it returns alias b.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

func (d *Decoder) fail() { d.err, d.b = ErrMalformed, nil }

// Uint reads a varint.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// Int reads a zigzag-coded varint.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// Bool reads one byte, which must be 0 or 1.
func (d *Decoder) Bool() bool {
	if len(d.b) == 0 || d.b[0] > 1 {
		d.fail()
		return false
	}
	v := d.b[0] == 1
	d.b = d.b[1:]
	return v
}

// Bytes reads a length-prefixed field; it aliases the input.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// String reads a length-prefixed field.
func (d *Decoder) String() string {
	if d.text == "" && len(d.b) <= textMax {
		d.text = string(d.b)
	}
	b := d.Bytes()
	if d.text == "" || d.err != nil {
		return string(b)
	}
	end := len(d.text) - len(d.b)
	return d.text[end-len(b) : end]
}

// Strings reads a counted list.
func (d *Decoder) Strings() []string {
	n := d.Count()
	if n == 0 {
		return nil
	}
	l := make([]string, 0, min(n, 64))
	for i := 0; i < n && d.err == nil; i++ {
		l = append(l, d.String())
	}
	return l
}

// Count reads the length of a list whose elements take at least one byte each.
func (d *Decoder) Count() int {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

// Time reads what Encoder.Time wrote.
func (d *Decoder) Time() time.Time {
	n := d.Int()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// Err is the first error, if any.
func (d *Decoder) Err() error { return d.err }

// Rest returns what has not been read.
func (d *Decoder) Rest() []byte { return d.b }

// Done is Err, or ErrMalformed if input is left over.
func (d *Decoder) Done() error {
	if d.err == nil && len(d.b) != 0 {
		d.err = ErrMalformed
	}
	return d.err
}
