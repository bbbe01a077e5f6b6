package main

import (
	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// storeFlags is STORE (RFC 9051, section 6.4.6) with UNCHANGEDSINCE (RFC 7162,
// section 3.1.3).
func (s *session) storeFlags(p *imapwire.Parser, uid bool) error {
	p.SP()
	set := p.Set(true)
	p.SP()
	var c mailbox.StoreChange
	if p.Peek() == '(' {
		p.List(func() {
			if k := p.Keyword(); p.Err() == nil && k != "UNCHANGEDSINCE" {
				p.Fail("unknown STORE modifier %s", printable(k))
			}
			p.SP()
			c.Conditional, c.UnchangedSince = true, mailbox.ModSeq(p.Number64())
		})
		p.SP()
	}
	c.Op = mailbox.Replace
	if p.Try('+') {
		c.Op = mailbox.Add
	} else if p.Try('-') {
		c.Op = mailbox.Remove
	}
	silent := false
	switch k := p.Keyword(); k {
	case "FLAGS":
	case "FLAGS.SILENT":
		silent = true
	default:
		p.Fail("unknown STORE item %s", printable(k))
	}
	p.SP()
	var flags []string
	if p.Peek() == '(' {
		flags = p.FlagList()
	} else {
		flags = append(flags, p.Flag())
		for p.Err() == nil && len(flags) < 256 && p.Try(' ') {
			flags = append(flags, p.Flag())
		}
	}
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	var err error
	if c.Flags, c.Keywords, err = parseFlags(flags); err != nil {
		return err
	}
	uids, err := s.uids(set, uid)
	if err != nil {
		return err
	}
	if c.Conditional {
		s.enableCondstore()
	}
	known := len(s.box.View().Keywords)
	done, err := s.box.Store(uids, c)
	if err != nil {
		return err
	}
	if len(s.box.View().Keywords) > known {
		s.tellFlags()
	}
	s.tellStored(&done, silent, uid)
	return nil
}

// tellStored sends what STORE did.
func (s *session) tellStored(done *mailbox.Stored, silent, uid bool) {
	for i, m := range done.Changed {
		switch {
		case !silent:
			s.tellMessage(done.Seqs[i], m, uid)
		case s.condstore: // the new mod-sequence is told in any case
			s.out.get()
			b := append(s.out.b, "* "...)
			b = appendUint(b, done.Seqs[i])
			b = append(b, " FETCH (UID "...)
			b = appendUint(b, uint32(m.UID))
			b = append(b, " MODSEQ ("...)
			b = appendUint(b, m.ModSeq)
			s.out.b = append(b, "))\r\n"...)
		}
	}
	switch {
	case len(done.Modified) > 0:
		nums := make([]uint32, 0, len(done.Modified))
		v := s.box.View()
		for _, u := range done.Modified {
			n := uint32(u)
			if !uid {
				i, _ := v.Find(u)
				n = uint32(i + 1)
			}
			nums = append(nums, n)
		}
		s.okCode = "[MODIFIED " + string(imapwire.AppendRanges(nil, imapwire.Ranges(nums))) + "] "
		s.okText = "some messages were changed meanwhile"
	case len(done.Gone) > 0:
		s.okCode = "[EXPUNGEISSUED] "
		s.okText = "some messages are gone"
	}
}
