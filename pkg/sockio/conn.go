package sockio

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is an accepted TCP connection.
type Conn struct {
	*Stream
	f             *os.File
	local, remote net.Addr
}

// What accepted connections inherit from the listener, for which package net makes
// five system calls for each. A client that is gone without a word is noticed
// in ten minutes; its battery pays for one packet in five while nothing else is sent.
var inherited = []struct {
	name              string
	level, opt, value int
}{
	{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300}, // seconds
	{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 60},
	{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
}

// Listener accepts TCP connections.
type Listener struct {
	f      *os.File
	rc     syscall.RawConn
	addr   net.Addr
	local  net.Addr // of each connection; nil if it has to be asked for
	accept func(fd uintptr) bool

	// The result of accept: one goroutine at a time uses it.
	fd    int
	sa    unix.RawSockaddrAny
	errno syscall.Errno
}

// Listen returns a Listener that accepts what l would, which it closes. Its
// Accept is for one goroutine at a time.
func Listen(l *net.TCPListener) (*Listener, error) {
	f, err := l.File() // package net lets nobody wait for its own descriptor
	if err != nil {
		return nil, err
	}
	l.Close()
	s := &Listener{f: f, addr: l.Addr()}
	if s.rc, err = f.SyscallConn(); err == nil {
		var e error
		err = s.rc.Control(func(fd uintptr) {
			for _, o := range inherited {
				if e == nil {
					e = os.NewSyscallError("setsockopt "+o.name, unix.SetsockoptInt(int(fd), o.level, o.opt, o.value))
				}
			}
		})
		if err == nil {
			err = e
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if a, ok := s.addr.(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		s.local = a
	}
	s.accept = func(fd uintptr) bool {
		for {
			size := uint32(unix.SizeofSockaddrAny)
			n, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&s.sa)), uintptr(unsafe.Pointer(&size)),
				syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
			switch e {
			case syscall.EINTR, syscall.ECONNABORTED: // gone before we came to it
				continue
			case syscall.EAGAIN:
				return false
			}
			s.fd, s.errno = int(n), e
			return true
		}
	}
	return s, nil
}

// Accept waits for the next connection, which is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	if err := l.rc.Read(l.accept); err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	if l.errno != 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: os.NewSyscallError("accept4", l.errno)}
	}
	c := &Conn{f: os.NewFile(uintptr(l.fd), "tcp"), local: l.local, remote: address(&l.sa)}
	if c.local == nil {
		var sa unix.RawSockaddrAny
		size := uint32(unix.SizeofSockaddrAny)
		if _, _, e := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(l.fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); e == 0 {
			c.local = address(&sa)
		}
	}
	c.Stream = NewStream(c.f)
	return c, nil
}

// Addr is the address it listens on.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close ends Accept.
func (l *Listener) Close() error { return l.f.Close() }

// address converts an address from the kernel's form; nil if it is not TCP's.
func address(sa *unix.RawSockaddrAny) net.Addr {
	port := func(p *uint16) int { b := (*[2]byte)(unsafe.Pointer(p)); return int(b[0])<<8 | int(b[1]) }
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return &net.TCPAddr{IP: append(net.IP(nil), in.Addr[:]...), Port: port(&in.Port)}
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		a := &net.TCPAddr{IP: append(net.IP(nil), in.Addr[:]...), Port: port(&in.Port)}
		if in.Scope_id != 0 {
			a.Zone = strconv.Itoa(int(in.Scope_id))
			if i, err := net.InterfaceByIndex(int(in.Scope_id)); err == nil {
				a.Zone = i.Name
			}
		}
		return a
	}
	return nil
}

// LocalAddr and RemoteAddr are *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Deadlines are those of net.Conn.
func (c *Conn) SetDeadline(t time.Time) error      { return c.f.SetDeadline(t) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.f.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.f.SetWriteDeadline(t) }

// SyscallConn gives access to the descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.f.SyscallConn() }

// Close closes the connection; a Read or Write that waits ends with an error.
func (c *Conn) Close() error { return c.f.Close() }

// CloseWrite sends the end of the stream.
func (c *Conn) CloseWrite() error {
	var err error
	if e := c.rc.Control(func(fd uintptr) { err = os.NewSyscallError("shutdown", unix.Shutdown(int(fd), unix.SHUT_WR)) }); e != nil {
		return e
	}
	return err
}
