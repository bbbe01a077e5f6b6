package mailbox

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Inbox is the name of the folder that every store has.
const Inbox = "INBOX"

// MaxName is the longest folder name in bytes, MaxLevels the most levels.
const (
	MaxName   = 200
	MaxLevels = 20
)

// CheckName returns the one spelling of a folder name, or ErrName (wrapped):
// INBOX in capitals, no empty level, no trailing separator, no control
// character, no "." or ".." as a level, nothing that is not UTF-8. "%" and "*"
// are refused because no LIST could name such a folder.
func CheckName(name string) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("%w: %s", ErrName, why) }
	switch {
	case name == "":
		return bad("it is empty")
	case len(name) > MaxName:
		return bad("it is too long")
	case !utf8.ValidString(name):
		return bad("it is not UTF-8")
	case strings.ContainsAny(name, "%*"):
		return bad("it has a wildcard")
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' }):
		return bad("it has a control character")
	}
	levels := strings.Split(name, "/")
	if len(levels) > MaxLevels {
		return bad("it has too many levels")
	}
	for _, l := range levels {
		if l == "" || l == "." || l == ".." {
			return bad("a level is empty or dots")
		}
	}
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	return strings.Join(levels, "/"), nil
}

// Base64 of modified UTF-7 (RFC 3501, section 5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

// EncodeUTF7 writes s in modified UTF-7. The characters in more are encoded as
// well as those that have to be.
func EncodeUTF7(s, more string) string {
	plain := func(r rune) bool { return r >= 0x20 && r <= 0x7e && !strings.ContainsRune(more, r) }
	if !strings.ContainsFunc(s, func(r rune) bool { return r == '&' || !plain(r) }) {
		return s
	}
	var b strings.Builder
	var run []uint16
	flush := func() {
		if len(run) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(run))
		for _, u := range run {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteByte('&')
		b.WriteString(utf7.EncodeToString(raw))
		b.WriteByte('-')
		run = run[:0]
	}
	for _, r := range s {
		switch {
		case r == '&' && plain(r):
			flush()
			b.WriteString("&-")
		case plain(r):
			flush()
			b.WriteRune(r)
		default:
			run = utf16.AppendRune(run, r)
		}
	}
	flush()
	return b.String()
}

// DecodeUTF7 reads modified UTF-7. It refuses what is malformed, 8-bit
// characters, and unpaired surrogates. A printable character in base64 is
// accepted, since names on disk have them.
func DecodeUTF7(s string) (string, error) {
	bad := func() (string, error) { return "", fmt.Errorf("%w: bad modified UTF-7", ErrName) }
	if !strings.ContainsFunc(s, func(r rune) bool { return r == '&' || r < 0x20 || r > 0x7e }) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c > 0x7e {
			return bad()
		}
		if c != '&' {
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return bad()
		}
		in := s[i+1 : i+end]
		i += end
		if in == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := utf7.DecodeString(in)
		if err != nil || len(raw)%2 != 0 {
			return bad()
		}
		for k := 0; k < len(raw); k += 2 {
			r := rune(raw[k])<<8 | rune(raw[k+1])
			if utf16.IsSurrogate(r) {
				if k+4 > len(raw) {
					return bad()
				}
				if r = utf16.DecodeRune(r, rune(raw[k+2])<<8|rune(raw[k+3])); r == utf8.RuneError {
					return bad()
				}
				k += 2
			}
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

// ValidKeyword tells whether a word can be a keyword: an atom without a leading backslash
// (RFC 9051, flag-keyword), of at most 250 bytes.
func ValidKeyword(k string) bool {
	if k == "" || len(k) > 250 {
		return false
	}
	for i := 0; i < len(k); i++ {
		if c := k[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}
