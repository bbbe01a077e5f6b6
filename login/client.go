package main

import (
	"bufio"
	"container/list"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/maillog"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/tlsconf"
)

const (
	// readBuffer is what a waiting connection keeps; lines may be longer.
	readBuffer = 1024
	// authTimeout bounds one question to auth, which delays the answers to failures.
	authTimeout = 100 * time.Second
	// farewell bounds the sending of the last words.
	farewell = 5 * time.Second
	// maxCommands and maxBad bound what a client may say before it logs in.
	maxCommands = 1000
	maxBad      = 10
)

// errLeave ends a connection whose end has been said already.
var errLeave = errors.New("over")

// client is one connection.
type client struct {
	srv     *server
	ctx     context.Context
	raw     net.Conn
	conn    net.Conn // raw, or TLS on it
	tls     *tls.Conn
	br      *bufio.Reader
	out     []byte
	start   time.Time
	remote  netip.AddrPort
	local   netip.AddrPort
	key     netip.Prefix
	sameBox bool // the client is on this host

	place   *list.Element // in the registry; its lock guards it
	evicted atomic.Bool
	asking  atomic.Bool // auth is working for it

	user, method string // of the last attempt, for the log
	attempts     int
	refused      bool // a password came in plain text and was not looked at
	unfinished   bool // an exchange was given up by the client
	handed       bool
	over         bool // logged in, but once too often
	bad          int
	note         string
	why          string // why it ends
}

func newClient(ctx context.Context, s *server, nc net.Conn) *client {
	c := &client{srv: s, ctx: ctx, raw: nc, conn: nc, start: time.Now()}
	c.br = bufio.NewReaderSize(nc, readBuffer)
	c.remote, c.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	c.key = clientKey(c.remote.Addr())
	c.sameBox = c.remote.Addr() == c.local.Addr() || c.remote.Addr().IsLoopback() && c.local.Addr().IsLoopback()
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// secured tells whether a password cannot be overheard.
func (c *client) secured() bool { return c.tls != nil || c.sameBox }

// run talks with the client and logs the end of it.
func (c *client) run() {
	deadline := c.start.Add(c.srv.timeout)
	c.raw.SetDeadline(deadline)
	if c.evicted.Load() { // between enter and here
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
	var err error
	if c.srv.wrapper {
		err = c.handshake()
	}
	if err == nil {
		if c.srv.protocol == "imap" {
			err = (&imap{client: c}).run()
		} else {
			err = (&pop3Client{client: c}).run()
		}
	}
	if c.handed {
		return
	}
	c.logEnd(err)
	if c.tls != nil {
		c.raw.SetDeadline(time.Now().Add(farewell))
		c.tls.Close()
	}
}

// reasonOf says in Dovecot's words why a connection ended.
func (c *client) reasonOf(err error) string {
	switch {
	case c.why != "":
		return c.why
	case c.evicted.Load():
		return "Connection queue full"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "Inactivity"
	case c.ctx.Err() != nil:
		return "Shutting down"
	}
	return "Connection closed"
}

func (c *client) logEnd(err error) {
	if c.over {
		// Not the line of a failed login, which fail2ban would take it for.
		c.srv.log.Event(maillog.LoginEnd{Service: c.srv.protocol, Why: c.why, LoginPeer: c.peer()})
		return
	}
	secs := int(time.Since(c.start) / time.Second)
	e := maillog.LoginEnd{Service: c.srv.protocol, Why: c.reasonOf(err), LoginPeer: c.peer()}
	switch {
	case c.unfinished:
		e.Tries = fmt.Sprintf("client didn't finish SASL auth, waited %d secs", secs)
	case c.attempts > 0:
		e.Tries = fmt.Sprintf("auth failed, %d attempts in %d secs", c.attempts, secs)
	case c.refused:
		e.Tries = "tried to use disallowed plaintext auth"
	default:
		e.Tries = fmt.Sprintf("no auth attempts in %d secs", secs)
	}
	c.srv.log.Event(e)
}

func (c *client) peer() maillog.LoginPeer {
	return maillog.LoginPeer{User: c.user, Method: c.method, Remote: c.remote.Addr().String(), Local: c.local.Addr().String(),
		TLS: c.tls != nil, Secured: c.sameBox, Note: c.note}
}

// timedOut tells whether err is the end of the client's time, or of its place.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// lastWords makes time for sending a farewell after the deadline.
func (c *client) lastWords(text string) {
	c.raw.SetWriteDeadline(time.Now().Add(farewell))
	c.say(text)
	c.flush()
}

// say adds to what the next flush sends.
func (c *client) say(parts ...string) {
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, "\r\n"...)
}

func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	if cap(c.out) > 4096 {
		c.out = nil
	}
	c.out = c.out[:0]
	return err
}

// handshake makes the connection a TLS one. What was received in plain text and
// not read yet is thrown away.
func (c *client) handshake() error {
	t := tlsconf.Accept(c.raw, c.srv.tls)
	if err := t.HandshakeContext(c.ctx); err != nil {
		c.note = "TLS handshaking: SSL_accept() failed: " + err.Error()
		if timedOut(err) {
			c.note = "TLS handshaking"
		}
		return err
	}
	c.tls, c.conn = t, t
	c.br.Reset(t)
	return nil
}

