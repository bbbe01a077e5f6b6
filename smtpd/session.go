package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"posthaste/pkg/address"
	"posthaste/pkg/deadline"
	"posthaste/pkg/dnsclient"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/maillog"
	"posthaste/pkg/restrict"
	"posthaste/pkg/sockio"
	"posthaste/pkg/tlsconf"
)

// readBuffer is the read buffer of a session between messages.
const readBuffer = 4096

// sessionBuffers are lent to a session from its beginning to its end; where it
// needs more, it gets its own.
type sessionBuffers struct {
	in        [readBuffer]byte
	out, talk [1024]byte
}

var sessionPool = sync.Pool{New: func() any { return new(sessionBuffers) }}

// flushAt is how much output is collected at most before it is sent.
const flushAt = 4096

// session is one client's connection.
type session struct {
	srv  *server
	set  *settings
	ctx  context.Context
	sock net.Conn
	raw  net.Conn // below TLS
	in   *esmtp.Reader
	out  []byte
	werr error

	tlsConn *tls.Conn // sock under TLS, else nil

	// Time limits: see network.Read.
	readBy   deadline.Limit
	writeBy  deadline.Limit
	idle     atomic.Bool // waits for a command between messages
	inData   bool
	limitAt  time.Time
	dataTime time.Time
	received int64 // bytes of content on the wire, for the minimum rate

	facts    restrict.Facts
	pending  []restrict.Pending // of stages before RCPT
	banned   esmtp.Reply        // client restriction's reply with smtpd_delay_reject=no
	ehlo     bool
	discard  []string
	sawCRLF  bool
	illPipe  bool // has pipelined where that is not allowed
	bareNote bool
	bare     esmtp.BareLFPolicy

	where    string // last command, for the log
	counts   [numCommands]count
	unknown  count
	errors   int
	junk     int
	closing  bool // end the session after the replies are sent
	silent   bool // … and send nothing (HANGUP)
	ended    bool // the abnormal end is logged
	mechs    []string
	counted  string // anvil counts this session under that name
	forward  xforward
	authWarn bool

	talk transcript
	tx   transaction
	lent *sessionBuffers

	evaluation restrict.Check // see check
}

type count struct{ ok, total int }

// transaction is one mail in the making.
type transaction struct {
	eff      restrict.Effects
	open     bool
	path     esmtp.Path
	body     string
	utf8     bool
	ret      string
	envid    string
	size     int64
	rcpts    []envelope.Recipient
	rcptSeen bool
	excess   int
	id       string
	start    time.Time
	bdat     bdat
}

func newSession(ctx context.Context, srv *server, c net.Conn) *session {
	s := &session{srv: srv, set: srv.set, ctx: ctx, sock: c, raw: c, where: "CONNECT", lent: sessionPool.Get().(*sessionBuffers)}
	s.in = esmtp.NewReaderBuffer((*network)(s), s.lent.in[:])
	s.out, s.talk.text = s.lent.out[:0], s.lent.talk[:0]
	s.facts = restrict.Facts{Stage: "CONNECT", ClientName: "unknown", ReverseName: "unknown", Protocol: "SMTP"}
	s.facts.ClientAddr, s.facts.ClientPort = split(c.RemoteAddr())
	s.facts.ServerAddr, s.facts.ServerPort = split(c.LocalAddr())
	if srv.env.Stdio || s.facts.ClientAddr == "" {
		s.facts.ClientName, s.facts.ReverseName, s.facts.ClientAddr = "localhost", "localhost", "127.0.0.1"
	}
	return s
}

// split returns address and port of a TCP address, "" for others.
func split(a net.Addr) (addr, port string) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return "", ""
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	return ip.String(), strconv.Itoa(t.Port)
}

// network is the session as the source of its input.
type network session

