package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits of expansion: they bound what a mistaken or hostile configuration
// costs, far above what any real one needs.
const (
	maxDepth    = 100
	maxExpanded = 1 << 20 // bytes
)

// expander expands text; look returns the expanded value of a name.
type expander struct {
	look  func(name string) (string, error)
	depth int
}

// Expand replaces $name, ${name}, $(name), ${name?text}, ${name:text},
// ${name?{text}:{text}} and the comparisons ${{text} op {text} ? {text} :
// {text}} in text, with values from look, which returns them fully expanded.
// The operators are == != < <= >= >, numerical when both sides are digits
// alone, and the same followed by "level", which compares release levels
// (3.10 is above 3.9). ${domain_to_ascii{text}} is the A-label form of a
// domain. $$ is a dollar.
func Expand(text string, look func(name string) (string, error)) (string, error) {
	if strings.IndexByte(text, '$') < 0 {
		return text, nil
	}
	e := &expander{look: look}
	b, err := e.text(nil, text)
	return string(b), err
}

// References returns the names that text refers to, in order, with
// duplicates, as far as its syntax can be read.
func References(text string) []string {
	var names []string
	var scan func(s string, depth int)
	scan = func(s string, depth int) {
		for depth < maxDepth {
			i := strings.IndexByte(s, '$')
			if i < 0 || i+1 >= len(s) {
				return
			}
			s = s[i+1:]
			switch {
			case s[0] == '$':
				s = s[1:]
			case s[0] == '{' || s[0] == '(':
				n := closing(s, s[0], closer(s[0]))
				if n < 0 {
					return
				}
				inner := s[1:n]
				if w := wordLen(inner); w > 0 {
					names = append(names, inner[:w])
					inner = inner[w:]
				}
				scan(inner, depth+1)
				s = s[n+1:]
			default:
				if w := wordLen(s); w > 0 {
					names = append(names, s[:w])
					s = s[w:]
				}
			}
		}
	}
	scan(text, 0)
	return names
}

func closer(open byte) byte {
	if open == '(' {
		return ')'
	}
	return '}'
}

// wordLen is the length of the parameter name at the start of s.
func wordLen(s string) int {
	i := 0
	for i < len(s) && (s[i] == '_' || s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z') {
		i++
	}
	return i
}

func excerpt(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

func (e *expander) text(dst []byte, s string) ([]byte, error) {
	if e.depth++; e.depth > maxDepth {
		return dst, fmt.Errorf("unreasonable nesting at %q", excerpt(s))
	}
	defer func() { e.depth-- }()
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			dst = append(dst, s...)
			return dst, tooLong(dst)
		}
		dst = append(dst, s[:i]...)
		at := s[i:]
		if s = s[i+1:]; s == "" {
			return dst, fmt.Errorf("missing name after $ at the end")
		}
		var err error
		switch s[0] {
		case '$':
			dst, s = append(dst, '$'), s[1:]
		case '{', '(':
			n := closing(s, s[0], closer(s[0]))
			if n < 0 {
				return dst, fmt.Errorf("unbalanced %q in %q", s[:1], excerpt(at))
			}
			dst, err = e.expr(dst, s[1:n])
			s = s[n+1:]
		default:
			n := wordLen(s)
			if n == 0 {
				return dst, fmt.Errorf("missing name after $ in %q", excerpt(at))
			}
			var v string
			v, err = e.look(s[:n])
			dst, s = append(dst, v...), s[n:]
		}
		if err == nil {
			err = tooLong(dst)
		}
		if err != nil {
			return dst, err
		}
	}
}

func tooLong(b []byte) error {
	if len(b) > maxExpanded {
		return fmt.Errorf("value expands to more than %d bytes", maxExpanded)
	}
	return nil
}

// expr evaluates what stands between ${ and }.
func (e *expander) expr(dst []byte, s string) ([]byte, error) {
	whole := s
	var value string
	var err error
	if t := strings.TrimLeft(s, space); t != "" && t[0] == '{' {
		if value, s, err = e.logical(t); err != nil {
			return dst, err
		}
		if s != "" && s[0] != '?' && s[0] != ':' {
			return dst, fmt.Errorf("\"?\" or \":\" expected at %q", excerpt(s))
		}
	} else {
		n := wordLen(s)
		if n > 0 && n < len(s) && s[n] == '{' && closing(s[n:], '{', '}') == len(s)-n-1 {
			return e.function(dst, s[:n], s[n+1:len(s)-1])
		}
		if n == 0 || n < len(s) && s[n] != '?' && s[n] != ':' {
			return dst, fmt.Errorf("bad parameter name syntax in \"${%s}\"", excerpt(whole))
		}
		if value, err = e.look(s[:n]); err != nil {
			return dst, err
		}
		s = s[n:]
	}
	if s == "" {
		return append(dst, value...), nil
	}
	if s[0] == '?' {
		yes, rest, err := branch(s[1:])
		if err != nil {
			return dst, err
		}
		if value != "" {
			if dst, err = e.text(dst, yes); err != nil {
				return dst, err
			}
		}
		if rest == "" {
			return dst, nil
		}
		if rest[0] != ':' {
			return dst, fmt.Errorf("\":\" expected at %q", excerpt(rest))
		}
		s = rest
	}
	no, rest, err := branch(s[1:])
	if err != nil {
		return dst, err
	}
	if rest != "" {
		return dst, fmt.Errorf("unexpected input at %q", excerpt(rest))
	}
	if value == "" {
		return e.text(dst, no)
	}
	return dst, nil
}

