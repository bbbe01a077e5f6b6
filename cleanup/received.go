package main

import (
	"strconv"

	"posthaste/pkg/address"
	"posthaste/pkg/header"
)

// received makes the Received: header of a message (RFC 5321, section 4.4), in
// Postfix's layout.
func (c *settings) received(s *session) []byte {
	m, cl := &s.m, &s.m.Client
	date := header.Date(m.Arrival.Local())
	b := make([]byte, 0, 512)
	put := func(text ...string) {
		for _, t := range text {
			b = append(b, t...)
		}
	}
	if cl.Address == "" || m.Origin == "pickup" {
		put("Received: by ", c.hostname, " (", c.mailName)
		if m.Origin == "pickup" {
			put(", from userid ", strconv.FormatInt(int64(m.UID), 10))
		}
		put(")\r\n\tid ", m.ID, "; ", date, "\r\n")
		return b
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
	put("Received: from ", comment(helo), " (", comment(rev), " [", literal(cl.Address), "])\r\n")
	if cl.TLS != "" && c.tlsReceived {
		put("\t", cl.TLS, "\r\n")
	}
	if cl.SASLUser != "" && c.authHeader {
		put("\t(Authenticated sender: ", comment(cl.SASLUser), ")\r\n")
	}
	put("\tby ", c.hostname, " (", c.mailName, ") with ", protocol(s), " id ", m.ID)
	if s.given == 1 && s.firstRcpt != nil {
		put("\r\n\tfor <", address.Quote(*s.firstRcpt), ">; ", date, "\r\n")
	} else {
		put(";\r\n\t", date, "\r\n")
	}
	return b
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
