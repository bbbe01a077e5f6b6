package tlsconf

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Describe names a connection's properties as OpenSSL spells them: "TLSv1.3",
// "TLS_AES_256_GCM_SHA384", 256, and what follows "key-exchange" in the log:
// "X25519 server-signature RSA-PSS (2048 bits)". kx is "" where it is not known.
func Describe(cs tls.ConnectionState) (protocol, cipher string, bits int, kx string) {
	protocol = protocolName(cs.Version)
	cipher, bits = cipherName(cs.CipherSuite)
	if cs.CurveID == 0 {
		return protocol, cipher, bits, ""
	}
	kx = groupName(cs.CurveID)
	if cs.Version == tls.VersionTLS13 && len(cs.PeerCertificates) > 0 {
		if s := signature(cs.PeerCertificates[0]); s != "" {
			kx += " server-signature " + s
		}
	}
	return protocol, cipher, bits, kx
}

// DescribeServer is Describe for the server's side of a connection that was
// made with cert.
func DescribeServer(cs tls.ConnectionState, cert *x509.Certificate) (protocol, cipher string, bits int, kx string) {
	peer := cs.PeerCertificates
	cs.PeerCertificates = nil
	protocol, cipher, bits, kx = Describe(cs)
	if kx == "" || cs.Version != tls.VersionTLS13 {
		return protocol, cipher, bits, kx
	}
	if cert != nil {
		if s := signature(cert); s != "" {
			kx += " server-signature " + s
		}
	}
	if len(peer) > 0 {
		if s := signature(peer[0]); s != "" {
			kx += " client-signature " + s
		}
	}
	return protocol, cipher, bits, kx
}

func protocolName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return fmt.Sprintf("0x%04x", v)
}

func cipherName(id uint16) (string, int) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return "TLS_AES_128_GCM_SHA256", 128
	case tls.TLS_AES_256_GCM_SHA384:
		return "TLS_AES_256_GCM_SHA384", 256
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return "TLS_CHACHA20_POLY1305_SHA256", 256
	}
	for i := range suites {
		if suites[i].id == id {
			return suites[i].name, suites[i].bits
		}
	}
	return tls.CipherSuiteName(id), 128
}

func groupName(c tls.CurveID) string {
	switch c {
	case tls.X25519:
		return "X25519"
	case tls.CurveP256:
		return "ECDHE (prime256v1)"
	case tls.CurveP384:
		return "ECDHE (secp384r1)"
	case tls.CurveP521:
		return "ECDHE (secp521r1)"
	}
	return c.String()
}

// signature is how a certificate's key signs in TLS 1.3.
func signature(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-PSS (%d bits)", k.N.BitLen())
	case *ecdsa.PublicKey:
		p := k.Curve.Params()
		name := map[int]string{256: "prime256v1", 384: "secp384r1", 521: "secp521r1"}[p.BitSize]
		return fmt.Sprintf("ECDSA (%s)", name)
	case ed25519.PublicKey:
		return "ED25519"
	}
	return ""
}
