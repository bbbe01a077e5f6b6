package main

import "posthaste/pkg/imapwire"

// rename is RENAME (RFC 9051, section 6.3.6).
func (s *session) rename(p *imapwire.Parser, _ bool) error {
	p.SP()
	from, err1 := s.mailboxArg(p)
	p.SP()
	to, err2 := s.mailboxArg(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err1 != nil {
		return err1
	}
	if err2 != nil {
		return err2
	}
	return s.store.Rename(from, to)
}
