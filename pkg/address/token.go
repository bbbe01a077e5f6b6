package address

import "strings"

// Kind says what a Token is. Operators are their own character.
type Kind byte

// Kinds of tokens that are not a single character.
const (
	Atom    Kind = 1 // a word
	Quoted  Kind = 2 // a quoted string, or a word that needs quotes
	Literal Kind = 3 // a domain literal, text without the brackets
	Comment Kind = 4 // a comment in its external form, with parentheses
)

// Token is a lexical element of an address or of a list of addresses in
// external form. Text is without quoting.
type Token struct {
	Kind       Kind
	Text       string // empty for operators
	Start, End int    // place in the source
}

// Operators of addresses: those of RFC 822, and those that older mail
// networks used.
const operators = "|%!()<>@,;:\\\".[]"

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func isOperator(c byte) bool { return operator[c] }

// set holds bytes.
type set [256]bool

func setOf(members string) *set {
	var s set
	for i := range len(members) {
		s[members[i]] = true
	}
	return &s
}

var (
	operator    = setOf(operators)
	endsAtom    = setOf(" \t\r\n" + strings.ReplaceAll(operators, "\\", ""))
	endsQuoted  = setOf("\"")
	endsLiteral = setOf("]")
)

// usualTokens are those of one address with a name.
const usualTokens = 16

// Scan splits text in external form into tokens, at most limit of them (0
// means any number). It understands everything: what is not closed ends with
// the text. rest is where scanning stopped.
func Scan(src string, limit int) (tokens []Token, rest int) {
	tokens = make([]Token, 0, usualTokens)
	i := 0
	for i < len(src) {
		c := src[i]
		if isSpace(c) {
			i++
			continue
		}
		if limit > 0 && len(tokens) >= limit {
			break
		}
		t := Token{Start: i}
		switch {
		case c == '(':
			t.Kind = Comment
			i = commentEnd(src, i)
			t.Text = src[t.Start:i]
		case c == '[':
			t.Kind = Literal
			t.Text, i = collect(src, i+1, endsLiteral, true)
		case c == '"':
			t.Kind = Quoted
			t.Text, i = collect(src, i+1, endsQuoted, true)
		case c != '\\' && isOperator(c):
			t.Kind = Kind(c)
			i++
		default:
			t.Kind = Atom
			t.Text, i = collect(src, i, endsAtom, false)
			if needsQuotes(t.Text) {
				t.Kind = Quoted
			}
		}
		t.End = i
		tokens = append(tokens, t)
	}
	return tokens, i
}

// collect reads text with backslash escapes up to a character of end, skipping
// that character if skip is set.
func collect(src string, i int, end *set, skip bool) (string, int) {
	start, plain := i, true
	for i < len(src) && !end[src[i]] {
		if src[i] == '\\' {
			plain = false
			i++
			if i == len(src) {
				break
			}
		} else if isSpace(src[i]) && src[i] != ' ' {
			plain = false
		}
		i++
	}
	stop := i
	if skip && i < len(src) {
		i++
	}
	if plain {
		return src[start:stop], i
	}
	var b strings.Builder
	for j := start; j < stop; j++ {
		c := src[j]
		if c == '\\' {
			if j++; j >= stop {
				break
			}
			c = src[j]
		}
		if isSpace(c) {
			c = ' '
		}
		b.WriteByte(c)
	}
	return b.String(), i
}

func needsQuotes(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || isOperator(c) {
			return true
		}
	}
	return s == ""
}

// commentEnd returns the index after the comment that starts at src[i].
func commentEnd(src string, i int) int {
	depth := 0
	for ; i < len(src); i++ {
		switch src[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case '\\':
			i++
		}
	}
	return len(src)
}

func (k Kind) word() bool { return k >= Atom && k <= Comment }

// Internal joins tokens in internal form: quotes go, and words that stood
// apart stay apart.
func Internal(tokens []Token) string {
	if len(tokens) == 1 && tokens[0].Kind != Literal && tokens[0].Kind.word() {
		return tokens[0].Text
	}
	n := 0
	for i := range tokens {
		n += len(tokens[i].Text) + 2
	}
	var b strings.Builder
	b.Grow(n)
	for i := range tokens {
		t := &tokens[i]
		switch t.Kind {
		case Literal:
			b.WriteByte('[')
			b.WriteString(t.Text)
			b.WriteByte(']')
		case Atom, Quoted, Comment:
			b.WriteString(t.Text)
		default:
			b.WriteByte(byte(t.Kind))
		}
		if i+1 < len(tokens) && t.Kind.word() && tokens[i+1].Kind.word() {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// External joins tokens in external form: quoted strings and literals get
// their quoting back.
func External(tokens []Token) string {
	var b strings.Builder
	for i := range tokens {
		t := &tokens[i]
		switch t.Kind {
		case Literal:
			b.WriteByte('[')
			escape(&b, t.Text, "[]\\\r\n")
			b.WriteByte(']')
		case Quoted:
			b.WriteByte('"')
			escape(&b, t.Text, "\"\\\r\n")
			b.WriteByte('"')
		case Atom, Comment:
			b.WriteString(t.Text)
		case ',':
			b.WriteString(", ")
			continue
		default:
			b.WriteByte(byte(t.Kind))
		}
		if i+1 < len(tokens) && (tokens[i+1].Kind == '<' || t.Kind.word() && tokens[i+1].Kind.word()) {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func escape(b *strings.Builder, s, set string) {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(set, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
}
