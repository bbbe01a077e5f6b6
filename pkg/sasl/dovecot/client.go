package dovecot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrUnavailable is in the chain of errors that mean that the server cannot be
// asked now.
var ErrUnavailable = errors.New("authentication server is not available")

// Client asks one authentication server. It keeps one connection for all
// requests of the process and makes it anew when it breaks. It is safe for
// concurrent use.
type Client struct {
	network, addr string

	mu   sync.Mutex
	conn *clientConn
}

// clientConn is one connection after the handshake.
type clientConn struct {
	c     net.Conn
	mechs []Mech

	mu      sync.Mutex
	next    uint32
	pending map[uint32]chan []string
	err     error
}

// NewClient returns a client of the server at path: the path of a Unix socket,
// or inet:host:port. It connects when first asked.
func NewClient(path string) *Client {
	if a, ok := strings.CutPrefix(path, "inet:"); ok {
		return &Client{network: "tcp", addr: a}
	}
	return &Client{network: "unix", addr: strings.TrimPrefix(path, "unix:")}
}

// Close closes the connection; exchanges in progress fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.c.Close()
		c.conn = nil
	}
	return nil
}

// Mechanisms returns what the server offers now.
func (c *Client) Mechanisms(ctx context.Context) ([]Mech, error) {
	cc, err := c.get(ctx)
	if err != nil {
		return nil, err
	}
	return cc.mechs, nil
}

func (c *Client) get(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.alive() {
		return c.conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, c.network, c.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	cc := &clientConn{c: nc, pending: map[uint32]chan []string{}}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	r := bufio.NewReaderSize(nc, maxLine)
	if err := cc.handshake(r); err != nil {
		nc.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, c.addr, err)
	}
	nc.SetDeadline(time.Time{})
	go cc.read(r)
	c.conn = cc
	return cc, nil
}

func (cc *clientConn) alive() bool {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	return cc.err == nil
}

// handshake sends our half and reads the server's up to DONE.
func (cc *clientConn) handshake(r *bufio.Reader) error {
	if _, err := fmt.Fprintf(cc.c, "VERSION\t%s\t%s\nCPID\t%d\n", versMaj, versMin, os.Getpid()); err != nil {
		return err
	}
	version := false
	for n := 0; n < 100; n++ {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		f := fields(line)
		switch f[0] {
		case "VERSION":
			if len(f) < 3 || f[1] != versMaj {
				return fmt.Errorf("%w: server speaks version %q", ErrProtocol, line)
			}
			version = true
		case "MECH":
			if len(f) < 2 || f[1] == "" {
				return ErrProtocol
			}
			m := Mech{Name: strings.ToUpper(f[1])}
			for _, fl := range m.flags() {
				*fl.v = has(f[2:], fl.name)
			}
			cc.mechs = append(cc.mechs, m)
		case "DONE":
			if !version {
				return ErrProtocol
			}
			return nil
		}
	}
	return ErrProtocol
}

func readLine(r *bufio.Reader) (string, error) {
	l, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", fmt.Errorf("%w: line too long", ErrProtocol)
		}
		return "", err
	}
	return string(l[:len(l)-1]), nil
}

// read hands the server's lines to those who wait for them.
func (cc *clientConn) read(r *bufio.Reader) {
	var err error
	for {
		var line string
		if line, err = readLine(r); err != nil {
			break
		}
		f := fields(line)
		switch f[0] {
		case "OK", "CONT", "FAIL":
		default:
			continue
		}
		if len(f) < 2 {
			err = ErrProtocol
			break
		}
		id, perr := strconv.ParseUint(f[1], 10, 32)
		if perr != nil {
			err = ErrProtocol
			break
		}
		cc.mu.Lock()
		ch := cc.pending[uint32(id)]
		cc.mu.Unlock()
		if ch == nil {
			continue
		}
		select {
		case ch <- f:
		default: // an answer that nobody asked for
		}
	}
	cc.c.Close()
	cc.mu.Lock()
	cc.err = err
	for id, ch := range cc.pending {
		close(ch)
		delete(cc.pending, id)
	}
	cc.mu.Unlock()
}

// Result is one answer of the server.
type Result struct {
	Done   bool
	OK     bool   // Done: authenticated
	Data   []byte // challenge, or with OK what the client must still see (nil: nothing)
	User   string // with OK the canonical name, with failure the name that was tried, if known
	Reason string // failure: text for the client
	Temp   bool   // failure: the server is in trouble
	Fields []string
}

