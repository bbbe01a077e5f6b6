package main

import "posthaste/pkg/imapwire"

// close is CLOSE: expunge without a word, and unselect (RFC 9051, section
// 6.4.1).
func (s *session) close(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	var err error
	if !s.box.ReadOnly() {
		err = s.box.Expunge(nil)
	}
	s.closeBox()
	return err
}

// unselect is UNSELECT (RFC 3691).
func (s *session) unselect(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	s.closeBox()
	return nil
}
