package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/session"
)

// handOver gives the connection to the session program, whom the cookie names.
// It returns when login has no more to do with it; an error means that the
// client is still here.
func (c *client) handOver(cookie, tag string) error {
	raw, err := hex.DecodeString(cookie)
	if err != nil {
		return fmt.Errorf("cookie: %w", err)
	}
	if !c.srv.waiting.in(c) {
		return os.ErrDeadlineExceeded
	}
	o := &session.Open{Cookie: string(raw), TLS: c.tls != nil, Remote: c.remote.String(), Local: c.local.String(),
		Input: c.unread(), Tag: tag, Service: c.srv.service}
	if c.tls == nil {
		return c.handSocket(o)
	}
	return c.handProxied(o)
}

// handSocket passes the client's own socket.
func (c *client) handSocket(o *session.Open) error {
	done, err := c.leaseUser(o)
	if err != nil {
		return err
	}
	defer done()
	sc, ok := c.raw.(syscall.Conn)
	if !ok {
		return fmt.Errorf("connection is a %T", c.raw)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var oerr error
	if err := rc.Control(func(fd uintptr) { oerr = c.srv.sessions.Open(c.ctx, o, int(fd)) }); err != nil {
		return err
	}
	if oerr == nil {
		c.succeeded()
	}
	return oerr
}

// handProxied passes one end of a socket pair and feeds the other until the
// session is over.
func (c *client) handProxied(o *session.Open) error {
	done, err := c.countUser()
	if err != nil {
		return err
	}
	defer done()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fds[0]), "session")
	nc, err := net.FileConn(f)
	f.Close()
	if err == nil {
		err = c.srv.sessions.Open(c.ctx, o, fds[1])
	}
	syscall.Close(fds[1])
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		return err
	}
	c.succeeded()
	c.br, c.out = nil, nil // a long session needs them no more
	proxy(c.ctx, c.raw, c.tls, nc.(*net.UnixConn))
	return nil
}

func (c *client) succeeded() {
	c.handed = true
	c.raw.SetDeadline(time.Time{})
	c.srv.trim.Reset(trimAfter)
	c.srv.log.Event(maillog.Login{Service: c.srv.protocol, LoginPeer: c.peer()})
}
