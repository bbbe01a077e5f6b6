package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

// searching is a SEARCH at work.
type searching struct {
	s      *session
	l      *loader
	failed error
}

// search is SEARCH (RFC 9051, section 6.4.4; RFC 4731, 5032, 5182, 7162).
func (s *session) search(p *imapwire.Parser, uid bool) error {
	a := &searchArgs{}
	p.SP()
	s.parseReturnOptions(p, a)
	if err := s.parseCharset(p, a, false); err != nil {
		return s.unsaved(a, err)
	}
	s.parseSearch(p, a)
	if p.Err() != nil {
		return p.Err()
	}
	if a.modSeq {
		s.enableCondstore()
	}
	found, err := s.find(a)
	if a.save {
		s.save(a, found, err)
	}
	if err != nil {
		return err
	}
	s.tellFound("SEARCH", a, found, uid)
	return nil
}

// hit is a message that was found.
type hit struct {
	seq uint32
	m   *mailbox.Message
}

// parseCharset takes CHARSET of SEARCH, or the charset that SORT and THREAD
// must have.
func (s *session) parseCharset(p *imapwire.Parser, a *searchArgs, must bool) error {
	if !must {
		rest := p.Rest()
		if len(rest) < 8 || imapwire.Upper(rest[:8]) != "CHARSET " {
			return nil
		}
		p.Keyword()
		p.SP()
	}
	a.charset = string(p.AString())
	p.SP()
	if p.Err() == nil && !mimepart.KnownCharset(a.charset) {
		return no("BADCHARSET (US-ASCII UTF-8 GB18030 GBK GB2312 BIG5)", "unknown charset")
	}
	return nil
}

// find runs the criteria over the mailbox.
func (s *session) find(a *searchArgs) ([]hit, error) {
	x := &searching{s: s, l: s.loader()}
	defer x.l.close()
	var found []hit
	for i, m := range s.box.View().Messages {
		if a.key.ok(x, uint32(i+1), m) {
			found = append(found, hit{uint32(i + 1), m})
		}
		if i&63 == 0 {
			if err := s.working(i, len(s.box.View().Messages)); err != nil {
				return nil, err
			}
		}
	}
	return found, x.failed
}

// progressEvery is how long a command looks at messages before it says so.
const progressEvery = 10 * time.Second

// working is called now and then by commands that look at many messages before
// they have anything to say: done of all so far. When that takes long it tells
// the client, which keeps the path to it open; and a client that is gone is
// noticed, so that nobody works for it any more. An error ends the command.
func (s *session) working(done, all int) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if time.Since(s.said) < s.opt.progress {
		return nil
	}
	s.said = time.Now()
	s.out.str("* OK Searched ")
	s.out.num(uint64(done * 100 / max(all, 1)))
	s.out.str("% of the mailbox\r\n")
	if s.out.flush() != nil {
		return errGone
	}
	return nil
}

// save remembers a result as "$" (RFC 5182, section 2.1).
func (s *session) save(a *searchArgs, found []hit, err error) {
	s.saved, s.savedBox = nil, true
	if err != nil || len(found) == 0 {
		return
	}
	if (a.min || a.max) && !a.all && !a.count {
		var few []hit
		if a.min {
			few = append(few, found[0])
		}
		if a.max {
			few = append(few, found[len(found)-1])
		}
		found = few
	}
	nums := make([]uint32, len(found))
	for i, h := range found {
		nums[i] = uint32(h.m.UID)
	}
	s.saved = imapwire.Normalize(imapwire.Ranges(nums))
}

// unsaved empties "$" if the search that is refused was to set it (RFC 5182,
// section 2.1: on NO, not on BAD).
func (s *session) unsaved(a *searchArgs, err error) error {
	if a.save {
		s.save(a, nil, err)
	}
	return err
}

// topModSeq is the MODSEQ that a result carries: that of the messages that it
// names, if it names only the least or greatest (RFC 4731, section 3.2).
func (a *searchArgs) topModSeq(found []hit) mailbox.ModSeq {
	var top mailbox.ModSeq
	for i, h := range found {
		if named := a.min && i == 0 || a.max && i == len(found)-1; named || a.all || a.count || !a.min && !a.max {
			top = max(top, h.m.ModSeq)
		}
	}
	return top
}

// tellFound sends the result of SEARCH or, in the order found, of SORT.
func (s *session) tellFound(verb string, a *searchArgs, found []hit, uid bool) {
	number := func(h hit) uint32 {
		if uid {
			return uint32(h.m.UID)
		}
		return h.seq
	}
	var top mailbox.ModSeq
	if a.modSeq {
		top = a.topModSeq(found)
	}
	if !a.extended && !(s.rev2 && verb == "SEARCH") {
		s.out.str("* ", verb)
		for _, h := range found {
			s.out.get()
			s.out.b = append(s.out.b, ' ')
			s.out.b = appendUint(s.out.b, number(h))
		}
		if a.modSeq && len(found) > 0 {
			s.out.str(" (MODSEQ ")
			s.out.num(uint64(top))
			s.out.str(")")
		}
		s.out.str("\r\n")
		return
	}
	if a.save && !a.min && !a.max && !a.all && !a.count {
		return
	}
	s.out.str("* ESEARCH (TAG ")
	s.out.b = imapwire.AppendQuoted(s.out.b, s.tag)
	s.out.str(")")
	if uid {
		s.out.str(" UID")
	}
	if len(found) > 0 {
		lo, hi := number(found[0]), number(found[len(found)-1])
		if a.min {
			s.out.str(" MIN ")
			s.out.num(uint64(lo))
		}
		if a.max {
			s.out.str(" MAX ")
			s.out.num(uint64(hi))
		}
		if a.all || !a.extended {
			nums := make([]uint32, len(found))
			for i, h := range found {
				nums[i] = number(h)
			}
			s.out.str(" ALL ")
			s.out.b = imapwire.AppendRanges(s.out.b, imapwire.Ranges(nums))
		}
	}
	if a.count {
		s.out.str(" COUNT ")
		s.out.num(uint64(len(found)))
	}
	if a.modSeq && len(found) > 0 {
		s.out.str(" MODSEQ ")
		s.out.num(uint64(top))
	}
	s.out.str("\r\n")
}

