package esmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Limits on what a server may say. A reply that breaks them ends the session.
const (
	maxClientLine  = 4096     // bytes of one reply line
	maxClientReply = 64 << 10 // bytes of one reply that are read at all
	maxClientText  = 4096     // bytes of text kept of a reply other than EHLO's
	maxClientBatch = 200      // commands sent ahead of their replies
	clientBuffer   = 32 << 10 // content bytes per write
	authMaxLine    = 12288    // RFC 4954, section 4
	authMaxSteps   = 16       // challenges in one exchange
	prematureWait  = time.Second
)

// ClientStage is what a client session is doing, for timeouts and messages.
type ClientStage int

// The stages of a session, in order.
const (
	StageGreeting ClientStage = iota
	StageHello
	StageStartTLS
	StageAuth
	StageMail
	StageRcpt
	StageData
	StageBody
	StageDot
	StageAbort
	StageReset
	StageQuit
)

var clientStages = [...]struct{ doing, command string }{
	StageGreeting: {"receiving the initial server greeting", "initial greeting"},
	StageHello:    {"performing the EHLO handshake", "EHLO command"},
	StageStartTLS: {"performing the STARTTLS handshake", "STARTTLS command"},
	StageAuth:     {"performing SASL authentication", "AUTH command"},
	StageMail:     {"sending MAIL FROM", "MAIL FROM command"},
	StageRcpt:     {"sending RCPT TO", "RCPT TO command"},
	StageData:     {"sending DATA command", "DATA command"},
	StageBody:     {"sending message body", "message body"},
	StageDot:      {"sending end of data -- message may be sent more than once", "end of DATA command"},
	StageAbort:    {"sending final RSET", "final RSET command"},
	StageReset:    {"sending RSET probe", "RSET probe"},
	StageQuit:     {"sending QUIT", "QUIT command"},
}

// Doing completes "lost connection with H while ...".
func (s ClientStage) Doing() string { return clientStages[s].doing }

// Command completes "(in reply to ...)".
func (s ClientStage) Command() string { return clientStages[s].command }

// ClientTimeouts bound how long a client waits for the whole of one reply (or,
// with Xfer, for one block of content to be taken), however slowly the server
// trickles it.
type ClientTimeouts struct {
	Hello, StartTLS, Mail, Rcpt, DataInit, DataXfer, DataDone, Reset, Quit time.Duration
}

func (t *ClientTimeouts) of(s ClientStage) time.Duration {
	switch s {
	case StageStartTLS:
		return t.StartTLS
	case StageMail:
		return t.Mail
	case StageRcpt:
		return t.Rcpt
	case StageData:
		return t.DataInit
	case StageBody:
		return t.DataXfer
	case StageDot:
		return t.DataDone
	case StageAbort, StageReset:
		return t.Reset
	case StageQuit:
		return t.Quit
	}
	return t.Hello
}

// ErrReplySyntax and ErrReplyTooLong end a session whose server does not
// speak SMTP, or too much of it.
var (
	ErrReplySyntax  = errors.New("malformed reply")
	ErrReplyTooLong = errors.New("reply is too long")
)

// ClientError is the end of a session without a reply.
type ClientError struct {
	Stage ClientStage
	Local bool // the content could not be read: not the server's fault
	Err   error
}

func (e *ClientError) Error() string { return e.Stage.Doing() + ": " + e.Err.Error() }
func (e *ClientError) Unwrap() error { return e.Err }

// Timeout says that the server was too slow, as opposed to gone.
func (e *ClientError) Timeout() bool { return errors.Is(e.Err, os.ErrDeadlineExceeded) }

// Extensions is what a server announced in its EHLO reply.
type Extensions struct {
	ESMTP      bool // EHLO or LHLO was accepted
	Name       string
	Pipelining bool
	EightBit   bool
	Size       bool
	SizeLimit  int64 // 0: none given
	DSN        bool
	UTF8       bool
	StartTLS   bool
	Enhanced   bool
	Auth       []string // mechanisms, upper case
}

// Client is the client's side of one SMTP or LMTP connection. It is for one
// goroutine at a time. After a *ClientError only Close makes sense.
type Client struct {
	Ext  Extensions
	LMTP bool

	conn     net.Conn
	r        *Reader
	timeouts ClientTimeouts
	out      []byte
	text     []byte
	tls      *tls.ConnectionState
	used     bool // a transaction was begun since the last reset
}

// NewClient returns a Client on conn.
func NewClient(conn net.Conn, lmtp bool, t ClientTimeouts) *Client {
	return &Client{LMTP: lmtp, conn: conn, r: NewReader(conn, 4096), timeouts: t}
}

// Conn is the connection, the TLS one after StartTLS.
func (c *Client) Conn() net.Conn { return c.conn }

