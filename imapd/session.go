package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maillog"
)

// Limits of what a session takes.
const (
	maxLine    = 64 << 10
	maxLiteral = 128 << 10
	maxCommand = 512 << 10
	maxBad     = 20 // commands in a row that make no sense
)

// tidy gives the memory of past work back to the system once no command has
// run for a while. It costs nothing while all sessions are at rest.
type tidy struct {
	last  atomic.Int64
	armed atomic.Bool
}

const tidyAfter = 10 * time.Second

func (t *tidy) worked() {
	t.last.Store(time.Now().UnixNano())
	if t.armed.CompareAndSwap(false, true) {
		time.AfterFunc(tidyAfter, t.look)
	}
}

func (t *tidy) look() {
	if rest := tidyAfter - time.Duration(time.Now().UnixNano()-t.last.Load()); rest > 0 {
		time.AfterFunc(rest, t.look)
		return
	}
	t.armed.Store(false)
	debug.FreeOSMemory()
}

// options are what all sessions of the process have in common.
type options struct {
	timeout     time.Duration // of a session that says nothing
	keepalive   time.Duration // between signs of life during IDLE; 0: none
	progress    time.Duration // after which a command that is at work says so
	appendLimit int64         // 0: none
	log         *maillog.Logger
	tidy        tidy
}

// session is one client. Its goroutine does everything but wait for input
// during IDLE.
type session struct {
	ctx       context.Context
	opt       *options
	conn      net.Conn
	inCommand atomic.Bool
	input     *input
	br        *bufio.Reader
	in        *imapwire.Reader
	out       output
	store     mailbox.Store
	user      string

	said    time.Time // when the command began, or was last said to go on
	tag     string
	okCode  string // response code of the OK to come, "[…] "
	okText  string // its text, if not "NAME completed"
	ended   bool   // LOGOUT has been given, or BYE sent
	bad     int
	pending *imapwire.Literal // APPEND's literal not read yet

	box      mailbox.Mailbox // nil unless one is selected
	saved    []imapwire.Range
	savedBox bool // saved belongs to box

	// What the client has enabled.
	condstore, qresync, utf8, rev2 bool
	compressed                     bool

	why     string // the session ended
	bytesIn int64

	parts   partCache
	scratch []byte // of appends that a response waits for
	count   map[string]*maillog.CommandCount
	order   []string
}

func newSession(ctx context.Context, opt *options, conn net.Conn, pre []byte, user string, store mailbox.Store) *session {
	s := &session{ctx: ctx, opt: opt, conn: conn, user: user, store: store, count: map[string]*maillog.CommandCount{}}
	s.out.conn, s.out.w = conn, conn
	s.input = &input{s: s, pre: pre, r: socket{s}}
	s.br = bufio.NewReaderSize(s.input, inSize)
	s.in = &imapwire.Reader{
		R:      s.br,
		Limits: imapwire.Limits{Line: maxLine, Literal: maxLiteral, Command: maxCommand},
		Stream: streams,
		Continue: func() error {
			s.out.str("+ OK\r\n")
			return nil
		},
	}
	return s
}

