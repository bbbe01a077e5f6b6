package main

import "posthaste/pkg/imapwire"

// delete is DELETE (RFC 9051, section 6.3.5).
func (s *session) delete(p *imapwire.Parser, _ bool) error {
	p.SP()
	name, err := s.mailboxArg(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err != nil {
		return err
	}
	if s.box != nil && s.box.Name() == name {
		// It could not go on: the client knows what it deletes.
		s.closeBox()
	}
	return s.store.Delete(name)
}
