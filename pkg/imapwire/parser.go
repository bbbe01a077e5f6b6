// Package imapwire is the syntax of IMAP (RFC 3501, RFC 9051) on the server's
// side: it reads commands from a stream with their literals, takes them apart
// into atoms, strings, numbers, dates, sets and lists, and writes strings, sets
// and mailbox names. It knows no mailbox and no command, holds every limit that
// it is given, and takes the same bytes for the same command however the input
// was split.
package imapwire

import (
	"fmt"
	"strconv"
	"time"
)

// MaxDepth is how deep parentheses may nest.
const MaxDepth = 32

// MaxListItems is how many items a list within one command may have.
const MaxListItems = 10000

// SyntaxError says what is wrong with a command; the answer to it is BAD.
type SyntaxError struct{ What string }

func (e *SyntaxError) Error() string { return e.What }

// Parser takes one command apart. The command is a line with each literal in
// its place, as Reader.ReadCommand returns it. The first error sticks: all later
// calls return zero values, and Err tells what it was. Byte slices returned
// point into the command.
type Parser struct {
	b     []byte
	off   int
	depth int
	err   error
}

// NewParser returns a Parser of cmd, with or without its final CRLF.
func NewParser(cmd []byte) *Parser {
	n := len(cmd)
	if n > 0 && cmd[n-1] == '\n' {
		n--
		if n > 0 && cmd[n-1] == '\r' {
			n--
		}
	}
	return &Parser{b: cmd[:n]}
}

// Err returns the first error, a *SyntaxError.
func (p *Parser) Err() error { return p.err }

// Fail records an error unless there is one already.
func (p *Parser) Fail(format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{fmt.Sprintf(format, args...)}
	}
}

// Peek returns the next byte, 0 at the end or after an error.
func (p *Parser) Peek() byte {
	if p.err != nil || p.off >= len(p.b) {
		return 0
	}
	return p.b[p.off]
}

// More tells whether anything is left.
func (p *Parser) More() bool { return p.err == nil && p.off < len(p.b) }

// Try consumes c if it is next.
func (p *Parser) Try(c byte) bool {
	if p.err == nil && p.off < len(p.b) && p.b[p.off] == c {
		p.off++
		return true
	}
	return false
}

// Expect consumes c.
func (p *Parser) Expect(c byte) {
	if !p.Try(c) {
		if p.err == nil && p.off >= len(p.b) {
			p.Fail("command ends where %q is expected", c)
		} else {
			p.Fail("%q expected", c)
		}
	}
}

// SP consumes the space between arguments.
func (p *Parser) SP() {
	if p.err == nil && p.off >= len(p.b) {
		p.Fail("missing argument")
	}
	p.Expect(' ')
}

// End requires that nothing is left but trailing spaces, which some clients
// send.
func (p *Parser) End() {
	for p.Try(' ') {
	}
	if p.More() {
		p.Fail("too many arguments")
	}
}

// Rest returns what has not been taken yet.
func (p *Parser) Rest() []byte {
	if p.err != nil {
		return nil
	}
	return p.b[p.off:]
}

// Class bits of octets.
const (
	clAtom    = 1 << iota // ATOM-CHAR
	clAString             // ASTRING-CHAR: "]" too
	clList                // list-char: wildcards and "]" too
	clTag                 // tag: ASTRING-CHAR but "+"
)

var class = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		switch c {
		case '(', ')', '{', '"', '\\':
		case '%', '*':
			t[c] = clList
		case ']':
			t[c] = clAString | clList | clTag
		case '+':
			t[c] = clAtom | clAString | clList
		default:
			t[c] = clAtom | clAString | clList | clTag
		}
	}
	return
}()

func (p *Parser) take(mask uint8, what string) []byte {
	if p.err != nil {
		return nil
	}
	start := p.off
	for p.off < len(p.b) && class[p.b[p.off]]&mask != 0 {
		p.off++
	}
	if p.off == start {
		p.Fail("%s expected", what)
		return nil
	}
	return p.b[start:p.off]
}

// Tag takes a command's tag.
func (p *Parser) Tag() string { return string(p.take(clTag, "tag")) }

// Atom takes an atom.
func (p *Parser) Atom() []byte { return p.take(clAtom, "atom") }

// Keyword takes an atom and returns it in capitals.
func (p *Parser) Keyword() string {
	a := p.Atom()
	for _, c := range a {
		if 'a' <= c && c <= 'z' {
			return Upper(a)
		}
	}
	return string(a)
}

