package config

import "strings"

// Scanner reads logical lines, the way main.cf, master.cf and the sources of
// lookup tables are written: empty lines and lines whose first visible
// character is # are skipped wherever they stand, also between a line and its
// continuation; a line that starts with white space continues the one before.
type Scanner struct {
	rest string
	line int

	// Warn, if set, hears of input that is skipped because it continues
	// nothing.
	Warn func(line int, text string)
}

// NewScanner reads data.
func NewScanner(data string) *Scanner { return &Scanner{rest: data} }

// Logical is one logical line.
type Logical struct {
	Text  string // physical lines without surrounding white space, joined by one space
	First int    // number of its first physical line, from 1
	Last  int    // number of its last physical line that is no comment
}

const space = " \t\r\n\v\f"

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// physical returns the next physical line.
func (s *Scanner) physical() string {
	s.line++
	l, rest, _ := strings.Cut(s.rest, "\n")
	s.rest = rest
	return l
}

// Next returns the next logical line; ok is false at the end.
func (s *Scanner) Next() (l Logical, ok bool) {
	for s.rest != "" {
		p := s.physical()
		text := strings.Trim(p, space)
		if text == "" || text[0] == '#' {
			continue
		}
		first, last, cont := s.line, s.line, isSpace(p[0])
		var more []string
		for s.rest != "" && (s.rest[0] == '#' || isSpace(s.rest[0])) {
			if t := strings.Trim(s.physical(), space); t != "" && t[0] != '#' {
				more, last = append(more, t), s.line
			}
		}
		if cont {
			if s.Warn != nil {
				if len(text) > 30 {
					text = text[:30] + "..."
				}
				s.Warn(first, "logical line must not start with whitespace: \""+text+"\"")
			}
			continue
		}
		if more != nil {
			text += " " + strings.Join(more, " ")
		}
		return Logical{text, first, last}, true
	}
	return Logical{}, false
}

// SplitSetting splits "name = value" and trims both; problem says what is
// wrong otherwise.
func SplitSetting(s string) (name, value, problem string) {
	s = strings.Trim(s, space)
	i := strings.IndexAny(s, "="+space)
	if i == 0 {
		return "", "", "missing attribute name"
	}
	if i < 0 {
		return "", "", "missing '=' after attribute name"
	}
	rest := strings.TrimLeft(s[i:], space)
	if rest[0] != '=' {
		return "", "", "missing '=' after attribute name"
	}
	return s[:i], strings.TrimLeft(rest[1:], space), ""
}

// SplitWords splits at any of the separators, but not inside braces; braces
// stay.
func SplitWords(s, separators string) []string {
	var out []string
	start, depth := -1, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if depth == 0 && strings.IndexByte(separators, c) >= 0 {
			if start >= 0 {
				out, start = append(out, s[start:i]), -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		}
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out
}

// SplitList splits at commas and white space; {braced text} stays together and
// loses its braces and the white space next to them. Braces inside a word
// (inline:{a=b, c=d}) stay.
func SplitList(s string) []string {
	words := SplitWords(s, ","+space)
	for i, w := range words {
		if inner, ok := Unbrace(w); ok {
			words[i] = inner
		}
	}
	return words
}

// Unbrace returns the trimmed text inside a word that is one {…}; ok is false
// for any other word.
func Unbrace(w string) (inner string, ok bool) {
	if len(w) < 2 || w[0] != '{' || w[len(w)-1] != '}' || closing(w, '{', '}') != len(w)-1 {
		return w, false
	}
	return strings.Trim(w[1:len(w)-1], space), true
}

// closing returns the index of the bracket that closes the one at s[0], or -1.
func closing(s string, open, shut byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case shut:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