// run serves the session to its end.
func (s *session) run() {
	stop := context.AfterFunc(s.ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer s.closeBox()
	for !s.ended {
		s.inCommand.Store(false)
		if _, err := s.br.Peek(1); err != nil {
			s.lost(err)
			break
		}
		s.inCommand.Store(true)
		cmd, lit, err := s.in.ReadCommand()
		if err != nil && !s.unreadable(cmd, err) {
			s.lost(err)
			break
		}
		if err == nil {
			s.command(cmd, lit)
		}
		s.in.Release()
	}
	s.out.flush()
}

// lost ends a session whose connection ended or that ran out of time.
func (s *session) lost(err error) {
	switch {
	case s.ctx.Err() != nil:
		s.why = "Server shutting down"
		s.bye("[UNAVAILABLE] server is shutting down")
	case errors.Is(err, imapwire.ErrFlood):
		s.why = "Too much input"
		s.bye("[LIMIT] too much input")
	case s.out.err != nil && isTimeout(s.out.err):
		s.why = "Client takes no output"
	case isTimeout(err) && s.out.err == nil:
		s.why = "Inactivity"
		s.bye("[INACTIVITY] no command for too long")
	}
}

func (s *session) bye(text string) {
	s.out.str("* BYE ", text, "\r\n")
	s.ended = true
}

// unreadable answers a command that is over a limit; false when the session
// cannot go on.
func (s *session) unreadable(cmd []byte, err error) bool {
	var text string
	switch {
	case errors.Is(err, imapwire.ErrLineTooLong):
		text = "command line is longer than %d octets"
	case errors.Is(err, imapwire.ErrLiteralTooLong):
		text = "literal is larger than %d octets"
	case errors.Is(err, imapwire.ErrCommandTooLong):
		text = "command is longer than %d octets"
	default:
		return false
	}
	n := map[bool]int{true: maxLine, false: maxLiteral}[errors.Is(err, imapwire.ErrLineTooLong)]
	if errors.Is(err, imapwire.ErrCommandTooLong) {
		n = maxCommand
	}
	p := imapwire.NewParser(cmd[:min(len(cmd), 200)])
	s.tag = p.Tag()
	if p.Err() != nil || !p.Try(' ') {
		s.tag = "*"
	}
	s.reply("BAD", "[LIMIT] "+fmt.Sprintf(text, n))
	return s.badCommand()
}

// badCommand counts nonsense; false when it was too much.
func (s *session) badCommand() bool {
	if s.bad++; s.bad >= maxBad {
		s.why = "Too many invalid commands"
		s.bye("too many invalid commands")
		return false
	}
	return true
}

func (s *session) reply(status, text string) {
	s.out.str(s.tag, " ", status, " ", text, "\r\n")
}

// command runs one command.
func (s *session) command(line []byte, lit *imapwire.Literal) {
	p := imapwire.NewParser(line)
	if len(line) <= 2 && !p.More() {
		return // an empty line: some clients send one behind a literal
	}
	s.tag, s.okCode, s.okText, s.pending, s.said = "*", "", "", lit, time.Now()
	tag := p.Tag()
	p.SP()
	name := p.Keyword()
	if p.Err() == nil {
		s.tag = tag
	} else if tag != "" && p.Peek() == 0 {
		s.tag = tag
	}
	uid := false
	if name == "UID" {
		uid = true
		p.SP()
		name = "UID " + p.Keyword()
	}
	c := commands[name]
	var err error
	switch {
	case p.Err() != nil:
		err = p.Err()
	case c == nil && (name == "LOGIN" || name == "AUTHENTICATE" || name == "STARTTLS"):
		err = &imapwire.SyntaxError{What: "already logged in"}
	case c == nil:
		err = &imapwire.SyntaxError{What: "unknown command " + printable(name)}
	case c.flags&selected != 0 && s.box == nil:
		err = &imapwire.SyntaxError{What: "no mailbox is selected"}
	case c.flags&writes != 0 && s.box.ReadOnly():
		err = no("READ-ONLY", "mailbox is read-only")
	default:
		err = s.protect(c, p, uid)
	}
	if s.pending != nil { // a handler failed before it took the literal
		if err == nil {
			err = &imapwire.SyntaxError{What: "literal is not expected here"}
		}
		if skipErr := s.in.Skip(*s.pending, nil); skipErr != nil {
			s.lost(skipErr)
			s.ended = true
		}
	}
	if c != nil {
		s.counted(name, err == nil || err == errReplied)
	}
	s.opt.tidy.worked()
	s.finish(name, c, err)
}

// protect runs a handler. A panic is our own bug: it ends the command, not the
// other sessions.
func (s *session) protect(c *command, p *imapwire.Parser, uid bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.opt.log.Errorf("user %s: %s: panic: %v", s.user, c.name, r)
			s.bye("[SERVERBUG] internal error")
			err = errGone
		}
	}()
	return c.run(s, p, uid)
}

