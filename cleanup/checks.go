package main

import (
	"bytes"
	"strings"

	"posthaste/pkg/header"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/cleanup"
)

func headerIsMime(raw []byte) bool {
	name, ok := header.Name(raw)
	var space [64]byte
	return ok && fields[string(header.Lower(space[:0], name))]&mimeField != 0
}

// check looks a header field or body line up and does what the table says
// (header_checks(5)). raw comes with its line end; what goes on in its place
// is returned, or keep is false.
func (s *session) check(maps *lookup.Maps, where string, raw []byte) (out []byte, keep bool) {
	text := header.Text(raw)
	v, ok, err := maps.Get(string(text))
	if err != nil {
		s.warnf("%s checks map lookup problem -- message not accepted, try again later: %v", where, err)
		s.fail(cleanup.TempFail, 451, "4.3.0", "Temporary lookup failure")
		return nil, false
	}
	if !ok {
		return raw, true
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(v), " ")
	arg = strings.TrimSpace(arg)
	verb = strings.ToUpper(verb)
	log := func(word string) { s.logAction(word, where, text, arg) }
	switch verb {
	case "DUNNO", "OK":
	case "WARN":
		log("warning")
	case "INFO":
		log("info")
	case "REJECT":
		code, dsn, reason := 550, "5.7.1", arg
		if d, rest, ok := cutDSN(arg); ok {
			dsn, reason = d, rest
			if d[0] == '4' {
				code = 451
			}
		}
		if reason == "" {
			reason = "message content rejected"
		}
		s.logAction("reject", where, text, dsn+" "+reason)
		s.fail(cleanup.Rejected, code, dsn, reason)
		return nil, false
	case "DISCARD":
		log("discard")
		s.discard = true
		return nil, false
	case "IGNORE":
		return nil, false
	case "STRIP":
		log("strip")
		return nil, false
	case "HOLD":
		if !s.hold {
			log("hold")
			s.hold = true
		}
	case "PASS":
		log("pass")
		s.inspect = false
	case "FILTER":
		if i := strings.IndexByte(arg, ':'); i <= 0 {
			s.warnf("missing or bad FILTER destination in %s checks: %q", where, arg)
		} else {
			log("filter")
			s.filter = arg
		}
	case "REDIRECT":
		if !strings.Contains(arg, "@") {
			s.warnf("bad REDIRECT target %q in %s checks -- need user@domain", arg, where)
		} else {
			log("redirect")
			s.redirect = arg
			s.inspect = false
		}
	case "BCC":
		if !strings.Contains(arg, "@") {
			s.warnf("bad BCC address %q in %s checks -- need user@domain", arg, where)
		} else {
			log("bcc")
			s.addBCC = append(s.addBCC, arg)
		}
	case "PREPEND", "REPLACE":
		return s.edit(verb, where, raw, text, arg)
	default:
		s.warnf("unknown command in %s checks: %q", where, v)
	}
	return raw, true
}

// edit does PREPEND and REPLACE.
func (s *session) edit(verb, where string, raw, text []byte, arg string) ([]byte, bool) {
	if arg == "" {
		s.warnf("%s action without text in %s checks", verb, where)
		return raw, true
	}
	if where == "header" {
		if _, ok := header.Name([]byte(arg)); !ok {
			s.warnf("bad %s header text %q in %s checks -- need \"headername: headervalue\"", verb, arg, where)
			return raw, true
		}
	}
	s.logAction(strings.ToLower(verb), where, text, arg)
	line := []byte(arg)
	if bytes.IndexByte(line, '\n') >= 0 {
		line = bytes.ReplaceAll(bytes.ReplaceAll(line, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	line = append(line, "\r\n"...)
	if verb == "REPLACE" {
		return line, true
	}
	s.out(line)
	return raw, true
}

func (s *session) logAction(word, where string, text []byte, reason string) {
	e := maillog.ContentAction{ID: s.m.ID, Verb: word, Where: where, Line: string(text), Client: s.client(),
		Sender: s.m.Sender, Protocol: s.m.Client.Protocol, Helo: s.m.Client.Helo, Reason: reason}
	if s.firstRcpt != nil {
		e.Rcpt = *s.firstRcpt
	}
	s.set.log.Event(e)
}

// cutDSN takes an enhanced status code (RFC 3463) off the front of text.
func cutDSN(text string) (dsn, rest string, ok bool) {
	first, rest, _ := strings.Cut(text, " ")
	p := strings.Split(first, ".")
	if len(p) != 3 || len(p[0]) != 1 || !strings.Contains("245", p[0]) {
		return "", "", false
	}
	for _, n := range p {
		if len(n) == 0 || len(n) > 3 || strings.Trim(n, "0123456789") != "" {
			return "", "", false
		}
	}
	return first, strings.TrimSpace(rest), true
}
