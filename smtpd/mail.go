package main

import (
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/queue"
	"posthaste/pkg/restrict"
)

// path reads the address of MAIL or RCPT and what follows it. A blank before
// the address, which many clients send, is forgiven by strict_rfc821_envelopes
// too.
func (s *session) path(rest string) (esmtp.Path, string, error) {
	p, params, err := esmtp.ParsePath(strings.TrimLeft(rest, " \t"), s.set.strictEnvelope)
	if err == nil && p.Domain != "" && !s.srv.validDomain(p.Domain) {
		err = esmtp.ErrBadPath
	}
	return p, params, err
}

// keyword takes "FROM:" or "TO:" off the arguments.
func keyword(args, word string) (rest string, ok bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", false
	}
	rest = strings.TrimLeft(args[len(word):], " \t")
	if !strings.HasPrefix(rest, ":") {
		return "", false
	}
	return rest[1:], true
}

func (s *session) mail(args string) bool {
	if s.set.heloRequired && s.facts.Helo == "" {
		return s.say(503, "5.5.1", "Error: send HELO/EHLO first")
	}
	if s.tx.open {
		if s.tx.bdat.active {
			return s.say(503, "5.5.1", "Error: MAIL after BDAT")
		}
		return s.say(503, "5.5.1", "Error: nested MAIL command")
	}
	rest, ok := keyword(args, "FROM")
	if !ok || strings.TrimSpace(rest) == "" {
		return s.say(501, "5.5.4", "Syntax: MAIL FROM:<address>")
	}
	if s.over(anvil.Message, s.set.msgRate, "Message delivery request rate") {
		return s.say(450, "4.7.1", "Error: too much mail from "+s.facts.ClientAddr)
	}
	p, params, err := s.path(rest)
	if err != nil {
		s.warnf("Illegal address syntax from %s in MAIL command: %.200s", s.client(), strings.TrimSpace(rest))
		return s.say(501, "5.1.7", "Bad sender address syntax")
	}
	var buf [8]esmtp.Param
	list, err := esmtp.ParseParams(buf[:0], params)
	if err != nil {
		return s.say(501, "5.5.4", "Syntax: MAIL FROM:<address>")
	}
	t := &s.tx
	t.size = -1
	for i := range list {
		if r := s.mailParam(t, list, i); !r.IsZero() {
			s.resetMail()
			return s.reply(r)
		}
	}
	if p.UTF8 && !t.utf8 && s.set.strictUTF8 {
		s.resetMail()
		return s.say(553, "5.6.7", "Must declare SMTPUTF8 to send unicode address")
	}
	f := &s.facts
	f.HaveSender, f.Sender = true, p.Addr
	if r := s.room(t.size); !r.IsZero() {
		s.policyEvent("MAIL", restrict.Event{Verb: "reject", Text: r.String(), Fault: restrict.TableFault})
		s.resetMail()
		return s.reply(r)
	}
	f.Size = max(t.size, 0)
	t.start = clock.Now()
	f.Instance = strconv.FormatInt(t.start.UnixNano(), 36) + "." + strconv.Itoa(s.counts[cmdMail].total)
	if !s.set.delayReject && !s.srv.env.Stdio {
		r, pend := s.srv.policy.Sender(s.ctx, s.check("MAIL"))
		if !r.IsZero() {
			s.resetMail()
			return s.reply(r)
		}
		s.pending = append(s.pending[:min(2, len(s.pending))], pend)
	}
	t.open, t.path = true, p
	return s.say(250, "2.1.0", "Ok")
}

// cmdMail is MAIL's place in the command table.
const cmdMail = 6

