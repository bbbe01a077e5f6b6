package mboxio

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

const lineBuffer = 64 << 10

// lines gives a message's lines. A line that is longer than the buffer comes in
// pieces.
type lines struct {
	r    *bufio.Reader
	cont bool // the next piece goes on with a line
}

// next returns a piece, whether a line begins with it, and whether one ends.
func (l *lines) next() (p []byte, start, end bool, err error) {
	p, err = l.r.ReadSlice('\n')
	start = !l.cont
	switch {
	case err == nil:
		l.cont = false
		return p, start, true, nil
	case err == bufio.ErrBufferFull:
		l.cont = true
		return p, start, false, nil
	case err == io.EOF && len(p) > 0:
		l.cont = true
		return p, start, false, nil
	}
	return nil, start, false, err
}

// decoder turns a message in an mbox, without its From_ line, into wire form.
type decoder struct {
	Meta
	out       func(p []byte, header bool)
	body      bool // past the header
	front     bool // nothing but our fields so far
	blockSize int
	scattered bool // a field of ours is elsewhere
	hiding    int  // the field whose line is being left out
	value     []byte
	pend      [2]string // line ends held back
	raw       [2]string // the same as they are in the file
	cr        bool      // a CR at the end of a piece is held back
	npend     int
	lastEmpty bool
	length    int64 // Content-Length, -1 for none
	pos       int64
	bodyAt    int64 // where the body begins, from the start
}

func newDecoder(out func(p []byte, header bool)) *decoder {
	return &decoder{out: out, front: true, length: -1}
}

func (d *decoder) text(c byte) bool { return d.Text != "" && strings.IndexByte(d.Text, c) >= 0 }

// piece takes what lines.next returned.
func (d *decoder) piece(p []byte, start, end bool) {
	d.pos += int64(len(p))
	if d.hiding != 0 {
		if !start || len(p) > 0 && (p[0] == ' ' || p[0] == '\t') && folds(d.hiding) {
			d.hide(p)
			return
		}
		d.reveal()
	}
	eol := ""
	if end {
		eol = "\n"
		p = p[:len(p)-1]
		if n := len(p); n > 0 && p[n-1] == '\r' {
			eol = "\r\n"
			p = p[:n-1]
		}
	}
	if start && !d.body {
		switch f, v := field(p); {
		case len(p) == 0 && end:
			d.body, d.front = true, false
			d.bodyAt = d.pos
		case f != 0 && (f != fieldText || d.front):
			d.hiding = f
			if ours(f) && d.front {
				d.blockSize += len(p) + len(eol)
			} else if ours(f) {
				d.scattered = true
			} else {
				d.front = false
			}
			d.value = append(d.value[:0], v...)
			return
		default:
			d.front = false
			if d.text(textHeader) && bytes.HasPrefix(p, []byte(escaped)) {
				d.line(p[len(escaped):], eol, start)
				return
			}
		}
	}
	if start && d.text(textQuoted) && isQuoted(p) {
		p = p[1:]
	}
	d.line(p, eol, start)
}

// folds tells whether a field can go on in the next line. Those that end our
// block cannot: what follows is the message's, even if it begins with a blank.
func folds(field int) bool { return field != fieldKeywords && field != fieldText }

func (d *decoder) hide(p []byte) {
	if ours(d.hiding) && d.front {
		d.blockSize += len(p)
	}
	if len(d.value) < lineBuffer {
		d.value = append(d.value, p...)
	}
}

// reveal ends a hidden field.
func (d *decoder) reveal() {
	f := d.hiding
	d.hiding = 0
	if f == fieldLength {
		if n, ok := contentLength(d.value); ok {
			d.length = n
		}
		return
	}
	d.take(f, d.value)
}

