package dovecot

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/sasl"
)

// Handler is what a server needs to know of users.
type Handler interface {
	// Mechs are the mechanisms on offer when a client connects.
	Mechs() []Mech
	// Begin starts an exchange; ok is false if the mechanism is not on offer. ctx
	// ends with the connection.
	Begin(ctx context.Context, q *Request) (s sasl.Server, ok bool)
	// Result is told the end of each exchange and says what the client is told. err
	// is nil for success.
	Result(ctx context.Context, q *Request, user string, err error) Outcome
}

// Outcome is a Handler's last word on an exchange.
type Outcome struct {
	User   string        // "" means the name that the mechanism found
	Fields []string      // success: further "key=value" fields of the answer
	Err    error         // nil for success; a success may still become a failure here
	Delay  time.Duration // how long the answer waits
}

// Server serves the protocol.
type Server struct {
	Handler Handler
	// Stop, if set, ends sessions as soon as they have no exchange under way.
	Stop <-chan struct{}
	// Waiting, if set, is called when a session has nothing to do; its result
	// when the next exchange begins.
	Waiting func() (busy func())
}

// maxExchanges bounds the exchanges of one client connection.
const maxExchanges = 1000

// serverConn is one client.
type serverConn struct {
	srv  *Server
	c    net.Conn
	h    Handler
	ctx  context.Context
	wg   sync.WaitGroup
	wmu  sync.Mutex
	mu   sync.Mutex
	open map[string]*serverExchange
	stop bool
	busy func() // set while the session waits
}

type serverExchange struct {
	q    Request
	s    sasl.Server
	busy bool
	gone bool // cancelled
	// ok is the answer that waits until the client has acknowledged the mechanism's
	// last words, for peers that cannot take both together.
	ok string
}

// Serve speaks with one client until it leaves, breaks the protocol or ctx
// ends.
func (srv *Server) Serve(ctx context.Context, c net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := srv.Handler
	sc := &serverConn{srv: srv, c: c, h: h, ctx: ctx, open: map[string]*serverExchange{}}
	defer sc.wg.Wait()
	defer cancel()
	sc.mu.Lock()
	sc.idle()
	sc.mu.Unlock()
	defer sc.working()
	go func() {
		select {
		case <-srv.Stop:
			sc.mu.Lock()
			sc.stop = true
			sc.idle()
			sc.mu.Unlock()
		case <-ctx.Done():
			c.SetReadDeadline(time.Unix(1, 0))
		}
	}()
	cookie := make([]byte, 16)
	rand.Read(cookie)
	hello := join("VERSION", versMaj, versMin)
	for _, m := range h.Mechs() {
		f := []string{"MECH", m.Name}
		for _, fl := range m.flags() {
			if *fl.v {
				f = append(f, fl.name)
			}
		}
		hello += join(f...)
	}
	hello += fmt.Sprintf("SPID\t%d\nCUID\t%d\nCOOKIE\t%s\nDONE\n", os.Getpid(), time.Now().UnixNano()&0x7fffffff, hex.EncodeToString(cookie))
	if err := sc.write(hello); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, maxLine)
	version := false
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		f := fields(line)
		switch f[0] {
		case "VERSION":
			if len(f) < 3 || f[1] != versMaj {
				return fmt.Errorf("%w: client speaks version %.40q", ErrProtocol, line)
			}
			version = true
		case "CPID":
		case "AUTH", "CONT", "CANCEL":
			if !version || len(f) < 2 {
				return ErrProtocol
			}
			if err := sc.request(f); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: unknown command %.40q", ErrProtocol, f[0])
		}
	}
}

// idle is called with mu held when an exchange has ended.
func (sc *serverConn) idle() {
	if len(sc.open) > 0 {
		return
	}
	if sc.stop {
		sc.c.SetReadDeadline(time.Unix(1, 0))
	}
	if sc.srv.Waiting != nil && sc.busy == nil {
		sc.busy = sc.srv.Waiting()
	}
}

// working ends the wait.
func (sc *serverConn) working() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.busy != nil {
		sc.busy()
		sc.busy = nil
	}
}

func (sc *serverConn) write(s string) error {
	sc.wmu.Lock()
	defer sc.wmu.Unlock()
	sc.c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, err := sc.c.Write([]byte(s))
	return err
}

