// Package ipc carries framed messages and file descriptors between the
// programs over Unix stream sockets, and tells who the peer is.
//
// A frame is a 6-byte head (payload length, big-endian 32 bits; type, 1 byte;
// number of descriptors, 1 byte) and the payload. A connection opens with a
// hello frame each way that names the protocol and its version.
package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/deadline"
	"posthaste/pkg/sockio"
)

// MaxFrame is the largest payload; a longer one is a protocol error.
const MaxFrame = 1 << 20

// maxFDs is the most descriptors that one frame carries.
const maxFDs = 4

// typeHello opens a connection; protocols use types from 1 on.
const typeHello = 0

// ErrProtocol is every violation of the framing.
var ErrProtocol = errors.New("internal protocol error")

// Conn is one framed connection. ReadFrame may be used by one goroutine at a
// time; writes may come from several.
type Conn struct {
	c    *net.UnixConn
	s    *sockio.Stream // of c
	oob  [64]byte
	rb   []byte // read buffer: rb[r:w] is unread
	r, w int

	fmu    sync.Mutex
	fds    []int // received, not yet handed out
	own    int   // how many of them came with the frame that was read last
	closed bool

	wmu sync.Mutex
	wb  []byte

	lmu         sync.Mutex
	both, write deadline.Limit
}

// NewConn frames c.
func NewConn(c *net.UnixConn) *Conn {
	return &Conn{c: c, s: sockio.NewStream(c), rb: make([]byte, 16<<10)}
}

