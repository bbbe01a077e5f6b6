package esmtp

import (
	"bytes"
	"io"
)

// DotDecoder undoes the transparency of DATA (RFC 5321, section 4.5.2). It
// turns what a client sends into content in CRLF form and finds its end, which
// is CRLF "." CRLF and nothing else. A bare LF ends a line of content (it
// comes out as CRLF) but is never part of the end mark, with one exception:
// see LFOnly. A bare CR is content.
//
// The answer does not depend on how the input is split.
type DotDecoder struct {
	// LFOnly lets LF "." LF end the content as long as the session has not shown
	// a single CRLF: a client that knows no CRLF at all (smtpd_forbid_bare_newline
	// = no, or an excluded client). The decoder clears it at the first CRLF, since
	// a mixture of line ends is what message smuggling is made of.
	LFOnly bool
	// BareLF tells that a bare LF was seen.
	BareLF bool

	state    uint8
	bareLast bool // the line before ended in a bare LF
}

const (
	dotBOL = iota
	dotDot
	dotDotCR
	dotLine
	dotCR
)

// Decode takes bytes of src and appends content to dst. It returns the
// extended dst, the number of bytes of src taken, and whether the end mark was
// reached; all of src is taken unless it was.
func (d *DotDecoder) Decode(dst, src []byte) (out []byte, n int, done bool) {
	i, run := 0, 0
	for i < len(src) {
		switch d.state {
		case dotBOL:
			if src[i] != '.' {
				d.state = dotLine
				continue
			}
			dst = append(dst, src[run:i]...)
			i++
			run = i
			d.state = dotDot
		case dotDot:
			switch src[i] {
			case '\r':
				i++
				run = i
				d.state = dotDotCR
			case '\n':
				i++
				run = i
				if d.LFOnly {
					return dst, i, true
				}
				dst = append(dst, '\r', '\n')
				d.BareLF, d.bareLast, d.state = true, true, dotBOL
			default:
				d.state = dotLine
			}
		case dotDotCR:
			if src[i] != '\n' {
				dst = append(dst, '\r')
				d.state = dotLine
				continue
			}
			i++
			run = i
			if !d.bareLast {
				return dst, i, true
			}
			dst = append(dst, '\r', '\n')
			d.bareLast, d.LFOnly, d.state = false, false, dotBOL
		case dotCR:
			if src[i] != '\n' {
				dst = append(dst, '\r')
				d.state = dotLine
				continue
			}
			dst = append(dst, '\r', '\n')
			i++
			run = i
			d.bareLast, d.LFOnly, d.state = false, false, dotBOL
		case dotLine:
			j := bytes.IndexByte(src[i:], '\n')
			if j < 0 {
				if src[len(src)-1] == '\r' {
					d.state = dotCR
					return append(dst, src[run:len(src)-1]...), len(src), false
				}
				return append(dst, src[run:]...), len(src), false
			}
			j += i
			i = j + 1
			d.state = dotBOL
			if src[j-min(j, 1)] == '\r' && j-1 >= run {
				d.bareLast, d.LFOnly = false, false
				continue
			}
			dst = append(append(dst, src[run:j]...), '\r', '\n')
			run = i
			d.BareLF, d.bareLast = true, true
		}
	}
	return append(dst, src[run:i]...), i, false
}

// Reader returns an io.Reader of the content that follows in r; it returns
// io.EOF behind the end mark, and leaves r there. An end of input before it is
// io.ErrUnexpectedEOF.
func (d *DotDecoder) Reader(r *Reader) io.Reader { return &dotReader{d: d, r: r} }

type dotReader struct {
	d    *DotDecoder
	r    *Reader
	out  []byte
	rest []byte
	err  error
}

func (x *dotReader) Read(p []byte) (int, error) {
	for len(x.rest) == 0 {
		if x.err != nil {
			return 0, x.err
		}
		if len(x.r.Buffered()) == 0 {
			if err := x.r.Fill(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				x.err = err
				continue
			}
		}
		out, n, done := x.d.Decode(x.out[:0], x.r.Buffered())
		x.r.Consume(n)
		x.out, x.rest = out, out
		if done {
			x.err = io.EOF
		}
	}
	n := copy(p, x.rest)
	x.rest = x.rest[n:]
	return n, nil
}

// DotEncoder applies the transparency of DATA to content in CRLF form. A bare
// LF in the content becomes CRLF, so that no peer sees a line end that it may
// take differently. The zero value is ready.
type DotEncoder struct {
	// Limit is the longest line, in bytes without its end; a longer one is broken
	// by CRLF and a blank, which a header field and quoted-printable text survive.
	// 0 is no limit.
	Limit int
	// Folding, if not nil, is called before the first line is broken.
	Folding func()

	inLine bool
	cr     bool // the last byte was CR
	col    int  // bytes in the line so far; only kept with Limit
}

