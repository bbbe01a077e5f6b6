package main

import "posthaste/pkg/imapwire"

// noop is NOOP, and CHECK, which has nothing to do here that is not always done
// (RFC 3501, sections 6.1.2 and 6.4.1).
func (s *session) noop(p *imapwire.Parser, _ bool) error {
	p.End()
	return p.Err()
}
