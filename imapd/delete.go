package main

import (
	"errors"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

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
	err = s.store.Delete(name)
	switch {
	case errors.Is(err, mailbox.ErrNoSelect):
		return no("HASCHILDREN", "only the names below it can be deleted")
	case err == nil && s.box != nil && s.box.Name() == name:
		// It could not go on: the client knows what it deletes.
		s.closeBox()
	}
	return err
}
