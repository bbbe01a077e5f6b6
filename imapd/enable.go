package main

import "posthaste/pkg/imapwire"

// enable is ENABLE (RFC 5161).
func (s *session) enable(p *imapwire.Parser, _ bool) error {
	var on []string
	for n := 0; n == 0 || p.Peek() == ' '; n++ {
		p.SP()
		name := p.Keyword()
		if p.Err() != nil {
			return p.Err()
		}
		switch name {
		case "CONDSTORE":
			s.condstore = true
		case "QRESYNC":
			s.condstore, s.qresync = true, true
		case "UTF8=ACCEPT":
			s.utf8 = true
		case "IMAP4REV2":
			name = "IMAP4rev2"
			s.rev2 = true
		default:
			continue // unknown ones are not enabled, and that is all
		}
		on = append(on, name)
	}
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	s.out.str("* ENABLED")
	for _, n := range on {
		s.out.str(" ", n)
	}
	s.out.str("\r\n")
	return nil
}

// enableCondstore is for the commands that enable CONDSTORE by using it (RFC
// 7162, section 3.1).
func (s *session) enableCondstore() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.box != nil {
		s.out.str("* OK [HIGHESTMODSEQ ")
		s.out.num(uint64(s.box.View().HighestModSeq))
		s.out.str("] CONDSTORE enabled\r\n")
	}
}