// Upper returns b with ASCII letters in capitals.
func Upper(b []byte) string {
	u := make([]byte, len(b))
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		u[i] = c
	}
	return string(u)
}

// quoted takes a quoted string. Octets above 127 are let through: UTF8=ACCEPT
// and IMAP4rev2 allow UTF-8, and its meaning is the caller's to check.
func (p *Parser) quoted() []byte {
	p.Expect('"')
	if p.err != nil {
		return nil
	}
	start := p.off
	for i := start; i < len(p.b); i++ {
		switch c := p.b[i]; c {
		case '"':
			p.off = i + 1
			return p.b[start:i]
		case '\\':
			return p.quotedEscapes(start)
		case 0, '\r', '\n':
			p.Fail("control character in quoted string")
			return nil
		}
	}
	p.Fail("quoted string without end")
	return nil
}

func (p *Parser) quotedEscapes(start int) []byte {
	var s []byte
	for i := start; i < len(p.b); i++ {
		switch c := p.b[i]; c {
		case '"':
			p.off = i + 1
			if s == nil {
				s = []byte{}
			}
			return s
		case 0, '\r', '\n':
			p.Fail("control character in quoted string")
			return nil
		case '\\':
			i++
			if i >= len(p.b) || p.b[i] != '"' && p.b[i] != '\\' {
				p.Fail("bad escape in quoted string")
				return nil
			}
			s = append(s, p.b[i])
		default:
			s = append(s, c)
		}
	}
	p.Fail("quoted string without end")
	return nil
}

// literal takes a literal. binary allows literal8 and NUL.
func (p *Parser) literal(binary bool) []byte {
	if binary {
		p.Try('~')
	}
	p.Expect('{')
	n := p.Number64()
	if !p.Try('+') {
		p.Try('-')
	}
	p.Expect('}')
	if p.err != nil {
		return nil
	}
	if p.off < len(p.b) && p.b[p.off] == '\r' {
		p.off++
	}
	p.Expect('\n')
	if p.err != nil {
		return nil
	}
	if n > uint64(len(p.b)-p.off) {
		p.Fail("literal without its octets")
		return nil
	}
	s := p.b[p.off : p.off+int(n)]
	p.off += int(n)
	if !binary {
		for _, c := range s {
			if c == 0 {
				p.Fail("NUL in literal")
				return nil
			}
		}
	}
	return s
}

// String takes a quoted string or a literal.
func (p *Parser) String() []byte {
	switch p.Peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literal(false)
	}
	p.Fail("string expected")
	return nil
}

// AString takes an atom or string.
func (p *Parser) AString() []byte {
	switch p.Peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literal(false)
	}
	return p.take(clAString, "string")
}

// NString takes a string or NIL; ok is false for NIL.
func (p *Parser) NString() (s []byte, ok bool) {
	switch p.Peek() {
	case '"', '{':
		s = p.String()
		return s, p.err == nil
	}
	if p.Keyword() != "NIL" {
		p.Fail("string or NIL expected")
	}
	return nil, false
}

// ListMailbox takes LIST's pattern: a string or list-chars.
func (p *Parser) ListMailbox() []byte {
	switch p.Peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literal(false)
	}
	return p.take(clList, "mailbox pattern")
}

// Number64 takes a number below 2^63 (RFC 9051, number64).
func (p *Parser) Number64() uint64 {
	if p.err != nil {
		return 0
	}
	start := p.off
	for p.off < len(p.b) && '0' <= p.b[p.off] && p.b[p.off] <= '9' {
		p.off++
		if p.off-start > 19 {
			p.Fail("number too large")
			return 0
		}
	}
	if p.off == start {
		p.Fail("number expected")
		return 0
	}
	n, err := strconv.ParseUint(string(p.b[start:p.off]), 10, 63)
	if err != nil {
		p.Fail("number too large")
		return 0
	}
	return n
}

// Number takes a number below 2^32.
func (p *Parser) Number() uint32 {
	n := p.Number64()
	if n > 1<<32-1 {
		p.Fail("number too large")
		return 0
	}
	return uint32(n)
}

// List takes a parenthesised list of one or more items, which item takes.
func (p *Parser) List(item func()) {
	p.Open()
	for n := 1; p.err == nil; n++ {
		if n > MaxListItems {
			p.Fail("list of more than %d items", MaxListItems)
		}
		item()
		if !p.Try(' ') {
			break
		}
	}
	p.Close()
}

