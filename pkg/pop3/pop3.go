// Package pop3 is what login(8) and pop3d(8) share of POP3 (RFC 1939): taking
// command lines apart, the list of capabilities (RFC 2449), and the writers that
// make multi-line answers of messages. It knows no mailbox and does no I/O of
// its own.
package pop3

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Limits in bytes, without CRLF.
const (
	// MaxLine is the longest command line. RFC 2449, section 4, has 255 with CRLF;
	// clients with long names and passwords exceed it.
	MaxLine = 1024
	// MaxAuthLine is the longest line with SASL data (RFC 4422 leaves it to the
	// mechanism; what is offered stays below).
	MaxAuthLine = 8192
)

// ErrSyntax says that a line is no command.
var ErrSyntax = errors.New("malformed command")

// Command is one command line.
type Command struct {
	Verb string // in capitals
	Args string // all that follows the space, unchanged: a password may have spaces
}

// Parse takes a line without its end apart. NUL and control characters make it
// malformed; bytes above 127 are let through.
func Parse(line []byte) (Command, error) {
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return Command{}, ErrSyntax
		}
	}
	verb, args, _ := bytes.Cut(line, []byte{' '})
	if len(verb) == 0 || len(verb) > 16 {
		return Command{}, ErrSyntax
	}
	for _, c := range verb {
		if c > 0x7f {
			return Command{}, ErrSyntax
		}
	}
	return Command{Verb: strings.ToUpper(string(verb)), Args: string(args)}, nil
}

// Fields splits arguments of commands other than PASS.
func (c Command) Fields() []string { return strings.Fields(c.Args) }

// Number reads a message number or line count.
func Number(s string) (int, bool) {
	if s == "" || len(s) > 9 || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// Offer is what the capabilities depend on.
type Offer struct {
	STLS  bool     // TLS can be started
	User  bool     // USER and PASS work
	Mechs []string // SASL mechanisms
}

// AppendCapa appends the answer to CAPA.
func AppendCapa(b []byte, o Offer) []byte {
	b = append(b, "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\n"...)
	if o.STLS {
		b = append(b, "STLS\r\n"...)
	}
	if o.User {
		b = append(b, "USER\r\n"...)
	}
	if len(o.Mechs) > 0 {
		b = append(b, "SASL "...)
		b = append(b, strings.Join(o.Mechs, " ")...)
		b = append(b, "\r\n"...)
	}
	return append(b, "UTF8 USER\r\nIMPLEMENTATION Posthaste\r\n.\r\n"...)
}

// Stuffer writes content in CRLF form as the body of a multi-line answer: lines
// that begin with a dot get another (RFC 1939, section 3). Close ends the
// answer.
type Stuffer struct {
	w     io.Writer
	begun bool
	last  [2]byte // the last two bytes written
}

// NewStuffer returns a Stuffer that writes to w.
func NewStuffer(w io.Writer) *Stuffer { return &Stuffer{w: w} }

var dot = []byte{'.'}

// Write implements io.Writer. Pieces may end anywhere.
func (s *Stuffer) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if p[0] == '.' && (!s.begun || s.last[1] == '\n') {
		if _, err := s.w.Write(dot); err != nil {
			return 0, err
		}
	}
	s.begun = true
	for rest := p; len(rest) > 0; {
		i := bytes.Index(rest, []byte("\n."))
		end := len(rest)
		if i >= 0 {
			end = i + 1
		}
		m, err := s.w.Write(rest[:end])
		n += m
		if err != nil {
			return n, err
		}
		if rest = rest[end:]; i >= 0 {
			if _, err := s.w.Write(dot); err != nil {
				return n, err
			}
		}
	}
	if len(p) > 1 {
		s.last[0] = p[len(p)-2]
	} else {
		s.last[0] = s.last[1]
	}
	s.last[1] = p[len(p)-1]
	return n, nil
}

// Close ends the last line if the content did not, and then the answer.
func (s *Stuffer) Close() error {
	end := ".\r\n"
	switch {
	case !s.begun || s.last == [2]byte{'\r', '\n'}:
	case s.last[1] == '\r':
		end = "\n.\r\n"
	default:
		end = "\r\n.\r\n"
	}
	_, err := io.WriteString(s.w, end)
	return err
}

// ErrEnough is returned by Top's Write when the rest is not wanted.
var ErrEnough = errors.New("enough lines")

// Top passes on what TOP asks for: the header, the empty line and so many
// lines of the body.
type Top struct {
	w     io.Writer
	lines int
	body  bool
	full  bool // the line so far is not the beginning of an empty one
	cr    bool // the line so far is a CR
}

// NewTop returns a Top that writes to w.
func NewTop(w io.Writer, lines int) *Top { return &Top{w: w, lines: lines} }

// Write implements io.Writer. When the last line has been passed on it returns
// ErrEnough.
func (t *Top) Write(p []byte) (int, error) {
	end := t.cut(p)
	if end < 0 {
		return t.w.Write(p)
	}
	n, err := t.w.Write(p[:end])
	if err == nil {
		err = ErrEnough
	}
	return n, err
}

// cut returns where the part that is wanted ends in p, -1 if it does not.
func (t *Top) cut(p []byte) int {
	for off := 0; off < len(p); {
		if t.body && t.lines == 0 {
			return off
		}
		line := p[off:]
		i := bytes.IndexByte(line, '\n')
		if i >= 0 {
			line = line[:i]
		}
		if !t.body && !t.full && len(line) > 0 {
			t.full = t.cr || len(line) > 1 || line[0] != '\r'
			t.cr = true
		}
		if i < 0 {
			return -1
		}
		off += i + 1
		if t.body {
			t.lines--
		}
		t.body = t.body || !t.full
		t.full, t.cr = false, false
		if t.body && t.lines == 0 {
			return off
		}
	}
	return -1
}
