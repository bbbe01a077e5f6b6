package mimepart

import (
	"strconv"

	"posthaste/pkg/imapwire"
)

// AppendEnvelope writes ENVELOPE's value as IMAP sends it.
func AppendEnvelope(b []byte, e *Envelope) []byte {
	if e == nil {
		e = &Envelope{}
	}
	b = append(b, '(')
	b = imapwire.AppendNString(b, e.Date)
	b = append(b, ' ')
	b = imapwire.AppendNString(b, e.Subject)
	for _, l := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = appendAddresses(b, l)
	}
	b = append(b, ' ')
	b = imapwire.AppendNString(b, e.InReplyTo)
	b = append(b, ' ')
	b = imapwire.AppendNString(b, e.MessageID)
	return append(b, ')')
}

func appendAddresses(b []byte, list []Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		a := &list[i]
		b = append(b, '(')
		b = imapwire.AppendNString(b, a.Name)
		b = append(b, ' ')
		b = imapwire.AppendNString(b, a.Route)
		b = append(b, ' ')
		if a.Group { // NIL host: the start of a group, and NIL mailbox: its end
			b = imapwire.AppendNString(b, a.Mailbox)
			b = append(b, " NIL)"...)
			continue
		}
		b = imapwire.AppendString(b, a.Mailbox)
		b = append(b, ' ')
		b = imapwire.AppendString(b, a.Host)
		b = append(b, ')')
	}
	return append(b, ')')
}

// AppendStructure writes the value of BODYSTRUCTURE (extended) or BODY.
func AppendStructure(b []byte, p *Part, extended bool) []byte {
	b = append(b, '(')
	if p.IsMultipart() {
		for _, c := range p.Parts {
			b = AppendStructure(b, c, extended)
		}
		b = append(b, ' ')
		b = imapwire.AppendString(b, p.Subtype)
		if extended {
			b = append(b, ' ')
			b = appendParams(b, p.Params)
			b = appendExtension(b, p)
		}
		return append(b, ')')
	}
	b = imapwire.AppendString(b, p.Type)
	b = append(b, ' ')
	b = imapwire.AppendString(b, p.Subtype)
	b = append(b, ' ')
	if isText(p) && p.Param("charset") == "" { // RFC 2045, section 5.2: the default; clients expect it told
		b = appendParams(b, append(p.Params[:len(p.Params):len(p.Params)], Param{"charset", "us-ascii"}))
	} else {
		b = appendParams(b, p.Params)
	}
	b = append(b, ' ')
	b = imapwire.AppendNString(b, p.ID)
	b = append(b, ' ')
	b = imapwire.AppendNString(b, p.Description)
	b = append(b, ' ')
	b = imapwire.AppendString(b, p.Encoding)
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.End-p.Body, 10)
	switch {
	case p.IsMessage():
		b = append(b, ' ')
		b = AppendEnvelope(b, p.Parts[0].Envelope)
		b = append(b, ' ')
		b = AppendStructure(b, p.Parts[0], extended)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(p.Lines), 10)
	case isText(p):
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(p.Lines), 10)
	}
	if extended {
		b = append(b, ' ')
		b = imapwire.AppendNString(b, p.MD5)
		b = appendExtension(b, p)
	}
	return append(b, ')')
}

func isText(p *Part) bool {
	return len(p.Type) == 4 && imapwire.Upper([]byte(p.Type)) == "TEXT"
}

// appendExtension writes disposition, language and location.
func appendExtension(b []byte, p *Part) []byte {
	if p.Disposition == "" {
		b = append(b, " NIL"...)
	} else {
		b = append(b, " ("...)
		b = imapwire.AppendString(b, p.Disposition)
		b = append(b, ' ')
		b = appendParams(b, p.DispParams)
		b = append(b, ')')
	}
	switch len(p.Language) {
	case 0:
		b = append(b, " NIL"...)
	default:
		b = append(b, " ("...)
		for i, l := range p.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = imapwire.AppendString(b, l)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return imapwire.AppendNString(b, p.Location)
}

func appendParams(b []byte, list []Param) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = imapwire.AppendString(b, list[i].Name)
		b = append(b, ' ')
		b = imapwire.AppendString(b, list[i].Value)
	}
	return append(b, ')')
}

// ParseEnvelope reads what AppendEnvelope wrote.
func ParseEnvelope(wire []byte) (*Envelope, error) {
	p := imapwire.NewParser(wire)
	e := &Envelope{}
	str := func() string {
		s, _ := p.NString()
		return string(s)
	}
	p.Open()
	e.Date = str()
	p.SP()
	e.Subject = str()
	for _, l := range []*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		p.SP()
		if p.Peek() != '(' {
			p.NString()
			continue
		}
		p.Open()
		for p.Peek() == '(' {
			var a Address
			p.Open()
			a.Name = str()
			p.SP()
			a.Route = str()
			p.SP()
			a.Mailbox = str()
			p.SP()
			host, ok := p.NString()
			a.Host, a.Group = string(host), !ok
			p.Close()
			*l = append(*l, a)
		}
		p.Close()
	}
	p.SP()
	e.InReplyTo = str()
	p.SP()
	e.MessageID = str()
	p.Close()
	p.End()
	return e, p.Err()
}