// line reads one line of at most most bytes; the slice is good until the next
// read. A longer line is skipped: long is true.
func (c *client) line(most int) (line []byte, long bool, err error) {
	var b []byte
	for {
		p, err := c.br.ReadSlice('\n')
		if err == nil && b == nil && len(p) <= most+2 {
			line = p
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, false, err
		}
		if long = long || len(b)+len(p) > most+2; long {
			b = b[:0]
		} else {
			b = append(b, p...)
		}
		if err == nil {
			if long {
				return nil, true, nil
			}
			line = b
			break
		}
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, false, nil
}

// mechanisms returns what the client may use now; plain tells whether passwords
// may come as they are. An error is auth's trouble.
func (c *client) mechanisms() (names []string, plain bool, err error) {
	l, err := c.srv.auth.Mechanisms(c.ctx)
	if err != nil {
		// Each client would say so: once a minute is enough.
		if now := time.Now().Unix(); now-c.srv.warned.Load() >= 60 {
			c.srv.warned.Store(now)
			c.srv.log.Warningf("%s-login: auth: %v", c.srv.protocol, err)
		}
		return nil, false, err
	}
	for _, m := range l {
		if m.Anonymous || m.Plaintext && !c.plaintextAllowed() || !m.Usable(c.tls != nil) {
			continue
		}
		names = append(names, m.Name)
		plain = plain || m.Name == "PLAIN"
	}
	return names, plain, nil
}

func (c *client) plaintextAllowed() bool { return c.secured() || !c.srv.plaintextOff }

// isPlaintext tells whether a mechanism shows the password to the line.
func isPlaintext(mech string) bool {
	m, ok := dovecot.MechByName(mech)
	return ok && m.Plaintext || mech == "XOAUTH2" || mech == "OAUTHBEARER"
}

// verdict is the end of an attempt.
type verdict int

const (
	accepted  verdict = iota
	denied            // wrong
	trouble           // the server's fault
	later             // too many failures from this address
	cancelled         // the client gave up
	malformed         // the client's base64 or line is bad
	insecure          // a password in plain text where it is not allowed
	gone              // the connection broke
)

// attempt lets auth judge the client. ask sends a challenge and returns the
// response, or a verdict other than accepted. With accepted, cookie is for
// master. text is for the client, if not "".
func (c *client) attempt(mech string, initial []byte, ask func(challenge []byte) ([]byte, verdict)) (v verdict, cookie, text string) {
	c.method, c.user = mech, ""
	if isPlaintext(mech) && !c.plaintextAllowed() {
		c.refused = true
		return insecure, "", ""
	}
	if !c.mayTry() {
		return later, "", ""
	}
	c.asking.Store(true)
	defer c.asking.Store(false)
	q := dovecot.Request{Mech: mech, Service: c.srv.protocol, Program: c.srv.program, Secured: c.secured(), Initial: initial,
		RemoteIP: c.remote.Addr().String(), RemotePort: strconv.Itoa(int(c.remote.Port())),
		LocalIP: c.local.Addr().String(), LocalPort: strconv.Itoa(int(c.local.Port()))}
	if c.tls != nil && strings.HasPrefix(mech, "SCRAM-") {
		offered, _, _ := c.mechanisms()
		if slices.ContainsFunc(offered, func(m string) bool { return strings.HasSuffix(m, "-PLUS") }) {
			cs := c.tls.ConnectionState()
			q.Bindings = tlsconf.Bindings(&cs, tlsconf.Leaf(c.tls))
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, authTimeout)
	x, res, err := c.srv.auth.Start(ctx, q)
	cancel()
	for n := 0; err == nil && !(res.Done && (!res.OK || res.Data == nil)); n++ {
		if n > 20 {
			x.Cancel()
			return denied, "", ""
		}
		c.asking.Store(false)
		resp, v := ask(res.Data)
		c.asking.Store(true)
		if v != accepted {
			if !res.Done {
				x.Cancel()
			}
			c.unfinished = v == gone
			return v, "", ""
		}
		if res.Done {
			break // the client has seen the last word
		}
		ctx, cancel := context.WithTimeout(c.ctx, authTimeout)
		res, err = x.Respond(ctx, resp)
		cancel()
	}
	if err != nil {
		c.srv.log.Warningf("%s-login: auth: %v", c.srv.protocol, err)
		return trouble, "", ""
	}
	c.user = res.User
	switch {
	case res.OK && res.Field("cookie") == "":
		c.srv.log.Warningf("%s-login: the authentication server gives no cookie: it must be auth(8)", c.srv.protocol)
		return trouble, "", ""
	case res.OK:
		return accepted, res.Field("cookie"), ""
	case res.Temp:
		return trouble, "", printable(res.Reason)
	}
	c.attempts++
	c.failed()
	return denied, "", printable(res.Reason)
}

// printable makes auth's text fit for a response.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// decodeResponse decodes a client's base64; "=" stands for the empty response.
func decodeResponse(b []byte) ([]byte, bool) {
	if string(b) == "=" {
		return []byte{}, true
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Decode(out, b)
	return out[:n], err == nil
}

// unread returns what the client has sent behind the command that logged it in.
func (c *client) unread() []byte {
	b, _ := c.br.Peek(c.br.Buffered())
	return b
}
