package service

import (
	"net"

	"posthaste/pkg/proto/session"
)

// Session is one authenticated connection, for session programs. The process
// runs as the user whose session it is.
type Session struct {
	session.Grant
	session.Open
	// Conn is the plaintext side of the connection: the client's socket, or the
	// end of a socket pair whose other end login keeps under TLS. Open.Input has
	// been received already and is not in it.
	Conn net.Conn
}
