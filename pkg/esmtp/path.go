package esmtp

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of an address, in bytes. RFC 5321 asks for 64 and 255; local parts of
// VERP, SRS and BATV addresses are longer in practice.
const (
	MaxLocal  = 255
	MaxDomain = 255
	maxLabel  = 63
	maxPath   = 1024
)

// Errors of ParsePath.
var (
	ErrNoPath   = errors.New("no address")          // not even the shape of one
	ErrBadPath  = errors.New("bad address syntax")  // not an address
	ErrLongPath = errors.New("address is too long") // an address above the limits
)

// Path is a reverse-path or forward-path (RFC 5321, section 4.1.2).
type Path struct {
	Raw    string // as sent, without the angle brackets and the source route
	Addr   string // internal form: local part without quoting, "@", domain; "" is the null path
	Local  string // local part without quoting
	Domain string // "" if there is none; "[192.0.2.1]" for an address literal
	Route  string // the source route "@a,@b", dropped from Addr
	UTF8   bool   // holds non-ASCII bytes (valid UTF-8)
}

// ParsePath reads the path at the start of s, which is the rest of a command
// line behind "FROM:" or "TO:", and returns what follows it. strict demands
// exactly "<path>" (strict_rfc821_envelopes); otherwise blanks before it and
// missing angle brackets are forgiven.
func ParsePath(s string, strict bool) (p Path, rest string, err error) {
	if !strict {
		s = strings.TrimLeft(s, " \t")
	}
	if s == "" {
		return p, "", ErrNoPath
	}
	bracket := s[0] == '<'
	if !bracket {
		if strict {
			return p, "", ErrBadPath
		}
	} else {
		s = s[1:]
	}
	end := pathEnd(s, bracket)
	if end < 0 {
		return p, "", ErrBadPath
	}
	text := s[:end]
	rest = s[end:]
	if bracket {
		rest = rest[1:]
	}
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return p, "", ErrBadPath
	}
	if len(text) > maxPath {
		return p, rest, ErrLongPath
	}
	if !bracket && text == "" {
		return p, "", ErrNoPath
	}
	p, err = parseMailbox(text)
	return p, rest, err
}

// pathEnd finds the end of the path: an unquoted ">" or, without brackets, an
// unquoted blank or the end.
func pathEnd(s string, bracket bool) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracket && c == '>', !bracket && (c == ' ' || c == '\t'):
			return i
		case bracket && c == '<':
			return -1
		}
	}
	if bracket || quoted {
		return -1
	}
	return len(s)
}

// ParseMailbox parses an address in external form without angle brackets, as
// it stands in VRFY and in tables.
func ParseMailbox(s string) (Path, error) { return parseMailbox(s) }

func parseMailbox(s string) (p Path, err error) {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return p, ErrBadPath
		}
		if s[i] >= 0x80 {
			p.UTF8 = true
		}
	}
	if p.UTF8 && !utf8.ValidString(s) {
		return p, ErrBadPath
	}
	if strings.HasPrefix(s, "@") {
		route, addr, ok := strings.Cut(s, ":")
		if !ok || addr == "" || strings.ContainsAny(route, "\" \\") {
			return p, ErrBadPath
		}
		p.Route, s = route, addr
	}
	p.Raw = s
	if s == "" {
		return p, nil
	}
	if s[0] == '@' {
		return p, ErrBadPath
	}
	at, err := splitMailbox(s)
	if err != nil {
		return p, err
	}
	local := s
	if at >= 0 {
		local, p.Domain = s[:at], s[at+1:]
		p.Domain = strings.TrimSuffix(p.Domain, ".")
		if err := checkDomain(p.Domain); err != nil {
			return p, err
		}
	}
	if p.Local = unquoteLocal(local); p.Local == "" && local != `""` {
		return p, ErrBadPath
	}
	if len(p.Local) > MaxLocal {
		return p, ErrLongPath
	}
	switch {
	case at < 0:
		p.Addr = p.Local
	case p.Local == local && len(p.Domain) == len(s)-at-1:
		p.Addr = s
	default:
		p.Addr = p.Local + "@" + p.Domain
	}
	return p, nil
}

// splitMailbox returns the index of the "@" before the domain, -1 without
// one, and refuses what no unquoted address may hold.
func splitMailbox(s string) (at int, err error) {
	at = -1
	quoted := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			if i++; i == len(s) || at >= 0 {
				return 0, ErrBadPath
			}
		case c == '"':
			if at >= 0 {
				at = -1 // "a@b"@c: what looked like a domain was local part
			}
			quoted = !quoted
		case quoted:
		case c == '@':
			at = i
		case c <= ' ', c == '<', c == '>', c == '(', c == ')', c == ',', c == ';':
			return 0, ErrBadPath
		case c == '[' || c == ']' || c == ':':
			if at < 0 {
				return 0, ErrBadPath
			}
		}
	}
	if quoted {
		return 0, ErrBadPath
	}
	return at, nil
}

func unquoteLocal(s string) string {
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			continue
		case '\\':
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// checkDomain accepts host names generously (underscores, UTF-8) and address
// literals; it refuses what could be read in two ways.
func checkDomain(d string) error {
	if d == "" {
		return ErrBadPath
	}
	if len(d) > MaxDomain {
		return ErrLongPath
	}
	if d[0] == '[' {
		if d[len(d)-1] != ']' || len(d) < 3 || strings.ContainsAny(d[1:len(d)-1], "[]\\\" @") {
			return ErrBadPath
		}
		return nil
	}
	label := 0
	for i := 0; i < len(d); i++ {
		switch c := d[i]; {
		case c == '.':
			if label == 0 {
				return ErrBadPath
			}
			label = 0
		case c == '[' || c == ']' || c == ':' || c == '"' || c == '\\' || c == '/':
			return ErrBadPath
		default:
			if label++; label > maxLabel && c < 0x80 {
				return ErrLongPath
			}
		}
	}
	if label == 0 {
		return ErrBadPath
	}
	return nil
}
