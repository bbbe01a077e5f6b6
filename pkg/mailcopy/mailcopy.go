// Package mailcopy turns a queued message, which is in CRLF form, into what a
// mailbox file or a command's standard input holds: other line ends, header
// lines in front (Return-Path, X-Original-To, Delivered-To), a From_ line,
// quoting, a blank line behind. Every other byte passes unchanged.
package mailcopy

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"time"
)

// Flags choose the parts.
type Flags uint16

const (
	From        Flags = 1 << iota // From_ line in front
	ReturnPath                    // Return-Path:
	OrigTo                        // X-Original-To:
	DeliveredTo                   // Delivered-To:
	Quote                         // ">From " for lines that look like a From_ line
	Dot                           // double a dot at the start of a line
	Blank                         // blank line behind the message
)

// Mbox is what an mbox file takes, Maildir what a Maildir file takes.
const (
	Mbox    = From | ReturnPath | OrigTo | DeliveredTo | Quote | Blank
	Maildir = ReturnPath | OrigTo | DeliveredTo
)

// Envelope is what the lines in front say. Addresses are in external (quoted)
// form; the null sender is "". An empty OrigTo omits its line.
type Envelope struct {
	Sender      string
	OrigTo      string
	DeliveredTo string
	When        time.Time // From_ line, local time
}

// clean keeps a field on its line whatever it holds.
func clean(s string) string {
	if strings.ContainsAny(s, "\r\n\x00") {
		return strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == 0 {
				return '?'
			}
			return r
		}, s)
	}
	return s
}

// AppendHeader appends the lines in front of the message to b.
func AppendHeader(b []byte, e *Envelope, f Flags, eol string) []byte {
	if f&From != 0 {
		s := clean(e.Sender)
		if s == "" {
			s = "MAILER-DAEMON"
		}
		b = append(b, "From "...)
		b = append(b, s...)
		b = append(b, "  "...)
		b = e.When.Local().AppendFormat(b, time.ANSIC)
		b = append(b, eol...)
	}
	if f&ReturnPath != 0 {
		b = append(b, "Return-Path: <"...)
		b = append(b, clean(e.Sender)...)
		b = append(b, '>')
		b = append(b, eol...)
	}
	if f&OrigTo != 0 && e.OrigTo != "" {
		b = append(b, "X-Original-To: "...)
		b = append(b, clean(e.OrigTo)...)
		b = append(b, eol...)
	}
	if f&DeliveredTo != 0 && e.DeliveredTo != "" {
		b = append(b, "Delivered-To: "...)
		b = append(b, clean(e.DeliveredTo)...)
		b = append(b, eol...)
	}
	return b
}

// Converter converts a message piece by piece. The zero value is not ready;
// use NewConverter.
type Converter struct {
	flags   Flags
	eol     string
	bol     bool   // at the beginning of a line
	cr      bool   // the last byte was CR and is held back
	pend    []byte // a prefix of "From " at the beginning of a line, held back
	plain   bool   // eol is LF and nothing is quoted: the common case
	started bool
}

// NewConverter returns a Converter for the flags Quote, Dot and Blank; the
// others concern AppendHeader.
func NewConverter(f Flags, eol string) *Converter {
	return &Converter{flags: f, eol: eol, bol: true, plain: eol == "\n" && f&(Quote|Dot) == 0}
}

// Append converts p and appends the result to dst.
func (c *Converter) Append(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	c.started = true
	if c.plain {
		return c.appendPlain(dst, p)
	}
	for len(p) > 0 {
		if c.cr {
			c.cr = false
			if p[0] == '\n' {
				dst = c.endLine(dst)
				p = p[1:]
				continue
			}
			dst = c.put(dst, '\r')
			continue
		}
		if c.bol {
			dst, p = c.lineStart(dst, p)
			continue
		}
		i := bytes.IndexByte(p, '\n')
		line := p
		if i >= 0 {
			line = p[:i]
		}
		switch {
		case i >= 0 && i > 0 && line[i-1] == '\r':
			dst = append(dst, line[:i-1]...)
			dst = c.endLine(dst)
			p = p[i+1:]
		case i >= 0:
			dst = append(dst, line...)
			dst = c.endLine(dst)
			p = p[i+1:]
		case line[len(line)-1] == '\r':
			dst = append(dst, line[:len(line)-1]...)
			c.cr = true
			p = nil
		default:
			dst = append(dst, line...)
			p = nil
		}
	}
	return dst
}

func (c *Converter) appendPlain(dst, p []byte) []byte {
	if c.cr {
		c.cr = false
		if p[0] != '\n' {
			dst = append(dst, '\r')
		}
	}
	for {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			dst = append(dst, p...)
			if n := len(p); n > 0 {
				c.bol = p[n-1] == '\n'
			}
			return dst
		}
		dst = append(dst, p[:i]...)
		if i+1 == len(p) {
			c.cr = true
			c.bol = false
			return dst
		}
		if p[i+1] != '\n' {
			dst = append(dst, '\r')
		}
		p = p[i+1:]
	}
}

