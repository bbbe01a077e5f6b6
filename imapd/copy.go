package main

import (
	"errors"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// copyArgs takes the arguments that COPY and MOVE have.
func (s *session) copyArgs(p *imapwire.Parser, uid bool) ([]mailbox.UID, string, error) {
	p.SP()
	set := p.Set(true)
	p.SP()
	name, nameErr := s.mailboxArg(p)
	if p.End(); p.Err() != nil {
		return nil, "", p.Err()
	}
	if nameErr != nil {
		return nil, "", nameErr
	}
	uids, err := s.uids(set, uid)
	return uids, name, err
}

// copy is COPY (RFC 9051, section 6.4.7).
func (s *session) copy(p *imapwire.Parser, uid bool) error {
	uids, name, err := s.copyArgs(p, uid)
	if err != nil {
		return err
	}
	if len(uids) == 0 {
		s.okText = "no messages to copy"
		return nil
	}
	done, err := s.box.Copy(uids, name)
	if err != nil {
		return tryCreate(err)
	}
	if len(done.UIDs) == 0 { // an OK would tell a client that it may delete the originals
		return mailbox.ErrExpunged
	}
	s.okCode = copyUID(&done)
	return nil
}

func tryCreate(err error) error {
	if errors.Is(err, mailbox.ErrNotFound) {
		return no("TRYCREATE", "no such mailbox")
	}
	return err
}

// copyUID is the COPYUID code (RFC 4315), or nothing if nothing was copied.
func copyUID(done *mailbox.Appended) string {
	if len(done.UIDs) == 0 {
		return ""
	}
	b := append([]byte("[COPYUID "), appendUint(nil, done.UIDValidity)...)
	b = append(b, ' ')
	b = appendUIDs(b, done.Sources)
	b = append(b, ' ')
	b = appendUIDs(b, done.UIDs)
	return string(append(b, "] "...))
}
