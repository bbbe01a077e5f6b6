package mboxio

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"strings"
)

// Message is one message in a file.
type Message struct {
	Meta
	Off, End int64 // from its From_ line to the next one, or the end of the file
	Date     int64 // of the From_ line, Unix seconds
	Size     int64 // in wire form
	// Sum is the same for the same wire form, whatever programs did to fields
	// that clients do not see.
	Sum uint64
	// Tidy: the fields are all behind the From_ line, where SetMeta finds them.
	Tidy bool
}

// ErrNotMbox is returned for a file that begins with something else.
var ErrNotMbox = errors.New("not an mbox: it does not begin with a From_ line")

// ErrPlace is returned when there is no From_ line where a message should begin.
var ErrPlace = errors.New("no message begins there")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// scanner reads a file from one From_ line to its end.
type scanner struct {
	file  io.ReaderAt
	size  int64
	r     *bufio.Reader
	l     lines
	pos   int64
	fn    func(*Message) error
	cur   *Message
	d     *decoder
	guard int64 // From_ lines before it are text, as Content-Length says
	sum   sum
	head  []byte // the beginning of the header
}

// Scan calls fn for each message of a file of that size, beginning at the
// From_ line at from, or, if from is 0, behind empty lines. A From_ line needs
// no empty line before it. Content-Length is believed if it ends where a message
// or the file does, and no From_ line on the way is followed by a header field.
func Scan(file io.ReaderAt, from, size int64, fn func(*Message) error) error {
	s := &scanner{file: file, size: size, fn: fn, pos: from}
	s.r = bufio.NewReaderSize(io.NewSectionReader(file, from, size-from), lineBuffer)
	s.l.r = s.r
	for {
		p, start, end, err := s.l.next()
		if err == io.EOF {
			return s.finish(s.pos)
		}
		if err != nil {
			return err
		}
		at := s.pos
		s.pos += int64(len(p))
		if start && end && p[0] == 'F' {
			if date, ok := ParseFrom(p); ok && s.begins(at) {
				if err := s.finish(at); err != nil {
					return err
				}
				s.begin(at, date)
				continue
			}
		}
		if s.cur == nil {
			if from == 0 && start && isEmpty(p) {
				continue
			}
			if from == 0 {
				return ErrNotMbox
			}
			return ErrPlace
		}
		wasHeader := !s.d.body
		s.d.piece(p, start, end)
		if wasHeader && s.d.body && s.d.length > 0 {
			s.setGuard()
		}
	}
}

// begins tells whether a From_ line begins a message.
func (s *scanner) begins(at int64) bool {
	if s.cur == nil || at >= s.guard {
		return true
	}
	next, _ := s.r.Peek(256)
	if looksLikeField(next) {
		s.guard = 0
		return true
	}
	return false
}

// looksLikeField: a name of printable characters and a colon.
func looksLikeField(p []byte) bool {
	for i, c := range p {
		switch {
		case c == ':':
			return i > 0
		case c <= ' ' || c > '~':
			return false
		}
	}
	return false
}

func (s *scanner) setGuard() {
	end := s.pos + s.d.length
	if end > s.size || end < s.pos {
		return
	}
	var b [maxFrom + 2]byte
	n, err := s.file.ReadAt(b[:], end)
	if err != nil && err != io.EOF {
		return
	}
	p := bytes.TrimPrefix(b[:n], []byte("\n"))
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		p = p[:i+1]
	}
	if _, ok := ParseFrom(p); ok || len(p) == 0 {
		s.guard = end
	}
}

func (s *scanner) begin(at, date int64) {
	s.cur = &Message{Off: at, Date: date}
	s.guard, s.head = 0, s.head[:0]
	s.sum.reset()
	s.d = newDecoder(func(p []byte, header bool) {
		s.sum.Write(p)
		if header && len(s.head) < 4096 {
			s.head = append(s.head, p...)
		}
	})
}

func (s *scanner) finish(end int64) error {
	m := s.cur
	if m == nil {
		return nil
	}
	s.cur = nil
	s.d.finish()
	m.End, m.Meta = end, s.d.Meta
	m.Tidy = s.d.blockSize > 0 && !s.d.scattered
	if m.Base != nil && m.Base.Pseudo && !isInternal(s.head) {
		m.Base.Pseudo = false
	}
	m.Size, m.Sum = s.sum.size, s.sum.value()
	return s.fn(m)
}

// isInternal recognises the message in which c-client keeps X-IMAP.
func isInternal(head []byte) bool {
	return strings.Contains(string(head), "Subject: DON'T DELETE THIS MESSAGE")
}

// sum identifies a message by its wire form: the beginning, a checksum of all, the size.
type sum struct {
	h    hash.Hash
	crc  uint32
	size int64
}

const sumHead = 64 << 10

func (s *sum) reset() {
	if s.h == nil {
		s.h = sha256.New()
	}
	s.h.Reset()
	s.crc, s.size = 0, 0
}

func (s *sum) Write(p []byte) (int, error) {
	if s.size < sumHead {
		s.h.Write(p[:min(int64(len(p)), sumHead-s.size)])
	}
	s.crc = crc32.Update(s.crc, castagnoli, p)
	s.size += int64(len(p))
	return len(p), nil
}

func (s *sum) value() uint64 {
	tail := binary.LittleEndian.AppendUint32(nil, s.crc)
	s.h.Write(binary.LittleEndian.AppendUint64(tail, uint64(s.size)))
	return binary.BigEndian.Uint64(s.h.Sum(nil))
}

// SumOf is the Sum of a message with LF line ends or, if verbatim, those that it has.
func SumOf(r io.Reader, verbatim bool) (uint64, error) {
	var s sum
	s.reset()
	l := lines{r: bufio.NewReaderSize(r, lineBuffer)}
	for {
		p, _, end, err := l.next()
		if err == io.EOF {
			return s.value(), nil
		}
		if err != nil {
			return 0, err
		}
		if end && !verbatim {
			s.Write(p[:len(p)-1])
			p = []byte("\r\n")
		}
		s.Write(p)
	}
}

// DecodeAt writes the message at off in wire form. It is ErrPlace if none begins there.
func DecodeAt(w io.Writer, file io.ReaderAt, off, end int64) (int64, error) {
	var b [maxFrom]byte
	n, err := file.ReadAt(b[:min(int64(len(b)), max(0, end-off))], off)
	if err != nil && err != io.EOF {
		return 0, err
	}
	i := bytes.IndexByte(b[:n], '\n')
	if i < 0 {
		return 0, ErrPlace
	}
	if _, ok := ParseFrom(b[:i]); !ok {
		return 0, ErrPlace
	}
	out := counter{w: w}
	err = Decode(&out, io.NewSectionReader(file, off+int64(i)+1, end-off-int64(i)-1))
	return out.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
