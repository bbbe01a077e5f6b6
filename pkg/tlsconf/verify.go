package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
)

// VerifyError says why a server's certificate does not do for its policy.
type VerifyError struct {
	Trusted bool // the chain was good, the name or fingerprint was not
	Reason  string
}

func (e *VerifyError) Error() string { return e.Reason }

// Verify checks the server's certificate as the level demands; at may and
// encrypt it is always satisfied.
func (p *Policy) Verify(cs *tls.ConnectionState, host string) error {
	if !p.Level.Checked() {
		return nil
	}
	if len(cs.PeerCertificates) == 0 {
		return &VerifyError{Reason: "no certificate"}
	}
	leaf := cs.PeerCertificates[0]
	if p.Level == Fingerprint {
		cert, err := FingerprintOf(p.client.digest, leaf.Raw)
		if err != nil {
			return &VerifyError{Reason: err.Error()}
		}
		key, _ := FingerprintOf(p.client.digest, leaf.RawSubjectPublicKeyInfo)
		for _, m := range p.match {
			if strings.EqualFold(m, cert) || strings.EqualFold(m, key) {
				return nil
			}
		}
		return &VerifyError{Reason: "fingerprint mismatch: " + cert}
	}
	if err := p.trusted(cs); err != nil {
		return &VerifyError{Reason: err.Error()}
	}
	for _, name := range certNames(leaf) {
		if p.matchName(name, host) {
			return nil
		}
	}
	return &VerifyError{Trusted: true, Reason: "certificate name mismatch"}
}

// trusted checks the chain alone.
func (p *Policy) trusted(cs *tls.ConnectionState) error {
	roots := p.client.roots
	if p.anchors != nil {
		roots = p.anchors
	}
	return verifyChain(cs.PeerCertificates, roots, x509.ExtKeyUsageServerAuth)
}

// Trust is the log's word for what is known of the peer: Anonymous, Untrusted,
// Trusted or Verified.
func (p *Policy) Trust(cs *tls.ConnectionState) string {
	switch {
	case len(cs.PeerCertificates) == 0:
		return "Anonymous"
	case p.Level.Checked():
		return "Verified" // or the handshake would have failed
	case p.trusted(cs) == nil:
		return "Trusted"
	}
	return "Untrusted"
}

func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	if roots == nil {
		roots = x509.NewCertPool() // nil would mean the system's
	}
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// certNames are the DNS names of a certificate; the common name counts only
// where there are none (RFC 6125, section 6.4.4).
func certNames(c *x509.Certificate) []string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames
	}
	if cn := c.Subject.CommonName; cn != "" && net.ParseIP(cn) == nil {
		return []string{cn}
	}
	return nil
}

// matchName compares one certificate name with the policy's patterns.
func (p *Policy) matchName(name, host string) bool {
	for _, m := range p.match {
		sub := false
		switch {
		case strings.EqualFold(m, "nexthop"):
			m = p.nexthop
		case strings.EqualFold(m, "hostname"):
			m = host
		case strings.EqualFold(m, "dot-nexthop"):
			m, sub = p.nexthop, true
		case strings.HasPrefix(m, "."):
			m, sub = m[1:], true
		}
		if m = fold(m); m != "" && nameMatches(fold(name), m, sub, p.client.wildMulti) {
			return true
		}
	}
	return false
}

func fold(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// nameMatches compares a certificate's name with want, or with any name below
// want if sub is set. A wildcard is a whole leftmost label; multi lets it stand
// for several labels (tls_wildcard_matches_multiple_labels).
func nameMatches(name, want string, sub, multi bool) bool {
	if sub {
		rest, ok := strings.CutSuffix(name, "."+want)
		return ok && rest != ""
	}
	if name == want {
		return true
	}
	tail, ok := strings.CutPrefix(name, "*.")
	if !ok || !strings.Contains(tail, ".") {
		return false
	}
	head, ok := strings.CutSuffix(want, "."+tail)
	return ok && head != "" && (multi || !strings.Contains(head, "."))
}
