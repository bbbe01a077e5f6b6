package imapwire

import (
	"bufio"
	"errors"
	"io"
	"strconv"
)

// Limits of a Reader, in octets.
type Limits struct {
	Line    int // one line
	Literal int // one literal that is kept in memory
	Command int // a command, with all its lines and literals
}

// Errors of Reader.ReadCommand after which the next command can be read.
var (
	ErrLineTooLong    = errors.New("command line too long")
	ErrLiteralTooLong = errors.New("literal too large")
	ErrCommandTooLong = errors.New("command too long")
)

// ErrFlood is returned when what must be skipped to find the next command is
// not worth reading: the connection should be closed.
var ErrFlood = errors.New("literal far too large")

// maxSkip is the largest non-synchronizing literal that is read and thrown
// away, and the longest line.
const maxSkip = 64 << 20

// Literal announces a literal at the end of a line.
type Literal struct {
	Size    uint64
	NonSync bool // the octets follow without a continuation request
	Binary  bool // "~{": literal8 (RFC 3516)
}

// LiteralAt recognizes a literal at the end of line (with its line end). A
// number beyond 2^63 counts as that large.
func LiteralAt(line []byte) (l Literal, start int, ok bool) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	if n == 0 || line[n-1] != '}' {
		return l, 0, false
	}
	end := n - 1
	if end > 0 && (line[end-1] == '+' || line[end-1] == '-') {
		l.NonSync = true
		end--
	}
	i := end
	for i > 0 && '0' <= line[i-1] && line[i-1] <= '9' {
		i--
	}
	if i == end || i == 0 || line[i-1] != '{' {
		return l, 0, false
	}
	size, err := strconv.ParseUint(string(line[i:end]), 10, 63)
	if err != nil {
		size = 1<<63 - 1
	}
	l.Size = size
	start = i - 1
	if start > 0 && line[start-1] == '~' {
		l.Binary = true
		start--
	}
	return l, start, true
}

// Reader reads commands from a stream.
type Reader struct {
	R      *bufio.Reader
	Limits Limits
	// Continue asks the client for the octets of a synchronizing literal.
	Continue func() error
	// Stream, if set, is asked about each literal with the command so far (up to
	// and without the literal's announcement): true leaves its octets to the caller.
	Stream func(cmd []byte, l Literal) bool

	buf []byte
}

// ReadCommand reads a command: a line, or several with the literals between
// them. The slice holds until the next call. lit is set when Stream kept a
// literal back: the caller sends the continuation request if it wants the
// literal and it is not NonSync, reads the octets from R and goes on with
// ReadMore. With the errors above, what could be read of the command is
// returned, and the rest of it has been skipped. Other errors are the stream's.
func (r *Reader) ReadCommand() (cmd []byte, lit *Literal, err error) {
	r.Release()
	return r.ReadMore()
}

// Release gives up the memory of a large command.
func (r *Reader) Release() {
	if cap(r.buf) > 8<<10 {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}

// ReadMore reads the rest of a command whose last literal the caller has read;
// it returns only what follows that literal, in the same way.
func (r *Reader) ReadMore() (cmd []byte, lit *Literal, err error) {
	from := len(r.buf)
	for {
		start := len(r.buf)
		if err := r.line(); err != nil {
			return r.buf[from:], nil, err
		}
		l, at, ok := LiteralAt(r.buf[start:])
		if !ok {
			return r.buf[from:], nil, nil
		}
		if r.Stream != nil && r.Stream(r.buf[:start+at], l) {
			return r.buf[from : start+at], &l, nil
		}
		if l.Size > uint64(r.Limits.Literal) {
			return r.buf[from:], nil, r.Skip(l, ErrLiteralTooLong)
		}
		if len(r.buf)+int(l.Size) > r.Limits.Command {
			return r.buf[from:], nil, r.Skip(l, ErrCommandTooLong)
		}
		if !l.NonSync && r.Continue != nil {
			if err := r.Continue(); err != nil {
				return r.buf[from:], nil, err
			}
		}
		if r.buf, err = readN(r.R, r.buf, int(l.Size)); err != nil {
			return r.buf[from:], nil, err
		}
	}
}

// readN appends n octets, growing as they come: an announcement alone takes no
// memory.
func readN(br *bufio.Reader, b []byte, n int) ([]byte, error) {
	for n > 0 {
		k := min(n, 4096)
		at := len(b)
		b = append(b, make([]byte, k)...)
		m, err := io.ReadFull(br, b[at:])
		b = b[:at+m]
		if err != nil {
			return b, unexpected(err)
		}
		n -= k
	}
	return b, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// line appends the next line to buf. The end of the stream within a line is
// io.ErrUnexpectedEOF.
func (r *Reader) line() error {
	start := len(r.buf)
	for {
		p, err := r.R.ReadSlice('\n')
		if len(r.buf)-start+len(p) > r.Limits.Line {
			return r.skipLine(p, err, ErrLineTooLong)
		}
		if len(r.buf)+len(p) > r.Limits.Command {
			return r.skipLine(p, err, ErrCommandTooLong)
		}
		r.buf = append(r.buf, p...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && (len(r.buf) > 0) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
}

// skipLine reads to the end of a line of which p was the last piece read and
// skips non-synchronizing literals and what follows them.
func (r *Reader) skipLine(p []byte, err, why error) error {
	tail := append([]byte(nil), p[max(0, len(p)-32):]...)
	for skipped := len(p); err == bufio.ErrBufferFull; {
		p, err = r.R.ReadSlice('\n')
		if skipped += len(p); skipped > maxSkip {
			return ErrFlood
		}
		tail = append(tail, p[max(0, len(p)-32):]...)
		tail = tail[max(0, len(tail)-32):]
	}
	if err != nil {
		return unexpected(err)
	}
	if l, _, ok := LiteralAt(tail); ok {
		return r.Skip(l, why)
	}
	return why
}

// Skip skips the rest of a command after a literal that will not be taken: if it
// does not wait for a continuation request, its octets and all that follows. It
// returns why, or the error of the stream.
func (r *Reader) Skip(l Literal, why error) error {
	for {
		if !l.NonSync {
			return why
		}
		if l.Size > maxSkip {
			return ErrFlood
		}
		if _, err := io.CopyN(io.Discard, r.R, int64(l.Size)); err != nil {
			return unexpected(err)
		}
		var next bool
		var err error
		if l, next, err = r.SkipLine(); err != nil || !next {
			if err == nil {
				err = why
			}
			return err
		}
	}
}

// SkipLine skips one line and tells whether it ends with a literal.
func (r *Reader) SkipLine() (l Literal, ok bool, err error) {
	var tail []byte
	for skipped := 0; ; {
		p, err := r.R.ReadSlice('\n')
		if skipped += len(p); skipped > maxSkip {
			return l, false, ErrFlood
		}
		tail = append(tail, p[max(0, len(p)-32):]...)
		tail = tail[max(0, len(tail)-32):]
		if err == nil {
			l, _, ok = LiteralAt(tail)
			return l, ok, nil
		}
		if err != bufio.ErrBufferFull {
			return l, false, unexpected(err)
		}
	}
}