const fromWord = "From "

// lineStart decides what precedes a line, holding back bytes until it can.
func (c *Converter) lineStart(dst, p []byte) ([]byte, []byte) {
	if c.flags&Quote != 0 {
		for len(p) > 0 && len(c.pend) < len(fromWord) && p[0] == fromWord[len(c.pend)] {
			c.pend = append(c.pend, p[0])
			p = p[1:]
		}
		if len(c.pend) == len(fromWord) {
			dst = append(append(dst, '>'), c.pend...)
			c.pend, c.bol = c.pend[:0], false
			return dst, p
		}
		if len(p) == 0 {
			return dst, p
		}
		if len(c.pend) > 0 {
			dst = append(dst, c.pend...)
			c.pend, c.bol = c.pend[:0], false
			return dst, p
		}
	}
	if c.flags&Dot != 0 && p[0] == '.' {
		dst = append(dst, '.')
	}
	c.bol = false
	return dst, p
}

func (c *Converter) put(dst []byte, b byte) []byte {
	c.bol = false
	return append(dst, b)
}

func (c *Converter) endLine(dst []byte) []byte {
	c.bol = true
	return append(dst, c.eol...)
}

// Finish appends what was held back, ends an unfinished last line, and adds
// the blank line.
func (c *Converter) Finish(dst []byte) []byte {
	if c.cr {
		dst, c.cr, c.bol = append(dst, '\r'), false, false
	}
	if len(c.pend) > 0 {
		dst, c.pend, c.bol = append(dst, c.pend...), c.pend[:0], false
	}
	if !c.bol && c.started {
		dst = append(dst, c.eol...)
		c.bol = true
	}
	if c.flags&Blank != 0 {
		dst = append(dst, c.eol...)
	}
	return dst
}

// chunk is how much of a message is in memory at a time.
const chunk = 64 << 10

// Copy writes header lines and the converted message from r to w, and returns
// the bytes written. ReadError wraps trouble with r. If r knows its size, as an
// unread io.SectionReader does, an end before that is such trouble: a damaged
// queue file must not be delivered in part.
func Copy(w io.Writer, r io.Reader, header []byte, f Flags, eol string) (int64, error) {
	c := NewConverter(f, eol)
	in := make([]byte, chunk)
	out := append(make([]byte, 0, chunk+chunk/2), header...)
	var total, got int64
	for {
		n, err := io.ReadFull(r, in)
		got += int64(n)
		out = c.Append(out, in[:n])
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if s, ok := r.(interface{ Size() int64 }); last && ok && got < s.Size() {
			return total, &ReadError{io.ErrUnexpectedEOF}
		}
		if last {
			out = c.Finish(out)
		} else if err != nil {
			return total, &ReadError{err}
		}
		m, werr := w.Write(out)
		total += int64(m)
		if werr != nil {
			return total, werr
		}
		if last {
			return total, nil
		}
		out = out[:0]
	}
}

// ReadError is trouble with the queue file, as opposed to the destination.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "error reading message: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ReadError) Unwrap() error { return e.Err }

// maxDeliveredTo bounds what DeliveredTo returns and maxHeader what it reads.
const (
	maxDeliveredTo = 256
	maxHeader      = 1 << 20
)

// Delivered collects the addresses of the message's Delivered-To: fields, as
// they stand, for loop detection (compat: compare case-folded). It reads the
// header alone, at most a mebibyte of it.
func Delivered(r io.Reader) ([]string, error) {
	br := bufio.NewReaderSize(io.LimitReader(r, maxHeader), 4096)
	var out []string
	var cur []byte
	keep := false
	flush := func() {
		if keep && len(out) < maxDeliveredTo {
			out = append(out, strings.Join(strings.Fields(string(cur)), " "))
		}
		keep = false
	}
	cont := false // inside an over-long line
	for {
		line, err := br.ReadSlice('\n')
		full := err == bufio.ErrBufferFull
		if err != nil && !full && err != io.EOF {
			return nil, &ReadError{err}
		}
		if !cont {
			text := bytes.TrimRight(line, "\r\n")
			if len(text) == 0 && !full {
				break
			}
			if len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
				if keep && len(cur) < 4096 {
					cur = append(append(cur, ' '), text...)
				}
			} else {
				flush()
				name, value, ok := bytes.Cut(text, []byte(":"))
				if !ok && !full {
					break
				}
				if ok && strings.EqualFold(strings.TrimRight(string(name), " \t"), "Delivered-To") {
					keep, cur = true, append(cur[:0], value...)
				}
			}
		}
		cont = full
		if err == io.EOF {
			break
		}
	}
	flush()
	return out, nil
}
