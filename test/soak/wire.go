package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long a client waits for anything.
const patience = 90 * time.Second

// errLost wraps what ends a connection: the server was killed, or died.
var errLost = errors.New("connection lost")

// line is one response with its literals.
type line struct {
	raw    string
	fields []value
}

// value is an atom, a string or a list.
type value struct {
	s    string
	list []value
	isL  bool
}

// word is field i in capitals, "" where there is none.
func (l *line) word(i int) string {
	if i >= len(l.fields) {
		return ""
	}
	return strings.ToUpper(l.fields[i].s)
}

// wire is a connection, line by line, that remembers the end of its dialogue.
type wire struct {
	c    net.Conn
	r    *bufio.Reader
	past []string
	next int
}

// pastLines is how much of a dialogue is kept to be shown with a violation.
const pastLines = 300

func dial(addr string) (*wire, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errLost, err)
	}
	w := &wire{c: c, r: bufio.NewReaderSize(c, 8<<10)}
	return w, nil
}

func (w *wire) close() {
	if w != nil {
		w.c.Close()
	}
}

// note adds to the remembered dialogue.
func (w *wire) note(who, text string) {
	if len(text) > 400 {
		text = text[:300] + fmt.Sprintf("… %d octets", len(text))
	}
	text = fmt.Sprintf("%9.3f %s %s", seconds(now()), who, strings.TrimRight(text, "\r\n"))
	if len(w.past) < pastLines {
		w.past = append(w.past, text)
		return
	}
	w.past[w.next] = text
	w.next = (w.next + 1) % pastLines
}

func (w *wire) dialogue() string {
	return strings.Join(append(append([]string{}, w.past[w.next:]...), w.past[:w.next]...), "\n")
}

func (w *wire) send(text string) error {
	w.note("C:", text)
	w.c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(w.c, text); err != nil {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	return nil
}

// text reads one line without its end.
func (w *wire) text() (string, error) {
	l, err := w.r.ReadString('\n')
	if err != nil {
		return "", w.lost(err)
	}
	w.note("S:", l)
	return strings.TrimRight(l, "\r\n"), nil
}

func (w *wire) lost(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("no answer within %v", patience)
	}
	w.note("S:", "connection lost: "+err.Error())
	return fmt.Errorf("%w: %v", errLost, err)
}

// response reads one IMAP response.
func (w *wire) response() (*line, error) {
	var b bytes.Buffer
	for {
		l, err := w.r.ReadBytes('\n')
		b.Write(l)
		if err != nil {
			return nil, w.lost(err)
		}
		n := literal(l)
		if n < 0 {
			break
		}
		if _, err := io.CopyN(&b, w.r, int64(n)); err != nil {
			return nil, w.lost(err)
		}
	}
	raw := b.String()
	w.note("S:", raw)
	p := &parser{text: raw[:len(raw)-len("\r\n")]}
	l := &line{raw: p.text}
	if p.values(&l.fields); p.bad && !l.status() {
		return nil, fmt.Errorf("response cannot be parsed: %.300q", raw)
	}
	return l, nil
}

// status tells whether the rest of the line is words for people.
func (l *line) status() bool {
	switch l.word(1) {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return true
	}
	return strings.HasPrefix(l.raw, "+")
}

// literal gives n if the line ends in {n}CRLF, otherwise -1.
func literal(l []byte) int {
	l = bytes.TrimSuffix(l, []byte("\r\n"))
	i := bytes.LastIndexByte(l, '{')
	if i < 0 || l[len(l)-1] != '}' {
		return -1
	}
	n, err := strconv.Atoi(string(l[i+1 : len(l)-1]))
	if err != nil {
		return -1
	}
	return n
}

// parser reads the values of a response. Its own, and no code of the server's:
// what both get wrong would not show.
type parser struct {
	text string
	bad  bool
}

// values reads up to the end or a closing parenthesis.
func (p *parser) values(out *[]value) {
	for {
		p.text = strings.TrimLeft(p.text, " ")
		switch {
		case p.text == "" || p.text[0] == ')':
			return
		case p.text[0] == '(':
			p.text = p.text[1:]
			v := value{isL: true}
			p.values(&v.list)
			if !strings.HasPrefix(p.text, ")") {
				p.bad = true
				return
			}
			p.text = p.text[1:]
			*out = append(*out, v)
		case p.text[0] == '"':
			*out = append(*out, value{s: p.quoted()})
		case p.text[0] == '{' || strings.HasPrefix(p.text, "~{"):
			i, j := strings.IndexByte(p.text, '{'), strings.Index(p.text, "}\r\n")
			n, err := strconv.Atoi(p.text[i+1 : max(j, i+1)])
			if j < 0 || err != nil || j+3+n > len(p.text) {
				p.bad = true
				return
			}
			*out = append(*out, value{s: p.text[j+3 : j+3+n]})
			p.text = p.text[j+3+n:]
		default:
			*out = append(*out, value{s: p.atom()})
		}
		if p.bad {
			return
		}
	}
}

func (p *parser) quoted() string {
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch c := p.text[i]; c {
		case '\\':
			if i++; i < len(p.text) {
				b.WriteByte(p.text[i])
			}
		case '"':
			p.text = p.text[i+1:]
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	p.bad = true
	return ""
}

// atom reads up to a blank or parenthesis outside of brackets.
func (p *parser) atom() string {
	depth := 0
	for i := 0; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')'):
			if i == 0 {
				p.bad = true
			}
			a := p.text[:i]
			p.text = p.text[i:]
			return a
		}
	}
	a := p.text
	p.text = ""
	return a
}

// code returns the words of a response code: of "* OK [UIDNEXT 5] text", for
// "UIDNEXT", those behind it.
func (l *line) code(name string) ([]string, bool) {
	i, j := strings.IndexByte(l.raw, '['), strings.IndexByte(l.raw, ']')
	if i < 0 || j < i {
		return nil, false
	}
	w := strings.Fields(l.raw[i+1 : j])
	if len(w) == 0 || !strings.EqualFold(w[0], name) {
		return nil, false
	}
	return w[1:], true
}

// number reads a whole number; 0 where it is none.
func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// set resolves a list of numbers and ranges, in the order given.
func set(text string) (out []uint32) {
	for _, r := range strings.Split(text, ",") {
		a, b, ok := strings.Cut(r, ":")
		lo, hi := uint32(number(a)), uint32(number(a))
		if ok {
			hi = uint32(number(b))
		}
		if lo > hi {
			lo, hi = hi, lo
		}
		for n := lo; n <= hi && n != 0; n++ {
			out = append(out, n)
		}
	}
	return out
}

// join writes UIDs as a set.
func join(uids []uint32) string {
	var b strings.Builder
	for i, u := range uids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(u), 10))
	}
	return b.String()
}
