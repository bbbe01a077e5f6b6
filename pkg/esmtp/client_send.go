package esmtp

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Transaction is one message for a Client to send. Mail and Rcpt are whole
// commands without line end.
type Transaction struct {
	Mail    string
	Rcpt    []string
	Content io.Reader // CRLF form without dot-stuffing; read once, only if some recipient was accepted

	// Reply is told each reply that matters: to MAIL, to every RCPT (i is its
	// index), to DATA, and to the end of data: once for all accepted recipients
	// with i -1 (SMTP), or once for each of them (LMTP). After a rejected MAIL the
	// replies to RCPT and DATA are not told; after a rejected DATA that to the end
	// of data is not.
	Reply func(s ClientStage, i int, r Reply)
	// NoData ends the transaction after the last RCPT: a probe.
	NoData bool
	// LineLimit is the longest line of content in bytes, without its end; longer
	// ones are folded, as DotEncoder.Limit says. 0 is no limit.
	LineLimit int
	// Folding, if not nil, is called before the first line is folded.
	Folding func()
	// Sent, if not nil, is called when the content is about to be sent.
	Sent func()
}

// ErrStale says that a kept connection was found dead before it could take a
// new transaction; nothing was sent, and a new connection may do.
var ErrStale = errors.New("kept connection is gone")

var clientBuffers = sync.Pool{New: func() any { b := make([]byte, 0, clientBuffer+clientBuffer/8); return &b }}

// Send carries out one transaction. With PIPELINING the whole envelope and DATA
// go out in one flight. On a connection that has carried a transaction before,
// RSET goes first; if the server is gone by then the error is ErrStale. Any
// other error is a *ClientError; recipients without a reply by then have none.
func (c *Client) Send(t *Transaction) error {
	x := &sending{c: c, t: t, reset: c.used}
	c.used = true
	if err := x.envelope(); err != nil {
		return err
	}
	switch {
	case !x.dataSent || x.dataReply.Class() != 3:
		return nil // what is left of the transaction goes with the next one's RSET
	case x.accepted == 0:
		// The server took a pipelined DATA though it refused every recipient: RFC
		// 2920, section 3.1.
		c.out = append(c.out[:0], ".\r\n"...)
		if err := c.flush(StageDot); err != nil {
			return err
		}
		_, err := c.reply(StageDot)
		return err
	}
	if t.Sent != nil {
		t.Sent()
	}
	if err := x.content(); err != nil {
		return err
	}
	return x.verdicts()
}

// sending is the state of one transaction.
type sending struct {
	c *Client
	t *Transaction

	reset     bool // RSET is the first command
	mailOK    bool
	ok        []bool // recipients accepted, LMTP only
	accepted  int
	dataSent  bool
	dataReply Reply
}

// command i of the envelope: RSET (if needed), MAIL, each RCPT, DATA.
func (x *sending) stage(i int) (ClientStage, int) {
	if x.reset {
		if i == 0 {
			return StageReset, 0
		}
		i--
	}
	switch {
	case i == 0:
		return StageMail, 0
	case i <= len(x.t.Rcpt):
		return StageRcpt, i - 1
	}
	return StageData, 0
}

// envelope sends the commands up to DATA and takes their replies, as many ahead
// as the server and its reply buffer allow.
func (x *sending) envelope() error {
	c, t := x.c, x.t
	if c.LMTP {
		x.ok = make([]bool, len(t.Rcpt))
	}
	total := len(t.Rcpt) + 2
	if t.NoData {
		total--
	}
	if x.reset {
		total++
	}
	ahead := 1
	if c.Ext.Pipelining {
		ahead = maxClientBatch
	}
	sent, got := 0, 0
	for got < total {
		if sent-got <= ahead/2 && sent < total {
			c.out = c.out[:0]
			first, _ := x.stage(sent)
			for sent < total && sent-got < ahead {
				s, i := x.stage(sent)
				if !c.Ext.Pipelining && x.pointless(s) {
					return nil
				}
				c.out = append(append(c.out, x.line(s, i)...), '\r', '\n')
				x.dataSent = x.dataSent || s == StageData
				sent++
			}
			if err := c.flush(first); err != nil {
				return x.stale(err, got)
			}
		}
		s, i := x.stage(got)
		r, err := c.reply(s)
		if err != nil {
			return x.stale(err, got)
		}
		got++
		if s == StageReset {
			if r.Class() != 2 {
				return ErrStale
			}
			continue
		}
		x.take(s, i, r)
	}
	return nil
}