// errReplied says that a handler has sent the tagged reply itself.
var errReplied = errors.New("replied")

// errGone ends a command without a tagged reply, since the connection is over.
var errGone = errors.New("connection is over")

// finish sends what changed in the mailbox and then the tagged reply.
func (s *session) finish(name string, c *command, err error) {
	if errors.Is(err, errGone) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.ended = true
		return
	}
	if err == errReplied {
		return
	}
	var syntax *imapwire.SyntaxError
	if errors.As(err, &syntax) {
		s.reply("BAD", syntax.What)
		s.badCommand()
		return
	}
	s.bad = 0
	if s.box != nil && c.flags&quiet == 0 {
		if e := s.sync(c.flags&expunges != 0); e != nil && err == nil {
			err = e
		}
	}
	if err != nil {
		s.reply("NO", s.errorText(name, err))
		return
	}
	text := s.okText
	if text == "" {
		text = name + " completed"
	}
	s.out.str(s.tag, " OK ", s.okCode, text, "\r\n")
}

// refusal is a NO with a response code.
type refusal struct{ code, text string }

func (r *refusal) Error() string { return r.text }

func no(code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// errorText words an error of a command for the client. What is the server's
// trouble is logged, and the client learns no path.
func (s *session) errorText(name string, err error) string {
	var r *refusal
	if errors.As(err, &r) {
		if r.code == "" {
			return r.text
		}
		return "[" + r.code + "] " + r.text
	}
	for _, e := range [...]struct {
		err  error
		code string
	}{
		{mailbox.ErrNotFound, "NONEXISTENT"}, {mailbox.ErrExists, "ALREADYEXISTS"}, {mailbox.ErrName, "CANNOT"},
		{mailbox.ErrInbox, "CANNOT"}, {mailbox.ErrReadOnly, "READ-ONLY"}, {mailbox.ErrQuota, "OVERQUOTA"},
		{mailbox.ErrExpunged, "EXPUNGEISSUED"}, {mailbox.ErrBusy, "INUSE"}, {mailbox.ErrLimit, "LIMIT"},
		{mailbox.ErrNoSelect, "CANNOT"}, {mailbox.ErrHasUse, "USEATTR"},
	} {
		if errors.Is(err, e.err) {
			return "[" + e.code + "] " + e.err.Error()
		}
	}
	if errors.Is(err, mailbox.ErrOtherView) || errors.Is(err, mailbox.ErrClosed) {
		s.bye("mailbox was replaced; please reconnect")
		return "[UNAVAILABLE] " + mailbox.ErrOtherView.Error()
	}
	s.opt.log.Errorf("user %s: %s: %v", s.user, name, err)
	return "[SERVERBUG] internal error; it has been logged"
}

func (s *session) counted(name string, ok bool) {
	name = strings.ToLower(strings.ReplaceAll(name, " ", "-"))
	c := s.count[name]
	if c == nil {
		c = &maillog.CommandCount{Name: name}
		s.count[name] = c
		s.order = append(s.order, name)
	}
	c.Total++
	if ok {
		c.OK++
	}
}

// end is the session's last log line.
func (s *session) end() maillog.ImapEnd {
	e := maillog.ImapEnd{User: s.user, Why: s.why, In: s.bytesIn, Out: s.out.total}
	if e.Why == "" {
		e.Why = "Connection closed"
	}
	for _, n := range s.order {
		e.Commands = append(e.Commands, *s.count[n])
	}
	return e
}

// printable cuts and cleans a client's word for a reply.
func printable(t string) string {
	if len(t) > 40 {
		t = t[:40] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, t)
}

func (s *session) closeBox() {
	if s.box != nil {
		s.box.Close()
		s.box = nil
	}
	s.saved, s.savedBox = nil, false
	s.parts = partCache{}
}
