package tlsconf

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"

	"posthaste/pkg/sasl"
)

// accepted is a client's connection; the handshake notes in it which
// certificate the client gets.
type accepted struct {
	net.Conn
	leaf *x509.Certificate
}

// Accept is tls.Server for a configuration that Server made.
func Accept(c net.Conn, cfg *tls.Config) *tls.Conn { return tls.Server(&accepted{Conn: c}, cfg) }

// Leaf returns the server's certificate of an accepted connection after the
// handshake; nil if it is not known.
func Leaf(c *tls.Conn) *x509.Certificate {
	if a, ok := c.NetConn().(*accepted); ok {
		return a.leaf
	}
	return nil
}

// noteLeaf makes handshakes note their certificates. crypto/tls does not tell
// which one it has chosen, so the choice is made here by its rules: what
// GetCertificate says of the name that the client asks for, else the first that
// the client supports, else the first.
func noteLeaf(c *tls.Config) {
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		a, ok := h.Conn.(*accepted)
		if !ok {
			return nil, nil
		}
		var cert *tls.Certificate
		if c.GetCertificate != nil && h.ServerName != "" {
			var err error
			if cert, err = c.GetCertificate(h); err != nil {
				return nil, err
			}
		}
		for i := 0; cert == nil && i < len(c.Certificates); i++ {
			if h.SupportsCertificate(&c.Certificates[i]) == nil {
				cert = &c.Certificates[i]
			}
		}
		if cert == nil && len(c.Certificates) > 0 {
			cert = &c.Certificates[0]
		}
		if cert != nil {
			a.leaf = cert.Leaf
		}
		return nil, nil
	}
}

// Bindings returns the channel bindings of a connection: tls-exporter with TLS
// 1.3, or 1.2 with extended master secrets (RFC 9266), tls-unique before TLS 1.3,
// and tls-server-end-point (RFC 5929) if the certificate's signature has a hash.
// leaf is the server's certificate; nil means the one that the peer sent.
func Bindings(cs *tls.ConnectionState, leaf *x509.Certificate) sasl.Bindings {
	b := sasl.Bindings{}
	if d, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		b["tls-exporter"] = d
	}
	if len(cs.TLSUnique) > 0 {
		b["tls-unique"] = cs.TLSUnique
	}
	if leaf == nil && len(cs.PeerCertificates) > 0 {
		leaf = cs.PeerCertificates[0]
	}
	if leaf != nil {
		if h := signatureHash(leaf.SignatureAlgorithm); h != 0 {
			d := h.New()
			d.Write(leaf.Raw)
			b["tls-server-end-point"] = d.Sum(nil)
		}
	}
	return b
}

// signatureHash is the hash of RFC 5929, section 4.1; 0 for signatures without
// one.
func signatureHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}
