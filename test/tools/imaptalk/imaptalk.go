// Package imaptalk reads IMAP responses for test programs. It shares no code
// with the programs under test: what both got wrong would not show.
package imaptalk

import (
	"bytes"
	"strconv"
	"strings"
)

// Value is an atom, a string or a list. NIL is an atom.
type Value struct {
	S      string
	List   []Value
	IsList bool
	Quoted bool // a quoted string or a literal
}

// IsNil tells whether it is NIL, and not a string of these letters.
func (v *Value) IsNil() bool { return !v.IsList && !v.Quoted && strings.EqualFold(v.S, "NIL") }

// Parse reads the values of a response that has its literals in it, without the
// last line end; ok is false if it is not well formed.
func Parse(response string) (list []Value, ok bool) {
	p := &parser{text: response}
	p.values(&list)
	return list, !p.bad && p.text == ""
}

// Literal gives n if the line ends in {n}CRLF, otherwise -1.
func Literal(l []byte) int {
	l = bytes.TrimSuffix(l, []byte("\r\n"))
	i := bytes.LastIndexByte(l, '{')
	if i < 0 || l[len(l)-1] != '}' {
		return -1
	}
	n, err := strconv.Atoi(string(l[i+1 : len(l)-1]))
	if err != nil {
		return -1
	}
	return n
}

type parser struct {
	text string
	bad  bool
}

// values reads up to the end or a closing parenthesis.
func (p *parser) values(out *[]Value) {
	for {
		p.text = strings.TrimLeft(p.text, " ")
		switch {
		case p.text == "" || p.text[0] == ')':
			return
		case p.text[0] == '(':
			p.text = p.text[1:]
			v := Value{IsList: true}
			p.values(&v.List)
			if !strings.HasPrefix(p.text, ")") {
				p.bad = true
				return
			}
			p.text = p.text[1:]
			*out = append(*out, v)
		case p.text[0] == '"':
			*out = append(*out, Value{S: p.quoted(), Quoted: true})
		case p.text[0] == '{' || strings.HasPrefix(p.text, "~{"):
			i, j := strings.IndexByte(p.text, '{'), strings.Index(p.text, "}\r\n")
			n, err := strconv.Atoi(p.text[i+1 : max(j, i+1)])
			if j < 0 || err != nil || j+3+n > len(p.text) {
				p.bad = true
				return
			}
			*out = append(*out, Value{S: p.text[j+3 : j+3+n], Quoted: true})
			p.text = p.text[j+3+n:]
		default:
			*out = append(*out, Value{S: p.atom()})
		}
		if p.bad {
			return
		}
	}
}

func (p *parser) quoted() string {
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch c := p.text[i]; c {
		case '\\':
			if i++; i < len(p.text) {
				b.WriteByte(p.text[i])
			}
		case '"':
			p.text = p.text[i+1:]
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	p.bad = true
	return ""
}

// atom reads up to a blank or parenthesis outside of brackets.
func (p *parser) atom() string {
	depth := 0
	for i := 0; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')'):
			if i == 0 {
				p.bad = true
			}
			a := p.text[:i]
			p.text = p.text[i:]
			return a
		}
	}
	a := p.text
	p.text = ""
	return a
}
