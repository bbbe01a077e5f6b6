package main

import (
	"strings"

	"posthaste/pkg/imapwire"
)

// id is ID (RFC 2971). What the client says of itself is logged.
func (s *session) id(p *imapwire.Parser, _ bool) error {
	p.SP()
	var said []string
	if p.Peek() == '(' {
		p.Open()
		for n := 0; p.Err() == nil && p.Peek() != ')'; n++ {
			if n >= 30 {
				p.Fail("too many ID fields")
			}
			if n > 0 {
				p.SP()
			}
			key := p.String()
			p.SP()
			value, _ := p.NString()
			if len(key) > 30 || len(value) > 1024 {
				p.Fail("ID field is too long")
			}
			said = append(said, printable(string(key))+"="+printable(string(value)))
		}
		p.Close()
	} else {
		p.NString()
	}
	if p.End(); p.Err() != nil {
		return p.Err()
	}
	if len(said) > 0 {
		s.opt.log.Debugf("user %s: client says it is %s", s.user, strings.Join(said, ", "))
	}
	s.out.str("* ID (\"name\" \"Posthaste\")\r\n")
	return nil
}
