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

// AppendQuoted writes s as a quoted string. It must not hold CR, LF or NUL.
func AppendQuoted[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
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
	plain, nul := len(s) <= 1000, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0:
			nul++
		case c >= 0x80 || c == '\r' || c == '\n':
			plain = false
		}
	}
	if nul > 0 {
		text := make([]byte, 0, len(s)-nul)
		for i := 0; i < len(s); i++ {
			if s[i] != 0 {
				text = append(text, s[i])
			}
		}
		return AppendString(b, text)
	}
	if plain {
		return AppendQuoted(b, s)
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
