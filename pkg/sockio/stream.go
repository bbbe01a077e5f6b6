// Package sockio reads, writes and accepts on sockets with fewer instructions
// than package net: no allocation for each call, no notice to the Go scheduler
// of system calls that cannot block, and no options to be set on each connection.
// Waiting is still the runtime's, and so are deadlines.
package sockio

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stream makes the calls on a stream socket that belongs to somebody else, who
// sets its deadlines and closes it. One Read and one Write may be under way at a
// time; others wait.
type Stream struct {
	rc  syscall.RawConn
	bad error // why there is no rc

	rmu  sync.Mutex
	in   request
	recv func(fd uintptr) bool
	peek func(fd uintptr)
	one  [1]byte

	wmu  sync.Mutex
	out  request
	send func(fd uintptr) bool
}

// request is a call and its result. It lives in the Stream, since what a
// function that is passed to the runtime's poller refers to is allocated anew
// each time.
type request struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	p    []byte
	oob  []byte
	n    int // bytes of p
	oobn int
	err  syscall.Errno
}

// NewStream returns the Stream of c, whose descriptor must not block.
func NewStream(c syscall.Conn) *Stream {
	s := &Stream{}
	s.rc, s.bad = c.SyscallConn()
	s.recv, s.send, s.peek = s.in.recv, s.out.send, s.in.peek
	return s
}

// done clears r and tells what became of it.
func (r *request) done(op string, err error) error {
	e := r.err
	r.p, r.oob, r.hdr, r.err = nil, nil, unix.Msghdr{}, 0
	r.iov.Base = nil
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		err = net.ErrClosed // which package os has another error for
	}
	if err != nil {
		return &net.OpError{Op: op, Net: "socket", Err: err}
	}
	if e != 0 {
		return &net.OpError{Op: op, Net: "socket", Err: os.NewSyscallError(op, e)}
	}
	return nil
}

// recv is one attempt to receive; false if there is nothing yet.
func (r *request) recv(fd uintptr) bool {
	for {
		var n uintptr
		if r.oob == nil {
			n, r.err = read(fd, r.p)
		} else {
			r.message()
			n, _, r.err = syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), syscall.MSG_CMSG_CLOEXEC)
		}
		switch r.err {
		case 0:
			r.n, r.oobn = int(n), int(r.hdr.Controllen) // which a call that fails leaves at the size of oob
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// message makes the head for recvmsg and sendmsg.
func (r *request) message() {
	r.iov.Base = unsafe.SliceData(r.p)
	r.iov.SetLen(len(r.p))
	r.hdr = unix.Msghdr{Iov: &r.iov, Iovlen: 1, Control: unsafe.SliceData(r.oob)}
	r.hdr.SetControllen(len(r.oob))
}

// send sends what is left; false if there is no room for all of it yet.
func (r *request) send(fd uintptr) bool {
	for r.n < len(r.p) {
		var n uintptr
		if r.oob == nil {
			n, r.err = write(fd, r.p[r.n:])
		} else {
			r.message()
			n, _, r.err = syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), syscall.MSG_NOSIGNAL)
		}
		switch r.err {
		case 0:
			r.n += int(n)
			r.oob = nil // which went with the first byte
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
	return true
}

// Read reads into p, like package net's.
func (s *Stream) Read(p []byte) (int, error) {
	n, _, err := s.Recv(p, nil)
	return n, err
}

// Recv is Read together with control messages, if oob is not nil; descriptors
// are received as close-on-exec.
func (s *Stream) Recv(p, oob []byte) (n, oobn int, err error) {
	if len(p) == 0 || s.bad != nil {
		return 0, 0, s.bad
	}
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.in.p, s.in.oob, s.in.n, s.in.oobn = p, oob, 0, 0
	err = s.rc.Read(s.recv)
	n, oobn = s.in.n, s.in.oobn
	if err = s.in.done("read", err); err == nil && n == 0 {
		err = io.EOF
	}
	return n, oobn, err
}

// Write writes all of p, like package net's.
func (s *Stream) Write(p []byte) (int, error) { return s.Send(p, nil) }

// Send is Write with control messages, if oob is not empty, that go with the first byte.
func (s *Stream) Send(p, oob []byte) (n int, err error) {
	if len(p) == 0 || s.bad != nil {
		return 0, s.bad
	}
	if len(oob) == 0 {
		oob = nil
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.out.p, s.out.oob, s.out.n = p, oob, 0
	err = s.rc.Write(s.send)
	n = s.out.n
	return n, s.out.done("write", err)
}

// peek looks for input and leaves it where it is.
func (r *request) peek(fd uintptr) {
	for {
		var n uintptr
		n, _, r.err = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(r.p))), uintptr(len(r.p)),
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if r.n = int(n); r.err != syscall.EINTR {
			return
		}
	}
}

// Input tells without waiting what a Read would find: some bytes, the end of the
// stream (EOF) or an error, or nothing yet, which is neither.
func (s *Stream) Input() (some bool, err error) {
	if s.bad != nil {
		return false, s.bad
	}
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.in.p = s.one[:]
	err = s.rc.Control(s.peek)
	n, nothing := s.in.n, s.in.err == syscall.EAGAIN
	if nothing {
		s.in.err = 0
	}
	if err = s.in.done("read", err); nothing && err == nil {
		return false, nil
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n > 0 && err == nil, err
}