// mailParam reads one parameter of MAIL; the reply is zero if it is good.
func (s *session) mailParam(t *transaction, list []esmtp.Param, i int) esmtp.Reply {
	p := list[i]
	fail := func(code int, enh, text string) esmtp.Reply { return esmtp.Reply{Code: code, Enh: enh, Text: text} }
	unsupported := fail(555, "5.5.4", "Unsupported option: "+option(p))
	twice := false
	for _, q := range list[:i] {
		twice = twice || q.Key == p.Key
	}
	switch p.Key {
	case "SIZE":
		if p.Value == "" || strings.Trim(p.Value, "0123456789") != "" {
			return fail(501, "5.5.4", "Bad message size syntax")
		}
		n, err := strconv.ParseInt(p.Value, 10, 64)
		if err != nil {
			return fail(552, "5.3.4", "Message size exceeds file system imposed limit")
		}
		t.size = n
	case "BODY":
		v := strings.ToUpper(p.Value)
		if v != "7BIT" && v != "8BITMIME" {
			return unsupported
		}
		t.body = v
	case "SMTPUTF8":
		if !s.set.utf8 || p.HasValue || discarded(s.discard, "SMTPUTF8") {
			return unsupported
		}
		t.utf8 = true
	case "AUTH":
		if !s.set.saslEnable && !s.srv.env.Stdio {
			break // of no meaning then, and taken all the same, as by Postfix
		}
		if twice {
			return fail(503, "5.5.4", "Error: multiple AUTH= options")
		}
		v, err := esmtp.DecodeXtext(p.Value)
		if err != nil || p.Value == "" || len(v) > envelope.MaxAddress {
			return fail(501, "5.5.4", "Error: bad AUTH= syntax")
		}
		s.facts.SASLSender = v
	case "RET":
		if discarded(s.discard, "DSN") {
			return fail(501, "5.7.1", "DSN support is disabled")
		}
		v := strings.ToUpper(p.Value)
		if v != "FULL" && v != "HDRS" || twice {
			return fail(501, "5.5.4", "Bad RET parameter syntax")
		}
		t.ret = v
	case "ENVID":
		if discarded(s.discard, "DSN") {
			return fail(501, "5.7.1", "DSN support is disabled")
		}
		v, err := esmtp.DecodeXtext(p.Value)
		if err != nil || v == "" || len(v) > 100*3 || twice {
			return fail(501, "5.5.4", "Bad ENVID parameter syntax")
		}
		t.envid = v
	default:
		return unsupported
	}
	return esmtp.Reply{}
}

// room checks a declared size against the limit and free space against
// queue_minfree.
func (s *session) room(size int64) esmtp.Reply {
	if s.set.sizeLimit > 0 && size > s.set.sizeLimit {
		return esmtp.Reply{Code: 552, Enh: "5.3.4", Text: "Message size exceeds fixed limit"}
	}
	free := s.srv.free()
	if free <= s.set.minFree || size > 0 && free-s.set.minFree <= size || s.set.sizeLimit > 0 && free/3*2 < s.set.sizeLimit {
		s.warnf("not enough free space in mail queue: %d bytes", free)
		return esmtp.Reply{Code: 452, Enh: "4.3.1", Text: "Insufficient system storage"}
	}
	return esmtp.Reply{}
}

// free returns the bytes that are free in the queue's file system, as they
// were at most a second ago; without an answer of the kernel, plenty.
func (s *server) free() int64 {
	s.freeMu.Lock()
	defer s.freeMu.Unlock()
	if now := time.Now(); now.Sub(s.freeAt) > time.Second {
		s.freeAt = now
		var st unix.Statfs_t
		if unix.Statfs(".", &st) != nil || st.Blocks == 0 {
			s.freeNow = math.MaxInt64
		} else {
			s.freeNow = int64(st.Bavail) * st.Bsize
		}
	}
	return s.freeNow
}

