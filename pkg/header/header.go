// Package header reads the header section of a message as it streams by,
// without changing a byte of it: fields with their folding, their names and
// values, and where the body begins. It makes the values that the mail system
// itself adds. Addresses inside of fields belong to package address.
package header

import (
	"bytes"
	"time"
)

// Scanner cuts a stream of CRLF (or LF) lines into header fields. The zero
// value is ready but for Limit.
type Scanner struct {
	// Limit bounds a field; what is longer is cut, and the cut field ends in
	// CRLF. 0 means no limit.
	Limit int

	buf  []byte
	have bool // buf starts with the complete first line of a field
	mid  bool // the last byte seen was no line end
	cut  bool // the field reached the limit
	done bool
}

// Feed takes the next bytes of the message and calls field with each field that
// is complete, line ends included; the slice is valid during the call. When the
// header section ends, body is true, end is the line that ended it (the empty
// line, or one that is no header field: then the empty line is missing; it may
// be the start of a line only), and rest is what follows in p.
func (s *Scanner) Feed(p []byte, field func(f []byte)) (end, rest []byte, body bool) {
	if s.done {
		return nil, p, true
	}
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(p)
		}
		if !s.mid && !(s.have && isBlank(p[0])) {
			s.flush(field)
		}
		s.mid = !whole
		s.add(p[:n])
		p = p[n:]
		if s.have {
			continue
		}
		if _, ok := Name(s.buf); ok {
			s.have = whole
		} else if whole || s.cut {
			s.done = true
			return s.buf, p, true
		}
	}
	return nil, nil, false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// flush reports the field in buf.
func (s *Scanner) flush(field func([]byte)) {
	if len(s.buf) > 0 {
		field(s.buf)
	}
	s.buf, s.have, s.cut = s.buf[:0], false, false
}

// add appends to the field as far as the limit allows.
func (s *Scanner) add(p []byte) {
	if s.Limit <= 0 || !s.cut && len(s.buf)+len(p) <= s.Limit {
		s.buf = append(s.buf, p...)
		return
	}
	if _, ok := Name(s.buf); !s.have && !ok {
		if _, ok := Name(p); len(s.buf) > 0 || !ok {
			// It is no field: nothing of it may be lost.
			s.buf = append(s.buf, p...)
			s.cut = true
			return
		}
	}
	s.cut = true
	p2 := bytes.TrimRight(p, "\r\n")
	if room := s.Limit - len(s.buf); room > 0 {
		s.buf = append(s.buf, p2[:min(room, len(p2))]...)
	}
	if p[len(p)-1] == '\n' && !bytes.HasSuffix(s.buf, []byte("\n")) {
		s.buf = append(bytes.TrimRight(s.buf, "\r"), "\r\n"...)
	}
}

// End finishes the stream: the last field of a message without a body is
// reported, and rest is text that is no field.
func (s *Scanner) End(field func(f []byte)) (rest []byte) {
	if s.done || len(s.buf) == 0 {
		return nil
	}
	s.done = true
	if _, ok := Name(s.buf); !ok {
		return s.buf
	}
	s.flush(field)
	return nil
}

// Name returns the name of a field. A field starts with printable characters
// other than the colon, perhaps blanks, and a colon.
func Name(field []byte) (name []byte, ok bool) {
	i := 0
	for i < len(field) && field[i] > ' ' && field[i] < 0x7f && field[i] != ':' {
		i++
	}
	n := i
	for i < len(field) && isBlank(field[i]) {
		i++
	}
	if n == 0 || i >= len(field) || field[i] != ':' {
		return nil, false
	}
	return field[:n], true
}

// Value returns what follows the colon of a field, without the blanks after it
// and without the final line end; folding stays.
func Value(field []byte) []byte {
	i := bytes.IndexByte(field, ':')
	v := bytes.TrimRight(field[i+1:], "\r\n")
	return bytes.TrimLeft(v, " \t")
}

// Is tells whether a field's name is name, which is in lower case.
func Is(field []byte, name string) bool {
	n, ok := Name(field)
	return ok && equalFold(n, name)
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Lower puts b in lower case into buf, without allocating when it fits.
func Lower(buf, b []byte) []byte {
	buf = buf[:0]
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf = append(buf, c)
	}
	return buf
}

// Unfold returns a field or value as one line: line ends before blanks go.
func Unfold(b []byte) []byte {
	if bytes.IndexByte(b, '\n') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' || b[i] == '\n' {
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// Text returns a field as the content checks see it and as the log shows it:
// without the final line end, lines separated by LF alone.
func Text(field []byte) []byte {
	f := bytes.TrimSuffix(bytes.TrimSuffix(field, []byte("\n")), []byte("\r"))
	if bytes.IndexByte(f, '\r') < 0 {
		return f
	}
	return bytes.ReplaceAll(f, []byte("\r\n"), []byte("\n"))
}

// Date renders t as in Date: and Received: fields (RFC 5322, section 3.3), with
// the zone's name as a comment.
func Date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)") }
