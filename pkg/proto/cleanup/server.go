package cleanup

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/wire"
)

// Session takes one message. It remembers its own failures: the server feeds
// it to the end and asks End for the result.
type Session interface {
	Recipient(r *envelope.Recipient)
	Data(p []byte) // valid during the call
	End() *Result
	Abort() // the client gave up, or is gone
}

// Server serves connections of clients.
type Server struct {
	// Begin opens a session for each transaction.
	Begin func(b *Begin) Session
	// Timeout bounds the wait for each part of a transaction and for sending the
	// result; 0 means an hour. Between transactions there is none.
	Timeout time.Duration
	// Grace is how long a connection stays open after Drain, for the transaction
	// that a client has sent meanwhile; 0 means 5 seconds.
	Grace time.Duration
	// Waiting, if set, is called when a connection begins to wait for its next
	// transaction; what it returns is called when that has come
	// (service.Env.Waiting).
	Waiting func() (busy func())

	mu       sync.Mutex
	conns    map[*serverConn]bool
	draining bool
}

type serverConn struct {
	*ipc.Conn
	busy bool
}

// Drain tells every client to take its next message elsewhere. Transactions
// that are under way, and those whose client had not seen the notice, are
// served.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.conns {
		s.drainConn(c)
	}
}

func (s *Server) drainConn(c *serverConn) {
	if !c.busy { // a busy one has its deadlines, and its result is still to be sent
		c.SetDeadline(time.Now().Add(s.grace()))
	}
	c.WriteFrame(TypeDrain, nil)
}

func (s *Server) grace() time.Duration {
	if s.Grace > 0 {
		return s.Grace
	}
	return 5 * time.Second
}

func (s *Server) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return time.Hour
}

// setBusy marks whether a transaction is under way and sets the deadlines that
// go with that.
func (s *Server) setBusy(c *serverConn, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.busy = busy
	switch {
	case busy:
		c.SetDeadline(time.Now().Add(s.timeout()))
	case s.draining:
		c.SetReadDeadline(time.Now().Add(s.grace()))
	default:
		c.SetReadDeadline(time.Time{})
	}
}

// Serve handles one accepted connection until the client leaves, breaks the
// protocol, or a drain is over. It does not close nc. io.EOF is not an error.
func (s *Server) Serve(nc net.Conn) error {
	ic, err := ipc.Accept(nc, Protocol, 30*time.Second)
	if err != nil {
		if err == io.EOF {
			return nil
		}
		return err
	}
	c := &serverConn{Conn: ic}
	s.mu.Lock()
	if s.conns == nil {
		s.conns = map[*serverConn]bool{}
	}
	s.conns[c] = true
	if s.draining {
		s.drainConn(c)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for {
		busy := func() {}
		if s.Waiting != nil {
			busy = s.Waiting()
		}
		typ, p, err := c.ReadFrame()
		busy()
		if err != nil {
			var ne net.Error
			// A client that leaves without having read Drain resets the connection.
			if err == io.EOF || errors.As(err, &ne) && ne.Timeout() || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return err
		}
		if typ == TypeAbort {
			continue // of a transaction whose Begin was refused
		}
		if typ != TypeBegin {
			return fmt.Errorf("%w: frame type %d outside of a transaction", ipc.ErrProtocol, typ)
		}
		s.setBusy(c, true)
		if err := s.transaction(c, p); err != nil {
			return err
		}
		s.setBusy(c, false)
	}
}

// transaction reads the rest of a transaction whose Begin is p.
func (s *Server) transaction(c *serverConn, p []byte) error {
	var sess Session
	b, err := DecodeBegin(p)
	if err == nil {
		sess = s.Begin(b)
	}
	failed := err
	abort := func() {
		if sess != nil {
			sess.Abort()
			sess = nil
		}
	}
	defer abort() // does nothing after End
	since := time.Now()
	for {
		typ, p, err := c.ReadFrame()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		// A deadline costs a timer; once in a while is enough.
		if now := time.Now(); now.Sub(since) > s.timeout()/4 {
			since = now
			c.SetDeadline(now.Add(s.timeout()))
		}
		switch typ {
		case TypeRecipient:
			if failed != nil {
				break
			}
			var r envelope.Recipient
			d := wire.NewDecoder(p)
			r.Decode(d)
			if failed = d.Done(); failed == nil {
				failed = r.Validate()
			}
			if failed == nil {
				sess.Recipient(&r)
			}
		case TypeData:
			if failed == nil {
				sess.Data(p)
			}
		case TypeAbort:
			return nil
		case TypeEnd:
			var r *Result
			if failed != nil || len(p) != 0 {
				abort()
				r = &Result{Status: BadProtocol}
			} else {
				r = sess.End()
				sess = nil
			}
			var e wire.Encoder
			r.Encode(&e)
			return c.WriteFrame(TypeResult, e.B)
		default:
			return fmt.Errorf("%w: frame type %d in a transaction", ipc.ErrProtocol, typ)
		}
	}
}
