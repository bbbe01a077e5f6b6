// Package macro expands $name in values that only the reader can expand,
// because the names stand for the message at hand: forward_path, luser_relay,
// command_execution_directory, the argv of pipe(8). It knows $name, ${name},
// $(name), ${name?text}, ${name:text} and ${name?{text}:{text}}; $$ is a dollar.
// Expanded values are never expanded again.
package macro

import (
	"fmt"
	"strings"
)

// Lookup returns the value of a name; ok is false if it has none, which for
// conditions is the same as empty.
type Lookup func(name string) (value string, ok bool)

// maxDepth bounds the nesting of conditional texts.
const maxDepth = 20

// Expand replaces the names in pattern. undefined tells that some name outside
// a condition had no value. filter, if not "", lists the characters that values
// may hold; others become "_".
func Expand(pattern, filter string, lookup Lookup) (out string, undefined bool, err error) {
	e := expander{lookup: lookup, filter: filter}
	b, err := e.expand(nil, pattern, 0)
	return string(b), e.undefined, err
}

// Names lists the names that pattern uses, in order, and reports its syntax
// errors.
func Names(pattern string) ([]string, error) {
	var names []string
	e := expander{all: true, lookup: func(n string) (string, bool) {
		names = append(names, n)
		return "x", true
	}}
	_, err := e.expand(nil, pattern, 0)
	return names, err
}

// Filter replaces each character of value that is not in allowed by "_".
func Filter(value, allowed string) string {
	if allowed == "" {
		return value
	}
	clean := true
	for i := 0; i < len(value) && clean; i++ {
		clean = strings.IndexByte(allowed, value[i]) >= 0
	}
	if clean {
		return value
	}
	b := []byte(value)
	for i, c := range b {
		if strings.IndexByte(allowed, c) < 0 {
			b[i] = '_'
		}
	}
	return string(b)
}

type expander struct {
	lookup    Lookup
	filter    string
	all       bool // expand both branches of conditions
	undefined bool
}

func isName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (e *expander) expand(dst []byte, s string, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, fmt.Errorf("conditions are nested too deeply")
	}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return append(dst, s...), nil
		}
		dst = append(dst, s[:i]...)
		s = s[i+1:]
		if s == "" {
			return dst, fmt.Errorf("a value ends in \"$\"")
		}
		var err error
		switch c := s[0]; {
		case c == '$':
			dst, s = append(dst, '$'), s[1:]
		case c == '{' || c == '(':
			n := closing(s)
			if n < 0 {
				return dst, fmt.Errorf("%q is not closed", "$"+s)
			}
			dst, err = e.braced(dst, s[1:n], depth)
			s = s[n+1:]
		case isName(c):
			n := 1
			for n < len(s) && isName(s[n]) {
				n++
			}
			dst = e.value(dst, s[:n])
			s = s[n:]
		default:
			err = fmt.Errorf("no name after \"$\" in %q", "$"+s)
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// closing finds the bracket that closes s[0].
func closing(s string) int {
	open, shut := s[0], byte('}')
	if open == '(' {
		shut = ')'
	}
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

func (e *expander) value(dst []byte, name string) []byte {
	v, ok := e.lookup(name)
	if !ok {
		e.undefined = true
	}
	return append(dst, Filter(v, e.filter)...)
}

// braced expands the inside of ${…}.
func (e *expander) braced(dst []byte, s string, depth int) ([]byte, error) {
	n := 0
	for n < len(s) && isName(s[n]) {
		n++
	}
	if n == 0 {
		return dst, fmt.Errorf("no name in \"${%s}\"", s)
	}
	name, rest := s[:n], s[n:]
	if rest == "" {
		return e.value(dst, name), nil
	}
	if rest[0] != '?' && rest[0] != ':' {
		return dst, fmt.Errorf("unexpected %q after the name in \"${%s}\"", rest[:1], s)
	}
	v, ok := e.lookup(name)
	set := ok && v != ""
	yes, no, hasElse, err := branches(rest)
	if err != nil {
		return dst, err
	}
	if rest[0] == ':' {
		set = !set
	}
	if set || e.all {
		if dst, err = e.expand(dst, yes, depth+1); err != nil {
			return dst, err
		}
	}
	if hasElse && (!set || e.all) {
		return e.expand(dst, no, depth+1)
	}
	return dst, nil
}

// branches splits "?text" or "?{text}:{text}".
func branches(s string) (yes, no string, hasElse bool, err error) {
	s = strings.TrimLeft(s[1:], " \t")
	if !strings.HasPrefix(s, "{") {
		return s, "", false, nil
	}
	n := closing(s)
	if n < 0 {
		return "", "", false, fmt.Errorf("%q is not closed", s)
	}
	yes, s = s[1:n], strings.TrimLeft(s[n+1:], " \t")
	if s == "" {
		return yes, "", false, nil
	}
	if s[0] != ':' {
		return "", "", false, fmt.Errorf("%q instead of \":\" between two texts", s)
	}
	s = strings.TrimSpace(s[1:])
	if strings.HasPrefix(s, "{") && closing(s) == len(s)-1 {
		s = s[1 : len(s)-1]
	}
	return yes, s, true, nil
}
