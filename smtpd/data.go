package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/header"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/restrict"
)

// holdBack is how much content waits in memory for the end-of-data
// restrictions, whose actions belong to the envelope.
const holdBack = 8 << 20

// buffers are lent to sessions while content flows.
type buffers struct{ in, out []byte }

const dataBuffer = 32 << 10

var bufferPool = sync.Pool{New: func() any { return &buffers{make([]byte, dataBuffer), make([]byte, 0, dataBuffer+64)} }}

// content receives one message for cleanup.
type content struct {
	s    *session
	t    sink
	size int64
	held []byte // waits for the end-of-data restrictions
	hold bool
	fail esmtp.Reply // what the client is told at the end; content is dropped once set

	started bool   // past "From " lines at the start
	first   []byte // the start of the content, while it may be such a line
}

// mailboxLine is the header field that keeps a "From " line of a mailbox file
// which a client has left at the start of a message: it would end the header.
const mailboxLine = "X-Mailbox-Line: "

// begin takes content until it is clear that no "From " line comes; what it
// returns is to be written. With last, there is no more.
func (c *content) begin(p []byte, last bool) (out []byte) {
	const from = "From "
	c.first = append(c.first, p...)
	for !c.started {
		text := bytes.TrimLeft(c.first, ">")
		n := min(len(text), len(from))
		is := strings.EqualFold(string(text[:n]), from[:n])
		if is && n < len(from) && !last {
			return out
		}
		if !is || n < len(from) {
			c.started = true
			break
		}
		i := bytes.IndexByte(c.first, '\n') + 1
		if i == 0 && len(c.first) < maxMailboxLine && !last {
			return out
		}
		if i == 0 {
			i, c.started = len(c.first), true
		}
		out = append(append(out, mailboxLine...), c.first[:i]...)
		c.first = c.first[i:]
	}
	out = append(out, c.first...)
	c.first = nil
	return out
}

// maxMailboxLine is how much of a "From " line is waited for.
const maxMailboxLine = 2048

// bdat is a BDAT transfer.
type bdat struct {
	active  bool
	failed  bool // everything up to RSET or MAIL is refused
	content *content
	lines   esmtp.LineEncoder
}

func (b *bdat) abort() {
	if b.content != nil {
		b.content.abort()
		b.content = nil
	}
	b.active, b.failed = false, false
}

// begin opens the transaction with cleanup. Nothing is sent before there is
// content.
func (s *session) begin() *content {
	c := &content{s: s, hold: !s.srv.env.Stdio && s.srv.policy.HasEndOfData() && !s.tx.eff.Discard}
	if !c.hold {
		c.open()
	}
	return c
}

func (c *content) open() {
	s := c.s
	t := &s.tx
	f := &s.facts
	b := cleanup.Begin{Flags: s.set.flags, Prepend: t.eff.Prepend, Redirect: t.eff.Redirect, FilterTo: t.eff.Filter, AddBCC: t.eff.BCC}
	if b.FilterTo == "" {
		b.FilterTo = s.set.contentFilter
	}
	if t.eff.Hold {
		b.Flags |= cleanup.Hold
	}
	if t.eff.Discard {
		b.Flags |= cleanup.Discard
	}
	b.Message = envelope.Message{
		ID: t.id, Arrival: t.start, Sender: f.Sender, Envid: t.envid, Ret: t.ret, Body: t.body, SMTPUTF8: t.utf8,
		Local: s.local(), Origin: "smtpd",
		Client: envelope.Client{
			Name: f.ClientName, ReverseName: f.ReverseName, Address: f.ClientAddr, Port: f.ClientPort, Helo: f.Helo, Protocol: f.Protocol,
			ServerAddr: f.ServerAddr, ServerPort: f.ServerPort, SASLMethod: f.SASLMethod, SASLUser: f.SASLUser, SASLSender: f.SASLSender,
			TLSProtocol: f.TLSProtocol, TLSCipher: f.TLSCipher, TLSPeer: f.CertSubject, TLS: s.tlsText(),
		},
	}
	tx, err := s.target(&b)
	if err == nil {
		c.t = tx
		for i := range t.rcpts {
			if err = c.t.Recipient(&t.rcpts[i]); err != nil {
				break
			}
		}
	}
	if err != nil {
		c.broken(err)
	}
}

