// Package source reads the text that tables are made from: logical lines with
// comments and continuations, "key value" entries and alias entries. It reads
// and judges; what to do about a bad line is the caller's business.
package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"

	"posthaste/pkg/address"
)

// MaxLine is the most bytes of one logical line.
const MaxLine = 16 << 20

// ErrLineTooLong is a logical line above MaxLine.
var ErrLineTooLong = errors.New("line too long")

// Problem is an error at a line of a file, or that of reading it, which names
// the file itself.
func Problem(name string, line int, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return fmt.Errorf("%s, line %d: %w", name, line, err)
}

// Lines reads logical lines: a line that starts with white space continues the
// one before, and empty lines and lines whose first character other than white
// space is "#" do not count, not even inside a logical line. One that starts with
// white space and continues nothing is left out.
type Lines struct {
	// Warn, if set, hears of what is left out.
	Warn func(number int, text string)

	r    *bufio.Reader
	buf  []byte
	line int // physical lines read
}

// NewLines reads from r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next logical line without its line end, and the number of
// its first physical line. Continuation lines keep their leading white space.
// The slice is valid until the next call. The error is io.EOF at the end.
func (l *Lines) Next() (line []byte, number int, err error) {
	for {
		if line, number, err = l.next(); err != nil || !isSpace(line[0]) {
			return line, number, err
		}
		if l.Warn != nil {
			text := string(line)
			if len(text) > 30 {
				text = text[:30] + "..."
			}
			l.Warn(number, fmt.Sprintf("logical line must not start with whitespace: \"%s\"", text))
		}
	}
}

func (l *Lines) next() (line []byte, number int, err error) {
	l.buf = l.buf[:0]
	for {
		if len(l.buf) > 0 {
			next, err := l.r.Peek(1)
			if err != nil || next[0] != ' ' && next[0] != '\t' && next[0] != '#' && next[0] != '\n' && next[0] != '\r' {
				return l.buf, number, nil
			}
		}
		start := len(l.buf)
		if err := l.physical(); err != nil {
			if len(l.buf) > 0 && err == io.EOF {
				return l.buf, number, nil
			}
			return nil, l.line, err
		}
		text := l.buf[start:]
		i := 0
		for i < len(text) && isSpace(text[i]) {
			i++
		}
		if i == len(text) || text[i] == '#' {
			l.buf = l.buf[:start]
			continue
		}
		if start == 0 {
			number = l.line
		}
	}
}

// physical appends one line without its end to buf.
func (l *Lines) physical() error {
	start := len(l.buf)
	for first := true; ; first = false {
		part, err := l.r.ReadSlice('\n')
		if len(part) > 0 && first {
			l.line++
		}
		l.buf = append(l.buf, part...)
		if len(l.buf) > MaxLine {
			return ErrLineTooLong
		}
		switch {
		case err == nil:
			l.buf = l.buf[:len(l.buf)-1]
			if n := len(l.buf); n > start && l.buf[n-1] == '\r' {
				l.buf = l.buf[:n-1]
			}
			return nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && (len(part) > 0 || !first):
			return nil
		default:
			return err
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// Entry splits a logical line "key value". The key ends at the first white
// space outside quotes and keeps its quotes. note, if not "", is something the
// administrator should know about an entry that is fine; with an error the line
// is to be ignored. The slices are parts of line.
func Entry(line []byte) (key, value []byte, note string, err error) {
	quoted := false
	i := 0
loop:
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			if i+1 < len(line) {
				i++
			}
		case c == '"':
			quoted = !quoted
		case !quoted && isSpace(c):
			break loop
		}
	}
	if quoted {
		return nil, nil, "", fmt.Errorf("unbalanced '\"' in '%s' -- ignoring this line", line)
	}
	key, value = line[:i], trim(line[i:])
	if len(key) == 0 || len(value) == 0 {
		return nil, nil, "", errors.New("expected format: key whitespace value")
	}
	if key[len(key)-1] == ':' {
		note = "record is in \"key: value\" format; is this an alias file?"
	}
	return key, value, note, nil
}

// UTF8 is an error for a line that is not UTF-8.
func UTF8(line []byte) error {
	for _, c := range line {
		if c >= utf8.RuneSelf {
			if utf8.Valid(line) {
				return nil
			}
			return fmt.Errorf("non-UTF-8 input %q -- ignoring this line", line)
		}
	}
	return nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// Alias splits a logical line "name: value, value …" of an aliases file. The
// name is in internal form, without quotes, as local(8) looks it up; the value
// is in external form.
func Alias(line []byte) (name, value string, err error) {
	tokens, _ := address.Scan(string(line), 0)
	colon := -1
	for i, t := range tokens {
		if t.Kind == ':' {
			colon = i
			break
		}
	}
	if colon <= 0 || colon == len(tokens)-1 {
		return "", "", errors.New("need name:value pair")
	}
	for _, t := range tokens[:colon] {
		switch t.Kind {
		case ',':
			return "", "", errors.New("need name:value pair")
		case '@', '%':
			return "", "", errors.New("name must be local and have no domain")
		}
	}
	if name = address.Internal(tokens[:colon]); name == "" {
		return "", "", errors.New("need name:value pair")
	}
	return name, address.External(tokens[colon+1:]), nil
}
