package main

import (
	"compress/flate"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// outSize is how much output gathers before it is written, inSize how much
// input is read ahead of a session at rest.
const (
	outSize = 32 << 10
	inSize  = 2 << 10
)

// writeTimeout is how long a client may take nothing of what it asked for.
const writeTimeout = 3 * time.Minute

var outBufs = sync.Pool{New: func() any { b := make([]byte, 0, outSize+8<<10); return &b }}

// output gathers what is sent. It holds a buffer only while something is in it.
// After an error all is dropped; the error shows when input is next wanted.
type output struct {
	conn  net.Conn
	w     io.Writer     // conn, or flate
	flate *flate.Writer // after COMPRESS
	b     []byte
	box   *[]byte // where b came from
	err   error
	sent  int   // counts writes
	total int64 // octets, before compression
}

// get makes sure that there is a buffer with room for a usual response.
func (o *output) get() {
	if o.box == nil {
		o.box = outBufs.Get().(*[]byte)
		o.b = (*o.box)[:0]
		return
	}
	if len(o.b) >= outSize {
		o.write()
	}
}

// write sends what there is, without forcing compressed data out.
func (o *output) write() {
	if len(o.b) > 0 && o.err == nil {
		o.sent++
		o.total += int64(len(o.b))
		o.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, o.err = o.w.Write(o.b)
	}
	o.b = o.b[:0]
}

// flush sends all and gives the buffer back.
func (o *output) flush() error {
	if o.box == nil {
		return o.err
	}
	o.write()
	if o.flate != nil && o.err == nil {
		o.err = o.flate.Flush()
	}
	if cap(o.b) <= 2*outSize {
		*o.box = o.b[:0]
	}
	outBufs.Put(o.box)
	o.box, o.b = nil, nil
	return o.err
}

// Write takes a literal's octets: io.Writer for Content.WriteTo.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n := len(p)
	for len(p) > 0 {
		o.get()
		k := min(len(p), max(outSize-len(o.b), 0))
		if len(o.b) == 0 && len(p) >= outSize {
			k = min(len(p), 1<<20) // each piece gets its own time
			o.sent++
			o.total += int64(k)
			o.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, o.err = o.w.Write(p[:k]); o.err != nil {
				return 0, o.err
			}
		} else {
			o.b = append(o.b, p[:k]...)
		}
		p = p[k:]
	}
	return n, o.err
}

// str and num append to the output. put is for callers that append on their
// own: out.b = append(out.b, …) after get.
func (o *output) str(parts ...string) {
	o.get()
	for _, s := range parts {
		o.b = append(o.b, s...)
	}
}

func (o *output) num(n uint64) {
	o.get()
	o.b = strconv.AppendUint(o.b, n, 10)
}

// input reads from the client. Before it waits it sends what there is to send.
type input struct {
	s    *session
	pre  []byte // received by login
	r    io.Reader
	idle bool // during IDLE: the session's own goroutine does the output
}

func (in *input) Read(p []byte) (int, error) {
	if len(in.pre) > 0 {
		n := copy(p, in.pre)
		if in.pre = in.pre[n:]; len(in.pre) == 0 {
			in.pre = nil
		}
		return n, nil
	}
	if !in.idle {
		if err := in.s.out.flush(); err != nil {
			return 0, err
		}
	}
	return in.r.Read(p)
}

// socket sets the deadline of each read.
type socket struct{ s *session }

func (k socket) Read(p []byte) (int, error) {
	s := k.s
	wait := s.opt.timeout
	if s.inCommand.Load() {
		wait = min(wait, commandTimeout)
	}
	s.conn.SetReadDeadline(time.Now().Add(wait))
	if s.ctx.Err() != nil {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := s.conn.Read(p)
	s.bytesIn += int64(n)
	return n, err
}

// commandTimeout is how long the rest of a command may keep us waiting.
const commandTimeout = 5 * time.Minute

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