// Read sends what is waiting to be sent and reads. Each read is bounded by
// smtpd_timeout; a command line as a whole by smtpd_timeout since the wait for
// it began; content as a whole by its minimum rate.
func (n *network) Read(p []byte) (int, error) {
	s := (*session)(n)
	now := time.Now()
	if err := s.send(now); err != nil {
		return 0, err
	}
	d := now.Add(s.set.timeout)
	idle := false
	if s.inData {
		credit := time.Duration(float64(s.received) / float64(s.set.minRate) * float64(time.Second))
		limit := s.dataTime.Add(10*s.set.timeout + credit)
		if s.set.perRequest {
			limit = s.dataTime.Add(s.set.timeout + credit)
		}
		if limit.Before(d) {
			d = limit
		}
	} else {
		if s.limitAt.IsZero() {
			s.limitAt = d
		}
		d = s.limitAt
		if idle = !s.tx.open; idle {
			s.idle.Store(true)
			defer s.idle.Store(false)
		}
	}
	s.readBy.MoveTo(now, d, s.sock.SetReadDeadline)
	if s.srv.draining.Load() {
		if idle { // drain may have found the session so before the limit was set, or not
			d = now.Add(min(s.srv.grace, d.Sub(now)))
		}
		s.sock.SetReadDeadline(d)
		s.readBy.Forget()
	}
	m, err := s.sock.Read(p)
	s.srv.env.Working()
	if s.inData {
		s.received += int64(m)
	}
	return m, err
}

// flush sends the collected replies.
func (s *session) flush() error { return s.send(time.Now()) }

func (s *session) send(now time.Time) error {
	if s.werr != nil || len(s.out) == 0 {
		return s.werr
	}
	s.writeBy.Move(now, s.set.timeout, s.sock.SetWriteDeadline)
	_, s.werr = s.sock.Write(s.out)
	if s.out = s.out[:0]; cap(s.out) > 2*flushAt {
		s.out = nil
	}
	return s.werr
}

// reply queues a reply; it always returns whether the reply is positive, which
// is what commands return.
func (s *session) reply(r esmtp.Reply) bool {
	r = r.Aligned()
	if r.Code == restrict.Hangup {
		s.closing, s.silent = true, true
		return false
	}
	if r.Code >= 400 {
		if s.set.softBounce {
			r = r.Soft()
		}
		r = s.footer(r)
		if r.Code == 421 || r.Code == 521 {
			s.closing = true
		}
	}
	if s.errors >= s.set.softErrors && s.set.errorSleep > 0 && !s.closing {
		s.flush()
		s.sleep(s.set.errorSleep)
	}
	n := len(s.out)
	s.out = r.Append(s.out)
	s.said(r, s.out[n:])
	if len(s.out) >= flushAt {
		s.flush()
	}
	return r.Code < 400
}

func (s *session) say(code int, enh, text string) bool {
	return s.reply(esmtp.Reply{Code: code, Enh: enh, Text: text})
}

func (s *session) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// footer appends smtpd_reject_footer, whose lines are separated by "\n" in the
// configuration; "\c" at its start continues the last line.
func (s *session) footer(r esmtp.Reply) esmtp.Reply {
	text := s.set.footer
	if !s.srv.footerMaps.Empty() {
		if v, ok, err := s.srv.footerMaps.Get(r.String()); err == nil && ok {
			text = v
		}
	}
	if text == "" {
		return r
	}
	text = restrict.Expand(text, func(name string) string {
		switch name {
		case "client_address":
			return s.facts.ClientAddr
		case "client_port":
			return s.facts.ClientPort
		case "client_name":
			return s.facts.ClientName
		case "helo_name":
			return s.facts.Helo
		case "localtime":
			return time.Now().Format("Jan _2 15:04:05")
		case "pid", "process_id":
			return fmt.Sprint(os.Getpid())
		case "recipient":
			return address.Quote(s.facts.Rcpt)
		case "sender":
			return address.Quote(s.facts.Sender)
		case "server_name":
			return s.set.hostname
		}
		return ""
	})
	if rest, ok := strings.CutPrefix(text, `\c`); ok {
		r.Text += rest
	} else {
		r.Text += "\n" + text
	}
	r.Text = strings.ReplaceAll(r.Text, `\n`, "\n")
	return r
}

func (s *session) client() maillog.Host {
	return maillog.Host{Name: s.facts.ClientName, Addr: s.facts.ClientAddr}
}

func (s *session) log() *maillog.Logger { return s.srv.env.Log }

func (s *session) warnf(format string, a ...any) { s.log().Warningf(format, a...) }

