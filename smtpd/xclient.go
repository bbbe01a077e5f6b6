package main

import (
	"net/netip"
	"strings"

	"posthaste/pkg/dnsclient"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/restrict"
)

// xforward is what a front end says of the client behind it.
type xforward struct {
	set                                          bool
	name, addr, port, proto, helo, ident, source string
}

// attributes splits the arguments of XCLIENT and XFORWARD; values are xtext.
func attributes(args string, known string) (kv [][2]string, bad string) {
	for _, w := range strings.Fields(args) {
		k, v, ok := strings.Cut(w, "=")
		k = strings.ToUpper(k)
		if !ok || k == "" || !strings.Contains(" "+known+" ", " "+k+" ") {
			return nil, "Error: bad attribute name or value: " + k
		}
		d, err := esmtp.DecodeXtext(v)
		if err != nil || len(d) > 255 {
			return nil, "Error: bad attribute value syntax: " + k
		}
		kv = append(kv, [2]string{k, d})
	}
	return kv, ""
}

// cleanAddr reads an address attribute: 192.0.2.1 or IPv6:2001:db8::1.
func cleanAddr(v string) (string, bool) {
	if len(v) > 5 && strings.EqualFold(v[:5], "IPv6:") {
		v = v[5:]
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return "", false
	}
	return a.Unmap().String(), true
}

func unavailable(v string) bool { return v == "[UNAVAILABLE]" || v == "[TEMPUNAVAIL]" }

// xclient lets an authorised client speak for another one.
func (s *session) xclient(args string) bool {
	if s.tx.open {
		return s.say(503, "5.5.1", "Error: MAIL transaction in progress")
	}
	if args == "" {
		return s.say(501, "5.5.4", "Syntax: XCLIENT attribute=value...")
	}
	if s.srv.env.Stdio || !s.match(s.srv.xclientHosts) {
		return s.say(550, "5.7.0", "Error: insufficient authorization")
	}
	kv, bad := attributes(args, "NAME ADDR PORT PROTO HELO LOGIN REVERSE_NAME DESTADDR DESTPORT")
	if bad != "" {
		return s.say(501, "5.5.4", bad)
	}
	f := s.facts
	login := ""
	for _, a := range kv {
		k, v := a[0], a[1]
		ok := true
		switch k {
		case "NAME", "REVERSE_NAME":
			name, temp := v, v == "[TEMPUNAVAIL]"
			if unavailable(v) {
				name = "unknown"
			} else {
				ok = dnsclient.ValidHostname(v)
			}
			if k == "NAME" {
				f.ClientName, f.NameTemp = name, temp
			} else {
				f.ReverseName, f.ReverseTemp = name, temp
			}
		case "ADDR":
			if unavailable(v) {
				f.ClientAddr = "unknown"
			} else {
				f.ClientAddr, ok = cleanAddr(v)
			}
		case "DESTADDR":
			if !unavailable(v) {
				f.ServerAddr, ok = cleanAddr(v)
			}
		case "PORT", "DESTPORT":
			if unavailable(v) {
				v = ""
			}
			ok = len(v) <= 5 && strings.Trim(v, "0123456789") == ""
			if k == "PORT" {
				f.ClientPort = v
			} else {
				f.ServerPort = v
			}
		case "HELO":
			if unavailable(v) {
				v = ""
			}
			f.Helo = cleanHelo(v)
		case "PROTO":
			v = strings.ToUpper(v)
			ok = v == "SMTP" || v == "ESMTP"
			f.Protocol = v
		case "LOGIN":
			if !unavailable(v) {
				login = v
			}
		}
		if !ok {
			return s.say(501, "5.5.4", "Bad "+k+" syntax: "+v)
		}
	}
	return s.become(&f, login)
}

// become restarts the session as another client's.
func (s *session) become(f *restrict.Facts, login string) bool {
	helo, proto := f.Helo, f.Protocol
	s.uncount()
	tls := s.facts.TLS
	s.facts = *f
	s.forget()
	s.facts.TLS = tls
	s.facts.Helo, s.facts.Protocol = helo, proto
	if login != "" {
		s.facts.SASLUser, s.facts.SASLMethod = clean(login), "XCLIENT"
	}
	s.banned, s.pending = esmtp.Reply{}, s.pending[:0]
	s.discard = s.srv.discards(s.facts.ClientAddr)
	s.bare = s.set.bareLF
	if s.match(s.srv.bareExcept) {
		s.bare = esmtp.BareLFNo
	}
	if !s.admit() {
		return false
	}
	if !s.set.delayReject {
		r, p := s.srv.policy.Client(s.ctx, s.check("CONNECT"))
		if !r.IsZero() {
			s.banned = r
			return s.reply(r)
		}
		s.pending = append(s.pending, p)
	}
	return s.reply(esmtp.Reply{Code: 220, Text: s.set.banner})
}

// xforwardCmd takes down what a content filter's front end says for the log
// and the Received: header.
func (s *session) xforwardCmd(args string) bool {
	if s.tx.open {
		return s.say(503, "5.5.1", "Error: MAIL transaction in progress")
	}
	if args == "" {
		return s.say(501, "5.5.4", "Syntax: XFORWARD attribute=value...")
	}
	if s.srv.env.Stdio || !s.match(s.srv.xforwardHosts) {
		return s.say(550, "5.7.0", "Error: insufficient authorization")
	}
	kv, bad := attributes(args, "NAME ADDR PORT PROTO HELO IDENT SOURCE")
	if bad != "" {
		return s.say(501, "5.5.4", bad)
	}
	n := s.forward
	if !n.set {
		n.name, n.addr = "unknown", "unknown"
	}
	for _, a := range kv {
		v := a[1]
		un := unavailable(v)
		ok := true
		switch a[0] {
		case "NAME":
			if n.name = v; un {
				n.name = "unknown"
			} else {
				ok = dnsclient.ValidHostname(v)
			}
		case "ADDR":
			if n.addr = "unknown"; !un {
				n.addr, ok = cleanAddr(v)
			}
		case "PORT":
			if n.port = ""; !un {
				n.port = v
				ok = len(v) <= 5 && strings.Trim(v, "0123456789") == ""
			}
		case "PROTO":
			n.proto = clean(v)
			ok = len(v) <= 64
		case "HELO":
			n.helo = cleanHelo(v)
		case "IDENT":
			if n.ident = ""; !un {
				n.ident = clean(v)
			}
		case "SOURCE":
			ok = un || strings.EqualFold(v, "LOCAL") || strings.EqualFold(v, "REMOTE")
			n.source = strings.ToUpper(v)
		}
		if !ok {
			return s.say(501, "5.5.4", "Bad "+a[0]+" syntax: "+v)
		}
	}
	n.set = true
	s.forward = n
	return s.say(250, "2.0.0", "Ok")
}

// local tells whether the headers of this client's mail are completed with our
// domain (local_header_rewrite_clients).
func (s *session) local() bool {
	if s.srv.env.Stdio {
		return true
	}
	for _, l := range s.srv.localClients {
		ok := false
		switch l.word {
		case "permit_inet_interfaces":
			a, err := netip.ParseAddr(s.facts.ClientAddr)
			ok = err == nil && s.srv.ownAddr(a)
		case "permit_mynetworks":
			ok = s.match(s.srv.mynetworks)
		case "permit_sasl_authenticated":
			ok = s.facts.SASLUser != ""
		case "permit_tls_clientcerts", "permit_tls_all_clientcerts":
			ok = s.facts.CertTrusted
		case "table":
			_, ok, _ = l.maps.Get(s.facts.ClientAddr)
		}
		if ok {
			return true
		}
	}
	return false
}