// stale turns the loss of a kept connection before any reply to this
// transaction into ErrStale.
func (x *sending) stale(err error, got int) error {
	var ce *ClientError
	if x.reset && got == 0 && errors.As(err, &ce) && !ce.Timeout() {
		return ErrStale
	}
	return err
}

// pointless says, for a server without pipelining, that the outcome is known
// without the command.
func (x *sending) pointless(s ClientStage) bool {
	return s == StageRcpt && !x.mailOK || s == StageData && x.accepted == 0
}

func (x *sending) line(s ClientStage, i int) string {
	switch s {
	case StageReset:
		return "RSET"
	case StageMail:
		return x.t.Mail
	case StageRcpt:
		return x.t.Rcpt[i]
	}
	return "DATA"
}

// take evaluates one reply to the envelope.
func (x *sending) take(s ClientStage, i int, r Reply) {
	good := r.Class() == 2
	switch s {
	case StageMail:
		x.mailOK = good
	case StageRcpt:
		if !x.mailOK {
			return
		}
		if good {
			x.accepted++
			if x.ok != nil {
				x.ok[i] = true
			}
		}
	case StageData:
		x.dataReply = r
		if x.accepted == 0 {
			return
		}
	}
	x.t.Reply(s, i, r)
}

// content sends the message and the end mark.
func (x *sending) content() error {
	c := x.c
	bp := clientBuffers.Get().(*[]byte)
	in := clientBuffers.Get().(*[]byte)
	defer clientBuffers.Put(bp)
	defer clientBuffers.Put(in)
	enc := DotEncoder{Limit: x.t.LineLimit, Folding: x.t.Folding}
	out := (*bp)[:0]
	src := (*in)[:clientBuffer]
	for {
		n, rerr := io.ReadFull(x.t.Content, src)
		out = enc.Encode(out[:0], src[:n])
		last := rerr == io.EOF || rerr == io.ErrUnexpectedEOF
		if rerr != nil && !last {
			return &ClientError{Stage: StageBody, Local: true, Err: rerr}
		}
		if last {
			out = enc.End(out)
		}
		c.conn.SetWriteDeadline(time.Now().Add(c.timeouts.DataXfer))
		_, err := c.conn.Write(out)
		*bp = out[:0]
		if err != nil {
			return x.cutShort(err)
		}
		if last {
			return nil
		}
	}
}

// cutShort looks, after the connection broke in the middle of the content, for
// a reply that says why: a server may refuse a message before its end and hang
// up.
func (x *sending) cutShort(err error) error {
	fail := &ClientError{Stage: StageBody, Err: err}
	if fail.Timeout() {
		return fail
	}
	x.c.conn.SetReadDeadline(time.Now().Add(prematureWait))
	r, rerr := readReply(x.c.r, &x.c.text, nil)
	if rerr == nil && r.Class() >= 4 {
		if x.c.LMTP {
			for i, ok := range x.ok {
				if ok {
					x.t.Reply(StageDot, i, r)
				}
			}
		} else {
			x.t.Reply(StageDot, -1, r)
		}
	}
	return fail
}

// verdicts reads the reply, or replies, to the end of data.
func (x *sending) verdicts() error {
	c := x.c
	if !c.LMTP {
		r, err := c.reply(StageDot)
		if err != nil {
			return err
		}
		x.t.Reply(StageDot, -1, r)
		return nil
	}
	for i, ok := range x.ok {
		if !ok {
			continue
		}
		r, err := c.reply(StageDot)
		if err != nil {
			return err
		}
		x.t.Reply(StageDot, i, r)
	}
	return nil
}
