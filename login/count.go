package main

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/session"
)

// errTooMany says that the user has too many connections from this address.
var errTooMany = errors.New("too many connections of this user from this address")

// tooMany is errTooMany in Dovecot's words, for the client and the log.
func (s *server) tooMany() string {
	return fmt.Sprintf("Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)", s.perUser)
}

// failureIdent is how anvil(8) knows the client that fails to log in, at whatever
// service.
func (c *client) failureIdent() string { return "login:" + c.key.String() }

// mayTry tells whether the client may try to log in.
func (c *client) mayTry() bool {
	n := c.srv.authFailures
	return n == 0 || c.srv.anvil.Rate(c.ctx, c.failureIdent(), anvil.Auth) < n
}

// failed counts a failed login.
func (c *client) failed() {
	if c.srv.authFailures > 0 {
		c.srv.anvil.Count(c.ctx, c.failureIdent(), anvil.Auth)
	}
}

// userIdent is how anvil(8) knows user and address together.
func (c *client) userIdent() string {
	return c.srv.protocol + ":" + c.user + ":" + c.remote.Addr().String()
}

// countUser counts a session that login serves to its end; the result ends the
// count.
func (c *client) countUser() (done func(), err error) {
	if c.srv.perUser == 0 {
		return func() {}, nil
	}
	id := c.userIdent()
	n, _, ok := c.srv.anvil.Connect(c.ctx, id)
	if !ok {
		return func() {}, nil
	}
	done = func() { c.srv.anvil.Disconnect(id) }
	if n > c.srv.perUser {
		done()
		return nil, errTooMany
	}
	return done, nil
}

// leaseUser counts a session that ends without login: when the session process
// closes the lease that it gets with o. The result closes login's own.
func (c *client) leaseUser(o *session.Open) (done func(), err error) {
	if c.srv.perUser == 0 {
		return func() {}, nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	n, ok := c.srv.anvil.ConnectUntil(c.ctx, c.userIdent(), fds[0])
	syscall.Close(fds[0])
	if !ok || n > c.srv.perUser {
		syscall.Close(fds[1])
		if ok {
			return nil, errTooMany
		}
		return func() {}, nil
	}
	o.Lease, o.LeaseFD = true, fds[1]
	return func() { syscall.Close(fds[1]) }, nil
}
