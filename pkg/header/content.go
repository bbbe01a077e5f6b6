package header

import "strings"

// ContentType is a Content-Type: value (RFC 2045, section 5.1), as far as
// finding the parts of a message needs it. Type and Subtype are in lower case.
type ContentType struct {
	Type, Subtype string
	Boundary      string // "" if none
}

// ParseContentType reads a Content-Type: value, folded or not. It takes
// whatever mail contains; what it cannot read is text/plain.
func ParseContentType(value []byte) ContentType {
	s := lexer{s: string(Unfold(value))}
	ct := ContentType{Type: strings.ToLower(s.word())}
	if s.next('/') {
		ct.Subtype = strings.ToLower(s.word())
	}
	if ct.Type == "" || ct.Subtype == "" {
		return ContentType{Type: "text", Subtype: "plain"}
	}
	for s.seek(';') {
		name := strings.ToLower(s.word())
		if !s.next('=') {
			continue
		}
		v := s.word()
		if name == "boundary" && ct.Boundary == "" {
			ct.Boundary = strings.TrimRight(v, " \t")
		}
	}
	return ct
}

// ParseEncoding reads a Content-Transfer-Encoding: value, in lower case.
func ParseEncoding(value []byte) string {
	s := lexer{s: string(Unfold(value))}
	return strings.ToLower(s.word())
}

// lexer takes tokens of RFC 2045 off a string.
type lexer struct {
	s string
	i int
}

// space skips blanks and comments.
func (l *lexer) space() {
	depth := 0
	for ; l.i < len(l.s); l.i++ {
		switch c := l.s[l.i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0 && l.i+1 < len(l.s):
			l.i++
		case depth > 0 || c == ' ' || c == '\t':
		default:
			return
		}
	}
}

// word takes a token or a quoted string.
func (l *lexer) word() string {
	l.space()
	if l.i < len(l.s) && l.s[l.i] == '"' {
		var b strings.Builder
		for l.i++; l.i < len(l.s) && l.s[l.i] != '"'; l.i++ {
			if l.s[l.i] == '\\' && l.i+1 < len(l.s) {
				l.i++
			}
			b.WriteByte(l.s[l.i])
		}
		l.i = min(l.i+1, len(l.s))
		return b.String()
	}
	at := l.i
	for l.i < len(l.s) && !strings.ContainsRune(" \t()<>@,;:\\\"/[]=", rune(l.s[l.i])) {
		l.i++
	}
	// "/" and "=" end a type and a name, but unquoted boundaries hold them.
	if at > 0 && l.s[at-1] == '=' {
		for l.i < len(l.s) && l.s[l.i] != ';' && l.s[l.i] != ' ' && l.s[l.i] != '\t' && l.s[l.i] != '(' {
			l.i++
		}
	}
	return l.s[at:l.i]
}

// next takes c if it is what follows.
func (l *lexer) next(c byte) bool {
	l.space()
	if l.i < len(l.s) && l.s[l.i] == c {
		l.i++
		return true
	}
	return false
}

// seek skips to behind the next c outside of quotes and comments.
func (l *lexer) seek(c byte) bool {
	for {
		l.space()
		if l.i >= len(l.s) {
			return false
		}
		switch l.s[l.i] {
		case c:
			l.i++
			return true
		case '"':
			l.word()
		default:
			l.i++
		}
	}
}
