package lookup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of the tables that ask a server: how long one answer may take, how
// long it may be, and how many idle connections are kept.
const (
	serverTimeout = 100 * time.Second
	serverReply   = 100000
	serverIdle    = 4
)

// server is a table that asks another process over a stream socket.
type server struct {
	name   string
	net    string
	addr   string
	ask    func(key string) []byte
	answer func(r *bufio.Reader) (value string, ok bool, err error)
	mu     sync.Mutex
	idle   []*serverConn
	closed bool
}

type serverConn struct {
	c net.Conn
	r *bufio.Reader
}

// openSocketmap opens socketmap:inet:host:port:name or
// socketmap:unix:path:name, Sendmail's protocol: netstrings of "name key" and
// "OK value", "NOTFOUND ", "TEMP reason", "TIMEOUT reason", "PERM reason".
func openSocketmap(typ, name string, env *Env, o Options) (Table, error) {
	const want = "need inet:host:port:name or unix:path:name"
	i := strings.LastIndexByte(name, ':')
	if i < 0 || i == len(name)-1 {
		return nil, fmt.Errorf("bad syntax; %s", want)
	}
	where, table := name[:i], name[i+1:]
	t := &server{name: typ + ":" + name}
	network, addr, ok := strings.Cut(where, ":")
	switch {
	case ok && network == "unix" && addr != "":
		t.net = "unix"
	case ok && network == "inet" && strings.Contains(addr, ":"):
		t.net = "tcp"
	default:
		return nil, fmt.Errorf("bad syntax; %s", want)
	}
	t.addr = addr
	t.ask = func(key string) []byte { return []byte(fmt.Sprintf("%d:%s %s,", len(table)+1+len(key), table, key)) }
	t.answer = socketmapReply
	return t, nil
}

func socketmapReply(r *bufio.Reader) (string, bool, error) {
	s, err := readNetstring(r, serverReply)
	if err != nil {
		return "", false, err
	}
	status, rest, _ := strings.Cut(s, " ")
	switch status {
	case "OK":
		return rest, true, nil
	case "NOTFOUND":
		return "", false, nil
	case "TEMP", "TIMEOUT", "PERM":
		return "", false, &answerError{fmt.Sprintf("%s: %s", strings.ToLower(status), rest)}
	}
	return "", false, fmt.Errorf("unexpected reply %.100q", s)
}

// answerError is trouble that the server reports; the connection is fine.
type answerError struct{ text string }

func (e *answerError) Error() string { return e.text }

func readNetstring(r *bufio.Reader, most int) (string, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if c == ':' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits > 8 {
			return "", errors.New("malformed netstring")
		}
		if n = n*10 + int(c-'0'); n > most {
			return "", fmt.Errorf("reply longer than %d bytes", most)
		}
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	if b[n] != ',' {
		return "", errors.New("malformed netstring")
	}
	return string(b[:n]), nil
}

// openTCP opens tcp:host:port: "get KEY" in %-quoted form, answered by
// "200 value", "500 not found" or "400 trouble".
func openTCP(typ, name string, env *Env, o Options) (Table, error) {
	if !strings.Contains(name, ":") {
		return nil, errors.New("bad syntax; need host:port")
	}
	return &server{name: typ + ":" + name, net: "tcp", addr: name,
		ask:    func(key string) []byte { return []byte("get " + percentQuote(key) + "\n") },
		answer: tcpReply}, nil
}

func percentQuote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '%' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func tcpReply(r *bufio.Reader) (string, bool, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return "", false, err
		}
		if c == '\n' {
			break
		}
		if line = append(line, c); len(line) > serverReply {
			return "", false, fmt.Errorf("reply longer than %d bytes", serverReply)
		}
	}
	s := strings.TrimSuffix(string(line), "\r")
	if len(s) < 4 || s[3] != ' ' {
		return "", false, fmt.Errorf("unexpected reply %.100q", s)
	}
	v, err := percentUnquote(s[4:])
	if err != nil {
		return "", false, err
	}
	switch s[:3] {
	case "200":
		return v, true, nil
	case "500":
		return "", false, nil
	case "400":
		return "", false, &answerError{v}
	}
	return "", false, fmt.Errorf("unexpected reply %.100q", s)
}

func percentUnquote(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("bad quoting in reply %.100q", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("bad quoting in reply %.100q", s)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

func (t *server) take() *serverConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		c := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return c
	}
	return nil
}

func (t *server) give(c *serverConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.idle) >= serverIdle {
		c.c.Close()
		return
	}
	t.idle = append(t.idle, c)
}

func (t *server) Get(key string) (string, bool, error) {
	for {
		kept := t.take()
		c := kept
		if c == nil {
			n, err := net.DialTimeout(t.net, t.addr, serverTimeout)
			if err != nil {
				return "", false, &Error{t.name, err}
			}
			c = &serverConn{n, bufio.NewReader(n)}
		}
		v, ok, err := t.query(c, key)
		var answered *answerError
		if err == nil || errors.As(err, &answered) {
			t.give(c)
		} else {
			c.c.Close()
			if kept != nil { // the server closed a connection that lay idle
				continue
			}
		}
		if err != nil {
			return "", false, &Error{t.name, err}
		}
		return v, ok, nil
	}
}

func (t *server) query(c *serverConn, key string) (string, bool, error) {
	if err := c.c.SetDeadline(time.Now().Add(serverTimeout)); err != nil {
		return "", false, err
	}
	if _, err := c.c.Write(t.ask(key)); err != nil {
		return "", false, err
	}
	v, ok, err := t.answer(c.r)
	if err == nil && c.r.Buffered() > 0 {
		err = errors.New("more than one reply")
	}
	return v, ok, err
}
func (t *server) Name() string  { return t.name }
func (t *server) Partial() bool { return false }

func (t *server) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.idle {
		c.c.Close()
	}
	t.idle = nil
	return nil
}
