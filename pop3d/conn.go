package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/pkg/pop3"
	"posthaste/pkg/service"
)

// Buffers of a session. What is written goes through a large one from a pool,
// which a session holds only while it answers.
const (
	readBuffer  = 512
	writeBuffer = 64 << 10
)

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

// errTooLong is a command line beyond the limit; it has been skipped.
var errTooLong = errors.New("command line too long")

// conn is the client's connection.
type conn struct {
	c       net.Conn
	r       *bufio.Reader
	w       *bufio.Writer // nil while there is nothing to send
	timeout time.Duration
	stopped atomic.Bool // the process must end
	err     error       // of writing: the client is gone
}

func newConn(s *service.Session, timeout time.Duration) *conn {
	src := io.Reader(s.Conn)
	if len(s.Input) > 0 {
		src = io.MultiReader(bytes.NewReader(s.Input), s.Conn)
	}
	return &conn{c: s.Conn, r: bufio.NewReaderSize(src, readBuffer), timeout: timeout}
}

// interrupt makes a session that waits for its client end.
func (c *conn) interrupt() {
	c.stopped.Store(true)
	c.c.SetReadDeadline(time.Unix(1, 0))
}

// Write sends p, sooner or later; each piece that the client takes gets its own
// time.
func (c *conn) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.w == nil {
		c.w = writers.Get().(*bufio.Writer)
		c.w.Reset((*timed)(c))
	}
	n, err := c.w.Write(p)
	if err != nil {
		c.err = err
	}
	return n, err
}

// timed is the connection with a limit of time for each write.
type timed conn

func (t *timed) Write(p []byte) (int, error) {
	t.c.SetWriteDeadline(time.Now().Add(t.timeout))
	return t.c.Write(p)
}

// say adds a line to what is sent.
func (c *conn) say(s string) {
	io.WriteString(c, s)
	io.WriteString(c, "\r\n")
}

// flush sends what was written and gives the buffer back.
func (c *conn) flush() error {
	if c.w == nil {
		return c.err
	}
	if err := c.w.Flush(); c.err == nil {
		c.err = err
	}
	c.w.Reset(nil)
	writers.Put(c.w)
	c.w = nil
	return c.err
}

// readLine returns the next command line without its end, good until the next
// call. Answers are sent before it waits.
func (c *conn) readLine() ([]byte, error) {
	var b []byte
	long := false
	for {
		if c.r.Buffered() == 0 {
			if err := c.flush(); err != nil {
				return nil, err
			}
			c.c.SetReadDeadline(time.Now().Add(c.timeout))
			if c.stopped.Load() { // its deadline may have been set before ours
				return nil, os.ErrDeadlineExceeded
			}
		}
		p, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
		if long = long || len(b)+len(p) > pop3.MaxLine+2; !long {
			if err == nil && b == nil {
				return trimEnd(p), nil
			}
			b = append(b, p...)
		}
		if err == nil {
			if long {
				return nil, errTooLong
			}
			return trimEnd(b), nil
		}
	}
}

func trimEnd(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte{'\n'}), []byte{'\r'})
}
