package esmtp

import (
	"bytes"
	"errors"
	"io"
)

// ErrLineTooLong is returned for a line above the limit; the whole line has
// been read and dropped, so that the session can go on.
var ErrLineTooLong = errors.New("line too long")

// Reader reads lines and raw bytes from one connection with one buffer. The
// caller may lend it a larger buffer while content flows.
type Reader struct {
	src  io.Reader
	buf  []byte
	home []byte // the small buffer while a larger one is borrowed
	r, w int
}

// NewReader returns a Reader of src with a buffer of size bytes.
func NewReader(src io.Reader, size int) *Reader { return NewReaderBuffer(src, make([]byte, size)) }

// NewReaderBuffer returns a Reader of src that uses buf until it needs a larger
// one.
func NewReaderBuffer(src io.Reader, buf []byte) *Reader { return &Reader{src: src, buf: buf} }

// Reset drops all buffered input and reads from src henceforth. It is what
// STARTTLS needs: nothing received before the handshake survives it.
func (r *Reader) Reset(src io.Reader) { r.src, r.r, r.w = src, 0, 0 }

// Buffered returns the bytes that have been read but not consumed; valid until
// the next call.
func (r *Reader) Buffered() []byte { return r.buf[r.r:r.w] }

// Consume drops n buffered bytes.
func (r *Reader) Consume(n int) {
	r.r += n
	if r.r >= r.w {
		r.r, r.w = 0, 0
	}
}

// Fill reads once from the connection, making room first. It returns an error
// only if nothing was read.
func (r *Reader) Fill() error {
	if r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Borrow makes b the buffer until Return; b must be larger than what is
// buffered.
func (r *Reader) Borrow(b []byte) {
	n := copy(b, r.buf[r.r:r.w])
	r.home, r.buf, r.r, r.w = r.buf, b, 0, n
}

// Return goes back to the small buffer, which grows if more input than it
// holds is pending, and hands the borrowed one back.
func (r *Reader) Return() []byte {
	b := r.buf
	if n := r.w - r.r; n > len(r.home) {
		r.home = make([]byte, n)
	}
	n := copy(r.home, b[r.r:r.w])
	r.buf, r.home, r.r, r.w = r.home, nil, 0, n
	return b
}

// ReadLine returns the next line without its end. The line is valid until the
// next call. bareLF tells that it ended in LF without CR. At most max bytes
// are accepted; a longer line is read to its end and answered with
// ErrLineTooLong. At the end of input an incomplete line is dropped and the
// error of the connection returned.
func (r *Reader) ReadLine(max int) (line []byte, bareLF bool, err error) {
	seen := 0
	tooLong := false
	for {
		if i := bytes.IndexByte(r.buf[r.r+seen:r.w], '\n'); i >= 0 {
			end := r.r + seen + i
			line = r.buf[r.r:end]
			r.r = end + 1
			bareLF = true
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line, bareLF = line[:n-1], false
			}
			if tooLong || len(line) > max {
				return nil, bareLF, ErrLineTooLong
			}
			return line, bareLF, nil
		}
		seen = r.w - r.r
		if seen > max+1 {
			// Keep the last byte: it may be the CR of the line's end.
			r.r, seen, tooLong = r.w-1, 1, true
		}
		if err := r.Fill(); err != nil {
			return nil, false, err
		}
	}
}