// run is the whole session.
func (s *session) run() {
	defer s.finish()
	if !s.srv.env.Stdio {
		s.peer()
	}
	s.log().Event(maillog.Connected{Client: s.client()})
	if !s.srv.env.Stdio && (!s.admit() || s.set.wrapper && !s.handshake()) {
		return
	}
	if !s.greet() {
		return
	}
	for !s.closing {
		if s.errors >= s.set.hardErrors {
			s.abnormal("too many errors", 0)
			s.say(421, "4.7.0", s.set.hostname+" Error: too many errors")
			return
		}
		line, bareLF, err := s.readLine(s.set.lineLimit)
		s.heard(line)
		if err == esmtp.ErrLineTooLong {
			s.errors++
			s.warnf("%s: request longer than %d bytes", s.client(), s.set.lineLimit)
			s.say(500, "5.5.2", s.set.hostname+" Error: line too long")
			continue
		}
		if err != nil {
			s.lost(err, 0)
			return
		}
		if bareLF && s.bare == esmtp.BareLFReject {
			s.closing = true
			s.log().Infof("%s: bare <LF> received after %s", s.client(), s.where)
			s.say(s.set.bareCode, "5.5.2", s.set.hostname+" Error: bare <LF> received")
			return
		}
		s.command(line)
	}
}

// readLine reads a line that the client sends as one request.
func (s *session) readLine(max int) ([]byte, bool, error) {
	s.limitAt = time.Time{}
	line, bareLF, err := s.in.ReadLine(max)
	if err == nil && !bareLF {
		s.sawCRLF = true
	}
	if bareLF && s.bare == esmtp.BareLFNote && !s.bareNote {
		s.bareNote = true
		s.log().Infof("%s: bare <LF> received", s.client())
	}
	return line, bareLF, err
}

// finish ends the session: what is still to be sent goes out, and the counters
// into the log.
func (s *session) finish() {
	if r := recover(); r != nil {
		s.log().Panicf("session with %s: %v", s.client(), r)
		s.out = esmtp.Reply{Code: 421, Enh: "4.3.0", Text: s.set.hostname + " Server local data error"}.Append(s.out)
	}
	if !s.silent && s.werr == nil && len(s.out) > 0 {
		s.sock.SetWriteDeadline(time.Now().Add(min(s.set.timeout, 10*time.Second)))
		s.sock.Write(s.out)
	}
	s.resetMail()
	s.uncount()
	s.notice()
	ev := maillog.Disconnected{Client: s.client(), Commands: make([]maillog.CommandCount, 0, 8)}
	for i, c := range s.counts {
		if c.total > 0 {
			ev.Commands = append(ev.Commands, maillog.CommandCount{Name: commandTable[i].log, OK: c.ok, Total: c.total})
		}
	}
	if s.unknown.total > 0 {
		ev.Commands = append(ev.Commands, maillog.CommandCount{Name: "unknown", OK: s.unknown.ok, Total: s.unknown.total})
	}
	s.log().Event(ev)
	s.sock.Close()
	s.in, s.out, s.talk.text = nil, nil, nil
	sessionPool.Put(s.lent)
}

func (s *session) abnormal(kind string, n int64) {
	if !s.ended {
		s.ended = true
		s.log().Event(maillog.SessionEnd{Kind: kind, Stage: s.where, Bytes: n, Client: s.client()})
	}
}

// lost handles the failure of a read: a timeout is answered, a vanished client
// only logged. n is the content received so far.
func (s *session) lost(err error, n int64) {
	s.closing = true
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		if s.srv.draining.Load() && !s.inData && !s.tx.open && time.Now().Before(s.limitAt) {
			s.say(421, "4.3.2", s.set.hostname+" Service is being restarted, please come back")
			return
		}
		s.abnormal("timeout", n)
		s.say(421, "4.4.2", s.set.hostname+" Error: timeout exceeded")
	case s.where == "QUIT" && errors.Is(err, io.EOF):
	case s.where == "END-OF-MESSAGE": // nothing is lost: as Postfix, no word about it
	default:
		s.abnormal("lost connection", n)
	}
}

