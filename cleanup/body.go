package main

import (
	"bytes"

	"posthaste/pkg/header"
	"posthaste/pkg/lookup"
	"posthaste/pkg/mimestate"
)

// bodyState is the line splitter of body checks. It is idle when no check asks
// for lines: the body then passes as it comes.
type bodyState struct {
	line    []byte // an unfinished line
	checked int64  // bytes that body_checks saw
	cr      bool   // unstray: the last byte was CR
	stray   []byte
}

// lines tells whether the body must be looked at line by line.
func (s *session) lines() bool {
	return s.mime != nil || s.inspect && !s.set.bodyMaps.Empty() && s.body.checked < s.set.bodyLimit
}

// bodyData takes bytes of the body.
func (s *session) bodyData(p []byte) {
	if s.result != nil || s.discard {
		return
	}
	b := &s.body
	for len(p) > 0 {
		if !s.lines() {
			s.out(b.line)
			b.line = b.line[:0]
			s.out(p)
			return
		}
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		// A longer line is checked in pieces of line_length_limit.
		n = min(n, s.set.lineLimit-len(b.line))
		b.line = append(b.line, p[:n]...)
		p = p[n:]
		if b.line[len(b.line)-1] == '\n' || len(b.line) >= s.set.lineLimit {
			s.bodyLine(b.line)
			b.line = b.line[:0]
			if s.result != nil || s.discard {
				return
			}
		}
	}
}

func (s *session) bodyLine(line []byte) {
	if s.mime != nil {
		s.mime.Line(line)
		return
	}
	s.Body(line)
}

// bodyEnd finishes the last line.
func (s *session) bodyEnd() {
	if len(s.body.line) > 0 {
		s.bodyLine(s.body.line)
		s.body.line = s.body.line[:0]
	}
	if s.mime != nil && s.result == nil && !s.discard {
		s.mime.End()
	}
	if s.result == nil && !s.discard && s.set.replaceStray && s.body.cr {
		s.out([]byte(" "))
	}
}

// Field is mimestate's: a header field of a part or of a message inside.
func (s *session) Field(c mimestate.Class, raw []byte) {
	maps := s.set.mimeMaps
	if c == mimestate.Nested {
		maps = s.set.nestedMaps
		if headerIsMime(raw) {
			maps = s.set.mimeMaps
		}
	}
	if s.result != nil || s.discard {
		return
	}
	if s.inspect && !maps.Empty() {
		name, _ := header.Name(raw)
		var keep bool
		if raw, keep = s.checkField(maps, raw, name); !keep {
			return
		}
	}
	s.out(raw)
}

// Body is mimestate's: any other line, or a piece of one.
func (s *session) Body(line []byte) {
	b := &s.body
	if b.checked >= s.set.bodyLimit {
		s.out(line)
		return
	}
	b.checked += int64(len(line))
	s.inspected(s.set.bodyMaps, "body", line)
}

func (s *session) inspected(maps *lookup.Maps, where string, raw []byte) {
	if s.result != nil || s.discard {
		return
	}
	if s.inspect && !maps.Empty() {
		var keep bool
		if raw, keep = s.check(maps, where, raw); !keep {
			return
		}
	}
	s.out(raw)
}

// unstray puts a blank in place of each CR and LF that is not part of CRLF, so
// that no other program can take one for a line end, and what is behind it for
// commands or another message. Content without any, which is nearly all, is
// looked at and returned as it is.
func (b *bodyState) unstray(p []byte) []byte {
	if !b.cr && onlyCRLF(p) {
		return p
	}
	out := b.stray[:0]
	for _, c := range p {
		switch {
		case b.cr && c == '\n':
			out = append(out, "\r\n"...)
			b.cr = false
			continue
		case b.cr:
			out = append(out, ' ')
		}
		b.cr = c == '\r'
		switch c {
		case '\r':
		case '\n':
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	b.stray = out
	return out
}

// onlyCRLF tells whether every CR and LF in p is part of a CRLF.
func onlyCRLF(p []byte) bool {
	for {
		i := bytes.IndexByte(p, '\n')
		if i <= 0 {
			return i < 0 && bytes.IndexByte(p, '\r') < 0
		}
		if bytes.IndexByte(p[:i], '\r') != i-1 {
			return false
		}
		p = p[i+1:]
	}
}