func (s *session) rcpt(args string) bool {
	t := &s.tx
	if !t.open {
		return s.say(503, "5.5.1", "Error: need MAIL command")
	}
	if t.bdat.active {
		return s.say(503, "5.5.1", "Error: RCPT after BDAT")
	}
	rest, ok := keyword(args, "TO")
	if !ok || strings.TrimSpace(rest) == "" {
		return s.say(501, "5.5.4", "Syntax: RCPT TO:<address>")
	}
	t.rcptSeen = true
	if s.over(anvil.Recipient, s.set.rcptRate, "Recipient address rate") {
		return s.say(450, "4.7.1", "Error: too many recipients from "+s.facts.ClientAddr)
	}
	p, params, err := s.path(rest)
	if err != nil || p.Addr == "" {
		s.warnf("Illegal address syntax from %s in RCPT command: %.200s", s.client(), strings.TrimSpace(rest))
		return s.say(501, "5.1.3", "Bad recipient address syntax")
	}
	var buf [4]esmtp.Param
	list, err := esmtp.ParseParams(buf[:0], params)
	if err != nil {
		return s.say(501, "5.5.4", "Syntax: RCPT TO:<address>")
	}
	r := envelope.Recipient{Num: uint32(len(t.rcpts)), Address: p.Addr}
	for i := range list {
		if bad := s.rcptParam(&r, list, i); !bad.IsZero() {
			return s.reply(bad)
		}
	}
	if len(t.rcpts) >= s.set.rcptLimit {
		// Clients that fill a message up are no offenders until they overdo it.
		t.excess++
		s.say(452, "4.5.3", "Error: too many recipients")
		if t.excess <= s.set.rcptOvershoot {
			s.errors--
		}
		return false
	}
	if p.UTF8 && !t.utf8 && s.set.strictUTF8 {
		return s.say(553, "5.6.7", "Must declare SMTPUTF8 to send unicode address")
	}
	s.setRcpt(&p)
	defer s.clearRcpt()
	s.facts.RcptCount = len(t.rcpts)
	if !s.srv.env.Stdio {
		if rep := s.srv.policy.Rcpt(s.ctx, s.check("RCPT"), s.pending...); !rep.IsZero() {
			return s.reply(rep)
		}
	}
	if len(t.rcpts) == 0 {
		t.id = queue.NewID(clock.Now())
		s.facts.QueueID = t.id
		if !s.srv.env.Stdio {
			s.logReceived()
		}
	}
	t.rcpts = append(t.rcpts, r)
	s.facts.RcptCount = len(t.rcpts)
	return s.say(250, "2.1.5", "Ok")
}

// logReceived joins the queue id to the client.
func (s *session) logReceived() {
	e := maillog.Received{ID: s.tx.id, Client: s.client(), SASLMethod: s.facts.SASLMethod, SASLUser: s.facts.SASLUser, SASLSender: s.facts.SASLSender}
	if s.forward.set {
		e.OrigQueueID = s.forward.ident
		h := maillog.Host{Name: s.forward.name, Addr: s.forward.addr}
		e.OrigClient = &h
	}
	s.log().Event(e)
}

// rcptParam reads one parameter of RCPT.
func (s *session) rcptParam(r *envelope.Recipient, list []esmtp.Param, i int) esmtp.Reply {
	p := list[i]
	fail := func(code int, enh, text string) esmtp.Reply { return esmtp.Reply{Code: code, Enh: enh, Text: text} }
	if (p.Key == "NOTIFY" || p.Key == "ORCPT") && discarded(s.discard, "DSN") {
		return fail(501, "5.7.1", "DSN support is disabled")
	}
	switch p.Key {
	case "NOTIFY":
		n, ok := parseNotify(p.Value)
		if !ok || r.Notify != 0 {
			return fail(501, "5.5.4", "Error: Bad NOTIFY parameter syntax")
		}
		r.Notify = n
	case "ORCPT":
		v, err := esmtp.ParseOrcpt(p.Value)
		if err != nil || r.Orcpt != "" || len(v) > 1000 {
			return fail(501, "5.5.4", "Error: Bad ORCPT parameter syntax")
		}
		if !s.tx.utf8 && !address.IsASCII(v) {
			return fail(501, "5.5.4", "Error: Bad ORCPT parameter syntax")
		}
		r.Orcpt = v
	default:
		return fail(555, "5.5.4", "Unsupported option: "+option(p))
	}
	return esmtp.Reply{}
}

// option is a parameter as the client sent it.
func option(p esmtp.Param) string {
	if p.HasValue {
		return p.Key + "=" + p.Value
	}
	return p.Key
}

func parseNotify(v string) (envelope.Notify, bool) {
	var n envelope.Notify
	for _, w := range strings.Split(v, ",") {
		var b envelope.Notify
		switch strings.ToUpper(w) {
		case "NEVER":
			b = envelope.NotifyNever
		case "SUCCESS":
			b = envelope.NotifySuccess
		case "FAILURE":
			b = envelope.NotifyFailure
		case "DELAY":
			b = envelope.NotifyDelay
		default:
			return 0, false
		}
		if n&b != 0 {
			return 0, false
		}
		n |= b
	}
	return n, n&envelope.NotifyNever == 0 || n == envelope.NotifyNever
}