// greet sends the banner, unless the client is refused at once.
func (s *session) greet() bool {
	if s.bare = s.set.bareLF; s.srv.env.Stdio {
		s.bare = esmtp.BareLFNo
	}
	if s.bare != esmtp.BareLFNo && s.match(s.srv.bareExcept) {
		s.bare = esmtp.BareLFNo
	}
	s.discard = s.srv.discards(s.facts.ClientAddr)
	if !s.set.delayReject && !s.srv.env.Stdio {
		r, p := s.srv.policy.Client(s.ctx, s.check("CONNECT"))
		if !r.IsZero() {
			s.banned = r
			s.reply(r)
			return !s.closing
		}
		s.pending = append(s.pending[:0], p)
	}
	if s.set.forbidPipe && !s.set.wrapper && s.earlyTalk() {
		s.log().Infof("improper command pipelining after CONNECT from %s", s.client())
		s.say(554, "5.5.0", "Error: SMTP protocol synchronization")
		s.closing = true
		return false
	}
	return s.reply(esmtp.Reply{Code: 220, Text: s.set.banner})
}

// earlyTalk tells whether the client spoke before its turn.
func (s *session) earlyTalk() bool {
	if len(s.in.Buffered()) > 0 {
		return true
	}
	c, ok := s.raw.(*sockio.Conn)
	if !ok || s.sock != s.raw {
		return false
	}
	some, _ := c.Input()
	return some
}

type matcher interface {
	MatchHost(name, addr string) (bool, error)
}

// match tells whether the client is in a list of hosts and networks.
func (s *session) match(l matcher) bool {
	ok, err := l.MatchHost(s.facts.ClientName, s.facts.ClientAddr)
	if err != nil {
		s.warnf("%v", err)
	}
	return ok && err == nil
}

// check makes an evaluation of restrictions for a stage.
func (s *session) check(stage string) *restrict.Check {
	s.facts.Stage = stage
	// DATA ends a group of pipelined commands, BDAT is followed by its chunk;
	// HELO-mode clients may not pipeline.
	s.facts.UnauthPipe = s.illPipe || len(s.in.Buffered()) > 0 && (!s.ehlo || s.where == "DATA")
	if s.evaluation.Log == nil {
		s.evaluation = restrict.Check{Facts: &s.facts, Effects: &s.tx.eff, Log: func(e restrict.Event) { s.policyEvent(s.facts.Stage, e) }}
	}
	return &s.evaluation
}

// policyEvent logs a decision.
func (s *session) policyEvent(stage string, e restrict.Event) {
	if e.Verb == "reject" {
		switch e.Fault {
		case restrict.NoFault:
			s.decided(policyTrouble)
		case restrict.TableFault:
			s.decided(resourceTrouble)
		case restrict.ConfigFault:
			s.decided(softwareTrouble)
		}
	}
	p := maillog.Policy{ID: s.tx.id, Verb: e.Verb, Stage: stage, Client: s.client(), Text_: e.Text,
		Protocol: s.facts.Protocol, Helo: s.facts.Helo, Setting: e.Setting, SASLUser: s.facts.SASLUser}
	if s.set.softBounce && e.Verb == "reject" {
		if r, ok := esmtp.Parse(e.Text); ok {
			p.Text_ = r.Soft().String()
		}
	}
	if s.facts.HaveSender {
		q := address.Quote(s.facts.Sender)
		p.Sender = &q
	}
	if s.facts.HaveRcpt {
		q := address.Quote(s.facts.Rcpt)
		p.Rcpt = &q
	}
	s.log().Event(p)
}

