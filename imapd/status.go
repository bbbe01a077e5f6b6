package main

import (
	"posthaste/pkg/imapwire"
)

// statusItems are the items of STATUS as bits, in the order of the answer.
var statusItems = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "DELETED-STORAGE", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT", "MAILBOXID"}

const (
	stMessages = 1 << iota
	stRecent
	stUIDNext
	stUIDValidity
	stUnseen
	stDeleted
	stDeletedStorage
	stSize
	stHighestModSeq
	stAppendLimit
	stMailboxID
)

// parseStatus takes the list of items.
func parseStatus(p *imapwire.Parser) (items int) {
	p.List(func() {
		k := p.Keyword()
		for i, name := range statusItems {
			if name == k {
				items |= 1 << i
				return
			}
		}
		p.Fail("unknown STATUS item %s", printable(k))
	})
	return items
}

// status is STATUS (RFC 9051, section 6.3.11).
func (s *session) status(p *imapwire.Parser, _ bool) error {
	p.SP()
	name, err := s.mailboxArg(p)
	p.SP()
	items := parseStatus(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err != nil {
		return err
	}
	if items&stHighestModSeq != 0 {
		s.enableCondstore()
	}
	return s.tellStatus(name, items)
}

func (s *session) tellStatus(name string, items int) error {
	st, err := s.store.Status(name, items&(stSize|stDeletedStorage) != 0)
	if err != nil {
		return err
	}
	s.out.str("* STATUS ")
	s.appendMailbox(name)
	s.out.str(" (")
	first := true
	for i, n := range [...]uint64{
		uint64(st.Messages), uint64(st.Recent), uint64(st.UIDNext), uint64(st.UIDValidity), uint64(st.Unseen),
		uint64(st.Deleted), uint64(st.DeletedSize), uint64(st.Size), uint64(st.HighestModSeq), uint64(s.opt.appendLimit), 0,
	} {
		bit := 1 << i
		if items&bit == 0 || bit == stMailboxID && st.ID == "" {
			continue
		}
		if !first {
			s.out.str(" ")
		}
		first = false
		s.out.str(statusItems[i], " ")
		switch {
		case bit == stMailboxID:
			s.out.str("(", st.ID, ")")
		case bit == stAppendLimit && n == 0:
			s.out.str("NIL")
		default:
			s.out.num(n)
		}
	}
	s.out.str(")\r\n")
	return nil
}
