// Package tlsconf turns main.cf's TLS settings into crypto/tls configurations:
// security levels, protocol lists, cipher grades, certificates and the client's
// per-destination policy. It opens no connection.
//
// What OpenSSL has and crypto/tls has not is refused or approximated, and said
// in a warning: DANE, raw OpenSSL cipher lists, anonymous ciphers, finite-field
// Diffie-Hellman, holes in the middle of a protocol range.
package tlsconf

import (
	"fmt"
	"strings"
)

// Level is a security level of smtp_tls_security_level and
// smtpd_tls_security_level.
type Level int

// The levels, weakest first.
const (
	None        Level = iota // no TLS
	May                      // TLS if offered, else plaintext; certificates are not checked
	Encrypt                  // TLS or nothing; certificates are not checked
	Fingerprint              // the certificate is one of those listed
	Dane                     // TLSA records of the DNS; not available
	DaneOnly
	Verify // trusted certificate that matches the host name
	Secure // trusted certificate that matches the next-hop domain
)

var levelNames = [...]string{"none", "may", "encrypt", "fingerprint", "dane", "dane-only", "verify", "secure"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return "invalid"
	}
	return levelNames[l]
}

// ParseLevel reads a level's name, in any case.
func ParseLevel(s string) (Level, error) {
	for i, n := range levelNames {
		if strings.EqualFold(s, n) {
			return Level(i), nil
		}
	}
	if strings.EqualFold(s, "half-dane") {
		return Dane, nil
	}
	return None, fmt.Errorf("invalid TLS security level %q", s)
}

// Mandatory says whether a connection without TLS is refused.
func (l Level) Mandatory() bool { return l >= Encrypt }

// Checked says whether the server's certificate must match.
func (l Level) Checked() bool { return l == Fingerprint || l >= Verify }

// pkix says whether the certificate must be signed by a trusted authority.
func (l Level) pkix() bool { return l >= Verify }

// LogLevel reads smtp_tls_loglevel or smtpd_tls_loglevel: a number from 0 to 4,
// or the names that go with them (none, summary, and more detail). 1 is one
// summary line a connection.
func LogLevel(s string) int {
	best := 0
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		n := map[string]int{"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "none": 0, "routine": 1, "summary": 1, "debug": 2, "verbose": 2, "ssl-expert": 3, "ssl-developer": 4}[w]
		best = max(best, n)
	}
	return best
}
