package main

import (
	"fmt"

	"posthaste/pkg/address"
	"posthaste/pkg/header"
)

// received makes the Received: header of a message (RFC 5321, section 4.4), in
// Postfix's layout.
func (c *settings) received(s *session) []byte {
	m, cl := &s.m, &s.m.Client
	date := header.Date(m.Arrival.Local())
	b := make([]byte, 0, 512)
	if cl.Address == "" || m.Origin == "pickup" {
		b = fmt.Appendf(b, "Received: by %s (%s", c.hostname, c.mailName)
		if m.Origin == "pickup" {
			b = fmt.Appendf(b, ", from userid %d", m.UID)
		}
		return fmt.Appendf(b, ")\r\n\tid %s; %s\r\n", m.ID, date)
	}
	helo := cl.Helo
	if helo == "" {
		helo = cl.Name
	}
	rev := cl.ReverseName
	if cl.Name != "" && cl.Name != "unknown" {
		rev = cl.Name
	}
	if rev == "" {
		rev = "unknown"
	}
	b = fmt.Appendf(b, "Received: from %s (%s [%s])\r\n", comment(helo), comment(rev), literal(cl.Address))
	if cl.TLS != "" && c.tlsReceived {
		b = fmt.Appendf(b, "\t%s\r\n", cl.TLS)
	}
	if cl.SASLUser != "" && c.authHeader {
		b = fmt.Appendf(b, "\t(Authenticated sender: %s)\r\n", comment(cl.SASLUser))
	}
	b = fmt.Appendf(b, "\tby %s (%s) with %s id %s", c.hostname, c.mailName, protocol(s), m.ID)
	if s.given == 1 && s.firstRcpt != nil {
		return fmt.Appendf(b, "\r\n\tfor <%s>; %s\r\n", address.Quote(*s.firstRcpt), date)
	}
	return fmt.Appendf(b, ";\r\n\t%s\r\n", date)
}

// protocol is the "with" value (RFC 3848, RFC 6531).
func protocol(s *session) string {
	cl := &s.m.Client
	p := cl.Protocol
	switch p {
	case "":
		p = "SMTP"
	case "ESMTP":
		if s.m.SMTPUTF8 {
			p = "UTF8SMTP"
		}
		if cl.TLS != "" || cl.TLSProtocol != "" {
			p += "S"
		}
		if cl.SASLMethod != "" || cl.SASLUser != "" {
			p += "A"
		}
	}
	return p
}

// literal adds the tag that RFC 5321, section 4.1.3, wants before an IPv6
// address.
func literal(addr string) string {
	for i := 0; i < len(addr); i++ {
		if addr[i] == ':' {
			return "IPv6:" + addr
		}
	}
	return addr
}

// comment makes text of strangers harmless in a header: it cannot end the
// comment that it stands in, nor the line.
func comment(s string) string {
	ok := true
	for i := 0; i < len(s) && ok; i++ {
		ok = s[i] > ' ' && s[i] != 0x7f && s[i] != '(' && s[i] != ')' && s[i] != '\\' && s[i] != ';'
	}
	if ok {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f || c == '(' || c == ')' || c == '\\' || c == ';' {
			b[i] = '?'
		}
	}
	return string(b)
}
