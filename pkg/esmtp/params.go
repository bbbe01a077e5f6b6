package esmtp

import (
	"errors"
	"strings"
)

// Param is one ESMTP parameter of MAIL or RCPT (RFC 5321, section 4.1.2).
type Param struct {
	Key      string // upper case
	Value    string // as sent
	HasValue bool   // there was an "="
}

// ErrBadParam is a parameter that is not keyword or keyword=value.
var ErrBadParam = errors.New("bad parameter syntax")

// ErrBadXtext is text that is not xtext, or decodes to a control character.
var ErrBadXtext = errors.New("bad xtext")

// ParseParams appends the parameters in s, which is what ParsePath left, to
// dst.
func ParseParams(dst []Param, s string) ([]Param, error) {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return dst, nil
		}
		word := s
		if i := strings.IndexAny(s, " \t"); i >= 0 {
			word, s = s[:i], s[i:]
		} else {
			s = ""
		}
		key, value, has := strings.Cut(word, "=")
		if key == "" || len(dst) >= 64 {
			return dst, ErrBadParam
		}
		for i := 0; i < len(key); i++ {
			c := key[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '-' && i > 0) {
				return dst, ErrBadParam
			}
		}
		dst = append(dst, Param{strings.ToUpper(key), value, has})
	}
}

// DecodeXtext decodes xtext (RFC 3461, section 4). Control characters, coded
// or not, are refused, since the result goes into queue files, headers and
// other programs' hands.
func DecodeXtext(s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '=' {
			return "", ErrBadXtext
		}
	}
	if strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", ErrBadXtext
			}
			h, ok1 := unhex(s[i+1])
			l, ok2 := unhex(s[i+2])
			if c = h<<4 | l; !ok1 || !ok2 || c < ' ' || c == 0x7f {
				return "", ErrBadXtext
			}
			i += 2
		}
		b = append(b, c)
	}
	return string(b), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// EncodeXtext encodes s as xtext.
func EncodeXtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			if b == nil {
				b = append(make([]byte, 0, len(s)+8), s[:i]...)
			}
			b = append(b, '+', hex[c>>4], hex[c&15])
		} else if b != nil {
			b = append(b, c)
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

// ParseOrcpt decodes the value of ORCPT to "type;address". An address of type
// utf-8 is taken as sent, UTF-8 or its own coding (RFC 6533, section 3); all
// others are xtext.
func ParseOrcpt(s string) (string, error) {
	typ, addr, ok := strings.Cut(s, ";")
	if !ok || typ == "" || addr == "" {
		return "", ErrBadXtext
	}
	for i := 0; i < len(typ); i++ {
		if c := typ[i]; !(c|0x20 >= 'a' && c|0x20 <= 'z' || isDigit(c) || c == '-') {
			return "", ErrBadXtext
		}
	}
	if !strings.EqualFold(typ, "utf-8") {
		var err error
		if addr, err = DecodeXtext(addr); err != nil {
			return "", err
		}
	}
	for i := 0; i < len(addr); i++ {
		if addr[i] < ' ' || addr[i] == 0x7f {
			return "", ErrBadXtext
		}
	}
	return typ + ";" + addr, nil
}
