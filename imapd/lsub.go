package main

import (
	"strings"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// lsub is LSUB (RFC 3501, section 6.3.9). Where "%" stops above a subscribed
// mailbox, its parent stands for it.
func (s *session) lsub(p *imapwire.Parser, _ bool) error {
	l := s.parseList(p)
	if p.Err() == nil && (l.extended && !l.root) {
		p.Fail("LSUB takes a reference and a pattern")
	}
	if p.Err() != nil {
		return p.Err()
	}
	if l.root {
		s.out.str("* LSUB (\\Noselect) \"/\" \"\"\r\n")
		return nil
	}
	folders, err := s.store.List()
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for i := range folders {
		f := &folders[i]
		if f.Subscribed && matchAny(l.patterns, f.Name) {
			s.tellFolder("LSUB", f, l, false)
			told[f.Name] = true
		}
	}
	if !strings.Contains(strings.Join(l.patterns, ""), "%") {
		return nil
	}
	for i := range folders {
		f := &folders[i]
		if !f.Subscribed || told[f.Name] {
			continue
		}
		for at := strings.LastIndexByte(f.Name, '/'); at > 0; at = strings.LastIndexByte(f.Name[:at], '/') {
			parent := f.Name[:at]
			if told[parent] || !matchAny(l.patterns, parent) {
				continue
			}
			told[parent] = true
			s.tellFolder("LSUB", &mailbox.Folder{Name: parent, Exists: true, HasChildren: true}, l, false)
		}
	}
	return nil
}
