package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/ipc"
	"posthaste/pkg/params"
	"posthaste/pkg/privs"
	"posthaste/pkg/proto/session"
)

const (
	cookieLife = time.Minute
	// maxGrants bounds the cookies that nobody has used yet.
	maxGrants = 20000
	// sessionIdle bounds how long a client of the session socket may be silent.
	sessionIdle = 24 * time.Hour
)

// granted is one cookie that auth has announced.
type granted struct {
	session.Grant
	expires time.Time
}

// sessionKey finds the process that serves a user's sessions.
type sessionKey struct {
	program string
	uid     uint32
}

// sessions joins logins to session programs. Its state belongs to the loop.
type sessions struct {
	listener *net.UnixListener // nil without session programs in master.cf
	grants   map[string]granted
	running  map[sessionKey]*child
	failures map[sessionKey]failure
}

// failure holds back the session processes of one user after they died too
// soon. A user can kill his own processes: that must not shut out others.
type failure struct {
	n     int // in a row
	until time.Time
}

// ended keeps the account of a session process that has left.
func (ss *sessions) ended(c *child, failed bool) {
	if !failed || c.ready && time.Since(c.started) >= time.Second {
		delete(ss.failures, c.key)
		return
	}
	if len(ss.failures) > maxGrants {
		clear(ss.failures)
	}
	f := ss.failures[c.key]
	f.n++
	f.until = time.Now().Add(min(50*time.Millisecond<<min(f.n, 12), time.Minute))
	ss.failures[c.key] = f
}

// isSessionProgram tells whether a service has no socket of its own: its
// processes run as mail users and are handed connections.
func isSessionProgram(command string) bool {
	r, ok := privs.Find(command)
	return ok && r.As == privs.MailUser
}

// openSessions opens the session socket, once some service needs it.
func (m *master) openSessions(next map[string]*service) error {
	need := false
	for _, s := range next {
		need = need || isSessionProgram(s.entry.Command)
	}
	if !need {
		return nil
	}
	if m.sess.listener != nil {
		if _, err := os.Lstat(session.Service); err == nil {
			return nil
		}
		m.sess.listener.Close() // somebody has removed the socket
	}
	fd, err := listenUnix(session.Service)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), session.Service)
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return err
	}
	m.sess.listener = l.(*net.UnixListener)
	m.sess.listener.SetUnlinkOnClose(false)
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			go m.serveSessions(c.(*net.UnixConn))
		}
	}()
	return nil
}

// serveSessions answers one client of the session socket: auth, which may
// grant, or login, which may open.
func (m *master) serveSessions(uc *net.UnixConn) {
	defer uc.Close()
	cred, err := ipc.PeerCred(uc)
	if err != nil {
		return
	}
	var mayGrant, mayOpen bool
	done := make(chan struct{})
	m.events <- func() { mayGrant, mayOpen = m.peers(cred.Uid); close(done) }
	<-done
	if !mayGrant && !mayOpen {
		m.events <- func() {
			m.log.Warningf("session socket: connection refused: process %d of user %d", cred.Pid, cred.Uid)
		}
		return
	}
	c, err := ipc.Accept(uc, session.Protocol, 10*time.Second)
	if err != nil {
		return
	}
	for {
		c.SetReadDeadline(time.Now().Add(sessionIdle))
		typ, p, err := c.ReadFrame()
		if err != nil {
			return
		}
		var res session.Result
		switch {
		case typ == session.TypeGrant && mayGrant:
			g, err := session.DecodeGrant(p)
			if err == nil {
				err = m.call(func() error { return m.grant(g) })
			}
			res = result(err)
		case typ == session.TypeOpen && mayOpen:
			o, err := session.DecodeOpen(p)
			if err != nil {
				return
			}
			fd, err := o.Descriptors(c)
			if err != nil {
				return
			}
			if err = m.call(func() error { return m.open(o, fd) }); err != nil {
				syscall.Close(fd)
				o.CloseLease()
			}
			res = result(err)
		default:
			return
		}
		c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if c.WriteFrame(session.TypeResult, session.EncodeResult(&res)) != nil {
			return
		}
	}
}

func result(err error) session.Result {
	if err != nil {
		return session.Result{Text: err.Error()}
	}
	return session.Result{OK: true}
}

// call runs f in the loop and returns its error.
func (m *master) call(f func() error) error {
	done := make(chan error, 1)
	m.events <- func() { done <- f() }
	return <-done
}

