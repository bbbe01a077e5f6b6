package smtpclient

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"posthaste/pkg/header"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mimestate"
)

// checks are smtp_header_checks and its siblings: tables that change a message
// on its way out. The copy in the queue stays as it is.
type checks struct {
	name                       string // smtp or lmtp
	header, mime, nested, body *lookup.Maps
	options                    mimestate.Options
}

func (c *checks) empty() bool {
	return c.header.Empty() && c.mime.Empty() && c.nested.Empty() && c.body.Empty()
}

// apply returns the content as the tables change it. Trouble with a table is
// told to trouble, and makes the rest of the content unreadable.
func (c *checks) apply(r io.Reader, log *maillog.Logger, id string, trouble func(error)) io.Reader {
	return &checker{checks: c, r: r, log: log, id: id, trouble: trouble}
}

// checker reads a message through the tables.
type checker struct {
	*checks
	r       io.Reader
	log     *maillog.Logger
	id      string
	trouble func(error)

	in    *bufio.Reader    // the body; nil before the header is read
	parts *mimestate.State // follows the body; nil when no table wants to see it
	out   []byte           // to be read
	done  int              // of out
	err   error
}

// checkedPiece is how much of a long line is looked at in one piece.
const checkedPiece = 4096

func (c *checker) Read(p []byte) (int, error) {
	for c.done == len(c.out) {
		if c.err != nil {
			return 0, c.err
		}
		c.out, c.done = c.out[:0], 0
		if c.in == nil {
			c.begin()
		} else {
			c.line()
		}
	}
	n := copy(p, c.out[c.done:])
	c.done += n
	return n, nil
}

// begin reads the message's own header.
func (c *checker) begin() {
	head, rest, err := splitHeader(c.r)
	if err != nil {
		c.err = err
		return
	}
	c.in = bufio.NewReaderSize(rest, checkedPiece)
	ct, enc := header.ContentType{Type: "text", Subtype: "plain"}, ""
	for len(head) > 0 {
		field := head[:fieldLen(head)]
		head = head[len(field):]
		if _, ok := header.Name(field); !ok {
			c.out = append(c.out, field...)
			continue
		}
		maps := c.header
		if isMIME(field) {
			maps = c.mime
		}
		for _, f := range c.check(maps, "header", field) {
			if header.Is(f, "content-type") {
				ct = header.ParseContentType(header.Value(f))
			} else if header.Is(f, "content-transfer-encoding") {
				enc = header.ParseEncoding(header.Value(f))
			}
			c.out = append(c.out, f...)
		}
	}
	if !c.mime.Empty() || !c.nested.Empty() || !c.body.Empty() {
		c.parts = mimestate.New(ct, enc, c.options, c)
	}
}

// line takes the next line of the body, or a piece of it.
func (c *checker) line() {
	l, err := c.in.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		c.err = err
	}
	if c.parts == nil {
		c.out = append(c.out, l...)
		return
	}
	c.parts.Line(l)
	if c.err == io.EOF {
		c.parts.End()
	}
}

// Field is mimestate's: a header field of a part or of a message inside.
func (c *checker) Field(class mimestate.Class, raw []byte) {
	maps := c.mime
	if class == mimestate.Nested && !isMIME(raw) {
		maps = c.nested
	}
	for _, f := range c.check(maps, "header", raw) {
		c.out = append(c.out, f...)
	}
}

// Body is mimestate's: any other line.
func (c *checker) Body(line []byte) {
	for _, l := range c.check(c.body, "body", line) {
		c.out = append(c.out, l...)
	}
}

// isMIME tells whether a field describes content.
func isMIME(field []byte) bool {
	for _, n := range []string{"content-type", "content-transfer-encoding", "content-disposition", "content-id", "content-description", "mime-version"} {
		if header.Is(field, n) {
			return true
		}
	}
	return false
}

// check looks a field or line up and returns what goes out in its place.
func (c *checker) check(maps *lookup.Maps, where string, raw []byte) [][]byte {
	same := [][]byte{raw}
	if maps.Empty() || c.err != nil && c.err != io.EOF {
		return same
	}
	text := header.Text(raw)
	v, ok, err := maps.Get(string(text))
	if err != nil {
		c.trouble(err)
		c.err = err
		return nil
	}
	if !ok {
		return same
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(v), " ")
	verb, arg = strings.ToUpper(verb), strings.TrimSpace(arg)
	log := func(word string) {
		if arg != "" {
			c.log.Infof("%s: %s: %s %.200s: %s", c.id, word, where, text, arg)
		} else {
			c.log.Infof("%s: %s: %s %.200s", c.id, word, where, text)
		}
	}
	switch verb {
	case "DUNNO", "OK":
	case "WARN":
		log("warning")
	case "INFO":
		log("info")
	case "IGNORE":
		return nil
	case "STRIP":
		log("strip")
		return nil
	case "PREPEND", "REPLACE":
		if arg == "" {
			c.log.Warningf("%s: %s action without text in %s_%s_checks map", c.id, verb, c.name, where)
			return same
		}
		if _, ok := header.Name([]byte(arg)); !ok && where == "header" {
			c.log.Warningf("%s: bad %s header text %q in %s_header_checks map -- need \"headername: headervalue\"", c.id, verb, arg, c.name)
			return same
		}
		log(strings.ToLower(verb))
		line := bytes.ReplaceAll(bytes.ReplaceAll([]byte(arg+"\n"), []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		if verb == "REPLACE" {
			return [][]byte{line}
		}
		return [][]byte{line, raw}
	default:
		c.log.Warningf("%s: unsupported command in %s_%s_checks map: %s", c.id, c.name, where, v)
	}
	return same
}
