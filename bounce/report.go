package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/dsn"
	"posthaste/pkg/envelope"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/bounce"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/proto/verify"
	"posthaste/pkg/queue"
)

// clientSubmit hands messages to cleanup.
func clientSubmit(c *cleanup.Client) func(*cleanup.Begin, string, func(io.Writer) error) error {
	return func(b *cleanup.Begin, to string, write func(io.Writer) error) error {
		t, err := c.Begin(b)
		if err != nil {
			return err
		}
		if err = t.Recipient(&envelope.Recipient{Address: to}); err == nil {
			err = write(t)
		}
		if err != nil {
			t.Abort()
			return err
		}
		r, err := t.End()
		if err != nil {
			return err
		}
		if r.Status != cleanup.OK {
			return fmt.Errorf("cleanup refused the report: %s", r.Reason)
		}
		return nil
	}
}

// wanted tells whether a recipient belongs into a report to the sender
// (RFC 3461, section 4.1).
func wanted(k bounce.Kind, r *envelope.Recipient) bool {
	if r.Flags&envelope.Implicit != 0 {
		return false
	}
	switch k {
	case bounce.Failure:
		return r.Notify == 0 || r.Notify&envelope.NotifyFailure != 0
	case bounce.Delay:
		return r.Notify == 0 || r.Notify&envelope.NotifyDelay != 0
	case bounce.Success, bounce.DelayClear:
		return r.Notify&envelope.NotifyNever == 0
	}
	return true
}

// complete adds the domain that a bare name stands for.
func (s *server) complete(a string) string { return address.WithDomain(a, s.set.origin) }

// doubleBounce is the sender of what goes to postmasters. Its domain is
// $myhostname, which this machine receives mail for.
func (s *server) doubleBounce() string { return address.WithDomain(s.set.doubleBounce, s.set.host) }

var kinds = map[bounce.Kind]dsn.Kind{bounce.Failure: dsn.Failure, bounce.Delay: dsn.Delay, bounce.Success: dsn.Success, bounce.Trace: dsn.Trace, bounce.DelayClear: dsn.DelayClear}

// words name the kinds in the log.
var words = map[bounce.Kind]string{bounce.Failure: "non-delivery", bounce.Delay: "delay", bounce.Success: "delivery status", bounce.Trace: "delivery status", bounce.DelayClear: "delivery status"}

// report sends the reports that a request calls for. nil means that they are in
// the queue, or that nobody wants one.
func (s *server) report(r *bounce.Request, original io.ReaderAt) error {
	if r.Message.Origin == verify.Origin && r.Message.VerifyOnly {
		return s.probed(r)
	}
	sender := r.Message.Sender
	if sender != "" && strings.EqualFold(sender, s.doubleBounce()) {
		if r.Kind == bounce.Failure {
			s.log.Warningf("%s: undeliverable postmaster notification discarded", r.Message.ID)
		}
		return nil
	}
	if sender == "" {
		if r.Kind == bounce.Failure && s.set.classes["2bounce"] {
			return s.send(r, original, dsn.ForDouble, s.set.doubleTo, r.Recipients)
		}
		return nil
	}
	var list []bounce.Recipient
	for i := range r.Recipients {
		if wanted(r.Kind, &r.Recipients[i].Recipient) {
			list = append(list, r.Recipients[i])
		}
	}
	if len(list) > 0 {
		if err := s.send(r, original, dsn.ForSender, sender, list); err != nil {
			return err
		}
	}
	// The sender's report is what counts: a copy that cannot be sent is not worth
	// sending the report again.
	to := ""
	switch {
	case r.Kind == bounce.Failure && s.set.classes["bounce"]:
		to = s.set.bounceTo
	case r.Kind == bounce.Delay && s.set.classes["delay"]:
		to = s.set.delayTo
	}
	if to != "" {
		if err := s.send(r, original, dsn.ForPostmaster, to, r.Recipients); err != nil {
			s.log.Warningf("%s: postmaster %s notification: %v", r.Message.ID, words[r.Kind], err)
		}
	}
	return nil
}

