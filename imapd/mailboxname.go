package main

import (
	"unicode/utf8"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// mailboxArg takes a mailbox name in its wire form and returns it as the store
// knows it. A bad name is a NO, not a syntax error: it comes as err.
func (s *session) mailboxArg(p *imapwire.Parser) (name string, err error) {
	raw := p.AString()
	if p.Err() != nil {
		return "", nil
	}
	name, err = s.decodeName(raw)
	if err != nil {
		return "", err
	}
	return mailbox.CheckName(name)
}

// decodeName reads modified UTF-7, or UTF-8 where it has been enabled or is used
// all the same.
func (s *session) decodeName(raw []byte) (string, error) {
	for _, c := range raw {
		if c == 0 || c == '\r' || c == '\n' {
			return "", no("CANNOT", "mailbox name has a control character")
		}
	}
	eight := false
	for _, c := range raw {
		eight = eight || c >= 0x80
	}
	if s.utf8 || s.rev2 || eight {
		if !utf8.Valid(raw) {
			return "", no("CANNOT", "mailbox name is not UTF-8")
		}
		return string(raw), nil
	}
	name, err := imapwire.DecodeUTF7(string(raw))
	if err != nil {
		return "", no("CANNOT", "%v", err)
	}
	return name, nil
}

// appendMailbox writes a mailbox name to the output.
func (s *session) appendMailbox(name string) {
	s.out.get()
	s.out.b = imapwire.AppendMailbox(s.out.b, name, s.utf8 || s.rev2)
}