// target opens the way into the queue.
func (s *session) target(b *cleanup.Begin) (sink, error) {
	if s.srv.env.Stdio {
		return startDrop(s.srv.env.Config, &b.Message, s.trace(&b.Message), func(id string) {
			s.tx.id = id
			s.logReceived()
		})
	}
	return s.srv.cleanup.Begin(b)
}

// trace is the header that a stand-alone session puts on a message, which cleanup
// does otherwise. The queue ID is not known yet.
func (s *session) trace(m *envelope.Message) []byte {
	r := header.Received{
		Helo: m.Client.Helo, Name: m.Client.Name, Address: m.Client.Address, By: s.set.hostname, MailName: params.MailName.In(s.srv.env.Config),
		With: header.With(m.Client.Protocol, m.SMTPUTF8, false, false), Date: m.Arrival.Local(),
	}
	if len(s.tx.rcpts) == 1 {
		r.For = address.Quote(s.tx.rcpts[0].Address)
	}
	return r.Append(nil)
}

// broken handles trouble with cleanup.
func (c *content) broken(err error) {
	c.s.warnf("%s: %v", c.s.tx.id, err)
	c.refuse(451, "4.3.0", "Error: queue file write error")
}

// refuse drops what was sent and what will come.
func (c *content) refuse(code int, enh, text string) {
	if c.fail.IsZero() {
		c.fail = esmtp.Reply{Code: code, Enh: enh, Text: text}
	}
	c.abort()
}

func (c *content) abort() {
	if c.t != nil {
		c.t.Abort()
		c.t = nil
	}
	c.held = nil
}

// write takes content in CRLF form.
func (c *content) write(p []byte) {
	if !c.started && len(p) > 0 {
		if len(c.first) == 0 && (p[0]|0x20 != 'f' && p[0] != '>' || len(p) > 4 && p[4] == ':') {
			c.started = true // most content begins with a field; "From:" is one
		} else {
			p = c.begin(p, false)
		}
	}
	c.put(p)
}

func (c *content) put(p []byte) {
	if !c.fail.IsZero() || len(p) == 0 {
		return
	}
	c.size += int64(len(p))
	if limit := c.s.set.sizeLimit; limit > 0 && c.size > limit {
		c.refuse(552, "5.3.4", "Error: message file too big")
		return
	}
	if c.hold {
		if len(c.held)+len(p) <= holdBack {
			c.held = append(c.held, p...)
			return
		}
		c.release()
		if !c.fail.IsZero() {
			return
		}
	}
	if _, err := c.t.Write(p); err != nil {
		c.broken(err)
	}
}

// release sends what was held back.
func (c *content) release() {
	c.hold = false
	c.open()
	if c.fail.IsZero() {
		if _, err := c.t.Write(c.held); err != nil {
			c.broken(err)
		}
	}
	c.held = nil
}

// end completes the message and returns the client's reply.
func (c *content) end(bytes string) esmtp.Reply {
	s := c.s
	if !c.started {
		c.put(c.begin(nil, true))
	}
	s.facts.Size = c.size
	if c.fail.IsZero() && !s.srv.env.Stdio && s.srv.policy.HasEndOfData() && !s.tx.eff.Discard {
		before := s.tx.eff
		s.single()
		r := s.srv.policy.EndOfData(s.ctx, s.check("END-OF-MESSAGE"))
		s.clearRcpt()
		switch {
		case !r.IsZero():
			c.abort()
			return r
		case !c.hold && changed(&before, &s.tx.eff):
			s.warnf("%s: message is larger than %d bytes: cannot apply the action of an end-of-data restriction", s.tx.id, holdBack)
			c.refuse(451, "4.3.0", "Error: queue file write error")
		}
	}
	if c.hold && c.fail.IsZero() {
		c.release()
	}
	if !c.fail.IsZero() {
		c.abort()
		return c.fail
	}
	res, err := c.t.End()
	c.t = nil
	if err != nil {
		c.broken(err)
		return c.fail
	}
	if res.Status != cleanup.OK {
		return resultReply(res)
	}
	s.errors, s.junk = 0, 0
	s.talk.clear()
	return esmtp.Reply{Code: 250, Enh: "2.0.0", Text: "Ok: " + bytes + "queued as " + s.tx.id}
}

// changed tells whether an action was added that belongs to the envelope.
func changed(a, b *restrict.Effects) bool {
	return a.Hold != b.Hold || a.Discard != b.Discard || a.Filter != b.Filter || a.Redirect != b.Redirect || len(a.BCC) != len(b.BCC)
}

