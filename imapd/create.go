package main

import (
	"bytes"
	"strings"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// create is CREATE, with USE (RFC 6154, section 3). A trailing separator, by
// which clients announce children, means nothing here.
func (s *session) create(p *imapwire.Parser, _ bool) error {
	p.SP()
	raw := p.AString()
	var use mailbox.SpecialUse
	var badUse bool
	if p.Try(' ') {
		p.Open()
		if k := p.Keyword(); p.Err() == nil && k != "USE" {
			p.Fail("unknown CREATE parameter %s", printable(k))
		}
		p.SP()
		flags := p.FlagList()
		p.Close()
		for _, f := range flags {
			u := specialUse(f)
			badUse = badUse || u == mailbox.UseNone || use != mailbox.UseNone
			use = u
		}
	}
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if badUse {
		return no("USEATTR", "special use is not supported")
	}
	name, err := s.decodeName(bytes.TrimSuffix(raw, []byte("/")))
	if err == nil {
		name, err = mailbox.CheckName(name)
	}
	if err != nil {
		return err
	}
	if err := s.store.Create(name, use); err != nil {
		return err
	}
	// RFC 8474, section 4.2: the new mailbox's id.
	if st, err := s.store.Status(name, false); err == nil && st.ID != "" {
		s.okCode = "[MAILBOXID (" + st.ID + ")] "
	}
	return nil
}

// specialUse finds a special use by its attribute, in any case.
func specialUse(attr string) mailbox.SpecialUse {
	for _, u := range [...]mailbox.SpecialUse{mailbox.UseArchive, mailbox.UseDrafts, mailbox.UseJunk, mailbox.UseSent, mailbox.UseTrash} {
		if strings.EqualFold(string(u), attr) {
			return u
		}
	}
	return mailbox.UseNone
}