// Open takes "(" and counts the depth.
func (p *Parser) Open() {
	p.Expect('(')
	p.Enter()
}

// Close takes ")".
func (p *Parser) Close() {
	p.Leave()
	p.Expect(')')
}

// Enter counts one more level of nesting that has no parentheses of its own
// (SEARCH's NOT and OR); Leave ends it.
func (p *Parser) Enter() {
	if p.depth++; p.depth > MaxDepth {
		p.Fail("nested too deeply")
	}
}

// Leave ends a level of nesting.
func (p *Parser) Leave() { p.depth-- }

// Flag takes a flag or keyword: \Atom or atom.
func (p *Parser) Flag() string {
	if p.err != nil {
		return ""
	}
	start := p.off
	p.Try('\\')
	p.take(clAtom, "flag")
	if p.err != nil {
		return ""
	}
	return string(p.b[start:p.off])
}

// FlagList takes a parenthesised list of flags, which may be empty.
func (p *Parser) FlagList() (flags []string) {
	p.Open()
	if p.Peek() != ')' {
		for p.err == nil {
			if flags = append(flags, p.Flag()); len(flags) > 256 {
				p.Fail("too many flags")
			}
			if !p.Try(' ') {
				break
			}
		}
	}
	p.Close()
	return flags
}

// Date takes a date of SEARCH, 1-Feb-1994 with or without quotes, as midnight
// UTC.
func (p *Parser) Date() time.Time {
	q := p.Try('"')
	start := p.off
	for p.off < len(p.b) && (class[p.b[p.off]]&clAtom != 0) {
		p.off++
	}
	text := p.b[min(start, p.off):p.off]
	if q {
		p.Expect('"')
	}
	if p.err != nil {
		return time.Time{}
	}
	t, ok := date(text)
	if !ok {
		p.Fail("bad date")
	}
	return t
}

var months = [...]string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}

func digits(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(b) > 0
}

// date parses d-Mon-yyyy.
func date(b []byte) (time.Time, bool) {
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	i := 1
	if len(b) == 11 {
		i = 2
	} else if len(b) != 10 {
		return time.Time{}, false
	}
	day, ok1 := digits(b[:i])
	year, ok2 := digits(b[i+5:])
	if !ok1 || !ok2 || b[i] != '-' || b[i+4] != '-' {
		return time.Time{}, false
	}
	mon := Upper(b[i+1 : i+4])
	for m, name := range months {
		if name == mon {
			t := time.Date(year, time.Month(m+1), day, 0, 0, 0, 0, time.UTC)
			return t, t.Day() == day && year > 0
		}
	}
	return time.Time{}, false
}

// DateTime takes APPEND's date-time, "17-Jul-1996 02:44:25 -0700".
func (p *Parser) DateTime() time.Time {
	s := p.quoted()
	if p.err != nil {
		return time.Time{}
	}
	t, ok := dateTime(s)
	if !ok {
		p.Fail("bad date-time")
	}
	return t
}

func dateTime(s []byte) (time.Time, bool) {
	bad := time.Time{}
	if len(s) == 25 { // a day of one digit without its space
		s = append([]byte{' '}, s...)
	}
	if len(s) != 26 || s[11] != ' ' || s[20] != ' ' || s[14] != ':' || s[17] != ':' {
		return bad, false
	}
	day, ok := date(s[:11])
	if !ok {
		return bad, false
	}
	h, ok1 := digits(s[12:14])
	m, ok2 := digits(s[15:17])
	sec, ok3 := digits(s[18:20])
	zh, ok4 := digits(s[22:24])
	zm, ok5 := digits(s[24:26])
	if !(ok1 && ok2 && ok3 && ok4 && ok5) || h > 23 || m > 59 || sec > 60 || zh > 23 || zm > 59 {
		return bad, false
	}
	off := zh*3600 + zm*60
	switch s[21] {
	case '-':
		off = -off
	case '+':
	default:
		return bad, false
	}
	return time.Date(day.Year(), day.Month(), day.Day(), h, m, sec, 0, time.FixedZone("", off)), true
}

// Name takes the name of a FETCH item or section, letters, digits, "." and "-",
// and returns it in capitals. It may be empty.
func (p *Parser) Name() string {
	if p.err != nil {
		return ""
	}
	start := p.off
	for p.off < len(p.b) {
		c := p.b[p.off]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' {
			p.off++
			continue
		}
		break
	}
	return Upper(p.b[start:p.off])
}
