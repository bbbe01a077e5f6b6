package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"posthaste/pkg/address"
	"posthaste/pkg/header"
)

type contentOptions struct {
	dots bool   // a line with only a dot is text
	fix  string // sendmail_fix_line_endings
}

// content turns the message on standard input into CRLF form.
type content struct {
	o     contentOptions
	r     *bufio.Reader
	first bool // no line yet
	crlf  bool // CRLF is a line end; else only LF is
	start bool // at the start of a line
	end   bool
	line  []byte

	head     bytes.Buffer // the header, for -t, in CRLF form
	to       []string
	resentTo []string
}

func newContent(r io.Reader, o contentOptions) *content {
	return &content{o: o, r: bufio.NewReaderSize(r, 64<<10), first: true, start: true}
}

// next returns the next line, or piece of a long one, in CRLF form; nil at the
// end. The last line gets a line end if it has none.
func (c *content) next() ([]byte, error) {
	for !c.end {
		s, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, fmt.Errorf("read message: %w", err)
		}
		whole := err == nil
		if n := len(s); err == bufio.ErrBufferFull && s[n-1] == '\r' {
			// The LF that may follow belongs to it.
			c.r.UnreadByte()
			s = s[:n-1]
		}
		if err == io.EOF {
			c.end = true
			if len(s) == 0 {
				if !c.start {
					c.start = true
					return []byte("\r\n"), nil
				}
				return nil, nil
			}
		}
		start := c.start
		if whole {
			s = s[:len(s)-1]
		}
		if c.first && whole && start {
			if bytes.HasPrefix(s, []byte("From ")) || bytes.HasPrefix(s, []byte(">From ")) {
				continue
			}
		}
		if c.first {
			c.first = false
			switch c.o.fix {
			case "never":
			case "strict":
				c.crlf = whole && bytes.HasSuffix(s, []byte("\r"))
			default:
				c.crlf = true
			}
		}
		if whole && c.crlf {
			s = bytes.TrimSuffix(s, []byte("\r"))
		}
		if start && (whole || c.end) && !c.o.dots && len(s) == 1 && s[0] == '.' {
			c.end = true
			return nil, nil
		}
		c.start = whole || c.end
		c.line = append(c.line[:0], s...)
		if c.start {
			c.line = append(c.line, "\r\n"...)
		}
		return c.line, nil
	}
	return nil, nil
}

// readHeader reads the header section and finds its recipients.
func (c *content) readHeader(limit int) error {
	sc := header.Scanner{Limit: limit}
	const most = 16 << 20 // of all fields together: memory is bounded
	for c.head.Len() < most {
		l, err := c.next()
		if err != nil {
			return err
		}
		if l == nil {
			sc.End(c.field)
			return nil
		}
		c.head.Write(l)
		if _, _, body := sc.Feed(l, c.field); body {
			return nil
		}
	}
	return errors.New("message header too big")
}

func (c *content) field(raw []byte) {
	name, _ := header.Name(raw)
	var space [32]byte
	if len(name) > len(space) {
		return
	}
	switch string(header.Lower(space[:0], name)) {
	case "to", "cc", "bcc":
		c.to = append(c.to, address.ExtractList(header.Value(raw))...)
	case "resent-to", "resent-cc", "resent-bcc":
		c.resentTo = append(c.resentTo, address.ExtractList(header.Value(raw))...)
	}
}

// recipients are those of the header: of the last resending if there is one.
func (c *content) recipients() []string {
	if len(c.resentTo) > 0 {
		return c.resentTo
	}
	return c.to
}

// copy writes the whole message.
func (c *content) copy(w io.Writer, limit int64) error {
	n, err := w.Write(c.head.Bytes())
	size := int64(n)
	for err == nil {
		var l []byte
		if l, err = c.next(); err != nil || l == nil {
			return err
		}
		if size += int64(len(l)); limit > 0 && size > limit {
			return fmt.Errorf("message file too big")
		}
		_, err = w.Write(l)
	}
	return nil // a reader that went away has said why
}