// peer finds the client's name: the name of its address, if that name has the
// address.
func (s *session) peer() {
	if !s.set.peerLookup {
		return
	}
	a, err := netip.ParseAddr(s.facts.ClientAddr)
	if err != nil {
		return
	}
	if name := s.srv.dns.HostsName(a); dnsclient.ValidHostname(name) {
		s.facts.ReverseName, s.facts.ClientName = name, name
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	names, err := s.srv.dns.PTR(ctx, a)
	if err != nil || len(names) == 0 {
		t := err != nil && !(dnsAdapter{}).NotFound(err)
		s.facts.NameTemp, s.facts.ReverseTemp = t, t
		return
	}
	name := strings.TrimSuffix(names[0], ".")
	if !dnsclient.ValidHostname(name) {
		s.warnf("numeric or malformed hostname %q for address %s", name, a)
		return
	}
	s.facts.ReverseName = name
	addrs, err := s.srv.dns.Addrs(ctx, name)
	for _, b := range addrs {
		if b.Unmap() == a {
			s.facts.ClientName = name
			return
		}
	}
	why := ""
	if err != nil {
		why = ": " + err.Error()
		s.facts.NameTemp = !(dnsAdapter{}).NotFound(err)
	}
	s.warnf("hostname %s does not resolve to address %s%s", name, a, why)
}

// command runs one command line.
func (s *session) command(line []byte) {
	if s.set.utf8 && !utf8.Valid(line) {
		s.errors++
		s.say(500, "5.5.2", "Error: bad UTF-8 syntax")
		return
	}
	if !s.srv.commandFilter.Empty() {
		if v, ok, err := s.srv.commandFilter.Get(string(line)); err == nil && ok {
			s.log().Infof("%s: replacing command \"%.100s\" with \"%.100s\"", s.client(), line, v)
			line = []byte(v)
		}
	}
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	verb, args := line[:end], bytes.Trim(line[end:], " \t")
	if len(verb) == 0 {
		s.errors++
		s.unknown.total++
		s.say(500, "5.5.2", "Error: bad syntax")
		return
	}
	i := findCommand(verb)
	if s.srv.noop != nil && i < 0 {
		if ok, err := s.srv.noop.Match(string(verb)); err == nil && ok {
			s.junkCommand()
			s.say(250, "2.0.0", "Ok")
			return
		}
	}
	if i < 0 {
		s.unknownCommand(string(verb), line)
		return
	}
	c := &commandTable[i]
	s.where = c.name
	s.counts[i].total++
	if !s.allowed(c) {
		s.errors++
		return
	}
	if c.junk {
		s.junkCommand()
	}
	if c.fn(s, string(args)) {
		s.counts[i].ok++
	} else {
		s.errors++
	}
}

// allowed makes the checks that come before any command.
func (s *session) allowed(c *command) bool {
	if !s.banned.IsZero() && c.name != "QUIT" {
		return s.say(503, "5.7.0", "Error: access denied for "+s.client().String())
	}
	if s.srv.tlsLvl.Mandatory() && !s.facts.TLS && !c.plain && !s.srv.env.Stdio && s.srv.tlsLvl >= tlsconf.Encrypt {
		return s.say(530, "5.7.0", "Must issue a STARTTLS command first")
	}
	if !s.illPipe && !s.srv.env.Stdio && c.name != "STARTTLS" && c.name != "QUIT" && c.name != "AUTH" && c.name != "BDAT" &&
		(c.last || !s.ehlo) && len(s.in.Buffered()) > 0 {
		s.illPipe = true
		text := strconv.Quote(string(s.in.Buffered()[:min(100, len(s.in.Buffered()))]))
		s.log().Infof("improper command pipelining after %s from %s: %s", c.name, s.client(), text[1:len(text)-1])
		if !s.set.forbidPipe {
			return true
		}
		s.say(554, "5.5.0", "Error: SMTP protocol synchronization")
		s.closing = true
		return false
	}
	return true
}

// junkCommand counts commands that move no mail; too many are errors.
func (s *session) junkCommand() {
	if s.junk > s.set.junk {
		s.errors++
	}
	s.junk++
}

func (s *session) unknownCommand(verb string, line []byte) {
	s.where = "UNKNOWN"
	s.unknown.total++
	s.errors++
	bad := len(verb) > 1 && verb[len(verb)-1] == ':'
	if !bad {
		if ok, err := s.srv.forbidden.Match(verb); err == nil {
			bad = ok
		}
	}
	if bad {
		s.warnf("non-SMTP command from %s: %.100s", s.client(), line)
		s.say(221, "2.7.0", "Error: I can break rules, too. Goodbye.")
		s.closing = true
		return
	}
	if !s.banned.IsZero() {
		s.say(503, "5.7.0", "Error: access denied for "+s.client().String())
		return
	}
	s.say(500, "5.5.2", "Error: command not recognized")
}
