package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// driver is the SMTP client of a load: all its sessions in one loop on one
// thread, since it shares the machine with what it measures. A goroutine for each
// session takes twice the processor time. Of replies it looks at the code's
// first digit.
type driver struct {
	load
	addr     unix.SockaddrInet4
	rcpt     []string
	body     []byte
	ep       int
	slots    []slot
	next     int // the next message
	failures int
	err      error // the first one
	latency  []time.Duration
	in       []byte
}

// phase is what a session does when all expected replies have come.
type phase int

const (
	sayHello phase = iota
	sayMail
	sayRcpt
	sayData
	sendBody
	endMessage
	endSession
)

// slot is a session, or room for one.
type slot struct {
	number int32
	fd     int // -1: none
	m      int // its message
	named  int // recipients that were named
	began  time.Time
	opened time.Time
	next   phase
	expect string // first digits of the replies that are still to come
	in     []byte // of a line
	out    []byte // what waits to be written
	late   []byte // of out, what the socket did not take
}

// drive runs a load, of which rcpt are the recipients.
func drive(l load, addr string, rcpt []string, body []byte) (*driver, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	d := &driver{load: l, rcpt: rcpt, body: body, slots: make([]slot, l.sessions), in: make([]byte, 64<<10),
		latency: make([]time.Duration, 0, l.n)}
	d.addr = unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
	if d.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(d.ep)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	open := 0
	for i := range d.slots {
		s := &d.slots[i]
		s.number, s.fd = int32(i), -1
		if d.take(s) {
			open++
		}
	}
	events := make([]unix.EpollEvent, len(d.slots))
	for open > 0 {
		n, err := d.wait(events)
		if err != nil {
			return nil, err
		}
		for _, e := range events[:n] {
			s := &d.slots[e.Fd]
			if !d.turn(s, e.Events) {
				open--
			}
		}
		if n > 0 {
			continue
		}
		for i := range d.slots {
			if s := &d.slots[i]; s.fd >= 0 && time.Since(s.opened) > patience && !d.fail(s, errors.New("session takes too long")) {
				open--
			}
		}
	}
	return d, nil
}

