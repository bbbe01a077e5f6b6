package mimepart

import (
	"bufio"
	"encoding/base64"
	"io"
	"strings"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"
)

// maxUTF7 is how much of a part in UTF-7 is decoded.
const maxUTF7 = 4 << 20

// Decoded returns the octets of the part's body with its transfer encoding
// undone. ok is false when the encoding is unknown (BINARY answers UNKNOWN-CTE);
// then the octets are as they are. src is the message.
func (p *Part) Decoded(src io.ReaderAt) (r io.Reader, ok bool) {
	body := io.NewSectionReader(src, p.Body, p.End-p.Body)
	switch strings.ToLower(p.Encoding) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, &base64Filter{r: body}), true
	case "quoted-printable":
		return &qpReader{r: bufio.NewReaderSize(body, 4096)}, true
	case "7bit", "8bit", "binary", "":
		return body, true
	}
	return body, false
}

// Text returns the text of a text part in UTF-8; of other parts, nil.
func (p *Part) Text(src io.ReaderAt) io.Reader {
	if !isText(p) {
		return nil
	}
	r, _ := p.Decoded(src)
	e, k := charset(p.Param("charset"))
	switch k {
	case kindTable:
		return transform.NewReader(r, e.NewDecoder())
	case kindUTF7:
		b, _ := io.ReadAll(io.LimitReader(r, maxUTF7))
		return strings.NewReader(string(utf7(b)))
	}
	return &guess{r: r}
}

// guess passes UTF-8 on; text that is not is taken for GB18030 from its first
// octet above 127 on.
type guess struct {
	r       io.Reader
	decided bool
}

func (g *guess) Read(p []byte) (int, error) {
	if g.decided {
		return g.r.Read(p)
	}
	n, err := g.r.Read(p)
	for i, c := range p[:n] {
		if c >= 0x80 {
			g.decided = true
			head := append([]byte(nil), p[i:n]...)
			more := make([]byte, 4096)
			k, _ := io.ReadFull(g.r, more)
			head = append(head, more[:k]...)
			g.r = io.MultiReader(strings.NewReader(string(head)), g.r)
			if !validUTF8Prefix(head) {
				g.r = transform.NewReader(g.r, simplifiedchinese.GB18030.NewDecoder())
			}
			if i > 0 {
				return i, nil
			}
			return g.r.Read(p)
		}
	}
	return n, err
}

// base64Filter lets only base64 and its padding through, and stops at the
// padding's end.
type base64Filter struct {
	r    io.Reader
	n    int // octets given so far
	pad  int // padding still to give
	done bool
}

func (f *base64Filter) Read(p []byte) (int, error) {
	for {
		if f.pad > 0 && len(p) > 0 {
			p[0] = '='
			f.pad--
			return 1, nil
		}
		if f.done {
			return 0, io.EOF
		}
		n, err := f.r.Read(p)
		k := 0
		for _, c := range p[:n] {
			if isBase64(c) {
				p[k] = c
				k++
			} else if c == '=' {
				err = io.EOF
				break
			}
		}
		f.n += k
		if err == io.EOF {
			f.done = true
			switch f.n % 4 {
			case 1: // a single octet of base64 is nothing: make it a zero one
				f.pad = 0
				if k < len(p) {
					p[k] = 'A'
					k++
					f.pad = 2
				}
			case 2:
				f.pad = 2
			case 3:
				f.pad = 1
			}
			err = nil
		}
		if k > 0 || err != nil {
			return k, err
		}
	}
}

// qpReader undoes quoted-printable, leniently.
type qpReader struct {
	r    *bufio.Reader
	line []byte // decoded and not yet read
}

func (q *qpReader) Read(p []byte) (int, error) {
	for len(q.line) == 0 {
		raw, err := q.r.ReadSlice('\n')
		if len(raw) == 0 {
			return 0, err
		}
		if err == bufio.ErrBufferFull {
			// A long line: do not cut an escape in two.
			if n := strings.LastIndexByte(string(raw[len(raw)-2:]), '='); n >= 0 {
				more, _ := q.r.Peek(2)
				raw = append(append([]byte(nil), raw...), more...)
				q.r.Discard(len(more))
			}
		}
		q.line = unQP(q.line[:0], raw)
	}
	n := copy(p, q.line)
	q.line = q.line[n:]
	return n, nil
}

// unQP decodes a line with its line end.
func unQP(out, raw []byte) []byte {
	end := len(raw)
	for end > 0 && (raw[end-1] == '\n' || raw[end-1] == '\r') {
		end--
	}
	eol := raw[end:]
	if len(eol) > 0 {
		for end > 0 && (raw[end-1] == ' ' || raw[end-1] == '\t') {
			end--
		}
		if end > 0 && raw[end-1] == '=' { // a soft line break
			end--
			eol = nil
		}
	}
	for i := 0; i < end; i++ {
		c := raw[i]
		if c == '=' && i+2 < end {
			if h, ok := hex(raw[i+1], raw[i+2]); ok {
				c = h
				i += 2
			}
		}
		out = append(out, c)
	}
	return append(out, eol...)
}