// resultReply words what cleanup says.
func resultReply(r *cleanup.Result) esmtp.Reply {
	var rep esmtp.Reply
	switch r.Status {
	case cleanup.NoSpace:
		rep = esmtp.Reply{Code: 452, Enh: "4.3.1", Text: "Insufficient system storage"}
	case cleanup.TooBig:
		rep = esmtp.Reply{Code: 552, Enh: "5.3.4", Text: "Error: message file too big"}
	case cleanup.TooManyHops:
		rep = esmtp.Reply{Code: 554, Enh: "5.4.0", Text: "Error: too many hops"}
	case cleanup.Rejected:
		rep = esmtp.Reply{Code: 550, Enh: "5.7.1", Text: "Error: message content rejected"}
	case cleanup.NoRecipients:
		rep = esmtp.Reply{Code: 550, Enh: "5.1.0", Text: "Error: no recipients specified"}
	case cleanup.BadProtocol:
		rep = esmtp.Reply{Code: 451, Enh: "4.3.0", Text: "Error: internal error"}
	default:
		rep = esmtp.Reply{Code: 451, Enh: "4.3.0", Text: "Error: queue file write error"}
	}
	if r.Code >= 400 && r.Code <= 599 {
		rep.Code = r.Code
	}
	if esmtp.ValidEnhanced(r.DSN) {
		rep.Enh = r.DSN
	}
	if r.Reason != "" {
		rep.Text = r.Reason
	}
	return rep
}

// single makes the only recipient known to the checks of the whole message.
func (s *session) single() {
	if len(s.tx.rcpts) == 1 {
		s.facts.HaveRcpt, s.facts.Rcpt = true, s.tx.rcpts[0].Address
	}
}

