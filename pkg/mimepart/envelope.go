package mimepart

import (
	"strings"
)

const maxAddresses = 4096

// Address is one address of an ENVELOPE. A group begins with one that has only
// a Mailbox, its name, and Group; it ends with one that has only Group.
type Address struct {
	Name, Route, Mailbox, Host string
	Group                      bool
}

// Envelope is what ENVELOPE tells. Texts are as in the message, unfolded and not
// decoded.
type Envelope struct {
	Date, Subject                      string
	From, Sender, ReplyTo, To, Cc, Bcc []Address
	InReplyTo, MessageID               string
}

func (f *fields) envelope() *Envelope {
	e := &Envelope{
		Date: unfold(f.val[fDate]), Subject: unfold(f.val[fSubject]),
		InReplyTo: unfold(f.val[fInReplyTo]), MessageID: unfold(f.val[fMessageID]),
		From: ParseAddresses(unfold(f.val[fFrom])), Sender: ParseAddresses(unfold(f.val[fSender])),
		ReplyTo: ParseAddresses(unfold(f.val[fReplyTo])), To: ParseAddresses(unfold(f.val[fTo])),
		Cc: ParseAddresses(unfold(f.val[fCc])), Bcc: ParseAddresses(unfold(f.val[fBcc])),
	}
	// RFC 3501: the server fills these in from From.
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
	return e
}

// ParseAddresses reads an address list, tolerantly: what is no address becomes
// one with an empty mailbox or host.
func ParseAddresses(s string) (list []Address) {
	if s == "" {
		return nil
	}
	p := addrParser{scan: scan{s: s}}
	for len(list) < maxAddresses {
		p.comments = ""
		p.skip()
		if p.i >= len(p.s) {
			break
		}
		switch p.s[p.i] {
		case ',':
			p.i++
			continue
		case ';':
			p.i++
			if p.group {
				list = append(list, Address{Group: true})
				p.group = false
			}
			continue
		}
		at := p.i
		a := p.one()
		if p.i == at {
			p.i++ // an octet that begins nothing
			continue
		}
		if a.Mailbox != "" || a.Host != "" || a.Name != "" {
			list = append(list, a)
		}
	}
	if p.group {
		list = append(list, Address{Group: true})
	}
	return list
}

type addrParser struct {
	scan
	comments string // the last comment
	group    bool
}

// skip skips white space and comments, and keeps a comment's text.
func (p *addrParser) skip() (skipped bool) {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
		case '(':
			p.comments = strings.TrimSpace(p.comment())
		default:
			return skipped
		}
		skipped = true
	}
	return skipped
}

// words reads words up to one of the stops; a space between words stays one
// space if spaces, else goes.
func (p *addrParser) words(stops string, spaces bool) string {
	if s, ok := p.plain(stops, spaces); ok {
		return s
	}
	var b strings.Builder
	for {
		sp := p.skip()
		if p.i >= len(p.s) || strings.IndexByte(stops, p.s[p.i]) >= 0 {
			return b.String()
		}
		if sp && spaces && b.Len() > 0 {
			b.WriteByte(' ')
		}
		if p.s[p.i] == '"' {
			p.i++
			b.WriteString(p.quoted())
			continue
		}
		start := p.i
		for p.i < len(p.s) && strings.IndexByte(" \t\r\n(\"", p.s[p.i]) < 0 && strings.IndexByte(stops, p.s[p.i]) < 0 {
			if p.s[p.i] == '\\' && p.i+1 < len(p.s) {
				p.i++
			}
			p.i++
		}
		b.WriteString(p.s[start:p.i])
	}
}

// plain is words where the text is what it stands for: words with one space
// between them. Where it is not ok nothing is read.
func (p *addrParser) plain(stops string, spaces bool) (string, bool) {
	at := p.i
	for p.i < len(p.s) && p.s[p.i] == ' ' {
		p.i++
	}
	start, end := p.i, p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case strings.IndexByte(stops, c) >= 0:
			return p.s[start:end], true
		case c == ' ' && (end == p.i && end > start):
			// Nothing is known before what follows is.
		case c == ' ', c == '\t', c == '\r', c == '\n', c == '(', c == '"', c == '\\', end < p.i && !spaces:
			p.i = at
			return "", false
		default:
			end = p.i + 1
		}
		p.i++
	}
	return p.s[start:end], true
}

// one reads an address or the beginning of a group.
func (p *addrParser) one() (a Address) {
	phrase := p.words("<@,;:", true)
	c := byte(0)
	if p.i < len(p.s) {
		c = p.s[p.i]
	}
	switch c {
	case '<':
		p.i++
		a.Name = phrase
		p.angle(&a)
		p.words(",;", false) // junk behind the address
		if a.Name == "" {
			a.Name = p.comments
		}
		return a
	case '@':
		p.i++
		a.Mailbox = strings.ReplaceAll(phrase, " ", "")
		a.Host = p.words(",;<", false)
		if p.i < len(p.s) && p.s[p.i] == '<' { // a@b <c@d>: the first is the name
			a.Name = a.Mailbox + "@" + a.Host
			a.Host, a.Mailbox = "", ""
			p.i++
			p.angle(&a)
			p.words(",;", false)
			return a
		}
	case ':':
		if p.group || phrase == "" {
			p.i++
			return a
		}
		p.i++
		p.group = true
		return Address{Mailbox: phrase, Group: true}
	default:
		a.Mailbox = phrase
	}
	a.Name = p.comments
	return a
}

// angle reads what stands in angle brackets.
func (p *addrParser) angle(a *Address) {
	p.skip()
	if p.i < len(p.s) && p.s[p.i] == '@' {
		a.Route = p.words(":>", false)
		if !p.try(':') {
			a.Route = ""
		}
	}
	a.Mailbox = p.words("@>", false)
	if p.i < len(p.s) && p.s[p.i] == '@' {
		p.i++
		a.Host = p.words(">", false)
	}
	p.try('>')
}
