package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/header"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mimestate"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
)

// session is one message on its way into the queue. After the first failure
// only the failure counts.
type session struct {
	set     *settings
	flags   cleanup.Flags
	m       envelope.Message
	begin   *cleanup.Begin
	w       *queue.Writer
	result  *cleanup.Result // a failure
	inspect bool            // content checks are wanted
	discard bool
	hold    bool

	seen      map[string]bool
	firstRcpt *string // as the client gave it
	given     int     // recipients that the client gave
	filter    string
	redirect  string
	addBCC    []string // of content checks

	size int64 // content received
	at   part
	scan header.Scanner
	h    headerState
	mime *mimestate.State
	body bodyState
}

// part is where in the message the session is.
type part uint8

const (
	atStart  part = iota // no content yet
	atHeader             // in the message's own header
	atBody
)

// begin opens a session; it is the server's Begin.
func (c *settings) begin(b *cleanup.Begin) cleanup.Session {
	s := &session{set: c, flags: b.Flags, m: b.Message, begin: b,
		inspect: b.Flags&cleanup.Filter != 0, discard: b.Flags&cleanup.Discard != 0, hold: b.Flags&cleanup.Hold != 0,
		filter: b.FilterTo, redirect: b.Redirect}
	if s.m.VerifyOnly {
		s.flags &^= cleanup.BCC // nothing is sent, so that there is no copy of it
	}
	s.scan.Limit = c.headerLimit
	if !queue.ValidID(s.m.ID) {
		s.fail(cleanup.BadProtocol, 451, "4.3.0", "")
		return s
	}
	sender, err := s.sender(s.m.Sender)
	if err != nil {
		s.mapFailed(err)
		return s
	}
	s.m.Sender = sender
	w, err := c.spool.Create(queue.Incoming, &s.m)
	if err != nil {
		s.writeFailed(err)
		return s
	}
	s.w = w
	return s
}

func (s *session) warnf(format string, a ...any) {
	s.set.log.Warningf("%s: %s", s.m.ID, fmt.Sprintf(format, a...))
}

// fail records the first failure and gives the queue file up.
func (s *session) fail(st cleanup.Status, code int, dsn, text string) {
	if s.result == nil {
		s.result = &cleanup.Result{Status: st, Code: code, DSN: dsn, Reason: text}
	}
	if s.w != nil {
		s.w.Abort()
		s.w = nil
	}
}

func (s *session) writeFailed(err error) {
	if s.result != nil {
		return
	}
	s.warnf("write queue file: %v", err)
	if errors.Is(err, durable.ErrNoSpace) {
		s.fail(cleanup.NoSpace, 452, "4.3.1", "")
		return
	}
	s.fail(cleanup.WriteError, 451, "4.3.0", "")
}

// trouble sorts an error of the envelope's functions.
func (s *session) trouble(err error) {
	if err == nil {
		return
	}
	var we *writeError
	if errors.As(err, &we) {
		s.writeFailed(we.err)
		return
	}
	s.mapFailed(err)
}

// out writes content.
func (s *session) out(p []byte) {
	if s.w == nil || len(p) == 0 {
		return
	}
	if _, err := s.w.Write(p); err != nil {
		s.writeFailed(err)
	}
}

// Recipient takes one recipient.
func (s *session) Recipient(r *envelope.Recipient) {
	if s.result != nil || s.discard {
		return
	}
	if s.at != atStart {
		// The queue file has its recipients before the content, and the Received:
		// header that tells their number is written.
		s.fail(cleanup.BadProtocol, 451, "4.3.0", "")
		return
	}
	s.given++
	s.trouble(s.recipient(*r))
}

// startContent writes what comes before the content: recipients that the
// configuration adds, and the headers that the system adds.
func (s *session) startContent() {
	s.at = atHeader
	if s.result != nil || s.discard {
		return
	}
	given := s.firstRcpt
	if s.flags&cleanup.BCC != 0 {
		if s.m.Sender != "" && !s.set.senderBCC.Empty() {
			s.trouble(s.mappedBCC("sender_bcc_maps", s.set.senderBCC, s.m.Sender))
		}
		for _, a := range s.set.alwaysBCC {
			if s.result == nil {
				s.trouble(s.bcc(a))
			}
		}
	}
	for _, a := range s.begin.AddBCC {
		if s.result == nil {
			s.trouble(s.bcc(a))
		}
	}
	if s.result != nil {
		return
	}
	s.firstRcpt = given
	for _, l := range s.begin.Prepend {
		s.out([]byte(strings.ReplaceAll(l, "\n", "\r\n") + "\r\n"))
	}
	if s.flags&cleanup.NoReceived == 0 {
		s.out(s.set.received(s))
	}
}