func (s *session) data(args string) bool {
	t := &s.tx
	switch {
	case t.bdat.active:
		return s.say(503, "5.5.1", "Error: DATA after BDAT")
	case len(t.rcpts) == 0 && t.rcptSeen:
		return s.say(554, "5.5.1", "Error: no valid recipients")
	case len(t.rcpts) == 0:
		return s.say(503, "5.5.1", "Error: need RCPT command")
	case args != "":
		return s.say(501, "5.5.4", "Syntax: DATA")
	}
	if r := s.dataCheck(); !r.IsZero() {
		return s.reply(r)
	}
	s.reply(esmtp.Reply{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"})
	c := s.begin()
	err := s.receive(c)
	if err != nil {
		c.abort()
		s.lost(err, s.received)
		return false
	}
	s.where = "END-OF-MESSAGE"
	ok := s.reply(c.end(""))
	s.resetMail()
	return ok
}

// dataCheck runs smtpd_data_restrictions.
func (s *session) dataCheck() esmtp.Reply {
	if s.srv.env.Stdio || !s.srv.policy.HasData() || s.tx.eff.Discard {
		return esmtp.Reply{}
	}
	s.single()
	defer s.clearRcpt()
	return s.srv.policy.Data(s.ctx, s.check("DATA"))
}

// receive reads the content of DATA up to its end mark.
func (s *session) receive(c *content) error {
	b := bufferPool.Get().(*buffers)
	s.in.Borrow(b.in)
	s.inData, s.dataTime, s.received = true, time.Now(), 0
	defer func() {
		b.in = s.in.Return()
		bufferPool.Put(b)
		s.inData, s.limitAt = false, time.Time{}
	}()
	dec := esmtp.DotDecoder{LFOnly: !s.sawCRLF && (s.bare == esmtp.BareLFNo || s.bare == esmtp.BareLFNote)}
	for {
		if len(s.in.Buffered()) == 0 {
			if err := s.in.Fill(); err != nil {
				return err
			}
		}
		out, n, done := dec.Decode(b.out[:0], s.in.Buffered())
		s.in.Consume(n)
		c.write(out)
		if cap(out) > cap(b.out) && cap(out) <= 4*dataBuffer {
			b.out = out
		}
		if dec.BareLF && s.bare == esmtp.BareLFReject && c.fail.IsZero() {
			s.log().Infof("%s: %s: bare <LF> received", s.tx.id, s.client())
			c.refuse(s.set.bareCode, "5.5.2", s.set.hostname+" Error: bare <LF> received")
			s.closing = true
		}
		if done {
			s.sawCRLF = s.sawCRLF || !dec.LFOnly
			if dec.BareLF && s.bare == esmtp.BareLFNote {
				s.log().Infof("%s: %s: bare <LF> received", s.tx.id, s.client())
			}
			return nil
		}
	}
}

// bdatCmd is BDAT (RFC 3030).
func (s *session) bdatCmd(args string) bool {
	t := &s.tx
	if discarded(s.discard, "CHUNKING") {
		return s.say(521, "5.5.1", "Error: command not implemented")
	}
	f := strings.Fields(args)
	bad := len(f) < 1 || len(f) > 2 || strings.Trim(f[0], "0123456789") != ""
	last := len(f) == 2 && strings.EqualFold(f[1], "LAST")
	var n int64
	if !bad {
		var err error
		if n, err = strconv.ParseInt(f[0], 10, 64); err != nil || n > math.MaxInt64/2 {
			bad = true
		}
	}
	if bad || len(f) == 2 && !last {
		s.warnf("%s: malformed BDAT command syntax from %s: BDAT %.100s", cmp.Or(t.id, "NOQUEUE"), s.client(), args)
		return s.say(521, "5.5.4", "Syntax: BDAT count [LAST]")
	}
	if t.bdat.failed {
		return s.skip(n, esmtp.Reply{Code: 554, Enh: "5.5.1", Text: fmt.Sprintf("Discarded %d bytes after earlier failure", n)})
	}
	switch {
	case n == 0 && !last:
		return s.skip(n, esmtp.Reply{Code: 551, Enh: "5.7.1", Text: "Null BDAT request"})
	case len(t.rcpts) == 0 && t.rcptSeen:
		return s.skip(n, esmtp.Reply{Code: 554, Enh: "5.5.1", Text: "Error: no valid recipients"})
	case len(t.rcpts) == 0:
		return s.skip(n, esmtp.Reply{Code: 503, Enh: "5.5.1", Text: "Error: need RCPT command"})
	case !t.bdat.active:
		if r := s.dataCheck(); !r.IsZero() {
			return s.skip(n, r)
		}
		t.bdat.active = true
		t.bdat.content = s.begin()
	}
	return s.chunk(n, last)
}

// skip reads and drops a chunk before it answers, and refuses what follows up
// to RSET.
func (s *session) skip(n int64, r esmtp.Reply) bool {
	if err := s.readChunk(n, func([]byte) {}); err != nil {
		s.lost(err, s.received)
		return false
	}
	if s.tx.open {
		s.tx.bdat.abort()
		s.tx.bdat.active, s.tx.bdat.failed = true, true
	}
	return s.reply(r)
}

// chunk receives one chunk of a message.
func (s *session) chunk(n int64, last bool) bool {
	b := &s.tx.bdat
	c := b.content
	var buf []byte
	err := s.readChunk(n, func(p []byte) {
		buf = b.lines.Encode(buf[:0], p)
		c.write(buf)
	})
	if err != nil {
		s.lost(err, s.received)
		return false
	}
	if !last {
		if !c.fail.IsZero() {
			b.abort()
			b.active, b.failed = true, true
			return s.reply(c.fail)
		}
		return s.say(250, "2.0.0", fmt.Sprintf("Ok: %d bytes", n))
	}
	if tail := b.lines.End(nil); len(tail) > 0 {
		c.write(tail)
	}
	b.content = nil
	s.where = "END-OF-MESSAGE"
	ok := s.reply(c.end(fmt.Sprintf("%d bytes ", c.size)))
	s.resetMail()
	return ok
}

// readChunk reads exactly n bytes.
func (s *session) readChunk(n int64, f func([]byte)) error {
	s.inData, s.dataTime, s.received = true, time.Now(), 0
	defer func() { s.inData, s.limitAt = false, time.Time{} }()
	if n > readBuffer {
		b := bufferPool.Get().(*buffers)
		s.in.Borrow(b.in)
		defer func() {
			b.in = s.in.Return()
			bufferPool.Put(b)
		}()
	}
	for n > 0 {
		p := s.in.Buffered()
		if len(p) == 0 {
			if err := s.in.Fill(); err != nil {
				return err
			}
			continue
		}
		if int64(len(p)) > n {
			p = p[:n]
		}
		f(p)
		n -= int64(len(p))
		s.in.Consume(len(p))
	}
	return nil
}
