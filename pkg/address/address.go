// Package address handles mail addresses as values: quoting, splitting, case
// folding, extensions, and finding and replacing the addresses of a header
// field. It looks nothing up and reads no configuration.
//
// An address has two forms. The internal one is local part, "@" and domain
// without any quoting; the last "@" separates the two, and an address without
// "@" is a local part. The external one is that of RFC 5321 and RFC 5322, with
// the local part quoted where the grammar asks for it. The null sender is ""
// in both.
package address

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Split cuts an internal address at its last "@". The domain of an address
// without "@" is "".
func Split(addr string) (local, domain string) {
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i], addr[i+1:]
	}
	return addr, ""
}

// Domain is the part after the last "@", or "".
func Domain(addr string) string {
	_, d := Split(addr)
	return d
}

// WithDomain adds the domain to an address that has none.
func WithDomain(addr, domain string) string {
	if strings.Contains(addr, "@") {
		return addr
	}
	return addr + "@" + domain
}

// special holds the characters of RFC 5322, section 3.2.3, that no atom may
// contain; the dot has rules of its own.
const special = "()<>[]:;@\\,\""

// dotString says whether a local part needs no quotes: atoms joined by single
// dots. Bytes above 0x7f pass (RFC 6531).
func dotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if s[i-1] == '.' {
				return false
			}
		case c <= ' ' || c == 0x7f || strings.IndexByte(special, c) >= 0:
			return false
		}
	}
	return true
}

// Quote turns an internal address into external form. The domain is taken as
// it is.
func Quote(internal string) string {
	if internal == "" {
		return ""
	}
	at := strings.LastIndexByte(internal, '@')
	local, rest := internal, ""
	if at >= 0 {
		local, rest = internal[:at], internal[at:]
	}
	if dotString(local) {
		return internal
	}
	var b strings.Builder
	b.Grow(len(internal) + 4)
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if c := local[i]; c == '"' || c == '\\' || c == '\r' || c == '\n' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	b.WriteString(rest)
	return b.String()
}

// Errors of Unquote.
var (
	ErrQuote     = errors.New("unbalanced quotes")
	ErrBackslash = errors.New("address ends in a backslash")
)

// Unquote turns an external address (without angle brackets) into internal
// form: quotes and backslashes go from the local part, which ends at the first
// "@" outside quotes. Text that the grammar does not allow passes unchanged, so
// that callers decide what they refuse; only an address whose quoting does not
// end is an error.
func Unquote(external string) (string, error) {
	if strings.IndexByte(external, '"') < 0 && strings.IndexByte(external, '\\') < 0 {
		return external, nil
	}
	var b strings.Builder
	b.Grow(len(external))
	quoted := false
	for i := 0; i < len(external); i++ {
		c := external[i]
		switch {
		case c == '"':
			quoted = !quoted
			continue
		case c == '@' && !quoted:
			b.WriteString(external[i:])
			return b.String(), nil
		case c == '\\':
			if i++; i == len(external) {
				return "", ErrBackslash
			}
			c = external[i]
		}
		b.WriteByte(c)
	}
	if quoted {
		return "", ErrQuote
	}
	return b.String(), nil
}

// Fold returns s in the form in which addresses, domains and table keys are
// compared: lower case, Unicode included where s is valid UTF-8. Invalid UTF-8
// is folded as ASCII. An s in that form already is returned as it is.
func Fold(s string) string {
	i := 0
	for ; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			break
		}
	}
	if i == len(s) {
		return s
	}
	if isASCII(s[i:]) || !utf8.ValidString(s) {
		b := []byte(s)
		for ; i < len(b); i++ {
			if c := b[i]; 'A' <= c && c <= 'Z' {
				b[i] = c + 'a' - 'A'
			}
		}
		return string(b)
	}
	return strings.ToLower(s)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// IsASCII says whether s is free of bytes above 0x7f, that is, whether it can
// go to a server without SMTPUTF8.
func IsASCII(s string) bool { return isASCII(s) }

// Extension says how a local part is split into user and extension
// (recipient_delimiter, owner_request_special, double_bounce_sender).
type Extension struct {
	Delims string // each character is a delimiter; "" splits nothing
	// SplitOwner also splits owner-list and list-request at "-"
	// (owner_request_special = no).
	SplitOwner bool
	// DoubleBounce is the local part of double bounces, never split; "" means
	// "double-bounce".
	DoubleBounce string
}

// Split cuts local at the first delimiter; ext comes without it. base is local
// and ext "" when there is no extension: no delimiter, a delimiter in front, or
// a name that is never split (postmaster, mailer-daemon, the double-bounce
// sender and, if "-" is a delimiter, owner-list and list-request). An empty
// extension shows in base being shorter than local.
func (e Extension) Split(local string) (base, ext string) {
	if e.Delims == "" {
		return local, ""
	}
	i := strings.IndexAny(local, e.Delims)
	if i <= 0 {
		return local, ""
	}
	double := e.DoubleBounce
	if double == "" {
		double = "double-bounce"
	}
	if strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, double) {
		return local, ""
	}
	if !e.SplitOwner && strings.IndexByte(e.Delims, '-') >= 0 {
		if len(local) >= 6 && strings.EqualFold(local[:6], "owner-") {
			return local, ""
		}
		if n := len(local) - 8; n > 0 && strings.EqualFold(local[n:], "-request") {
			return local, ""
		}
	}
	_, w := utf8.DecodeRuneInString(local[i:])
	return local[:i], local[i+w:]
}

// SplitExtension is Extension.Split with the default rules.
func SplitExtension(local, delims string) (base, ext string) {
	return Extension{Delims: delims}.Split(local)
}
