package service

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"posthaste/pkg/ipc"
	"posthaste/pkg/masterlink"
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

// adoptSessions opens the socket on which master hands connections over.
func (r *runner) adoptSessions() error {
	f := os.NewFile(masterlink.FirstListener, "session")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("session socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok || r.spec.Session == nil {
		return fmt.Errorf("session socket: %s has no sessions", r.spec.Name)
	}
	r.sessions = ipc.NewConn(uc)
	r.handed = make(chan struct{})
	return nil
}

// sessionLoop serves every connection that master hands over, until master
// says that there will be no more by closing the socket.
func (r *runner) sessionLoop() {
	defer close(r.handed)
	for {
		typ, p, err := r.sessions.ReadFrame()
		if err != nil {
			return
		}
		v, err := session.DecodeDeliver(p)
		if typ != session.TypeDeliver || err != nil {
			r.env.Log.Warningf("session: bad frame: %v", err)
			if fd, err := r.sessions.TakeFD(); err == nil {
				syscall.Close(fd)
			}
			continue
		}
		fd, err := v.Open.Descriptors(r.sessions)
		if err != nil {
			return
		}
		f := os.NewFile(uintptr(fd), "connection")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			r.env.Log.Warningf("session: %v", err)
			v.Open.CloseLease()
			continue
		}
		r.begin()
		go func() {
			defer r.end()
			defer v.Open.CloseLease()
			defer c.Close()
			r.protect(func() { r.spec.Session(r.ctx, r.env, &Session{Grant: v.Grant, Open: v.Open, Conn: c}) })
		}()
	}
}
