package main

import "posthaste/pkg/imapwire"

// logout is LOGOUT (RFC 9051, section 6.1.3).
func (s *session) logout(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	s.why = "Logged out"
	s.bye("logging out")
	return nil
}