func (sc *serverConn) request(f []string) error {
	id := f[1]
	if _, err := strconv.ParseUint(id, 10, 32); err != nil {
		return ErrProtocol
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	x := sc.open[id]
	var msg []byte
	switch f[0] {
	case "CANCEL":
		if x != nil {
			x.gone = true
			delete(sc.open, id)
			sc.idle()
		}
		return nil
	case "AUTH":
		if x != nil || len(f) < 3 {
			return ErrProtocol
		}
		if len(sc.open) >= maxExchanges {
			go sc.write(join("FAIL", id, "temp"))
			return nil
		}
		x = &serverExchange{}
		var err error
		if x.q, err = parseRequest(f[2:]); err != nil {
			return err
		}
		var ok bool
		if x.s, ok = sc.h.Begin(sc.ctx, &x.q); !ok {
			go sc.write(join("FAIL", id, "reason=Unsupported authentication mechanism."))
			return nil
		}
		sc.open[id] = x
		if sc.busy != nil {
			sc.busy()
			sc.busy = nil
		}
		msg = x.q.Initial
	case "CONT":
		if x == nil {
			return nil // it has ended meanwhile
		}
		if x.busy || len(f) < 3 {
			return ErrProtocol
		}
		if x.ok != "" {
			delete(sc.open, id)
			sc.wg.Go(func() { sc.write(x.ok) })
			sc.idle()
			return nil
		}
		var err error
		if msg, err = decode64(f[2]); err != nil {
			return err
		}
	}
	x.busy = true
	sc.wg.Add(1)
	go sc.step(id, x, msg)
	return nil
}

// step runs one message through the mechanism. Hashing takes its time: other
// exchanges of the connection go on.
func (sc *serverConn) step(id string, x *serverExchange, msg []byte) {
	defer sc.wg.Done()
	challenge, done, err := x.s.Next(msg)
	if err == nil && !done {
		sc.mu.Lock()
		x.busy = false
		gone := x.gone
		sc.mu.Unlock()
		if !gone {
			sc.write(join("CONT", id, encode64(challenge)))
		}
		return
	}
	user := x.s.User()
	out := sc.h.Result(sc.ctx, &x.q, user, err)
	err = out.Err
	if out.User != "" {
		user = out.User
	}
	if out.Delay > 0 {
		t := time.NewTimer(out.Delay)
		select {
		case <-t.C:
		case <-sc.ctx.Done():
			t.Stop()
		}
	}
	sc.mu.Lock()
	gone := x.gone
	if err == nil && challenge != nil && !x.q.FinalOK && !gone {
		x.ok = join(append([]string{"OK", id, "user=" + user}, out.Fields...)...)
		x.busy = false
		sc.mu.Unlock()
		sc.write(join("CONT", id, encode64(challenge)))
		return
	}
	sc.mu.Unlock()
	defer func() {
		sc.mu.Lock()
		delete(sc.open, id)
		sc.idle()
		sc.mu.Unlock()
	}()
	if gone {
		return
	}
	if err == nil {
		f := []string{"OK", id, "user=" + user}
		if challenge != nil {
			f = append(f, "resp="+encode64(challenge))
		}
		sc.write(join(append(f, out.Fields...)...))
		return
	}
	f := []string{"FAIL", id}
	if user != "" {
		f = append(f, "user="+user)
	}
	switch {
	case errors.Is(err, sasl.ErrTemporary):
		f = append(f, "temp")
	case errors.Is(err, sasl.ErrMessage):
		f = append(f, "reason=Invalid authentication message")
	}
	sc.write(join(f...))
}

// parseRequest reads the fields behind AUTH and its id.
func parseRequest(f []string) (q Request, err error) {
	q.Mech = f[0]
	for i, x := range f {
		if len(x) > maxField {
			return q, ErrProtocol
		}
		if i > 0 && (x == "secured" || strings.HasPrefix(x, "secured=")) {
			q.Secured = true
		}
		if i > 0 && x == "final-resp-ok" {
			q.FinalOK = true
		}
		if b, ok := strings.CutPrefix(x, "cbind="); ok && i > 0 {
			if err := q.bind(b); err != nil {
				return q, err
			}
		}
	}
	for key, dst := range map[string]*string{"service": &q.Service, "lip": &q.LocalIP, "rip": &q.RemoteIP, "lport": &q.LocalPort, "rport": &q.RemotePort,
		"session_program": &q.Program} {
		*dst, _ = value(f[1:], key)
	}
	if r, ok := value(f[1:], "resp"); ok {
		if q.Initial, err = decode64(r); err != nil {
			return q, err
		}
	}
	return q, nil
}

// bind takes down one channel binding, "type:base64".
func (q *Request) bind(b string) error {
	kind, data, ok := strings.Cut(b, ":")
	d, err := decode64(data)
	if !ok || err != nil || kind == "" || len(d) == 0 || len(q.Bindings) >= 8 {
		return ErrProtocol
	}
	if q.Bindings == nil {
		q.Bindings = sasl.Bindings{}
	}
	q.Bindings[kind] = d
	return nil
}