// Dial connects to a Unix socket and exchanges hellos. protocol is a name with
// version, such as "cleanup/1".
func Dial(path, protocol string, timeout time.Duration) (*Conn, error) {
	d := net.Dialer{Timeout: timeout}
	nc, err := d.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := NewConn(nc.(*net.UnixConn))
	c.SetDeadline(time.Now().Add(timeout))
	if err := c.WriteFrame(typeHello, []byte(protocol)); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.expectHello(protocol); err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

// Accept does the server's half of the hello on an accepted connection.
func Accept(nc net.Conn, protocol string, timeout time.Duration) (*Conn, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%w: not a Unix socket", ErrProtocol)
	}
	c := NewConn(uc)
	c.SetDeadline(time.Now().Add(timeout))
	if err := c.expectHello(protocol); err != nil {
		return nil, err
	}
	if err := c.WriteFrame(typeHello, []byte(protocol)); err != nil {
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

func (c *Conn) expectHello(protocol string) error {
	t, p, err := c.ReadFrame()
	if err != nil {
		return err
	}
	if t != typeHello || string(p) != protocol {
		return fmt.Errorf("%w: peer speaks %.40q, not %q", ErrProtocol, p, protocol)
	}
	return nil
}

// ReadFrame returns the next frame; payload is valid until the next call. The
// descriptors that it carries are taken with TakeFD before that, or closed.
// io.EOF means that the peer closed between frames.
func (c *Conn) ReadFrame() (typ byte, payload []byte, err error) {
	defer func() {
		if err != nil {
			c.dropFDs() // nobody will ask for them
		}
	}()
	c.fmu.Lock()
	c.closeFDs(c.own)
	c.fmu.Unlock()
	if err := c.fill(6); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(c.rb[c.r:]))
	typ, nfd := c.rb[c.r+4], int(c.rb[c.r+5])
	if n > MaxFrame || nfd > maxFDs {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes, %d descriptors", ErrProtocol, n, nfd)
	}
	c.r += 6
	if err := c.fill(n); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	payload = c.rb[c.r : c.r+n : c.r+n]
	c.r += n
	c.fmu.Lock()
	defer c.fmu.Unlock()
	if nfd > len(c.fds) {
		return 0, nil, fmt.Errorf("%w: missing descriptor", ErrProtocol)
	}
	if c.own = nfd; nfd == 0 && c.r == c.w {
		c.closeFDs(len(c.fds)) // that no frame has announced
	}
	return typ, payload, nil
}

// TakeFD returns the next descriptor of the frame that was read last, or an error
// if there is none.
func (c *Conn) TakeFD() (int, error) {
	c.fmu.Lock()
	defer c.fmu.Unlock()
	if c.own == 0 || len(c.fds) == 0 {
		return -1, fmt.Errorf("%w: no descriptor", ErrProtocol)
	}
	fd := c.fds[0]
	c.fds = append(c.fds[:0], c.fds[1:]...) // seldom more than one
	c.own--
	return fd, nil
}

func (c *Conn) dropFDs() {
	c.fmu.Lock()
	defer c.fmu.Unlock()
	c.closeFDs(len(c.fds))
}

// closeFDs closes the n oldest descriptors. It is called with fmu held.
func (c *Conn) closeFDs(n int) {
	for _, fd := range c.fds[:n] {
		syscall.Close(fd)
	}
	c.fds = append(c.fds[:0], c.fds[n:]...)
	c.own = max(0, c.own-n)
}

// fill reads until n bytes are buffered at rb[r:].
func (c *Conn) fill(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	if c.r > 0 {
		copy(c.rb, c.rb[c.r:c.w])
		c.w -= c.r
		c.r = 0
	}
	if n > len(c.rb) {
		nb := make([]byte, max(n, min(2*len(c.rb), MaxFrame+6)))
		copy(nb, c.rb[:c.w])
		c.rb = nb
	}
	for c.w < n {
		m, on, err := c.s.Recv(c.rb[c.w:], c.oob[:])
		if on > 0 {
			if err := c.takeRights(c.oob[:on]); err != nil {
				return err
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if m == 0 {
			if c.w > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		c.w += m
	}
	return nil
}

func (c *Conn) takeRights(oob []byte) error {
	c.fmu.Lock()
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			c.fmu.Unlock()
			return err
		}
		if oob = rest; h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_RIGHTS {
			for ; len(data) >= 4; data = data[4:] {
				c.fds = append(c.fds, int(int32(binary.NativeEndian.Uint32(data)))) // received as close-on-exec
			}
		}
	}
	bad := c.closed || len(c.fds) > 1024
	c.fmu.Unlock()
	if bad {
		c.dropFDs()
		return fmt.Errorf("%w: too many descriptors", ErrProtocol)
	}
	return nil
}

// WriteFrame sends one frame in one system call.
func (c *Conn) WriteFrame(typ byte, payload []byte, fds ...int) error {
	if len(payload) > MaxFrame || len(fds) > maxFDs {
		return fmt.Errorf("%w: frame of %d bytes, %d descriptors", ErrProtocol, len(payload), len(fds))
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.wb = AppendFrame(c.wb[:0], typ, payload, len(fds))
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	return c.send(c.wb, oob)
}

// TryWrite sends frames that AppendFrame made if the peer's buffer has room for
// them. If it has none, it returns false and has sent nothing; after an error
// the connection is of no more use.
func (c *Conn) TryWrite(frames []byte) (sent bool, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	rc, err := c.c.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var werr error
	err = rc.Control(func(fd uintptr) {
		for {
			n, werr = unix.SendmsgN(int(fd), frames, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if werr != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return false, err
	case werr == unix.EAGAIN:
		return false, nil
	case werr != nil:
		return false, werr
	case n < len(frames):
		return false, io.ErrShortWrite
	}
	return true, nil
}

// WriteRaw sends frames that AppendFrame made, in one system call where the
// socket takes them.
func (c *Conn) WriteRaw(frames []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.send(frames, nil)
}

func (c *Conn) send(b, oob []byte) error {
	_, err := c.s.Send(b, oob)
	return err
}

// AppendFrame appends a whole frame to b, for WriteRaw.
func AppendFrame(b []byte, typ byte, payload []byte, nfds int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, typ, byte(nfds))
	return append(b, payload...)
}

// SetDeadline bounds reads and writes.
func (c *Conn) SetDeadline(t time.Time) error { c.forget(); return c.c.SetDeadline(t) }

// SetReadDeadline bounds reads.
func (c *Conn) SetReadDeadline(t time.Time) error { c.forget(); return c.c.SetReadDeadline(t) }

// SetWriteDeadline bounds writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.forget(); return c.c.SetWriteDeadline(t) }

// Within bounds reads and writes by d from now on, or by a second less. It is
// cheaper than SetDeadline for a limit that moves all the time.
func (c *Conn) Within(d time.Duration) error {
	c.lmu.Lock()
	defer c.lmu.Unlock()
	return c.both.Move(time.Now(), d, func(t time.Time) error { c.write.Forget(); return c.c.SetDeadline(t) })
}

// WriteWithin is Within for writes alone.
func (c *Conn) WriteWithin(d time.Duration) error {
	c.lmu.Lock()
	defer c.lmu.Unlock()
	return c.write.Move(time.Now(), d, func(t time.Time) error { c.both.Forget(); return c.c.SetWriteDeadline(t) })
}

func (c *Conn) forget() {
	c.lmu.Lock()
	c.both.Forget()
	c.write.Forget()
	c.lmu.Unlock()
}

// Close closes the connection and any descriptors not taken.
func (c *Conn) Close() error {
	c.fmu.Lock()
	c.closed = true
	c.fmu.Unlock()
	c.dropFDs()
	return c.c.Close()
}

// Quiet tells whether the peer of an idle connection has neither sent anything
// nor closed, without waiting.
func (c *Conn) Quiet() bool {
	if c.r != c.w {
		return false
	}
	some, err := c.s.Input()
	return !some && err == nil
}

// PeerCred returns the identity of the process that connected (SO_PEERCRED).
func (c *Conn) PeerCred() (*unix.Ucred, error) { return PeerCred(c.c) }

// PeerCred returns the identity of the process at the other end of uc.
func PeerCred(uc *net.UnixConn) (*unix.Ucred, error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := rc.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, cerr
}
