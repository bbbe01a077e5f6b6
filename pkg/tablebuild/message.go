package tablebuild

import (
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds nested multiparts (mime_nesting_limit's default).
const maxDepth = 100

// messageScanner splits a message into the texts that header_checks and
// body_checks would see.
type messageScanner struct {
	header, body, mime bool
	fn                 func(text string) error

	field    strings.Builder // header field that is being collected
	inHeader bool
	primary  bool // in the message's own header
	done     bool
	kind     string   // content type of the part
	boundary string   // its boundary parameter
	stack    []string // boundaries of the open multiparts
}

// scanMessage reads a message and calls fn with each header field (with its
// line breaks) if header is set, and each body line if body is set. With mime,
// headers of MIME parts and of attached messages count as headers; without, they
// are body lines. Without body or mime, reading ends with the header.
func scanMessage(r io.Reader, header, body, mime bool, fn func(text string) error) error {
	s := &messageScanner{header: header, body: body, mime: mime, fn: fn, inHeader: true, primary: true}
	err := eachLine(r, func(line string) error {
		if s.done {
			return nil
		}
		return s.line(strings.TrimSuffix(line, "\r"))
	})
	if err != nil {
		return err
	}
	return s.endField()
}

func (s *messageScanner) line(l string) error {
	if !s.inHeader {
		return s.bodyLine(l)
	}
	if l != "" && (l[0] == ' ' || l[0] == '\t') && s.field.Len() > 0 {
		s.field.WriteString("\n" + l)
		return nil
	}
	if err := s.endField(); err != nil {
		return err
	}
	if name, _, ok := strings.Cut(l, ":"); ok && name != "" && !strings.ContainsAny(strings.TrimRight(name, " \t"), " \t") {
		s.field.WriteString(l)
		return nil
	}
	// An empty line, or text that is no header, ends the header.
	if err := s.endHeader(); err != nil || s.done {
		return err
	}
	if l == "" && s.inHeader {
		return nil // the header of an attached message follows
	}
	return s.bodyLine(l)
}

// endField hands a complete header field over.
func (s *messageScanner) endField() error {
	if s.field.Len() == 0 {
		return nil
	}
	text := s.field.String()
	s.field.Reset()
	if s.mime {
		s.contentType(text)
	}
	if s.header {
		return s.fn(text)
	}
	return nil
}

func (s *messageScanner) endHeader() error {
	s.inHeader = false
	if s.primary && !s.body && !s.mime {
		s.done = true
		return nil
	}
	s.primary = false
	switch {
	case !s.mime:
	case strings.HasPrefix(s.kind, "multipart/") && s.boundary != "":
		if len(s.stack) >= maxDepth {
			return fmt.Errorf("message format error: MIME nesting exceeds %d levels", maxDepth)
		}
		s.stack = append(s.stack, s.boundary)
	case s.kind == "message/rfc822" || s.kind == "message/global":
		s.inHeader = true
	}
	s.kind, s.boundary = "", ""
	return nil
}

// contentType notes the type and boundary of a Content-Type field.
func (s *messageScanner) contentType(field string) {
	name, value, _ := strings.Cut(field, ":")
	if !strings.EqualFold(strings.TrimSpace(name), "content-type") {
		return
	}
	parts := splitParams(strings.ReplaceAll(value, "\n", " "))
	s.kind = strings.ToLower(strings.TrimSpace(parts[0]))
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "boundary") {
			v = strings.TrimSpace(v)
			if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
				v = strings.ReplaceAll(v[1:len(v)-1], "\\", "")
			}
			s.boundary = v
		}
	}
}

// splitParams splits at semicolons outside quotes.
func splitParams(v string) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ';':
			if !quoted {
				out = append(out, v[start:i])
				start = i + 1
			}
		}
	}
	return append(out, v[start:])
}

func (s *messageScanner) bodyLine(l string) error {
	if len(s.stack) > 0 && strings.HasPrefix(l, "--") {
		for i := len(s.stack) - 1; i >= 0; i-- {
			rest, ok := strings.CutPrefix(l[2:], s.stack[i])
			if !ok {
				continue
			}
			if strings.HasPrefix(rest, "--") {
				s.stack = s.stack[:i]
			} else if strings.TrimSpace(rest) == "" {
				s.stack = s.stack[:i+1]
				s.inHeader = true
			} else {
				continue
			}
			break // the boundary itself is a line of the body
		}
	}
	if s.body {
		return s.fn(l)
	}
	return nil
}
