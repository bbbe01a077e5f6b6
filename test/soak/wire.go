package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"posthaste/test/tools/imaptalk"
)

// patience is how long a client waits for anything.
const patience = 90 * time.Second

// errLost wraps what ends a connection: the server was killed, or died.
var errLost = errors.New("connection lost")

// line is one response with its literals.
type line struct {
	raw    string
	fields []imaptalk.Value
}

// word is field i in capitals, "" where there is none.
func (l *line) word(i int) string {
	if i >= len(l.fields) {
		return ""
	}
	return strings.ToUpper(l.fields[i].S)
}

// wire is a connection, line by line, that remembers the end of its dialogue.
type wire struct {
	c    net.Conn
	r    *bufio.Reader
	w    io.Writer
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
	w := &wire{c: c, r: bufio.NewReaderSize(c, 8<<10), w: c}
	return w, nil
}

func (w *wire) close() {
	if w != nil {
		w.c.Close()
	}
}

// compress begins COMPRESS=DEFLATE.
func (w *wire) compress() {
	fw, err := flate.NewWriter(w.c, flate.BestSpeed)
	if err != nil {
		panic(err) // a bad level
	}
	w.w = flushing{fw}
	w.r = bufio.NewReaderSize(flate.NewReader(w.r), 8<<10)
}

// flushing sends all that is written at once.
type flushing struct{ *flate.Writer }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
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
	if _, err := io.WriteString(w.w, text); err != nil {
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
		n := imaptalk.Literal(l)
		if n < 0 {
			break
		}
		if _, err := io.CopyN(&b, w.r, int64(n)); err != nil {
			return nil, w.lost(err)
		}
	}
	raw := b.String()
	w.note("S:", raw)
	l := &line{raw: strings.TrimSuffix(raw, "\r\n")}
	var ok bool
	if l.fields, ok = imaptalk.Parse(l.raw); !ok && !l.status() {
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
