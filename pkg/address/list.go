package address

import "strings"

// ListTokens is the most tokens of one header field that are looked at; what
// follows stays as it is (header_address_token_limit's default).
const ListTokens = 10240

// expr is one address of a list.
type expr struct {
	first, last int  // token indexes, inclusive
	comma       int  // token after which a comma is missing, or -1
	comments    bool // comments stand between first and last
}

// parseList finds the addresses in a token list, from right to left as RFC 822
// mailers have always done: that way an address in angle brackets is seen
// before the phrase in front of it, and the phrase can be left alone. Words
// without an operator between them are separate addresses.
func parseList(t []Token) []expr {
	var out []expr
	right := len(t) // end, exclusive, of the address that is being collected
	add := func(left int, missing bool) {
		e := expr{first: -1, comma: -1}
		for j := left + 1; j < right; j++ {
			if t[j].Kind == Comment {
				continue
			}
			if e.first < 0 {
				e.first = j
			}
			e.last = j
		}
		if e.first < 0 {
			return
		}
		for j := e.first; j < e.last; j++ {
			e.comments = e.comments || t[j].Kind == Comment
		}
		if missing {
			e.comma = left
		}
		out = append(out, e)
	}
	word, group := true, false
	i := len(t) - 1
	for i >= 0 {
		switch k := t[i].Kind; {
		case k == Comment:
		case k == ';':
			add(i, true)
			right, word, group = i, true, true
		case k == ':' && group:
			add(i, false)
			for i >= 0 && t[i].Kind != ',' {
				i--
			}
			right = i
			continue
		case k == '>':
			add(i, true)
			right = i
			for i >= 0 && t[i].Kind != '<' {
				i--
			}
			add(i, false)
			for i >= 0 && t[i].Kind != '>' && t[i].Kind != ';' && t[i].Kind != ',' && t[i].Kind != ':' {
				i--
			}
			right, word = i, true
			continue
		case k.word():
			if !word {
				add(i, true)
				right = i + 1
			}
			word = false
		case k == ',':
			add(i, false)
			right, word = i, true
		default:
			word = true
		}
		i--
	}
	add(-1, false)
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// text is the internal form of an address, without its comments.
func (e *expr) text(t []Token) string {
	s := t[e.first : e.last+1]
	if e.comments {
		kept := make([]Token, 0, len(s))
		for _, x := range s {
			if x.Kind != Comment {
				kept = append(kept, x)
			}
		}
		s = kept
	}
	return Internal(s)
}

// ExtractList returns the addresses of a header field's value (or of an alias'
// right-hand side) in internal form and in order. It takes whatever mail
// contains: comments, groups, route addresses, phrases with stray dots, missing
// commas. Empty addresses (<>) do not appear.
func ExtractList(value []byte) []string {
	t, _ := Scan(string(value), ListTokens)
	list := parseList(t)
	out := make([]string, 0, len(list))
	for i := range list {
		out = append(out, list[i].text(t))
	}
	return out
}

// RewriteList calls fn with each address of a header field's value, in
// internal form, and puts what it returns in place of the address, in external
// form. Text around changed addresses stays byte for byte, but for commas that
// were missing; comments inside a changed address move behind it. When fn
// changes nothing, out is value itself and changed is false.
func RewriteList(value []byte, fn func(addr string) string) (out []byte, changed bool) {
	src := string(value)
	t, _ := Scan(src, ListTokens)
	list := parseList(t)
	was := make([]string, len(list))
	now := make([]string, len(list))
	for i := range list {
		was[i] = list[i].text(t)
		now[i] = fn(was[i])
		changed = changed || now[i] != was[i]
	}
	if !changed {
		return value, false
	}
	out = make([]byte, 0, len(src)+64)
	at := 0 // src[:at] is in out
	for i := range list {
		e := &list[i]
		if e.comma >= 0 {
			end := t[e.comma].End
			out = append(append(out, src[at:end]...), ',')
			if end < len(src) && !isSpace(src[end]) {
				out = append(out, ' ')
			}
			at = end
		}
		if now[i] == was[i] {
			continue
		}
		out = append(append(out, src[at:t[e.first].Start]...), Quote(now[i])...)
		if e.comments {
			for j := e.first; j < e.last; j++ {
				if t[j].Kind == Comment {
					out = append(append(out, ' '), t[j].Text...)
				}
			}
		}
		at = t[e.last].End
	}
	return append(out, src[at:]...), true
}

// foldWidth is the length above which FoldList breaks a line (RFC 5322, section
// 2.1.1).
const foldWidth = 78

// FoldList breaks the lines of a header field with a list of addresses, name
// included, that are longer than 78 bytes, behind commas. Rewriting makes lines
// longer; one of more than 998 bytes would be broken anywhere on its way.
func FoldList(field []byte) []byte {
	var out []byte
	start, comma := 0, -1 // of the line in field; where it may be broken
	done := 0             // field[:done] is in out
	quoted, depth := false, 0
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case c == '\n':
			start, comma = i+1, -1
			continue
		case c == '\\' && (quoted || depth > 0):
			i++
		case quoted:
			quoted = c != '"'
		case c == '"' && depth == 0:
			quoted = true
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		}
		if i-start >= foldWidth && comma >= 0 {
			next := comma
			for next < len(field) && (field[next] == ' ' || field[next] == '\t') {
				next++
			}
			if next < len(field) && field[next] != '\r' && field[next] != '\n' {
				out = append(append(out, field[done:comma]...), "\r\n\t"...)
				done = next
				start = next - 1 // the tab
			}
			comma = -1
		}
		if i < len(field) && field[i] == ',' && !quoted && depth == 0 {
			comma = i + 1
		}
	}
	if done == 0 {
		return field
	}
	return append(out, field[done:]...)
}

// StripRoute removes a source route (@a,@b:user@domain, RFC 5321 appendix C)
// from an internal address.
func StripRoute(addr string) string {
	if addr == "" || addr[0] != '@' {
		return addr
	}
	if i := strings.IndexByte(addr, ':'); i >= 0 && i+1 < len(addr) {
		return addr[i+1:]
	}
	return addr
}
