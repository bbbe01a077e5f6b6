package main

import (
	"errors"
	"strconv"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// resync is SELECT's QRESYNC parameter (RFC 7162, section 3.2.5).
type resync struct {
	uidValidity uint32
	modSeq      uint64
	known       imapwire.Set
	hasKnown    bool
}

// selectBox is SELECT, examine EXAMINE (RFC 9051, sections 6.3.2 and 6.3.3).
func (s *session) selectBox(p *imapwire.Parser, _ bool) error { return s.open(p, false) }

func (s *session) examine(p *imapwire.Parser, _ bool) error { return s.open(p, true) }

func (s *session) open(p *imapwire.Parser, readOnly bool) error {
	p.SP()
	name, nameErr := s.mailboxArg(p)
	var cond bool
	var q *resync
	if p.Try(' ') {
		p.List(func() {
			switch k := p.Keyword(); k {
			case "CONDSTORE":
				cond = true
			case "QRESYNC":
				q = parseResync(p)
			default:
				p.Fail("unknown parameter %s", printable(k))
			}
		})
	}
	p.End()
	if q != nil && !s.qresync {
		p.Fail("QRESYNC is not enabled")
	}
	if p.Err() != nil {
		return p.Err()
	}
	if s.box != nil {
		s.closeBox()
		s.out.str("* OK [CLOSED] previous mailbox is closed\r\n") // RFC 7162, section 3.2.11
	}
	if nameErr != nil {
		return nameErr
	}
	box, err := s.store.Open(name, readOnly)
	if err != nil {
		if errors.Is(err, mailbox.ErrNotFound) {
			return no("NONEXISTENT", "no such mailbox")
		}
		return err
	}
	s.box = box
	s.condstore = s.condstore || cond
	s.tellSelected(name)
	if q != nil && q.uidValidity == box.View().UIDValidity {
		s.resync(q)
	}
	s.okCode = "[READ-WRITE] "
	if box.ReadOnly() {
		s.okCode = "[READ-ONLY] "
	}
	return nil
}

// tellSelected sends the responses that SELECT must have.
func (s *session) tellSelected(name string) {
	v := s.box.View()
	s.tellFlags()
	s.tellExists()
	if !s.rev2 {
		for i, m := range v.Messages {
			if m.Flags&mailbox.Seen == 0 {
				s.okLine("UNSEEN", uint64(i+1), "first unseen message")
				break
			}
		}
	}
	s.okLine("UIDVALIDITY", uint64(v.UIDValidity), "UIDs are valid")
	s.okLine("UIDNEXT", uint64(v.UIDNext), "predicted next UID")
	s.okLine("HIGHESTMODSEQ", uint64(v.HighestModSeq), "highest mod-sequence")
	if id := s.box.ID(); id != "" {
		s.out.str("* OK [MAILBOXID (", id, ")] mailbox id\r\n")
	}
	if s.rev2 {
		s.out.str("* LIST () \"/\" ")
		s.appendMailbox(name)
		s.out.str("\r\n")
	}
}

func (s *session) okLine(code string, n uint64, text string) {
	s.out.str("* OK [", code, " ")
	s.out.num(n)
	s.out.str("] ", text, "\r\n")
}

func parseResync(p *imapwire.Parser) *resync {
	q := &resync{}
	p.SP()
	p.Open()
	q.uidValidity = p.Number()
	p.SP()
	q.modSeq = p.Number64()
	if p.Try(' ') && p.Peek() != '(' {
		q.known, q.hasKnown = knownSet(p), true
		p.Try(' ')
	}
	if p.Peek() == '(' { // the sequence match data, which only shortens what is sent
		p.Open()
		knownSet(p)
		p.SP()
		knownSet(p)
		p.Close()
	}
	p.Close()
	return q
}

// knownSet takes a set of what the client knows, in which "*" has no place
// (RFC 7162, section 3.2.5.2).
func knownSet(p *imapwire.Parser) imapwire.Set {
	set := p.Set(false)
	for _, r := range set.Ranges {
		if r.Lo == imapwire.Star || r.Hi == imapwire.Star {
			p.Fail("\"*\" among known messages")
		}
	}
	return set
}

// resync tells what happened since the client was last here.
func (s *session) resync(q *resync) {
	v := s.box.View()
	known := []imapwire.Range{{Lo: 1, Hi: uint32(max(v.UIDNext, 1))}}
	if q.hasKnown {
		known = q.known.Resolve(uint32(max(v.UIDNext, 1)))
	}
	s.tellVanished(mailbox.ModSeq(q.modSeq), known)
	for i, m := range v.Messages {
		if uint64(m.ModSeq) > q.modSeq && imapwire.Contains(known, uint32(m.UID)) {
			s.tellMessage(uint32(i+1), m, true)
		}
	}
}

// tellVanished sends VANISHED (EARLIER) of those UIDs within known that were
// expunged after since.
func (s *session) tellVanished(since mailbox.ModSeq, known []imapwire.Range) {
	var gone []imapwire.Range
	for _, r := range s.box.Vanished(since) {
		for _, k := range known {
			lo, hi := max(uint32(r.First), k.Lo), min(uint32(r.Last), k.Hi)
			if lo <= hi {
				gone = append(gone, imapwire.Range{Lo: lo, Hi: hi})
			}
		}
	}
	if gone = imapwire.Normalize(gone); len(gone) == 0 {
		return
	}
	s.out.str("* VANISHED (EARLIER) ")
	s.out.b = imapwire.AppendRanges(s.out.b, gone)
	s.out.str("\r\n")
}

// appendUint is strconv's, for the many places that build responses.
func appendUint[T ~uint32 | ~uint64](b []byte, n T) []byte {
	return strconv.AppendUint(b, uint64(n), 10)
}