func contentLength(v []byte) (n int64, ok bool) {
	v = bytes.TrimSpace(v)
	for _, c := range v {
		if c < '0' || c > '9' || n > 1<<50 {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(v) > 0
}

// isQuoted: ">From ", ">>From ", and so on.
func isQuoted(p []byte) bool {
	i := 0
	for i < len(p) && p[i] == '>' {
		i++
	}
	return i > 0 && bytes.HasPrefix(p[i:], []byte(fromWord))
}

// line emits all but the last two line ends, which may not be the message's.
func (d *decoder) line(p []byte, eol string, start bool) {
	if d.cr {
		d.cr = false
		if len(p) == 0 && eol == "\n" {
			eol = "\r\n"
		} else {
			d.out([]byte{'\r'}, !d.body)
		}
	}
	if len(p) > 0 {
		d.flush()
		if n := len(p) - 1; eol == "" && p[n] == '\r' {
			d.cr, p = true, p[:n]
		}
		d.out(p, !d.body)
	}
	if eol == "" {
		d.lastEmpty = false
		return
	}
	if d.npend == 2 {
		d.out([]byte(d.pend[0]), !d.body)
		d.pend[0], d.raw[0] = d.pend[1], d.raw[1]
		d.npend = 1
	}
	d.raw[d.npend] = eol
	if !d.text(textVerbatim) {
		eol = "\r\n"
	}
	d.pend[d.npend] = eol
	d.npend++
	d.lastEmpty = start && len(p) == 0
}

func (d *decoder) flush() {
	for i := range d.npend {
		d.out([]byte(d.pend[i]), !d.body)
	}
	d.npend = 0
}

// finish ends the message: the empty line behind it is the format's.
func (d *decoder) finish() {
	if d.hiding != 0 {
		d.reveal()
	}
	if d.npend > 0 && d.lastEmpty {
		d.npend--
	}
	end := ""
	if d.npend > 0 && d.text(textEnd) {
		d.npend--
		end = strings.TrimSuffix(d.raw[d.npend], "\n") // the message's last byte
	}
	d.flush()
	if end != "" || d.cr {
		d.out([]byte{'\r'}, !d.body)
		d.cr = false
	}
}

// Decode writes a message, given without its From_ line, in wire form.
func Decode(w io.Writer, r io.Reader) error {
	var werr error
	d := newDecoder(func(p []byte, _ bool) {
		if werr == nil {
			_, werr = w.Write(p)
		}
	})
	l := lines{r: bufio.NewReaderSize(r, lineBuffer)}
	for werr == nil {
		p, start, end, err := l.next()
		if err == io.EOF {
			d.finish()
			break
		}
		if err != nil {
			return err
		}
		d.piece(p, start, end)
	}
	return werr
}

// Inspect finds out what Encode must do to a message in mbox line ends
// (verbatim: in those that it came with): two passes, since what is done is said in front.
func Inspect(r io.Reader, verbatim bool) (text string, err error) {
	l := lines{r: bufio.NewReaderSize(r, lineBuffer)}
	var quoted, header, body bool
	last := byte(0)
	for {
		p, start, _, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		last = p[len(p)-1]
		if !start {
			continue
		}
		quoted = quoted || isQuoted(p) || bytes.HasPrefix(p, []byte(fromWord))
		if body {
			continue
		}
		body = isEmpty(p)
		header = header || hides(p)
	}
	if quoted {
		text += string(textQuoted)
	}
	if last != '\n' {
		text += string(textEnd)
	}
	if verbatim {
		text += string(textVerbatim)
	}
	if header {
		text += string(textHeader)
	}
	return text, nil
}

func isEmpty(p []byte) bool { return string(p) == "\n" || string(p) == "\r\n" }

// hides tells whether a line of the header would be taken for a hidden field.
func hides(p []byte) bool {
	f, _ := field(p)
	return f != 0 || bytes.HasPrefix(p, []byte(escaped))
}

// Encode writes a message as an mbox has it: From_ line, fields, text, empty
// line. m.Text is Inspect's.
func Encode(w io.Writer, r io.Reader, sender string, date int64, m *Meta) error {
	b := appendFrom(nil, sender, date)
	b = append(b, m.block(0)...)
	if _, err := w.Write(b); err != nil {
		return err
	}
	quote, hide := strings.IndexByte(m.Text, textQuoted) >= 0, strings.IndexByte(m.Text, textHeader) >= 0
	l := lines{r: bufio.NewReaderSize(r, lineBuffer)}
	body := false
	for {
		p, start, _, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		prefix := ""
		if start {
			if quote && (isQuoted(p) || bytes.HasPrefix(p, []byte(fromWord))) {
				prefix = ">"
			}
			if !body {
				body = isEmpty(p)
				if hide && hides(p) {
					prefix = escaped
				}
			}
		}
		if prefix != "" {
			if _, err := io.WriteString(w, prefix); err != nil {
				return err
			}
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	end := "\n"
	if strings.IndexByte(m.Text, textEnd) >= 0 {
		end = "\n\n"
	}
	_, err := io.WriteString(w, end)
	return err
}
