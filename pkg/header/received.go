package header

import (
	"strings"
	"time"
)

// Received is what the trace field of a message from an SMTP client says
// (RFC 5321, section 4.4). Text of strangers is made harmless.
type Received struct {
	Helo     string // what the client calls itself; "" if it did not
	Name     string // its verified name; "" or "unknown" if there is none
	Reverse  string // the name of its address, unverified
	Address  string // its address, without brackets
	TLS      string // words on the connection, "" for none
	User     string // who logged in, "" for nobody
	By       string // this host
	MailName string // the name of this system
	With     string // protocol
	ID       string // queue ID, "" if there is none yet
	For      string // the only recipient in external form, "" if there are several
	Date     time.Time
}

// Append appends the field in Postfix's layout.
func (r *Received) Append(b []byte) []byte {
	put := func(text ...string) {
		for _, t := range text {
			b = append(b, t...)
		}
	}
	helo, name := r.Helo, r.Reverse
	if helo == "" {
		helo = r.Name
	}
	if r.Name != "" && r.Name != "unknown" {
		name = r.Name
	}
	if name == "" {
		name = "unknown"
	}
	put("Received: from ", Comment(helo), " (", Comment(name), " [", literal(r.Address), "])\r\n")
	if r.TLS != "" {
		put("\t", r.TLS, "\r\n")
	}
	if r.User != "" {
		put("\t(Authenticated sender: ", Comment(r.User), ")\r\n")
	}
	put("\tby ", r.By, " (", r.MailName, ") with ", r.With)
	if r.ID != "" {
		put(" id ", r.ID)
	}
	if r.For != "" {
		put("\r\n\tfor <", r.For, ">; ", Date(r.Date), "\r\n")
	} else {
		put(";\r\n\t", Date(r.Date), "\r\n")
	}
	return b
}

// With is the protocol of a trace field (RFC 3848, RFC 6531) for a client that
// said HELO (SMTP) or EHLO (ESMTP).
func With(protocol string, utf8, tls, user bool) string {
	switch protocol {
	case "":
		return "SMTP"
	case "ESMTP":
		if utf8 {
			protocol = "UTF8SMTP"
		}
		if tls {
			protocol += "S"
		}
		if user {
			protocol += "A"
		}
	}
	return protocol
}

// literal adds the tag that RFC 5321, section 4.1.3, wants before an IPv6
// address.
func literal(addr string) string {
	if strings.IndexByte(addr, ':') >= 0 {
		return "IPv6:" + addr
	}
	return addr
}

// Comment makes text of strangers harmless: it cannot end the comment that it
// stands in, nor the line.
func Comment(s string) string {
	bad := func(c byte) bool {
		return c < ' ' || c == 0x7f || c == '(' || c == ')' || c == '\\' || c == ';'
	}
	for i := 0; i < len(s); i++ {
		if !bad(s[i]) {
			continue
		}
		b := []byte(s)
		for i, c := range b {
			if bad(c) {
				b[i] = '?'
			}
		}
		return string(b)
	}
	return s
}
