package main

import "posthaste/pkg/imapwire"

// namespace is NAMESPACE (RFC 2342): one personal namespace without a prefix.
func (s *session) namespace(p *imapwire.Parser, _ bool) error {
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	s.out.str("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
	return nil
}
