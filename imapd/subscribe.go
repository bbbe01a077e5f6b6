package main

import "posthaste/pkg/imapwire"

// subscribe is SUBSCRIBE, unsubscribe UNSUBSCRIBE (RFC 9051, sections 6.3.7
// and 6.3.8).
func (s *session) subscribe(p *imapwire.Parser, _ bool) error { return s.subscription(p, true) }

func (s *session) unsubscribe(p *imapwire.Parser, _ bool) error { return s.subscription(p, false) }

func (s *session) subscription(p *imapwire.Parser, on bool) error {
	p.SP()
	name, err := s.mailboxArg(p)
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if err != nil {
		return err
	}
	return s.store.Subscribe(name, on)
}