// probed tells verify(8) what became of a probe. Nobody else wants to know; if
// verify cannot be told, it sends another one when it is asked again.
func (s *server) probed(r *bounce.Request) error {
	for i := range r.Recipients {
		to := &r.Recipients[i]
		u := verify.Update{Address: to.Orig, Text: to.Reason}
		if u.Address == "" {
			u.Address = to.Address
		}
		switch to.Status {
		case envelope.Sent, envelope.Deliverable, envelope.Discarded:
			u.Status = verify.Deliverable
		case envelope.Deferred:
			u.Status = verify.Unreachable
		default:
			u.Status = verify.Undeliverable
		}
		if err := s.tell(&u); err != nil {
			s.log.Warningf("%s: %s service: %v", r.Message.ID, s.set.verify, err)
		}
	}
	return nil
}

// send makes one report and hands it to cleanup.
func (s *server) send(r *bounce.Request, original io.ReaderAt, role dsn.Role, to string, list []bounce.Recipient) error {
	to = s.complete(to)
	m := &r.Message
	utf8 := m.SMTPUTF8 || !address.IsASCII(to) || !address.IsASCII(m.Sender)
	rep := &dsn.Report{
		Kind: kinds[r.Kind], Role: role,
		From: address.Quote(s.complete("MAILER-DAEMON")), To: address.Quote(to), Postmaster: address.Quote(s.complete("postmaster")),
		ReportingMTA: s.set.host, MailName: s.set.mailName,
		Date: clock.Now(), Boundary: boundary(m.ID, s.set.host),
		ID: m.ID, Message: m, Sender: address.Quote(m.Sender),
		External: address.Quote, RetryEnd: r.RetryEnd,
	}
	if m.Sender == "" {
		rep.Sender = ""
	}
	for i := range list {
		utf8 = utf8 || !address.IsASCII(list[i].Address) || !address.IsASCII(list[i].Orig)
		rep.Recipients = append(rep.Recipients, dsn.Recipient{Recipient: list[i].Recipient, Outcome: list[i].Outcome})
	}
	rep.UTF8, rep.EightBit = utf8, r.EightBit
	content := func() io.Reader { return io.NewSectionReader(original, r.ContentOffset, r.ContentLength) }
	rep.Original = content()
	rep.WithBody = r.Kind == bounce.Failure && role != dsn.ForPostmaster && m.Ret != "HDRS" && r.ContentLength <= s.set.sizeLimit
	if s.set.threaded {
		rep.References = dsn.MessageID(content())
	}

	who, from := "sender", ""
	if role != dsn.ForSender {
		who, from = "postmaster", s.doubleBounce()
	}
	b := s.begin(from, utf8, r.EightBit)
	if err := s.submit(b, to, rep.Write); err != nil {
		return err
	}
	s.log.Event(maillog.Notification{ID: m.ID, Kind: who + " " + words[r.Kind] + " notification", NewID: b.Message.ID})
	return nil
}

// begin is the envelope of a message that bounce sends.
func (s *server) begin(from string, utf8, eightBit bool) *cleanup.Begin {
	now := clock.Now()
	b := &cleanup.Begin{
		Flags:   cleanup.Internal | cleanup.Map,
		Message: envelope.Message{ID: queue.NewID(now), Arrival: now, Sender: from, SMTPUTF8: utf8, Local: true, Origin: "bounce"},
	}
	if utf8 || eightBit {
		b.Message.Body = "8BITMIME"
	}
	return b
}

// boundary returns a string that does not occur in the original, whoever wrote
// that.
func boundary(id, host string) string {
	host = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '-'
	}, host)
	return id[:min(len(id), 20)] + "." + rand.Text()[:16] + "/" + host[:min(len(host), 30)]
}
