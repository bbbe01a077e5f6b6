package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
)

// trouble is a set of the classes of notify_classes that a session can be in.
type trouble uint8

const (
	policyTrouble   trouble = 1 << iota // a request was refused by a restriction or limit
	protocolTrouble                     // the client does not keep to the protocol
	resourceTrouble                     // space, tables or other programs are not available
	softwareTrouble                     // our configuration is wrong
)

func troubleClasses(c *config.Config) (t trouble) {
	classes := params.NotifyClasses.List(c)
	for i, name := range []string{"policy", "protocol", "resource", "software"} {
		if slices.Contains(classes, name) {
			t |= 1 << i
		}
	}
	return t
}

// maxTranscript is how much of a dialogue is kept: the latest of it.
const maxTranscript = 8 << 10

// transcript is the dialogue of a session, for a notice to the postmaster. It is
// kept as it was said, since most sessions need none: what one side has said
// begins with clientSaid or serverSaid at the start of a line, where neither can
// have put them.
type transcript struct {
	text    []byte
	cut     bool // the beginning is lost
	trouble trouble
	decided bool // the reply to come is about trouble that is known already
}

const (
	clientSaid = "\x00I"
	serverSaid = "\x00O"
)

// add keeps what one side has said.
func (t *transcript) add(who string, said []byte) {
	said = said[:min(len(said), maxTranscript/4)]
	if len(t.text)+len(said)+4 > maxTranscript {
		half := t.text[maxTranscript/2:]
		if i := bytes.Index(half, []byte("\n\x00")); i >= 0 {
			half = half[i+1:]
		} else {
			half = nil
		}
		t.text, t.cut = append(t.text[:0], half...), true
	}
	t.text = append(append(t.text, who...), said...)
	if n := len(said); n == 0 || said[n-1] != '\n' {
		t.text = append(t.text, '\n')
	}
}

// write appends the dialogue in printable lines.
func (t *transcript) write(b *strings.Builder) {
	if t.cut {
		b.WriteString(" ...\n")
	}
	side := ""
	for line := range bytes.Lines(t.text) {
		switch {
		case bytes.HasPrefix(line, []byte(clientSaid)):
			side, line = " In:  ", line[len(clientSaid):]
		case bytes.HasPrefix(line, []byte(serverSaid)):
			side, line = " Out: ", line[len(serverSaid):]
		}
		line = bytes.TrimRight(line, "\r\n")
		b.WriteString(side + maillog.Printable(string(line[:min(len(line), 512)])) + "\n")
	}
}

// clear forgets the dialogue so far, unless there was trouble in it.
func (t *transcript) clear() {
	if t.trouble == 0 {
		*t = transcript{text: t.text[:0]}
	}
}

// heard keeps a command of the client, without what AUTH tells.
func (s *session) heard(line []byte) {
	if s.set.notify == 0 {
		return
	}
	if verb := bytes.TrimLeft(line, " \t"); len(verb) > 4 && bytes.EqualFold(verb[:4], []byte("AUTH")) {
		if f := bytes.Fields(line); len(f) > 2 && len(f[0]) == 4 {
			line = fmt.Appendf(nil, "%s %s <hidden>", f[0], f[1])
		}
	}
	s.talk.add(clientSaid, line)
}

// said keeps a reply and finds out what trouble it tells of.
func (s *session) said(r esmtp.Reply, wire []byte) {
	if s.set.notify == 0 {
		return
	}
	s.talk.add(serverSaid, wire)
	decided := s.talk.decided
	if s.talk.decided = false; decided {
		return
	}
	switch {
	case r.Code < 400:
	case r.Enh == "4.3.1" || r.Code == 451 && r.Enh == "4.3.0":
		s.talk.trouble |= resourceTrouble
	case strings.HasSuffix(r.Enh, ".7.1") || r.Enh == "4.7.0":
		s.talk.trouble |= policyTrouble
	case r.Code >= 500 && (r.Enh == "" || strings.HasPrefix(r.Enh[1:], ".5.") || strings.HasPrefix(r.Enh[1:], ".1.")):
		s.talk.trouble |= protocolTrouble
	}
}

// decided notes the trouble behind a decision of the restrictions.
func (s *session) decided(t trouble) {
	s.talk.trouble |= t
	s.talk.decided = true
}

// notice tells the postmaster of a session in which there was trouble of a kind
// that notify_classes has.
func (s *session) notice() {
	t := &s.talk
	if t.trouble&s.set.notify == 0 || s.srv.env.Stdio {
		return
	}
	now := clock.Now()
	c := s.srv.env.Config
	complete := func(addr string) string { return address.WithDomain(addr, params.Myorigin.In(c)) }
	to := complete(params.ErrorNoticeRecipient.In(c))
	b := &cleanup.Begin{Flags: cleanup.Internal | cleanup.Map, Message: envelope.Message{ID: queue.NewID(now), Arrival: now,
		Sender: address.WithDomain(params.DoubleBounceSender.In(c), s.set.hostname), Local: true, Origin: "smtpd"}}
	var text strings.Builder
	fmt.Fprintf(&text, "Date: %s\nFrom: Mail Delivery System <%s>\nTo: Postmaster <%s>\nSubject: %s SMTP server: errors from %s\nAuto-Submitted: auto-generated\n\nTranscript of session follows.\n\n",
		now.Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)"), address.Quote(complete("MAILER-DAEMON")), address.Quote(to), params.MailName.In(c), s.client())
	t.write(&text)
	text.WriteString("\nFor other details, see the local mail logfile\n")
	if err := s.submitNotice(b, to, text.String()); err != nil {
		s.warnf("cannot send a notice about %s: %v", s.client(), err)
	}
}

func (s *session) submitNotice(b *cleanup.Begin, to, text string) error {
	tx, err := s.srv.cleanup.Begin(b)
	if err != nil {
		return err
	}
	if err = tx.Recipient(&envelope.Recipient{Address: to, Notify: envelope.NotifyNever}); err == nil {
		_, err = tx.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}
	if err != nil {
		tx.Abort()
		return err
	}
	res, err := tx.End()
	if err == nil && res.Status != cleanup.OK {
		err = fmt.Errorf("cleanup: %s", resultReply(res))
	}
	return err
}
