package main

import (
	"strconv"
	"strings"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
)

// sync tells the client what changed in the selected mailbox.
func (s *session) sync(expunge bool) error {
	c, err := s.box.Sync(s.ctx, expunge)
	if err != nil || !c.Any() {
		return err
	}
	if len(c.Expunged) > 0 {
		s.tellExpunged(&c)
	}
	if c.New > 0 {
		s.tellExists()
	}
	if c.Keywords {
		s.tellFlags()
	}
	v := s.box.View()
	for _, seq := range c.Changed {
		s.tellMessage(seq, v.Messages[seq-1], false)
	}
	return nil
}

func (s *session) tellExpunged(c *mailbox.Changes) {
	if s.savedBox {
		s.forget(c.ExpungedUIDs)
	}
	if s.qresync {
		uids := make([]uint32, len(c.ExpungedUIDs))
		for i, u := range c.ExpungedUIDs {
			uids[len(uids)-1-i] = uint32(u)
		}
		s.out.str("* VANISHED ")
		s.out.b = imapwire.AppendRanges(s.out.b, imapwire.Ranges(uids))
		s.out.str("\r\n")
		return
	}
	for _, seq := range c.Expunged {
		s.out.str("* ")
		s.out.num(uint64(seq))
		s.out.str(" EXPUNGE\r\n")
	}
}

// forget takes expunged messages out of the saved search result.
func (s *session) forget(uids []mailbox.UID) {
	for _, u := range uids {
		n := uint32(u)
		for i, r := range s.saved {
			if n < r.Lo || n > r.Hi {
				continue
			}
			rest := append([]imapwire.Range(nil), s.saved[i+1:]...)
			s.saved = s.saved[:i]
			if r.Lo < n {
				s.saved = append(s.saved, imapwire.Range{Lo: r.Lo, Hi: n - 1})
			}
			if n < r.Hi {
				s.saved = append(s.saved, imapwire.Range{Lo: n + 1, Hi: r.Hi})
			}
			s.saved = append(s.saved, rest...)
			break
		}
	}
}

func (s *session) tellExists() {
	s.out.str("* ")
	s.out.num(uint64(len(s.box.View().Messages)))
	s.out.str(" EXISTS\r\n")
	if !s.rev2 {
		s.out.str("* ")
		s.out.num(uint64(s.box.RecentCount()))
		s.out.str(" RECENT\r\n")
	}
}

const systemFlags = `\Answered \Flagged \Deleted \Seen \Draft`

// tellFlags sends FLAGS and PERMANENTFLAGS.
func (s *session) tellFlags() {
	kw := s.box.View().Keywords
	s.out.str("* FLAGS (", systemFlags)
	for _, k := range kw {
		s.out.str(" ", k)
	}
	s.out.str(")\r\n* OK [PERMANENTFLAGS (")
	if !s.box.ReadOnly() {
		s.out.str(systemFlags)
		for _, k := range kw {
			s.out.str(" ", k)
		}
		s.out.str(` \*`)
	}
	s.out.str(")] flags permitted\r\n")
}

// tellMessage sends an unasked FETCH response with a message's flags.
func (s *session) tellMessage(seq uint32, m *mailbox.Message, uid bool) {
	s.out.get()
	b := append(s.out.b, "* "...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, " FETCH ("...)
	if uid || s.qresync || s.rev2 {
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(m.UID), 10)
		b = append(b, ' ')
	}
	b = append(b, "FLAGS "...)
	b = s.appendFlags(b, m)
	if s.condstore {
		b = append(b, " MODSEQ ("...)
		b = strconv.AppendUint(b, uint64(m.ModSeq), 10)
		b = append(b, ')')
	}
	s.out.b = append(b, ")\r\n"...)
}

var flagNames = [...]struct {
	flag mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`},
}

// flagLists holds the lists of all sets of system flags.
var flagLists = func() (t [32]string) {
	for f := range t {
		var l []string
		for _, n := range flagNames {
			if mailbox.Flags(f)&n.flag != 0 {
				l = append(l, n.name)
			}
		}
		t[f] = strings.Join(l, " ")
	}
	return
}()

// appendFlags writes a message's flags as a list.
func (s *session) appendFlags(b []byte, m *mailbox.Message) []byte {
	b = append(b, '(')
	b = append(b, flagLists[m.Flags&31]...)
	sep := m.Flags&31 != 0
	for _, k := range m.Keywords {
		if sep {
			b = append(b, ' ')
		}
		b = append(b, k...)
		sep = true
	}
	if !s.rev2 && s.box.Recent(m.UID) {
		if sep {
			b = append(b, ' ')
		}
		b = append(b, `\Recent`...)
	}
	return append(b, ')')
}

// maxKeywords and maxKeyword bound what a client may store.
const (
	maxKeywords = 64
	maxKeyword  = 100
)

// parseFlags sorts a list of flags into system flags and keywords.
func parseFlags(list []string) (f mailbox.Flags, keywords []string, err error) {
next:
	for _, name := range list {
		for _, n := range flagNames {
			if strings.EqualFold(n.name, name) {
				f |= n.flag
				continue next
			}
		}
		switch {
		case strings.EqualFold(name, `\Recent`):
			continue // the server's own
		case name[0] == '\\':
			return 0, nil, &imapwire.SyntaxError{What: "unknown flag " + printable(name)}
		case len(name) > maxKeyword:
			return 0, nil, no("LIMIT", "keyword is too long")
		}
		for _, k := range keywords {
			if strings.EqualFold(k, name) {
				continue next
			}
		}
		if keywords = append(keywords, name); len(keywords) > maxKeywords {
			return 0, nil, no("LIMIT", "too many keywords")
		}
	}
	return f, keywords, nil
}
