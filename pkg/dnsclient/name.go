package dnsclient

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

var errBadName = errors.New("invalid host or domain name")

// checkName returns the ASCII form of name in lower case without a dot at the
// end, or an error if it cannot be asked for.
func checkName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	a, err := ToASCII(name)
	if err != nil {
		return "", errBadName
	}
	a = strings.ToLower(a)
	if !validName(a, false) {
		return "", errBadName
	}
	return a, nil
}

// ToASCII converts a domain with non-ASCII labels (RFC 5891); an ASCII domain
// is returned as it is.
func ToASCII(domain string) (string, error) {
	for i := 0; i < len(domain); i++ {
		if domain[i] >= 0x80 {
			return idna.Lookup.ToASCII(domain)
		}
	}
	return domain, nil
}

// ValidHostname says whether s is what Postfix takes as a host or domain name:
// letters, digits, hyphens and underscores, labels of 1 to 63 bytes that neither
// begin nor end with a hyphen, 255 bytes in all, not all digits and dots. It
// takes no dot at the end.
func ValidHostname(s string) bool {
	if !validName(s, true) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '.' && (c < '0' || c > '9') {
			return true
		}
	}
	return false
}

// validName checks a name to ask for; strict also minds where hyphens stand.
func validName(s string, strict bool) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if label == 0 || strict && s[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case c == '-':
			if strict && label == 0 {
				return false
			}
		case c == '/' && !strict: // classless reverse delegation, RFC 2317
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && !(strict && s[len(s)-1] == '-')
}
