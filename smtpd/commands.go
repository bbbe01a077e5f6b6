package main

import (
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/tlsconf"
)

// command is one entry of the command table.
type command struct {
	name, log string
	fn        func(s *session, args string) bool // whether it succeeded
	plain     bool                               // allowed before STARTTLS when TLS is mandatory
	last      bool                               // must be the last of a pipelined group
	junk      bool                               // counts against smtpd_junk_command_limit
}

const numCommands = 16

// commandTable is in the order of the log's counters.
var commandTable = [numCommands]command{
	{name: "HELO", log: "helo", fn: (*session).helo, plain: true, last: true},
	{name: "EHLO", log: "ehlo", fn: (*session).ehloCmd, plain: true, last: true},
	{name: "XCLIENT", log: "xclient", fn: (*session).xclient, plain: true},
	{name: "XFORWARD", log: "xforward", fn: (*session).xforwardCmd},
	{name: "STARTTLS", log: "starttls", fn: (*session).starttls, plain: true},
	{name: "AUTH", log: "auth", fn: (*session).auth},
	{name: "MAIL", log: "mail", fn: (*session).mail},
	{name: "RCPT", log: "rcpt", fn: (*session).rcpt},
	{name: "DATA", log: "data", fn: (*session).data, last: true},
	{name: "BDAT", log: "bdat", fn: (*session).bdatCmd},
	{name: "RSET", log: "rset", fn: (*session).rset, junk: true},
	{name: "NOOP", log: "noop", fn: (*session).noop, plain: true, last: true, junk: true},
	{name: "VRFY", log: "vrfy", fn: (*session).vrfy, last: true, junk: true},
	{name: "ETRN", log: "etrn", fn: (*session).etrn, junk: true},
	{name: "QUIT", log: "quit", fn: (*session).quit, plain: true},
	{name: "HELP", log: "help", fn: (*session).help, plain: true, junk: true},
}

// findCommand returns the index of a command, -1 if there is none.
func findCommand(verb []byte) int {
	for i := range commandTable {
		n := commandTable[i].name
		if len(n) == len(verb) && foldEqual(verb, n) {
			return i
		}
	}
	return -1
}