// function evaluates ${name{text}}.
func (e *expander) function(dst []byte, name, arg string) ([]byte, error) {
	if name != "domain_to_ascii" {
		return dst, fmt.Errorf("unknown function %q", name)
	}
	text, err := e.text(nil, arg)
	if err != nil {
		return dst, err
	}
	ascii, err := DomainToASCII(string(text))
	return append(dst, ascii...), err
}

// branch reads the operand of ? or :, which is {text} or everything that is
// left.
func branch(s string) (operand, rest string, err error) {
	t := strings.TrimLeft(s, space)
	if t == "" || t[0] != '{' {
		return s, "", nil
	}
	n := closing(t, '{', '}')
	if n < 0 {
		return "", "", fmt.Errorf("unbalanced {} at %q", excerpt(t))
	}
	return t[1:n], strings.TrimLeft(t[n+1:], space), nil
}

// logical evaluates {text} op {text} at the start of s; true is a non-empty
// value.
func (e *expander) logical(s string) (value, rest string, err error) {
	left, s, err := branch(s)
	if err != nil {
		return "", "", err
	}
	n := 0
	for n < len(s) && strings.IndexByte("<>!=", s[n]) >= 0 {
		n++
	}
	for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
		n++
	}
	op := s[:n]
	s = strings.TrimLeft(s[n:], space)
	plain, byLevel := strings.CutSuffix(op, "level")
	switch plain {
	case "==", "!=", "<", "<=", ">=", ">":
	default:
		return "", "", fmt.Errorf("comparison operator expected after \"{%s}\", not %q", excerpt(left), excerpt(op+s))
	}
	if s == "" || s[0] != '{' {
		return "", "", fmt.Errorf("\"{expression}\" expected after \"{%s} %s\"", excerpt(left), op)
	}
	right, rest, err := branch(s)
	if err != nil {
		return "", "", err
	}
	l, err := e.text(nil, left)
	if err != nil {
		return "", "", err
	}
	r, err := e.text(nil, right)
	if err != nil {
		return "", "", err
	}
	var cmp int
	if byLevel {
		if cmp, err = compareLevels(string(l), string(r)); err != nil {
			return "", "", err
		}
	} else {
		cmp = compareValues(string(l), string(r))
	}
	if holds(plain, cmp) {
		return "true", rest, nil
	}
	return "", rest, nil
}

func holds(op string, cmp int) bool {
	switch op {
	case "==":
		return cmp == 0
	case "!=":
		return cmp != 0
	case "<":
		return cmp < 0
	case "<=":
		return cmp <= 0
	case ">=":
		return cmp >= 0
	}
	return cmp > 0
}

// compareValues compares as numbers when both are digits alone, else as
// strings.
func compareValues(a, b string) int {
	if digits(a) && digits(b) {
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if len(a) != len(b) {
			return len(a) - len(b)
		}
	}
	return strings.Compare(a, b)
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// ParseLevel reads a compatibility level: up to three numbers joined by dots.
func ParseLevel(s string) (level [3]int, err error) {
	parts := strings.Split(s, ".")
	if len(parts) > 3 {
		return level, fmt.Errorf("bad compatibility level: %q", excerpt(s))
	}
	for i, p := range parts {
		if level[i], err = strconv.Atoi(p); err != nil || !digits(p) {
			return level, fmt.Errorf("bad compatibility level: %q", excerpt(s))
		}
	}
	return level, nil
}

func compareLevels(a, b string) (int, error) {
	l, err := ParseLevel(a)
	if err != nil {
		return 0, err
	}
	r, err := ParseLevel(b)
	if err != nil {
		return 0, err
	}
	for i := range l {
		if l[i] != r[i] {
			return l[i] - r[i], nil
		}
	}
	return 0, nil
}
