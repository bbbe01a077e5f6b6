package imapwire

import (
	"strconv"
	"time"
)

// IsAtom tells whether s can be written as an atom (and is not NIL).
func IsAtom(s string) bool {
	if s == "" || len(s) == 3 && Upper([]byte(s)) == "NIL" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if class[s[i]]&clAtom == 0 {
			return false
		}
	}
	return true
}

// What an octet needs to be part of a quoted string.
const (
	needsEscape  = 1 << iota // a backslash before it
	needsLiteral             // it cannot be
	needsNothing             // NUL, which cannot be in a literal either
)

var needs = func() (t [256]byte) {
	t['"'], t['\\'] = needsEscape, needsEscape
	t['\r'], t['\n'] = needsLiteral, needsLiteral
	for c := 0x80; c < len(t); c++ {
		t[c] = needsLiteral
	}
	t[0] = needsNothing
	return t
}()

// AppendQuoted writes s as a quoted string. It must not hold CR, LF or NUL.
func AppendQuoted[S string | []byte](b []byte, s S) []byte {
	var all byte
	for i := 0; i < len(s); i++ {
		all |= needs[s[i]]
	}
	return appendQuoted(b, s, all)
}

// appendQuoted is AppendQuoted of octets that need what all says.
func appendQuoted[S string | []byte](b []byte, s S, all byte) []byte {
	b = append(b, '"')
	if all&needsEscape == 0 {
		b = append(b, s...)
		return append(b, '"')
	}
	for i := 0; i < len(s); i++ {
		if needs[s[i]] == needsEscape {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendString writes s as a quoted string if it can be one without UTF8=ACCEPT
// and is not long, otherwise as a literal. NUL, which no string may hold, is
// left out.
func AppendString[S string | []byte](b []byte, s S) []byte {
	var all byte
	for i := 0; i < len(s); i++ {
		all |= needs[s[i]]
	}
	if all&needsNothing != 0 {
		text := make([]byte, 0, len(s)-1)
		for i := 0; i < len(s); i++ {
			if s[i] != 0 {
				text = append(text, s[i])
			}
		}
		return AppendString(b, text)
	}
	if all&needsLiteral == 0 && len(s) <= 1000 {
		return appendQuoted(b, s, all)
	}
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "}\r\n"...)
	return append(b, s...)
}

// AppendNString is AppendString with NIL for the empty string, which one of
// nothing but NULs is, too: AppendString leaves these out.
func AppendNString[S string | []byte](b []byte, s S) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != 0 {
			return AppendString(b, s)
		}
	}
	return append(b, "NIL"...)
}

// AppendMailbox writes a mailbox name, which is UTF-8 with "/" between levels:
// as it is if utf8, otherwise in modified UTF-7.
func AppendMailbox(b []byte, name string, utf8 bool) []byte {
	if !utf8 {
		name = EncodeUTF7(name)
	}
	if IsAtom(name) {
		return append(b, name...)
	}
	if utf8 {
		for i := 0; i < len(name); i++ {
			if name[i] < 0x20 {
				return AppendString(b, name)
			}
		}
		return AppendQuoted(b, name)
	}
	return AppendString(b, name)
}

// AppendInternalDate writes t as a quoted date-time in its own zone.
func AppendInternalDate(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, `"_2-Jan-2006 15:04:05 -0700"`)
}