// Data takes the next bytes of the content.
func (s *session) Data(p []byte) {
	if s.at == atStart {
		s.startContent()
	}
	if s.result != nil || s.discard {
		return
	}
	s.size += int64(len(p))
	if l := s.set.messageLimit; l > 0 && s.size > l {
		s.tooBig()
		return
	}
	if s.set.rejectChars != nil && s.set.rejectChars.in(p) {
		s.fail(cleanup.Rejected, 550, "5.7.1", "disallowed character")
		return
	}
	if s.set.stripChars != nil {
		p = s.set.stripChars.without(p)
	}
	if s.set.replaceStray {
		p = s.body.unstray(p)
	}
	if s.at == atHeader {
		end, rest, over := s.scan.Feed(p, s.field)
		if !over {
			return
		}
		s.endHeader()
		s.at = atBody
		switch {
		case len(bytes.TrimRight(end, "\r\n")) > 0:
			s.emptyLine()
			s.bodyData(end)
		case s.mime != nil:
			// The empty line belongs to this header: for the MIME state, it would end
			// that of a message inside before it began.
			s.Body(end)
		default:
			s.bodyData(end)
		}
		p = rest
	}
	s.bodyData(p)
}

// emptyLine puts the line that is missing between header and body.
func (s *session) emptyLine() {
	switch s.set.noEmptyLine {
	case "reject":
		s.fail(cleanup.Rejected, 550, "5.7.1", "message header was not terminated by an empty line")
	case "add_header":
		s.out([]byte("MIME-Error: message header was not terminated by an empty line\r\n\r\n"))
	default:
		s.out([]byte("\r\n"))
	}
}

func (s *session) tooBig() {
	s.warnf("queue file size limit exceeded")
	s.fail(cleanup.TooBig, 552, "5.3.4", "")
}

// End completes the message.
func (s *session) End() *cleanup.Result {
	if s.at == atStart {
		s.startContent()
	}
	if s.at == atHeader && s.result == nil && !s.discard {
		rest := s.scan.End(s.field)
		s.endHeader()
		s.at = atBody
		if len(rest) > 0 {
			s.emptyLine()
			s.bodyData(rest)
		}
	}
	if s.result == nil && !s.discard {
		s.bodyEnd()
	}
	if s.result == nil && !s.discard {
		s.trailer()
	}
	if s.result != nil {
		s.fail(s.result.Status, 0, "", "") // makes sure that nothing is left
		return s.result
	}
	if s.discard {
		s.Abort()
		return &cleanup.Result{Status: cleanup.OK, Size: s.size}
	}
	return s.commit()
}

// trailer writes what was found out while the content was read.
func (s *session) trailer() {
	if s.flags&cleanup.ExtractRcpts != 0 {
		for _, a := range s.h.extracted() {
			if s.result != nil {
				return
			}
			s.trouble(s.recipient(envelope.Recipient{Address: a}))
		}
	}
	for _, a := range s.addBCC {
		if s.result != nil {
			return
		}
		s.trouble(s.bcc(a))
	}
	if s.result != nil {
		return
	}
	if s.redirect != "" && s.w.Recipients() > 0 {
		r := envelope.Recipient{Address: s.set.router.Rewrite(s.redirect, true)}
		if s.firstRcpt != nil && s.set.origRcpt {
			r.Orig = *s.firstRcpt
		}
		s.w.CancelRecipients()
		if err := s.w.Recipient(&r); err != nil {
			s.writeFailed(err)
			return
		}
	}
	if s.w.Recipients() == 0 {
		s.fail(cleanup.NoRecipients, 550, "5.1.0", "No recipients specified")
		return
	}
	if s.filter != "" {
		if err := s.w.Attr(queue.AttrFilter, s.filter); err != nil {
			s.writeFailed(err)
		}
	}
}

func (s *session) commit() *cleanup.Result {
	size := s.w.Size()
	s.w.SetHops(s.h.hops)
	var err error
	if s.hold {
		err = s.w.SetQueue(queue.Hold)
	}
	if err == nil {
		err = s.w.Commit()
	}
	if err != nil {
		s.writeFailed(err)
		return s.result
	}
	s.w = nil
	if !s.hold && s.set.notify != nil {
		s.set.notify.Notify(s.m.ID)
	}
	return &cleanup.Result{Status: cleanup.OK, Size: size}
}

// Abort gives the message up.
func (s *session) Abort() {
	if s.w != nil {
		s.w.Abort()
		s.w = nil
	}
}

// client names the message's origin in the log.
func (s *session) client() string {
	if c := &s.m.Client; c.Address != "" {
		return maillog.Host{Name: c.Name, Addr: c.Address}.String()
	}
	return "local"
}