// peers tells what a user ID may do on the session socket.
func (m *master) peers(uid uint32) (mayGrant, mayOpen bool) {
	if uid == 0 {
		return true, true
	}
	if !m.root {
		own := uid == uint32(os.Geteuid())
		return own, own
	}
	users := privs.Users{Base: params.RoleUidBase.In(m.cfg), Owner: params.MailOwner.In(m.cfg)}
	is := func(id privs.Identity) bool {
		ids, err := users.IDs(id)
		return err == nil && uint32(ids.UID) == uid
	}
	return is(privs.Auth), is(privs.Login)
}

// grant remembers a cookie.
func (m *master) grant(g *session.Grant) error {
	if m.sessionService(g.Program) == nil {
		return fmt.Errorf("no session service %q in master.cf", g.Program)
	}
	if !m.root && g.UID != uint32(os.Geteuid()) {
		return fmt.Errorf("user %s has user ID %d, but the mail system runs as %d", g.User, g.UID, os.Geteuid())
	}
	now := time.Now()
	if len(m.sess.grants) >= maxGrants {
		for k, old := range m.sess.grants {
			if now.After(old.expires) {
				delete(m.sess.grants, k)
			}
		}
		if len(m.sess.grants) >= maxGrants {
			return errors.New("too many logins under way")
		}
	}
	if _, dup := m.sess.grants[g.Cookie]; dup {
		return errors.New("cookie is in use")
	}
	m.sess.grants[g.Cookie] = granted{*g, now.Add(cookieLife)}
	return nil
}

func (m *master) sessionService(program string) *service {
	for _, s := range m.services {
		if s.entry.Command == program && isSessionProgram(program) {
			return s
		}
	}
	return nil
}

// open hands a connection to the session process of the cookie's user. On
// success the descriptors are the receiver's.
func (m *master) open(o *session.Open, fd int) error {
	g, ok := m.sess.grants[o.Cookie]
	delete(m.sess.grants, o.Cookie)
	if !ok || time.Now().After(g.expires) {
		return errors.New("unknown or expired session")
	}
	s := m.sessionService(g.Program)
	if s == nil || m.ending > 0 {
		return errors.New("the service is closed")
	}
	key := sessionKey{g.Program, g.UID}
	c := m.sess.running[key]
	if c == nil {
		if d := time.Until(m.sess.failures[key].until); d > 0 {
			return fmt.Errorf("the session program failed recently; next try in %s", d.Round(time.Second))
		}
		if n := s.limit(m.cfg); n > 0 && m.countOf(s) >= n {
			return fmt.Errorf("service %s has reached its process limit %d", s.entry.Name, n)
		}
		var err error
		if c, err = m.spawnSession(s, &g.Grant); err != nil {
			return err
		}
		m.sess.running[key] = c
	}
	v := handover{session.EncodeDeliver(&session.Deliver{Grant: g.Grant, Open: *o}), []int{fd}}
	if o.Lease {
		v.fds = append(v.fds, o.LeaseFD)
	}
	select {
	case c.handover <- v:
		return nil
	default:
		return errors.New("the session program does not keep up")
	}
}

func (m *master) countOf(s *service) (n int) {
	for _, c := range m.children {
		if c.svc == s && !c.leaving {
			n++
		}
	}
	return n
}

// handover is one connection on its way to a session process.
type handover struct {
	frame []byte
	fds   []int
}

// spawnSession starts a session process as the mail user: it never has other
// rights.
func (m *master) spawnSession(s *service, g *session.Grant) (*child, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "session")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	var cred *syscall.Credential
	if m.root {
		cred = &syscall.Credential{Uid: g.UID, Gid: g.GID}
	}
	c, err := m.exec(s, []int{fds[1]}, cred, true)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.key = sessionKey{g.Program, g.UID}
	c.handover = make(chan handover, 64)
	c.detach = make(chan struct{})
	go feed(ipc.NewConn(nc.(*net.UnixConn)), c)
	return c, nil
}

// feed sends a session process its connections, until the process leaves.
func feed(conn *ipc.Conn, c *child) {
	defer conn.Close()
	for {
		select {
		case h := <-c.handover:
			conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
			conn.WriteFrame(session.TypeDeliver, h.frame, h.fds...) // if it fails the client sees the end of its connection
			closeAll(h.fds)
		case <-c.detach:
			for {
				select {
				case h := <-c.handover:
					conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
					conn.WriteFrame(session.TypeDeliver, h.frame, h.fds...)
					closeAll(h.fds)
				default:
					return
				}
			}
		}
	}
}

// detach makes the next login of the user start another process; the
// connections that were handed over are still served.
func (m *master) detachSession(c *child) {
	if c.handover == nil || m.sess.running[c.key] != c {
		return
	}
	delete(m.sess.running, c.key)
	close(c.detach)
}