// wait waits for events, a second at most. The call is a raw one: that another
// thread takes over the processor for each of them, as the runtime does, costs
// more than it gains.
func (d *driver) wait(events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(d.ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 1000, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

// take gives a session the next message, if there is one; a slot without session
// connects.
func (d *driver) take(s *slot) bool {
	for d.next < d.n && d.failures <= 100 {
		s.m, s.named, s.began = d.next, 0, time.Now()
		d.next++
		if s.fd >= 0 {
			return true
		}
		if err := d.connect(s); err == nil {
			return true
		} else if d.err == nil {
			d.err = err
		}
		d.failures++
	}
	return false
}

func (d *driver) connect(s *slot) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err = unix.Connect(fd, &d.addr); err == unix.EINPROGRESS {
		err = nil // should it fail, reading will tell
	}
	if err == nil {
		err = d.watch(unix.EPOLL_CTL_ADD, fd, s, unix.EPOLLIN)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	s.fd, s.opened = fd, s.began
	s.next, s.expect, s.in, s.late = sayHello, "2", s.in[:0], nil
	return nil
}

// watch asks for events of a session, which are told by its slot's number.
func (d *driver) watch(op, fd int, s *slot, events uint32) error {
	return unix.EpollCtl(d.ep, op, fd, &unix.EpollEvent{Events: events, Fd: s.number})
}

// fail ends a session and its message, and tells whether the slot has another.
func (d *driver) fail(s *slot, err error) bool {
	if d.err == nil {
		d.err = err
	}
	d.failures++
	d.hangUp(s)
	return d.take(s)
}

func (d *driver) hangUp(s *slot) {
	unix.Close(s.fd)
	s.fd = -1
}

// turn does what can be done now, and tells whether the slot goes on.
func (d *driver) turn(s *slot, events uint32) bool {
	if events&unix.EPOLLOUT != 0 && len(s.late) > 0 {
		if err := d.flush(s); err != nil {
			return d.fail(s, err)
		}
		if len(s.late) == 0 {
			d.watch(unix.EPOLL_CTL_MOD, s.fd, s, unix.EPOLLIN)
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return true
	}
	n, err := unix.Read(s.fd, d.in)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return true
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
		fallthrough
	case err != nil:
		return d.fail(s, err)
	}
	in := d.in[:n]
	if len(s.in) > 0 {
		s.in = append(s.in, in...)
		in = s.in
	}
	for {
		i := bytes.IndexByte(in, '\n')
		if i < 0 {
			break
		}
		line := in[:i+1]
		in = in[i+1:]
		if len(line) < 4 {
			return d.fail(s, fmt.Errorf("short reply %q", line))
		}
		if line[3] == '-' {
			continue
		}
		if s.expect == "" || line[0] != s.expect[0] {
			return d.fail(s, fmt.Errorf("reply %q", line))
		}
		s.expect = s.expect[1:]
	}
	s.in = append(s.in[:0], in...)
	if s.expect != "" {
		return true
	}
	return d.advance(s)
}

// advance says what comes next in the dialogue.
func (d *driver) advance(s *slot) bool {
	b := s.out[:0]
	switch s.next {
	case sayHello:
		b = append(b, "EHLO client.bench.test\r\n"...)
		s.next, s.expect = sayMail, "2"
	case sayMail:
		b = d.mail(s, b)
	case sayRcpt:
		b = d.rcptTo(s, b)
		if s.expect = "2"; s.named == d.rcpts {
			s.next = sayData
		}
	case sayData:
		b = append(b, "DATA\r\n"...)
		s.next, s.expect = sendBody, "3"
	case sendBody:
		b = append(b, messageHeader(s.m, d.recipient(s, 0))...)
		b = append(b, d.body...)
		b = append(b, ".\r\n"...)
		s.next, s.expect = endMessage, "2"
	case endMessage:
		d.latency = append(d.latency, time.Since(s.began))
		if d.keep && d.take(s) {
			b = d.mail(s, b)
			break
		}
		b = append(b, "QUIT\r\n"...)
		s.next, s.expect = endSession, "2"
	case endSession:
		d.hangUp(s)
		return d.take(s)
	}
	s.out, s.late = b, b
	if err := d.flush(s); err != nil {
		return d.fail(s, err)
	}
	if len(s.late) > 0 {
		d.watch(unix.EPOLL_CTL_MOD, s.fd, s, unix.EPOLLIN|unix.EPOLLOUT)
	}
	return true
}

// mail begins a transaction, and if pipelining says all of its envelope.
func (d *driver) mail(s *slot, b []byte) []byte {
	b = append(b, "MAIL FROM:<sender@client.bench.test>\r\n"...)
	s.next, s.expect = sayRcpt, "2"
	if d.pipeline {
		for s.named < d.rcpts {
			b = d.rcptTo(s, b)
		}
		b = append(b, "DATA\r\n"...)
		s.next, s.expect = sendBody, strings.Repeat("2", d.rcpts+1)+"3"
	}
	return b
}

func (d *driver) rcptTo(s *slot, b []byte) []byte {
	b = append(b, "RCPT TO:<"...)
	b = append(b, d.recipient(s, s.named)...)
	s.named++
	return append(b, ">\r\n"...)
}

// recipient returns number j of the recipients of the session's message.
func (d *driver) recipient(s *slot, j int) string { return d.rcpt[(s.m*d.rcpts+j)%len(d.rcpt)] }

// flush writes what waits, as far as the socket takes it.
func (d *driver) flush(s *slot) error {
	for len(s.late) > 0 {
		n, err := unix.Write(s.fd, s.late)
		switch err {
		case nil:
			s.late = s.late[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return nil
		default:
			return err
		}
	}
	return nil
}
