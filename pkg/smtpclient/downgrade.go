package smtpclient

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"strings"
)

// maxNesting is how many multiparts may be inside one another; deeper parts are
// not converted (mime_nesting_limit's default).
const maxNesting = 100

// downgrade converts MIME content that is labelled 8bit or binary for a server
// without 8BITMIME (RFC 6152): leaf parts become quoted-printable, the labels of
// multiparts and enclosed messages become 7bit. All else passes as it is,
// headers with bytes above 127 included, as with Postfix.
type downgrade struct {
	in  *bufio.Reader
	out []byte
	pos int
	err error

	inHeader bool
	header   []byte
	giveUp   bool     // pass everything from here on
	stack    []string // boundaries, outermost first, with "--"
	qp       bool     // the part at hand is being encoded
	bol      bool     // the input is at the start of a line
	column   int      // of the encoded line
	pending  []byte   // white space that may turn out to end the line
}

func newDowngrade(r io.Reader) io.Reader {
	return &downgrade{in: bufio.NewReaderSize(r, 32<<10), inHeader: true, bol: true}
}

func (d *downgrade) Read(p []byte) (int, error) {
	for d.pos == len(d.out) {
		if d.err != nil {
			return 0, d.err
		}
		d.out, d.pos = d.out[:0], 0
		d.step()
	}
	n := copy(p, d.out[d.pos:])
	d.pos += n
	return n, nil
}

// step takes one line, or a piece of a long one.
func (d *downgrade) step() {
	line, err := d.in.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		d.err = err
	}
	start := d.bol
	d.bol = err == nil
	switch {
	case d.giveUp:
		d.out = append(d.out, line...)
	case d.inHeader:
		d.headerLine(line)
	case start && len(d.stack) > 0 && bytes.HasPrefix(line, []byte("--")) && d.boundary(line):
	case d.qp:
		d.encode(line)
	default:
		d.out = append(d.out, line...)
	}
	if d.err != nil && d.inHeader {
		d.endHeader() // the content ends within a header
	}
}

// boundary handles a line that may delimit a part.
func (d *downgrade) boundary(line []byte) bool {
	for i := len(d.stack) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line, []byte(d.stack[i]))
		if !ok {
			continue
		}
		last := bytes.HasPrefix(rest, []byte("--"))
		if !last && len(bytes.TrimRight(rest, " \t\r\n")) > 0 {
			continue // another boundary that begins alike
		}
		d.qp = false
		if last {
			d.stack = d.stack[:i]
		} else {
			d.stack = d.stack[:i+1]
			d.inHeader = true
		}
		d.out = append(d.out, line...)
		return true
	}
	return false
}

func (d *downgrade) headerLine(line []byte) {
	d.header = append(d.header, line...)
	if len(d.header) > maxHeader {
		d.out = append(d.out, d.header...)
		d.header, d.inHeader, d.giveUp = nil, false, true
		return
	}
	if len(line) <= 2 && len(bytes.TrimRight(line, "\r\n")) == 0 {
		d.endHeader()
	}
}

// endHeader decides, with the header of an entity complete, what to do with
// its body, and writes the header.
func (d *downgrade) endHeader() {
	h := d.header
	d.header, d.inHeader, d.qp = nil, false, false
	typ, params, coding := contentOf(h)
	eight := coding == "8bit" || coding == "binary"
	major, minor, _ := strings.Cut(typ, "/")
	relabel := ""
	switch {
	case major == "multipart":
		b := params["boundary"]
		if b == "" || len(d.stack) >= maxNesting {
			break
		}
		d.stack = append(d.stack, "--"+b)
		relabel = "7bit"
	case major == "message" && (minor == "rfc822" || minor == "global"):
		d.inHeader = true
		relabel = "7bit"
	case major == "message":
		// Parts of messages must not be encoded (RFC 2046, section 5.2.2.2).
	default:
		d.qp = eight
		relabel = "quoted-printable"
	}
	if eight && relabel != "" {
		h = setCoding(h, relabel)
	}
	d.out = append(d.out, h...)
	d.column, d.pending = 0, d.pending[:0]
}

// contentOf reads the type and the transfer encoding from a header.
func contentOf(h []byte) (typ string, params map[string]string, coding string) {
	typ, coding = "text/plain", "7bit"
	for len(h) > 0 {
		f := h[:fieldLen(h)]
		h = h[len(f):]
		name, value, ok := bytes.Cut(f, []byte(":"))
		if !ok {
			continue
		}
		v := strings.Join(strings.Fields(string(value)), " ")
		switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
		case "content-type":
			t, p, err := mime.ParseMediaType(v)
			if t == "" || err != nil && p == nil {
				t, _, _ = strings.Cut(strings.ToLower(v), ";")
			}
			if t != "" {
				typ, params = strings.TrimSpace(t), p
			}
		case "content-transfer-encoding":
			coding = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return typ, params, coding
}

// setCoding replaces the Content-Transfer-Encoding field.
func setCoding(h []byte, coding string) []byte {
	var out []byte
	for len(h) > 0 {
		f := h[:fieldLen(h)]
		h = h[len(f):]
		name, _, ok := bytes.Cut(f, []byte(":"))
		if ok && strings.EqualFold(string(bytes.TrimRight(name, " \t")), "content-transfer-encoding") {
			f = []byte("Content-Transfer-Encoding: " + coding + "\r\n")
		}
		out = append(out, f...)
	}
	return out
}

// maxQP is the longest quoted-printable line (RFC 2045, section 6.7).
const maxQP = 76

// encode writes line, or a piece of one, as quoted-printable.
func (d *downgrade) encode(line []byte) {
	text, end := line, false
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text, end = text[:n-1], true
		if n := len(text); n > 0 && text[n-1] == '\r' {
			text = text[:n-1]
		}
	}
	for _, c := range text {
		if c == ' ' || c == '\t' {
			d.pending = append(d.pending, c)
			continue
		}
		d.white(false)
		if c > ' ' && c < 0x7f && c != '=' {
			d.emit(c)
		} else {
			d.emit('=', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if end || d.err != nil {
		d.white(true)
	}
	if end {
		d.out = append(d.out, '\r', '\n')
		d.column = 0
	}
}

const hexDigits = "0123456789ABCDEF"

// white writes the white space held back; the last of it is encoded when the
// line ends there.
func (d *downgrade) white(end bool) {
	for i, c := range d.pending {
		if end && i == len(d.pending)-1 {
			d.emit('=', hexDigits[c>>4], hexDigits[c&15])
		} else {
			d.emit(c)
		}
	}
	d.pending = d.pending[:0]
}

// emit writes one encoded character, breaking the line softly before it if
// needed. A dot or "From " at the start of a line needs no care here.
func (d *downgrade) emit(c ...byte) {
	if d.column+len(c) > maxQP-1 {
		d.out = append(d.out, '=', '\r', '\n')
		d.column = 0
	}
	d.out = append(d.out, c...)
	d.column += len(c)
}
