// Package mimestate follows the structure of a message line by line: which
// lines are header fields of the message, of a part or of a message inside it,
// and which are body (RFC 2045, 2046). It keeps no content but the current
// field and the boundaries, and changes nothing.
package mimestate

import (
	"bytes"

	"posthaste/pkg/header"
)

// Class says where a header field stands.
type Class uint8

const (
	Part   Class = iota // of a part of a multipart
	Nested              // of a message inside of the message
)

// Options limit the work; zero values mean no limit.
type Options struct {
	Nesting        int // deepest multipart or message that is looked into
	BoundaryLength int // bytes of a boundary that are compared
	HeaderSize     int // bytes of a field that are kept
}

// Handler is told what the lines are.
type Handler interface {
	// Field gets a complete field with its line ends, valid during the call.
	Field(c Class, field []byte)
	// Body gets any other line with its line end: text, boundaries, empty lines.
	// A line without a line end goes on with the next call.
	Body(line []byte)
}

// State follows the lines after the message's own header.
type State struct {
	o     Options
	h     Handler
	stack []level
	kind  int // body, part header or nested header
	class Class
	field []byte
	ct    header.ContentType
	enc   string
	depth int
	mid   bool // the last line had no end: what follows is no start of a line
}

type level struct {
	boundary string
	digest   bool // parts are messages by default
}

const (
	inBody = iota
	inHeader
)

// New starts after a header whose Content-Type: and Content-Transfer-Encoding:
// are given.
func New(ct header.ContentType, encoding string, o Options, h Handler) *State {
	s := &State{o: o, h: h}
	s.enter(ct, encoding)
	return s
}

// enter reacts to the end of a header section.
func (s *State) enter(ct header.ContentType, encoding string) {
	s.kind = inBody
	if s.o.Nesting > 0 && s.depth >= s.o.Nesting {
		return
	}
	switch ct.Type {
	case "multipart":
		if ct.Boundary == "" {
			return
		}
		b := ct.Boundary
		if s.o.BoundaryLength > 0 && len(b) > s.o.BoundaryLength {
			b = b[:s.o.BoundaryLength]
		}
		s.stack = append(s.stack, level{b, ct.Subtype == "digest"})
		s.depth++
	case "message":
		// An encoded message is opaque (RFC 2046, section 5.2.1 forbids it).
		if encoding == "base64" || encoding == "quoted-printable" {
			return
		}
		switch ct.Subtype {
		case "rfc822", "news", "global":
			s.depth++
			s.start(Nested)
		}
	}
}

func (s *State) start(c Class) {
	s.kind, s.class = inHeader, c
	s.ct, s.enc = header.ContentType{Type: "text", Subtype: "plain"}, ""
	if n := len(s.stack); c == Part && n > 0 && s.stack[n-1].digest {
		s.ct = header.ContentType{Type: "message", Subtype: "rfc822"}
	}
	s.field = s.field[:0]
}

// Line takes the next line with its line end. Only the last line of a message,
// and pieces of long lines, may lack one.
func (s *State) Line(line []byte) {
	if len(line) == 0 {
		return
	}
	mid := s.mid
	s.mid = line[len(line)-1] != '\n'
	if mid {
		if s.kind == inHeader && len(s.field) > 0 {
			s.grow(line)
		} else {
			s.h.Body(line)
		}
		return
	}
	if len(s.stack) > 0 && bytes.HasPrefix(line, []byte("--")) && s.boundary(line) {
		return
	}
	if s.kind == inBody {
		s.h.Body(line)
		return
	}
	if len(s.field) > 0 && (line[0] == ' ' || line[0] == '\t') {
		s.grow(line)
		return
	}
	s.flush()
	if _, ok := header.Name(line); ok {
		s.grow(line)
		return
	}
	s.enter(s.ct, s.enc)
	s.h.Body(line)
}

func (s *State) grow(line []byte) {
	if n := s.o.HeaderSize; n > 0 && len(s.field)+len(line) > n {
		// The rest is reported as text, so that nothing gets lost.
		s.flush()
		s.h.Body(line)
		return
	}
	s.field = append(s.field, line...)
}

// flush reports the field that is complete.
func (s *State) flush() {
	if len(s.field) == 0 {
		return
	}
	switch {
	case header.Is(s.field, "content-type"):
		s.ct = header.ParseContentType(header.Value(s.field))
	case header.Is(s.field, "content-transfer-encoding"):
		s.enc = header.ParseEncoding(header.Value(s.field))
	}
	s.h.Field(s.class, s.field)
	s.field = s.field[:0]
}

// boundary handles a line that ends or begins a part.
func (s *State) boundary(line []byte) bool {
	t := bytes.TrimRight(line[2:], "\r\n \t")
	for i := len(s.stack) - 1; i >= 0; i-- {
		b := s.stack[i].boundary
		if !bytes.HasPrefix(t, []byte(b)) {
			continue
		}
		end := string(t[len(b):]) == "--"
		if !end && len(t) != len(b) && !(s.o.BoundaryLength > 0 && len(b) == s.o.BoundaryLength) {
			continue
		}
		s.flush()
		s.h.Body(line)
		if end {
			s.stack = s.stack[:i]
			s.kind = inBody
		} else {
			s.stack = s.stack[:i+1]
			s.start(Part)
		}
		s.depth = len(s.stack)
		return true
	}
	return false
}

// End reports a field that the message ends with.
func (s *State) End() { s.flush() }