// TLS is the state of the TLS connection, nil without one.
func (c *Client) TLS() *tls.ConnectionState { return c.tls }

// Interrupt makes whatever the client waits for fail at once when ctx ends. Call
// the result when done.
func (c *Client) Interrupt(ctx context.Context) (stop func() bool) {
	conn := c.conn
	return context.AfterFunc(ctx, func() { conn.Close() })
}

// Close closes the connection without a word.
func (c *Client) Close() error { return c.conn.Close() }

// Greeting reads the server's first reply.
func (c *Client) Greeting() (Reply, error) { return c.reply(StageGreeting) }

// Hello sends EHLO (LHLO) and notes the extensions; with fallback, HELO when
// the server does not know EHLO. Keywords for which ignore is true are not
// noted.
func (c *Client) Hello(name string, ehlo, fallback bool, ignore func(keyword string) bool) (Reply, error) {
	c.Ext = Extensions{}
	if !ehlo {
		return c.command(StageHello, "HELO "+name)
	}
	verb := "EHLO "
	if c.LMTP {
		verb = "LHLO "
	}
	c.out = append(append(append(c.out[:0], verb...), name...), '\r', '\n')
	if err := c.flush(StageHello); err != nil {
		return Reply{}, err
	}
	first := true
	r, err := c.read(StageHello, func(line string) {
		if first {
			first = false
			c.Ext.Name, _, _ = strings.Cut(line, " ")
			return
		}
		c.Ext.note(line, ignore)
	})
	if err != nil {
		return r, err
	}
	if r.Class() == 2 {
		c.Ext.ESMTP = true
		return r, nil
	}
	c.Ext = Extensions{}
	if c.LMTP || !fallback || r.Code == 421 {
		return r, nil
	}
	return c.command(StageHello, "HELO "+name)
}

// note records one EHLO line.
func (e *Extensions) note(line string, ignore func(string) bool) {
	keyword, rest, _ := strings.Cut(line, " ")
	if k, v, ok := strings.Cut(keyword, "="); ok && strings.EqualFold(k, "AUTH") {
		keyword, rest = k, v+" "+rest // what old servers send
	}
	keyword = strings.ToUpper(keyword)
	if ignore != nil && ignore(keyword) {
		return
	}
	switch keyword {
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBit = true
	case "SIZE":
		e.Size = true
		if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil && n > 0 {
			e.SizeLimit = n
		}
	case "DSN":
		e.DSN = true
	case "SMTPUTF8":
		e.UTF8 = true
	case "STARTTLS":
		e.StartTLS = true
	case "ENHANCEDSTATUSCODES":
		e.Enhanced = true
	case "AUTH":
		for _, m := range strings.Fields(rest) {
			if len(e.Auth) < 32 && len(m) <= 20 {
				e.Auth = append(e.Auth, strings.ToUpper(m))
			}
		}
	}
}

// StartTLS asks for TLS and does the handshake. A reply other than 220 leaves
// the session as it was. Everything that was received before the handshake is
// forgotten: call Hello again.
func (c *Client) StartTLS(cfg *tls.Config) (Reply, error) {
	r, err := c.command(StageStartTLS, "STARTTLS")
	if err != nil || r.Code != 220 {
		return r, err
	}
	return r, c.Handshake(cfg)
}

// Handshake does the TLS handshake: StartTLS's second half, and the opening of
// a session in wrapper mode. An error is a *ClientError.
func (c *Client) Handshake(cfg *tls.Config) error {
	t := tls.Client(c.conn, cfg)
	c.conn.SetDeadline(time.Now().Add(c.timeouts.StartTLS))
	if err := t.Handshake(); err != nil {
		return &ClientError{Stage: StageStartTLS, Err: err}
	}
	c.conn.SetDeadline(time.Time{})
	cs := t.ConnectionState()
	c.conn, c.tls = t, &cs
	c.r.Reset(t) // nothing from before the handshake survives it
	c.Ext = Extensions{}
	return nil
}

// SASL is the client's side of a mechanism; sasl.Client is one. Start's
// response may be nil (none).
type SASL interface {
	Name() string
	Start() (initial []byte, err error)
	Next(challenge []byte) (response []byte, err error)
}