// trouble remembers that a message could not be read; one that is gone is none.
func (x *searching) trouble(err error) {
	if !errors.Is(err, mailbox.ErrExpunged) && x.failed == nil {
		x.failed = fmt.Errorf("UID %d: %w", x.l.m.UID, err)
	}
}

// date is a message's internal date.
func (x *searching) date(m *mailbox.Message) (int64, bool) {
	if m.Date != mailbox.NoDate {
		return m.Date, true
	}
	x.l.set(m)
	t, err := x.s.box.Date(m)
	if err != nil {
		x.trouble(err)
	}
	return t, err == nil
}

// headerOf returns the header in which to look for a field: what is cached of
// it, if the field would be there.
func (x *searching) headerOf(m *mailbox.Message, upper string) []byte {
	x.l.set(m)
	if keptField([]byte(upper)) {
		if b, ok, err := x.l.fields(); err != nil {
			x.trouble(err)
			return nil
		} else if ok {
			return b
		}
	}
	b, err := x.l.top()
	if err != nil {
		x.trouble(err)
	}
	return b
}

// field returns the value of the first field of a name, in capitals.
func (x *searching) field(m *mailbox.Message, upper string) []byte {
	return firstField(x.headerOf(m, upper), upper)
}

func firstField(h []byte, upper string) []byte {
	for {
		name, value, _, rest, ok := mimepart.NextField(h)
		if !ok {
			return nil
		}
		if len(name) == len(upper) && equalUpper(name, upper) {
			return bytes.TrimSpace(value)
		}
		h = rest
	}
}

// fieldContains tells whether a field of that name contains needle; any will do
// for an empty needle.
func (x *searching) fieldContains(m *mailbox.Message, upper string, needle []byte) bool {
	h := x.headerOf(m, upper)
	for {
		name, value, _, rest, ok := mimepart.NextField(h)
		if !ok {
			return false
		}
		h = rest
		if len(name) != len(upper) || !equalUpper(name, upper) {
			continue
		}
		value = bytes.TrimSpace(value)
		if mimepart.ContainsFold(mimepart.DecodeHeader(value), needle) {
			return true
		}
		if bytes.ContainsAny(value, `("\`) && isAddressField(upper) && mimepart.ContainsFold(addressText(value), needle) {
			return true
		}
	}
}

func isAddressField(upper string) bool {
	switch upper {
	case "FROM", "SENDER", "REPLY-TO", "TO", "CC", "BCC":
		return true
	}
	return false
}

// addressText writes addresses as clients show them: what is asked for is the
// envelope structure's field (RFC 9051, section 6.4.4), where comments within an
// address and quoting are gone.
func addressText(value []byte) (text []byte) {
	for _, a := range mimepart.ParseAddresses(string(value)) {
		if a.Group {
			text = append(text, a.Mailbox...)
		} else {
			text = append(text, mimepart.DecodeHeader([]byte(a.Name))...)
			text = append(text, " <"...)
			text = append(text, a.Mailbox...)
			text = append(text, '@')
			text = append(text, a.Host...)
			text = append(text, '>')
		}
		text = append(text, ", "...)
	}
	return text
}

// header tells whether the message's header contains needle.
func (x *searching) header(m *mailbox.Message, needle []byte) bool {
	x.l.set(m)
	h, err := x.l.top()
	if err != nil {
		x.trouble(err)
		return false
	}
	return headerContains(h, needle)
}

func headerContains(h, needle []byte) bool {
	for {
		_, _, whole, rest, ok := mimepart.NextField(h)
		if !ok {
			return false
		}
		h = rest
		if mimepart.ContainsFold(mimepart.DecodeHeader(whole), needle) {
			return true
		}
	}
}

// body tells whether the text of the message, or the header of one of its
// parts, contains needle.
func (x *searching) body(m *mailbox.Message, needle []byte) bool {
	x.l.set(m)
	root, err := x.l.parts()
	if err != nil {
		x.trouble(err)
		return false
	}
	src := x.l.src()
	found := false
	root.Walk(func(p *mimepart.Part) bool {
		if p != root && p.Body > p.Header {
			h := make([]byte, min(p.Body-p.Header, maxTopLines))
			n, _ := src.ReadAt(h, p.Header)
			found = headerContains(h[:n], needle)
		}
		if t := p.Text(src); t != nil && !found {
			found = mimepart.Contains(t, needle)
		}
		return !found
	})
	return found
}
