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

// envelope sets e. Its addresses are appended to addrs.
func (t *texts) envelope(e *Envelope, addrs []Address) []Address {
	e.Date, e.Subject, e.InReplyTo, e.MessageID = t[fDate], t[fSubject], t[fInReplyTo], t[fMessageID]
	for _, x := range [...]struct {
		list  *[]Address
		field int
	}{{&e.From, fFrom}, {&e.Sender, fSender}, {&e.ReplyTo, fReplyTo}, {&e.To, fTo}, {&e.Cc, fCc}, {&e.Bcc, fBcc}} {
		if t[x.field] == "" {
			continue
		}
		n := len(addrs)
		addrs = appendAddressList(addrs, t[x.field])
		*x.list = addrs[n:len(addrs):len(addrs)]
	}
	// RFC 3501: the server fills these in from From.
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
	return addrs
}

// ParseAddresses reads an address list, tolerantly: what is no address becomes
// one with an empty mailbox or host.
func ParseAddresses(s string) []Address { return appendAddressList(nil, s) }

func appendAddressList(list []Address, s string) []Address {
	p := addrParser{scan: scan{s: s}}
	for most := len(list) + maxAddresses; len(list) < most; {
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

// Octets that mean something in an address.
const (
	cAngle   = 1 << iota // <
	cUnangle             // >
	cAt                  // @
	cComma               // ,
	cSemi                // ;
	cColon               // :
	cWord                // white space, ( and ", which end a word
	cQuote               // backslash
)

var addrClass = [256]uint8{
	'<': cAngle, '>': cUnangle, '@': cAt, ',': cComma, ';': cSemi, ':': cColon,
	' ': cWord, '\t': cWord, '\r': cWord, '\n': cWord, '(': cWord, '"': cWord, '\\': cQuote,
}

// words reads words up to one of the stops, which are classes; a space between
// words stays one space if spaces, else goes.
func (p *addrParser) words(stops uint8, spaces bool) string {
	if s, ok := p.plain(stops, spaces); ok {
		return s
	}
	var b strings.Builder
	for {
		sp := p.skip()
		if p.i >= len(p.s) || addrClass[p.s[p.i]]&stops != 0 {
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
		for p.i < len(p.s) && addrClass[p.s[p.i]]&(cWord|stops) == 0 {
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
func (p *addrParser) plain(stops uint8, spaces bool) (string, bool) {
	i := p.i
	for i < len(p.s) && p.s[i] == ' ' {
		i++
	}
	start, end := i, i
	for ; i < len(p.s); i++ {
		switch c := addrClass[p.s[i]]; {
		case c&stops != 0:
			p.i = i
			return p.s[start:end], true
		case p.s[i] == ' ' && end == i && end > start:
			// Nothing is known before what follows is.
		case c&(cWord|cQuote) != 0, end < i && !spaces:
			return "", false
		default:
			end = i + 1
		}
	}
	p.i = i
	return p.s[start:end], true
}

// one reads an address or the beginning of a group.
func (p *addrParser) one() (a Address) {
	phrase := p.words(cAngle|cAt|cComma|cSemi|cColon, true)
	c := byte(0)
	if p.i < len(p.s) {
		c = p.s[p.i]
	}
	switch c {
	case '<':
		p.i++
		a.Name = phrase
		p.angle(&a)
		p.words(cComma|cSemi, false) // junk behind the address
		if a.Name == "" {
			a.Name = p.comments
		}
		return a
	case '@':
		p.i++
		a.Mailbox = strings.ReplaceAll(phrase, " ", "")
		a.Host = p.words(cComma|cSemi|cAngle, false)
		if p.i < len(p.s) && p.s[p.i] == '<' { // a@b <c@d>: the first is the name
			a.Name = a.Mailbox + "@" + a.Host
			a.Host, a.Mailbox = "", ""
			p.i++
			p.angle(&a)
			p.words(cComma|cSemi, false)
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
		a.Route = p.words(cColon|cUnangle, false)
		if !p.try(':') {
			a.Route = ""
		}
	}
	a.Mailbox = p.words(cAt|cUnangle, false)
	if p.i < len(p.s) && p.s[p.i] == '@' {
		p.i++
		a.Host = p.words(cUnangle, false)
	}
	p.try('>')
}