// Auth runs a SASL exchange (RFC 4954). The reply is the server's verdict, or
// the zero Reply with the mechanism's own error.
func (c *Client) Auth(m SASL) (Reply, error) {
	initial, err := m.Start()
	if err != nil {
		return Reply{}, err
	}
	line := "AUTH " + m.Name()
	if initial != nil {
		ir := base64.StdEncoding.EncodeToString(initial)
		if ir == "" {
			ir = "="
		}
		if len(line)+1+len(ir)+2 <= 512 {
			line, initial = line+" "+ir, nil
		}
	}
	r, err := c.command(StageAuth, line)
	for step := 0; err == nil && r.Code == 334; step++ {
		var resp []byte
		switch {
		case initial != nil:
			resp, initial = initial, nil
		default:
			ch, derr := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Text))
			if derr == nil && step < authMaxSteps {
				resp, derr = m.Next(ch)
			} else if derr == nil {
				derr = errors.New("authentication protocol loop")
			}
			if derr != nil {
				if r, err = c.command(StageAuth, "*"); err != nil {
					return r, err
				}
				return Reply{}, derr
			}
		}
		r, err = c.command(StageAuth, base64.StdEncoding.EncodeToString(resp))
	}
	return r, err
}

// Reset sends RSET and waits for the reply.
func (c *Client) Reset() (Reply, error) {
	c.used = false
	return c.command(StageReset, "RSET")
}

// quitWait bounds the farewell to a server that nobody waits for.
const quitWait = time.Second

// Quit takes leave and closes the connection; with wait it hears the server
// out first.
func (c *Client) Quit(wait bool) {
	t := c.timeouts.Quit
	if !wait {
		t = min(t, quitWait)
	}
	c.conn.SetWriteDeadline(time.Now().Add(t))
	if _, err := c.conn.Write([]byte("QUIT\r\n")); err == nil && wait {
		c.reply(StageQuit)
	}
	c.conn.Close()
}

// Idle says whether nothing has arrived that no command asked for; a session
// that is not idle between transactions cannot be used again.
func (c *Client) Idle() bool { return len(c.r.Buffered()) == 0 }

func (c *Client) command(s ClientStage, line string) (Reply, error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.flush(s); err != nil {
		return Reply{}, err
	}
	return c.reply(s)
}

// flush writes c.out.
func (c *Client) flush(s ClientStage) error {
	c.conn.SetWriteDeadline(time.Now().Add(c.timeouts.of(s)))
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return &ClientError{Stage: s, Err: err}
	}
	return nil
}

func (c *Client) reply(s ClientStage) (Reply, error) { return c.read(s, nil) }

// read reads one reply within the stage's time; each, if not nil, is called
// with every line's text.
func (c *Client) read(s ClientStage, each func(string)) (Reply, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.timeouts.of(s)))
	r, err := readReply(c.r, &c.text, each)
	if err != nil {
		return r, &ClientError{Stage: s, Err: err}
	}
	return r, nil
}

// readReply reads one reply of one or more lines (RFC 5321, section 4.2). The
// enhanced status code of the first line is split off if it is of the code's
// class, whether or not the server announced such codes. buf is scratch memory.
func readReply(r *Reader, buf *[]byte, each func(string)) (Reply, error) {
	var rep Reply
	total := 0
	most := maxClientLine
	text := (*buf)[:0]
	for first := true; ; first = false {
		line, err := clientLine(r, most)
		if err != nil {
			return Reply{}, err
		}
		if total += len(line) + 2; total > maxClientReply {
			return Reply{}, ErrReplyTooLong
		}
		if len(line) < 3 || !isDigit(line[0]) || !isDigit(line[1]) || !isDigit(line[2]) || line[0] < '1' ||
			len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return Reply{}, fmt.Errorf("%w: %.60q", ErrReplySyntax, line)
		}
		code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
		more := len(line) > 3 && line[3] == '-'
		body := line[min(4, len(line)):]
		rep.Code = code // the last line's counts, as with Postfix
		if each != nil {
			each(string(body))
		}
		if first {
			enh, rest := CutEnhanced(string(body))
			if enh != "" && int(enh[0]-'0') == code/100 {
				rep.Enh = enh
				body = []byte(rest)
			}
		} else if rep.Enh != "" {
			body = bytes.TrimPrefix(body, []byte(rep.Enh))
			body = bytes.TrimLeft(body, " ")
		}
		if !first && len(text) < maxClientText {
			text = append(text, '\n')
		}
		text = append(text, body[:min(len(body), maxClientText-min(len(text), maxClientText))]...)
		if !more {
			break
		}
	}
	rep.Text = string(bytes.TrimRight(text, " \t"))
	*buf = text
	return rep, nil
}

// clientLine reads a line; unlike Reader.ReadLine it gives up on a line that
// is too long instead of reading to its end.
func clientLine(r *Reader, most int) ([]byte, error) {
	for seen := 0; ; {
		b := r.Buffered()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			line := b[:seen+i]
			r.Consume(seen + i + 1)
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			if len(line) > most {
				return nil, ErrReplyTooLong
			}
			return line, nil
		}
		if seen = len(b); seen > most {
			return nil, ErrReplyTooLong
		}
		if err := r.Fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}
