package mimepart

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// window is how much of a message is looked at at a time. A line is seen whole
// or at least this much of it.
const window = 32 << 10

// lines cuts a stream into lines.
type lines struct {
	r        io.Reader // nil: all is in buf
	buf      []byte
	pos, end int
	off      int64 // offset of buf[pos]
	err      error
}

// next returns the next line or, when the line is longer than the window, a
// piece of it; whole tells that the piece ends the line.
func (l *lines) next() (piece []byte, whole bool) {
	for {
		if i := bytes.IndexByte(l.buf[l.pos:l.end], '\n'); i >= 0 {
			piece = l.buf[l.pos : l.pos+i+1]
			l.advance(i + 1)
			return piece, true
		}
		if l.r == nil || l.err != nil || l.end-l.pos == len(l.buf) {
			piece = l.buf[l.pos:l.end]
			l.advance(len(piece))
			return piece, l.r == nil || l.err != nil
		}
		copy(l.buf, l.buf[l.pos:l.end])
		l.end -= l.pos
		l.pos = 0
		var n int
		n, l.err = io.ReadFull(l.r, l.buf[l.end:])
		l.end += n
	}
}

func (l *lines) advance(n int) {
	l.pos += n
	l.off += int64(n)
}

var windows = sync.Pool{New: func() any { b := make([]byte, window); return &b }}

// Parse reads a message with CRLF line ends. The error is the reader's.
func Parse(r io.Reader) (*Part, error) {
	b := windows.Get().(*[]byte)
	defer windows.Put(b)
	l := lines{r: r, buf: *b}
	p := parse(&l, &Parser{})
	if l.err != nil && l.err != io.EOF && l.err != io.ErrUnexpectedEOF {
		return nil, l.err
	}
	return p, nil
}

// ParseBytes is Parse of a message in memory. The Part keeps nothing of it.
func ParseBytes(msg []byte) *Part {
	return parse(&lines{buf: msg, end: len(msg)}, &Parser{})
}

// A Parser parses messages in memory one after the other and uses the memory of
// one for the next.
type Parser struct {
	parts slab[Part]
	envs  slab[Envelope]
	addrs []Address
}

// Parse is ParseBytes. The Parts are good until the next call.
func (r *Parser) Parse(msg []byte) *Part {
	r.parts.reset()
	r.envs.reset()
	clear(r.addrs)
	r.addrs = r.addrs[:0]
	if cap(r.addrs) > maxSlab {
		r.addrs = nil
	}
	return parse(&lines{buf: msg, end: len(msg)}, r)
}

// maxSlab is how many things a slab keeps.
const maxSlab = 64

// slab makes things, as many in one piece as were made before the last reset.
type slab[T any] struct {
	kept []T
	made int
}

func (s *slab[T]) make() *T {
	s.made++
	if s.made <= len(s.kept) {
		return &s.kept[s.made-1]
	}
	return new(T)
}

func (s *slab[T]) reset() {
	if n := min(s.made, maxSlab); n > len(s.kept) {
		s.kept = make([]T, n)
	} else {
		clear(s.kept[:n])
	}
	s.made = 0
}

// frame is an open part.
type frame struct {
	part     *Part
	boundary string // of a multipart whose parts are looked for
	closed   bool   // its end boundary has been seen
	digest   bool
	lines    int // line ends of the message before the body
}

type parser struct {
	r      *Parser
	stack  []frame
	hdr    fields
	inHdr  bool // in the header of the innermost part
	top    bool // which is a message's
	count  int  // parts so far
	kept   int  // octets kept
	nlines int  // line ends so far
	eol    int  // length of the last line end
}

var parsers = sync.Pool{New: func() any { return &parser{} }}

func parse(l *lines, r *Parser) *Part {
	p := parsers.Get().(*parser)
	defer p.release()
	p.r = r
	root := p.open(0, true)
	start := true // at the start of a line
	for {
		if !p.inHdr && l.r == nil && !p.bounded() {
			p.nlines += bytes.Count(l.buf[l.pos:l.end], []byte{'\n'})
			l.advance(l.end - l.pos)
			break
		}
		at := l.off
		line, whole := l.next()
		if len(line) == 0 {
			break
		}
		switch {
		case start && whole && len(line) > 2 && line[0] == '-' && line[1] == '-' && p.boundary(line, at):
		case p.inHdr:
			if start && (line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n') {
				p.nlines++ // the empty line is the header's
				p.endHeader(l.off)
				p.nlines--
			} else {
				p.hdr.add(line, start)
			}
		}
		start = whole
		p.eol = 0
		if n := len(line); line[n-1] == '\n' {
			p.nlines++
			p.eol = 1
			if n > 1 && line[n-2] == '\r' {
				p.eol = 2
			}
		}
	}
	p.closeTo(0, l.off, 0)
	return root
}