// Field returns the value of a further field of the server's answer, "" if it
// has none of that name.
func (r *Result) Field(key string) string {
	v, _ := value(r.Fields, key)
	return v
}

// Exchange is one authentication in progress.
type Exchange struct {
	cc *clientConn
	id uint32
	ch chan []string
}

// Start opens an exchange and returns the server's first answer. An error
// means that the server could not be asked: a temporary failure.
func (c *Client) Start(ctx context.Context, q Request) (*Exchange, *Result, error) {
	for try := 0; ; try++ {
		cc, err := c.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		x := cc.open()
		if x == nil {
			if try == 0 {
				continue
			}
			return nil, nil, ErrUnavailable
		}
		res, err := x.send(ctx, x.line(q))
		if err != nil && try == 0 && ctx.Err() == nil {
			continue // the kept connection had died
		}
		return x, res, err
	}
}

func (cc *clientConn) open() *Exchange {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.err != nil {
		return nil
	}
	cc.next++
	x := &Exchange{cc: cc, id: cc.next, ch: make(chan []string, 1)}
	cc.pending[x.id] = x.ch
	return x
}

func (x *Exchange) line(q Request) string {
	f := []string{"AUTH", strconv.FormatUint(uint64(x.id), 10), q.Mech, "service=" + q.Service}
	if q.Program == "" {
		f = append(f, "nologin")
	} else {
		f = append(f, "session_program="+q.Program)
	}
	for _, kv := range [][2]string{{"lip", q.LocalIP}, {"rip", q.RemoteIP}, {"lport", q.LocalPort}, {"rport", q.RemotePort}} {
		if kv[1] != "" {
			f = append(f, kv[0]+"="+kv[1])
		}
	}
	if q.Secured {
		f = append(f, "secured")
	}
	f = append(f, "final-resp-ok")
	for _, kind := range slices.Sorted(maps.Keys(q.Bindings)) {
		f = append(f, "cbind="+kind+":"+encode64(q.Bindings[kind]))
	}
	if q.Initial != nil {
		f = append(f, "resp="+encode64(q.Initial)) // must be the last
	}
	return join(f...)
}

// Respond sends the client's response to a challenge.
func (x *Exchange) Respond(ctx context.Context, resp []byte) (*Result, error) {
	return x.send(ctx, join("CONT", strconv.FormatUint(uint64(x.id), 10), encode64(resp)))
}

// Cancel gives the exchange up.
func (x *Exchange) Cancel() {
	x.forget()
	x.cc.mu.Lock()
	defer x.cc.mu.Unlock()
	if x.cc.err == nil {
		x.cc.c.SetWriteDeadline(time.Now().Add(time.Second))
		fmt.Fprintf(x.cc.c, "CANCEL\t%d\n", x.id)
	}
}

func (x *Exchange) forget() {
	x.cc.mu.Lock()
	delete(x.cc.pending, x.id)
	x.cc.mu.Unlock()
}

func (x *Exchange) send(ctx context.Context, line string) (*Result, error) {
	if len(line) > maxLine {
		x.forget()
		return &Result{Done: true, Reason: "response is too long"}, nil
	}
	x.cc.mu.Lock()
	x.cc.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := x.cc.c.Write([]byte(line))
	x.cc.mu.Unlock()
	if err != nil {
		x.forget()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	select {
	case f, ok := <-x.ch:
		if !ok {
			return nil, fmt.Errorf("%w: connection lost", ErrUnavailable)
		}
		res, err := parseResult(f)
		if err != nil || res.Done {
			x.forget()
		}
		return res, err
	case <-ctx.Done():
		x.forget()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func parseResult(f []string) (*Result, error) {
	switch f[0] {
	case "CONT":
		if len(f) < 3 {
			return nil, ErrProtocol
		}
		b, err := decode64(f[2])
		return &Result{Data: b}, err
	case "OK":
		r := &Result{Done: true, OK: true, Fields: f[2:]}
		r.User, _ = value(f[2:], "user")
		if r.User == "" {
			return nil, fmt.Errorf("%w: OK without a user", ErrProtocol)
		}
		if d, ok := value(f[2:], "resp"); ok {
			b, err := decode64(d)
			if err != nil {
				return nil, err
			}
			r.Data = b
		}
		return r, nil
	case "FAIL":
		r := &Result{Done: true, Fields: f[2:], Temp: has(f[2:], "temp")}
		r.User, _ = value(f[2:], "user")
		r.Reason, _ = value(f[2:], "reason")
		return r, nil
	}
	return nil, ErrProtocol
}