// Encode appends the encoded form of src to dst.
func (e *DotEncoder) Encode(dst, src []byte) []byte {
	for len(src) > 0 {
		if !e.inLine && src[0] == '.' {
			dst = append(dst, '.')
		}
		j := bytes.IndexByte(src, '\n')
		if j < 0 {
			e.inLine = true
			e.cr = src[len(src)-1] == '\r'
			return e.text(dst, src)
		}
		dst = e.text(dst, src[:j])
		e.col = 0
		if j > 0 && src[j-1] == '\r' || j == 0 && e.cr {
			dst = append(dst, '\n')
		} else {
			dst = append(dst, '\r', '\n')
		}
		e.inLine, e.cr = false, false
		src = src[j+1:]
	}
	return dst
}

// text appends a line, or a piece of one, without its LF.
func (e *DotEncoder) text(dst, p []byte) []byte {
	if e.Limit <= 0 || e.col+len(p) <= e.Limit {
		e.col += len(p)
		return append(dst, p...)
	}
	cr := len(p) > 0 && p[len(p)-1] == '\r' // of the line end, so far as can be seen
	if cr {
		p = p[:len(p)-1]
	}
	for e.col+len(p) > e.Limit {
		if e.Folding != nil {
			e.Folding()
			e.Folding = nil
		}
		n := max(e.Limit-e.col, 0)
		if n == 0 && e.col <= 1 {
			n = 1 // a limit of 1 has no room for the blank
		}
		dst = append(append(dst, p[:n]...), "\r\n "...)
		p, e.col = p[n:], 1
	}
	e.col += len(p)
	dst = append(dst, p...)
	if cr {
		dst = append(dst, '\r')
	}
	return dst
}

// End appends the end mark, and a line end before it if the content lacks
// one. The encoder is ready for the next message afterwards.
func (e *DotEncoder) End(dst []byte) []byte {
	if e.inLine {
		if e.cr {
			dst = append(dst, '\n')
		} else {
			dst = append(dst, '\r', '\n')
		}
	}
	e.inLine, e.cr, e.col = false, false, 0
	return append(dst, '.', '\r', '\n')
}

// LineEncoder brings raw content, as BDAT carries it, into CRLF form: a bare LF
// becomes CRLF. The zero value is ready.
type LineEncoder struct {
	inLine bool
	cr     bool
}

// Encode appends the content to dst.
func (e *LineEncoder) Encode(dst, src []byte) []byte {
	for len(src) > 0 {
		j := bytes.IndexByte(src, '\n')
		if j < 0 {
			e.inLine = true
			e.cr = src[len(src)-1] == '\r'
			return append(dst, src...)
		}
		dst = append(dst, src[:j]...)
		if !(j > 0 && src[j-1] == '\r' || j == 0 && e.cr) {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		e.inLine, e.cr = false, false
		src = src[j+1:]
	}
	return dst
}

// End appends the line end that the content lacks, if it does.
func (e *LineEncoder) End(dst []byte) []byte {
	if e.inLine {
		if !e.cr {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
	}
	e.inLine, e.cr = false, false
	return dst
}

// DotWriter writes content to w in DATA form. Close writes the end mark and
// leaves w open.
type DotWriter struct {
	w   io.Writer
	enc DotEncoder
	buf []byte
}

// NewDotWriter returns a DotWriter on w.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w: w} }

func (d *DotWriter) Write(p []byte) (int, error) {
	d.buf = d.enc.Encode(d.buf[:0], p)
	if _, err := d.w.Write(d.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes the end mark.
func (d *DotWriter) Close() error {
	_, err := d.w.Write(d.enc.End(d.buf[:0]))
	return err
}

// BareLFPolicy is the value of smtpd_forbid_bare_newline.
type BareLFPolicy uint8

const (
	BareLFNo        BareLFPolicy = iota // accepted as a line end
	BareLFNote                          // accepted and logged
	BareLFNormalize                     // accepted as a line end, never near an end mark
	BareLFReject                        // the command or message is refused and the session closed
)

// ParseBareLFPolicy reads a value of smtpd_forbid_bare_newline.
func ParseBareLFPolicy(s string) (p BareLFPolicy, ok bool) {
	switch s {
	case "no":
		return BareLFNo, true
	case "note":
		return BareLFNote, true
	case "yes", "normalize":
		return BareLFNormalize, true
	case "reject":
		return BareLFReject, true
	}
	return BareLFNormalize, false
}
