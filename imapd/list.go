package main

import (
	"strings"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// maxPatterns is how many patterns a LIST may have.
const maxPatterns = 50

// listing is a LIST command (RFC 9051, section 6.3.9; RFC 5258; RFC 5819; RFC 6154).
type listing struct {
	extended                       bool
	subscribed, recursive, useOnly bool // selection options
	tellSubscribed                 bool // return options
	status                         int
	patterns                       []string
	root                           bool // the pattern "", which asks for the separator
}

// list is LIST.
func (s *session) list(p *imapwire.Parser, _ bool) error {
	l := s.parseList(p)
	if p.Err() != nil {
		return p.Err()
	}
	if l.root {
		s.out.str("* LIST (\\Noselect) \"/\" \"\"\r\n")
		return nil
	}
	folders, err := s.store.List()
	if err != nil {
		return err
	}
	if l.status&stHighestModSeq != 0 {
		s.enableCondstore()
	}
	for i := range folders {
		f := &folders[i]
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if !matchAny(l.patterns, f.Name) {
			continue
		}
		child := l.recursive && l.childSubscribed(folders, f.Name)
		switch {
		case l.subscribed && !f.Subscribed && !child:
			continue
		case l.useOnly && f.Use == mailbox.UseNone:
			continue
		case !l.subscribed && !f.Exists && !f.HasChildren: // only a subscription
			continue
		}
		s.tellFolder("LIST", f, l, child)
		if l.status != 0 && f.Exists && f.Selectable {
			// A mailbox that cannot be looked at loses its STATUS, not the list (RFC 5819).
			if err := s.tellStatus(f.Name, l.status); err != nil {
				s.opt.log.Warningf("user %s: status of %s: %v", s.user, f.Name, err)
			}
		}
	}
	return nil
}

func (s *session) parseList(p *imapwire.Parser) *listing {
	l := &listing{}
	p.SP()
	if p.Peek() == '(' {
		s.parseSelection(p, l)
		p.SP()
	}
	ref := p.AString()
	p.SP()
	var raw [][]byte
	if p.Peek() == '(' {
		l.extended = true
		p.List(func() {
			if raw = append(raw, p.ListMailbox()); len(raw) > maxPatterns {
				p.Fail("more than %d patterns", maxPatterns)
			}
		})
	} else {
		raw = [][]byte{p.ListMailbox()}
	}
	if p.Try(' ') {
		l.extended = true
		if k := p.Keyword(); p.Err() == nil && k != "RETURN" {
			p.Fail("RETURN expected")
		}
		p.SP()
		s.parseReturn(p, l)
	}
	p.End()
	if len(raw) == 1 && len(raw[0]) == 0 && !l.extended {
		l.root = true
	}
	for _, r := range raw {
		full := string(ref) + string(r)
		if len(full) > 1000 {
			p.Fail("pattern is too long")
			break
		}
		if name, err := s.decodeName([]byte(full)); err == nil {
			l.patterns = append(l.patterns, squeeze(name))
		}
	}
	return l
}

func (s *session) parseSelection(p *imapwire.Parser, l *listing) {
	l.extended = true
	p.Open()
	for p.Err() == nil && p.Peek() != ')' {
		switch k := p.Keyword(); k {
		case "SUBSCRIBED":
			l.subscribed = true
		case "RECURSIVEMATCH":
			l.recursive = true
		case "SPECIAL-USE":
			l.useOnly = true
		case "REMOTE": // there are none
		default:
			p.Fail("unknown LIST selection option %s", printable(k))
		}
		if !p.Try(' ') {
			break
		}
	}
	p.Close()
	if l.recursive && !l.subscribed {
		p.Fail("RECURSIVEMATCH needs SUBSCRIBED")
	}
}

func (s *session) parseReturn(p *imapwire.Parser, l *listing) {
	p.Open()
	for p.Err() == nil && p.Peek() != ')' {
		switch k := p.Keyword(); k {
		case "SUBSCRIBED":
			l.tellSubscribed = true
		case "CHILDREN", "SPECIAL-USE": // always told
		case "STATUS":
			p.SP()
			l.status = parseStatus(p)
		default:
			p.Fail("unknown LIST return option %s", printable(k))
		}
		if !p.Try(' ') {
			break
		}
	}
	p.Close()
}

// childSubscribed tells whether a folder below name is subscribed to without
// being listed itself (RFC 5258, section 3.5).
func (l *listing) childSubscribed(folders []mailbox.Folder, name string) bool {
	for i := range folders {
		f := &folders[i]
		if f.Subscribed && strings.HasPrefix(f.Name, name) && len(f.Name) > len(name) && f.Name[len(name)] == '/' && !matchAny(l.patterns, f.Name) {
			return true
		}
	}
	return false
}

// tellFolder sends a LIST response.
func (s *session) tellFolder(verb string, f *mailbox.Folder, l *listing, child bool) {
	s.out.str("* ", verb, " (")
	sep := ""
	attr := func(a string) {
		s.out.str(sep, a)
		sep = " "
	}
	switch {
	case !f.Exists && (l.extended || s.rev2):
		attr(`\NonExistent`)
	case !f.Exists || !f.Selectable:
		attr(`\Noselect`)
	}
	if (l.subscribed || l.tellSubscribed) && f.Subscribed {
		attr(`\Subscribed`)
	}
	if f.HasChildren {
		attr(`\HasChildren`)
	} else {
		attr(`\HasNoChildren`)
	}
	if f.Use != mailbox.UseNone {
		attr(string(f.Use))
	}
	s.out.str(`) "/" `)
	s.appendMailbox(f.Name)
	if child {
		s.out.str(` ("CHILDINFO" ("SUBSCRIBED"))`)
	}
	s.out.str("\r\n")
}

func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if match(p, name) {
			return true
		}
	}
	return false
}

// squeeze joins neighbouring wildcards, which mean no more than one.
func squeeze(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if (p[i] == '*' || p[i] == '%') && i+1 < len(p) && (p[i+1] == '*' || p[i+1] == p[i]) {
			continue
		}
		if p[i] == '%' && b.Len() > 0 && b.String()[b.Len()-1] == '*' {
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// match tells whether a name matches a pattern of LIST: "*" stands for
// anything, "%" for anything without "/". INBOX matches in any case. The time is
// the product of the lengths at most.
func match(pattern, name string) bool {
	inbox := name == mailbox.Inbox || strings.HasPrefix(name, mailbox.Inbox+"/")
	// at[j]: the pattern so far matches name[:j].
	at := make([]bool, len(name)+1)
	at[0] = true
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '*' || c == '%' {
			for j := 1; j <= len(name); j++ {
				if at[j-1] && (c == '*' || name[j-1] != '/') {
					at[j] = true
				}
			}
			continue
		}
		for j := len(name); j > 0; j-- {
			n := name[j-1]
			same := n == c || inbox && j <= len(mailbox.Inbox) && n == c&^0x20 && 'a' <= c && c <= 'z'
			at[j] = at[j-1] && same
		}
		at[0] = false
	}
	return at[len(name)]
}