// release lets another message have the parser's memory.
func (p *parser) release() {
	clear(p.stack[:cap(p.stack)])
	*p = parser{stack: p.stack[:0], hdr: p.hdr}
	p.hdr.shrink()
	parsers.Put(p)
}

// bounded tells whether a line could be a boundary.
func (p *parser) bounded() bool {
	for i := range p.stack {
		if f := &p.stack[i]; f.boundary != "" && !f.closed {
			return true
		}
	}
	return false
}

// open begins a part, in its header.
func (p *parser) open(at int64, message bool) *Part {
	part := p.r.parts.make()
	part.Header = at
	if n := len(p.stack); n > 0 {
		up := p.stack[n-1].part
		up.Parts = append(up.Parts, part)
	}
	p.stack = append(p.stack, frame{part: part})
	p.count++
	p.inHdr, p.top = true, message
	p.hdr.reset(min(maxHeader, maxTotal-p.kept))
	return part
}

// endHeader begins the body of the innermost part.
func (p *parser) endHeader(at int64) {
	p.inHdr = false
	f := &p.stack[len(p.stack)-1]
	part := f.part
	part.Body = at
	f.lines = p.nlines
	digest := len(p.stack) > 1 && p.stack[len(p.stack)-2].digest
	var t texts
	p.hdr.texts(&t)
	t.content(part, digest && !p.top)
	if p.top {
		part.Envelope = p.r.envs.make()
		p.r.addrs = t.envelope(part.Envelope, p.r.addrs)
	}
	p.kept += p.hdr.size
	room := len(p.stack) < MaxDepth && p.count < MaxParts
	switch {
	case part.IsMultipart():
		b := part.Param("boundary")
		switch {
		case !room:
			opaque(part)
		case b == "" || len(b) > maxBoundary:
			part.Type, part.Subtype, part.Params = "text", "plain", nil
		default:
			f.boundary = b
			f.digest = strings.EqualFold(part.Subtype, "digest")
		}
	case isRFC822(part):
		if !room {
			opaque(part)
			return
		}
		p.open(at, true)
	}
}

func isRFC822(p *Part) bool {
	return strings.EqualFold(p.Type, "message") && (strings.EqualFold(p.Subtype, "rfc822") || strings.EqualFold(p.Subtype, "global"))
}

// opaque makes what will not be looked into one part of octets.
func opaque(p *Part) {
	p.Type, p.Subtype, p.Params = "application", "octet-stream", nil
}

// boundary tells whether the line that begins at an offset is a boundary of an
// open multipart, and if so ends what it ends.
func (p *parser) boundary(line []byte, at int64) bool {
	text := line[2:]
	for i := len(p.stack) - 1; i >= 0; i-- {
		f := &p.stack[i]
		b := f.boundary
		if b == "" || f.closed || len(text) < len(b) || text[0] != b[0] || string(text[:len(b)]) != b {
			continue
		}
		rest := text[len(b):]
		last := len(rest) >= 2 && rest[0] == '-' && rest[1] == '-'
		if last {
			rest = rest[2:]
		}
		if !blank(rest) {
			continue
		}
		if !last && p.count >= MaxParts {
			return false
		}
		p.closeTo(i+1, at, p.eol)
		if last {
			p.stack[i].closed = true
		} else {
			p.open(at+int64(len(line)), false)
		}
		return true
	}
	return false
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// closeTo ends the parts from level n on at an offset. The line end before it,
// of eol octets, belongs to the boundary that stands there.
func (p *parser) closeTo(n int, at int64, eol int) {
	for p.inHdr && len(p.stack) > n { // torn in its header, which may open a message as torn
		p.endHeader(at)
	}
	p.inHdr = false
	for len(p.stack) > n {
		f := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		part := f.part
		part.End = at
		part.Lines = p.nlines - f.lines
		if eol > 0 && at-int64(eol) >= part.Body {
			part.End = at - int64(eol)
			part.Lines--
		}
		if n := len(part.Parts); n > 0 && part.Parts[n-1].End > part.End { // empty, behind that line end
			part.End = part.Parts[n-1].End
			part.Lines++
		}
		if f.boundary != "" && len(part.Parts) == 0 {
			c := &Part{Header: part.End, Body: part.End, End: part.End}
			new(texts).content(c, false)
			part.Parts = []*Part{c}
		}
	}
}
