package main

import (
	"strconv"

	"posthaste/pkg/address"
	"posthaste/pkg/header"
)

// received makes the Received: header of a message.
func (c *settings) received(s *session) []byte {
	m, cl := &s.m, &s.m.Client
	date := m.Arrival.Local()
	b := make([]byte, 0, 512)
	if cl.Address == "" || m.Origin == "pickup" {
		b = append(b, "Received: by "+c.hostname+" ("+c.mailName...)
		if m.Origin == "pickup" {
			b = append(b, ", from userid "+strconv.FormatInt(int64(m.UID), 10)...)
		}
		return append(b, ")\r\n\tid "+m.ID+"; "+header.Date(date)+"\r\n"...)
	}
	r := header.Received{
		Helo: cl.Helo, Name: cl.Name, Reverse: cl.ReverseName, Address: cl.Address, By: c.hostname, MailName: c.mailName, ID: m.ID, Date: date,
		With: header.With(cl.Protocol, m.SMTPUTF8, cl.TLS != "" || cl.TLSProtocol != "", cl.SASLMethod != "" || cl.SASLUser != ""),
	}
	if c.tlsReceived {
		r.TLS = cl.TLS
	}
	if c.authHeader {
		r.User = cl.SASLUser
	}
	if s.given == 1 && s.firstRcpt != nil {
		r.For = address.Quote(*s.firstRcpt)
	}
	return r.Append(b)
}