func foldEqual(b []byte, upper string) bool {
	for i := range b {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 0x20
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// hello is what HELO and EHLO share.
func (s *session) hello(stage, args string) bool {
	if args == "" {
		return s.say(501, "", "Syntax: "+stage+" hostname")
	}
	s.resetMail()
	s.facts.Helo = cleanHelo(args)
	if !s.set.delayReject && !s.srv.env.Stdio {
		r, p := s.srv.policy.Helo(s.ctx, s.check(stage))
		if !r.IsZero() {
			s.facts.Helo = ""
			return s.reply(r)
		}
		s.pending = append(s.pending[:min(1, len(s.pending))], p)
	}
	s.ehlo = stage == "EHLO"
	s.facts.Protocol = "SMTP"
	if s.ehlo {
		s.facts.Protocol = "ESMTP"
	}
	return true
}

// maxHelo is how much is kept of the name in HELO: more than any host name may
// have, so that the restrictions see that it is none.
const maxHelo = 300

// cleanHelo makes the name fit for headers and the log: printable characters
// that delimit nothing there. Blanks inside stay visible as "?", so that the
// restrictions do not mistake the first of several words for the name.
func cleanHelo(h string) string {
	if len(h) > maxHelo {
		h = h[:maxHelo]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == ';' || r == '@' || r == '<' || r == '>' || r == '(' || r == ')' || r == '\\' || r == '"' || r == 0xfffd {
			return '?'
		}
		return r
	}, h)
}

func (s *session) helo(args string) bool {
	if !s.hello("HELO", args) {
		return false
	}
	return s.reply(esmtp.Reply{Code: 250, Text: s.set.hostname})
}

func (s *session) ehloCmd(args string) bool {
	if !s.hello("EHLO", args) {
		return false
	}
	l := append(make([]string, 0, 16), s.set.hostname)
	var dropped []string
	put := func(keyword, line string) {
		if !discarded(s.discard, keyword) {
			l = append(l, line)
		} else if !slices.Contains(dropped, keyword) {
			dropped = append(dropped, keyword)
		}
	}
	put("PIPELINING", "PIPELINING")
	if s.set.sizeLimit > 0 {
		put("SIZE", "SIZE "+strconv.FormatInt(s.set.sizeLimit, 10))
	} else {
		put("SIZE", "SIZE")
	}
	if !s.set.disableVrfy {
		put("VRFY", "VRFY")
	}
	put("ETRN", "ETRN")
	if s.srv.tls != nil && !s.facts.TLS && s.srv.tlsLvl != tlsconf.None {
		put("STARTTLS", "STARTTLS")
	}
	if s.authOffered() {
		if m := s.mechanisms(); len(m) > 0 {
			put("AUTH", "AUTH "+strings.Join(m, " "))
			if s.set.brokenSASL {
				put("AUTH", "AUTH="+strings.Join(m, " "))
			}
		}
	}
	if s.match(s.srv.xclientHosts) {
		put("XCLIENT", "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT")
	}
	if s.match(s.srv.xforwardHosts) {
		put("XFORWARD", "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT")
	}
	put("ENHANCEDSTATUSCODES", "ENHANCEDSTATUSCODES")
	put("8BITMIME", "8BITMIME")
	put("DSN", "DSN")
	if s.set.utf8 {
		put("SMTPUTF8", "SMTPUTF8")
	}
	put("CHUNKING", "CHUNKING")
	if len(dropped) > 0 && !discarded(s.discard, "SILENT-DISCARD") {
		s.log().Infof("discarding EHLO keywords: %s", strings.Join(dropped, " "))
	}
	return s.reply(esmtp.Reply{Code: 250, Text: strings.Join(l, "\n")})
}

func (s *session) rset(args string) bool {
	if args != "" {
		return s.say(501, "5.5.4", "Syntax: RSET")
	}
	s.resetMail()
	return s.say(250, "2.0.0", "Ok")
}

func (s *session) noop(string) bool { return s.say(250, "2.0.0", "Ok") }

func (s *session) quit(string) bool {
	s.say(221, "2.0.0", "Bye")
	s.closing = true
	return true
}

func (s *session) help(string) bool {
	l := []string{"AUTH", "BDAT", "DATA", "EHLO", "ETRN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY"}
	var have []string
	for _, c := range l {
		if c == "AUTH" && !s.set.saslEnable || c == "STARTTLS" && s.srv.tls == nil || c == "VRFY" && s.set.disableVrfy ||
			discarded(s.discard, c) || c == "BDAT" && discarded(s.discard, "CHUNKING") {
			continue
		}
		have = append(have, c)
	}
	return s.say(214, "2.0.0", "Commands: "+strings.Join(have, " "))
}

// vrfy runs the recipient checks without a transaction.
func (s *session) vrfy(args string) bool {
	if s.set.disableVrfy || discarded(s.discard, "VRFY") {
		return s.say(502, "5.5.1", "VRFY command is disabled")
	}
	if args == "" {
		syntax := "Syntax: VRFY address"
		if s.set.utf8 {
			syntax += " [SMTPUTF8]"
		}
		return s.say(501, "5.5.4", syntax)
	}
	if s.over(anvil.Recipient, s.set.rcptRate, "Recipient address rate") {
		return s.say(450, "4.7.1", "Error: too many recipients from "+s.facts.ClientAddr)
	}
	utf := false
	if f := strings.Fields(args); len(f) == 2 && strings.EqualFold(f[1], "SMTPUTF8") {
		args, utf = f[0], true
	}
	p, rest, err := esmtp.ParsePath(args, false)
	if err != nil || p.Addr == "" || rest != "" || p.Domain != "" && !s.srv.validDomain(p.Domain) {
		s.warnf("Illegal address syntax from %s in VRFY command: %.200s", s.client(), args)
		return s.say(501, "5.1.3", "Bad recipient address syntax")
	}
	if p.UTF8 && !utf && s.set.strictUTF8 {
		return s.say(553, "5.6.7", "Must declare SMTPUTF8 to send unicode address")
	}
	s.setRcpt(&p)
	defer s.clearRcpt()
	if !s.srv.env.Stdio {
		eff := s.tx.eff
		r := s.srv.policy.Rcpt(s.ctx, s.check("VRFY"), s.pending...)
		s.tx.eff = eff // an address that is only asked about changes nothing
		if !r.IsZero() {
			return s.reply(r)
		}
	}
	return s.say(252, "2.0.0", args)
}

// etrn asks qmgr to deliver what waits for a domain.
func (s *session) etrn(args string) bool {
	if s.srv.env.Stdio || discarded(s.discard, "ETRN") {
		return s.say(502, "5.5.1", "Error: command not implemented")
	}
	if s.set.heloRequired && s.facts.Helo == "" {
		return s.say(503, "", "Error: send HELO/EHLO first")
	}
	if s.tx.open {
		return s.say(503, "", "Error: MAIL transaction in progress")
	}
	if args == "" || strings.ContainsAny(args, " \t") {
		return s.say(500, "", "Syntax: ETRN domain")
	}
	d := strings.TrimPrefix(strings.TrimPrefix(args, "@"), "#")
	if !s.srv.validDomain(d) {
		return s.say(501, "", "Error: invalid parameter syntax")
	}
	s.facts.Etrn = d
	defer func() { s.facts.Etrn = "" }()
	if r := s.srv.policy.Etrn(s.ctx, s.check("ETRN")); !r.IsZero() {
		return s.reply(r)
	}
	ok, err := s.srv.fastFlush.Match(address.Fold(d))
	if err != nil {
		s.warnf("%v", err)
		return s.say(458, "", "Unable to queue messages")
	}
	if !ok {
		s.warnf("reject: ETRN %.100s... from %s", d, s.client())
		return s.say(459, "", "<"+d+">: service unavailable")
	}
	c, err := qmgr.Dial("public/qmgr")
	if err == nil {
		err = c.FlushSite(address.Fold(d))
		c.Close()
	}
	if err != nil {
		s.warnf("ETRN %s: %v", d, err)
		return s.say(458, "", "Unable to queue messages")
	}
	return s.say(250, "", "Queuing started")
}

func (s *session) setRcpt(p *esmtp.Path) {
	s.facts.HaveRcpt, s.facts.Rcpt = true, p.Addr
}

func (s *session) clearRcpt() { s.facts.HaveRcpt, s.facts.Rcpt = false, "" }

// resetMail forgets the transaction.
func (s *session) resetMail() {
	s.tx.bdat.abort()
	rcpts := s.tx.rcpts[:0]
	if cap(rcpts) > 64 {
		rcpts = nil
	} else {
		clear(s.tx.rcpts[:cap(rcpts)])
	}
	s.tx = transaction{rcpts: rcpts}
	f := &s.facts
	f.HaveSender, f.Sender, f.RcptCount, f.Size, f.QueueID, f.Instance, f.SASLSender = false, "", 0, 0, "", "", ""
	s.clearRcpt()
	if len(s.pending) > 2 {
		s.pending = s.pending[:2]
	}
}

// forget drops what the session knows of the client, for STARTTLS and XCLIENT.
func (s *session) forget() {
	s.resetMail()
	f := &s.facts
	f.Helo, f.Protocol = "", "SMTP"
	f.SASLMethod, f.SASLUser = "", ""
	s.ehlo = false
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
}
