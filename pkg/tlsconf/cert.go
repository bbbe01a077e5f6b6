package tlsconf

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxPEM bounds a certificate, key or CA file, in bytes.
const maxPEM = 16 << 20

func readPEM(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxPEM || !st.Mode().IsRegular() && st.Mode()&os.ModeDevice == 0 && st.Mode()&os.ModeNamedPipe == 0 {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", name, maxPEM)
	}
	return os.ReadFile(name)
}

// loadPair loads a certificate file, leaf first, and its key file.
func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	c, err := readPEM(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	k := c
	if keyFile != "" && keyFile != certFile {
		if k, err = readPEM(keyFile); err != nil {
			return tls.Certificate{}, err
		}
	}
	cert, err := tls.X509KeyPair(c, k)
	if err != nil {
		return cert, fmt.Errorf("%s: %w", certFile, err)
	}
	return cert, nil
}

// loadChains loads files in the form of smtpd_tls_chain_files: each a key, its
// certificate and the issuers, possibly several times over; a key may also be
// alone in the file before the one with its certificates.
func loadChains(files []string) ([]tls.Certificate, error) {
	var all []byte
	for _, f := range files {
		b, err := readPEM(f)
		if err != nil {
			return nil, err
		}
		all = append(append(all, b...), '\n')
	}
	certs, err := parseChains(all)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	return certs, nil
}

func parseChains(all []byte) ([]tls.Certificate, error) {
	var key, chain []byte
	var certs []tls.Certificate
	flush := func() error {
		if key == nil {
			return nil
		}
		if chain == nil {
			return errors.New("private key without a certificate")
		}
		c, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return err
		}
		certs = append(certs, c)
		key, chain = nil, nil
		return nil
	}
	for {
		var b *pem.Block
		if b, all = pem.Decode(all); b == nil {
			break
		}
		switch {
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			if err := flush(); err != nil {
				return nil, err
			}
			key = pem.EncodeToMemory(b)
		case b.Type == "CERTIFICATE":
			if key == nil {
				return nil, errors.New("certificate without a private key before it")
			}
			chain = append(chain, pem.EncodeToMemory(b)...)
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("no private key and certificate")
	}
	return certs, nil
}

// LoadCAs makes a pool of the certificates in file and in the files of dir.
// With both empty it is an empty pool, unless system asks for the system's
// (tls_append_default_CA).
func LoadCAs(file, dir string, system bool) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if system {
		if p, err := x509.SystemCertPool(); err == nil {
			pool = p
		}
	}
	if file != "" {
		b, err := readPEM(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: no certificate", file)
		}
	}
	if dir != "" {
		names, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		// OpenSSL reads only files named by hash; where there are such names, the
		// others are copies of the same certificates.
		hashed := false
		for _, n := range names {
			hashed = hashed || isHashName(n.Name())
		}
		for _, n := range names {
			if hashed && !isHashName(n.Name()) {
				continue
			}
			// Unreadable and foreign files are common here; a missing authority shows
			// as an untrusted peer.
			if b, err := readPEM(filepath.Join(dir, n.Name())); err == nil {
				pool.AppendCertsFromPEM(b)
			}
		}
	}
	return pool, nil
}

// FingerprintOf is the digest of b as Postfix writes it: upper-case hex pairs
// with colons. Digests: md5, sha1, sha256, sha384, sha512.
func FingerprintOf(digest string, b []byte) (string, error) {
	var sum []byte
	switch strings.ToLower(digest) {
	case "md5":
		s := md5.Sum(b)
		sum = s[:]
	case "sha1", "sha":
		s := sha1.Sum(b)
		sum = s[:]
	case "sha256":
		s := sha256.Sum256(b)
		sum = s[:]
	case "sha384":
		s := sha512.Sum384(b)
		sum = s[:]
	case "sha512":
		s := sha512.Sum512(b)
		sum = s[:]
	default:
		return "", fmt.Errorf("unknown fingerprint digest %q", digest)
	}
	h := strings.ToUpper(hex.EncodeToString(sum))
	var o strings.Builder
	for i := 0; i < len(h); i += 2 {
		if i > 0 {
			o.WriteByte(':')
		}
		o.WriteString(h[i : i+2])
	}
	return o.String(), nil
}

// PeerInfo is what is known of a peer's certificate.
type PeerInfo struct {
	Subject     string // common name
	Issuer      string // issuer's common name, or organization
	Cert        string // fingerprint of the certificate
	PublicKey   string // fingerprint of the public key
	Certificate *x509.Certificate
}

// Peer describes the certificate that the peer sent; ok is false without one.
func Peer(cs *tls.ConnectionState, digest string) (p PeerInfo, ok bool) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return p, false
	}
	c := cs.PeerCertificates[0]
	p.Certificate = c
	p.Subject = c.Subject.CommonName
	p.Issuer = c.Issuer.CommonName
	if p.Issuer == "" && len(c.Issuer.Organization) > 0 {
		p.Issuer = c.Issuer.Organization[0]
	}
	p.Cert, _ = FingerprintOf(digest, c.Raw)
	p.PublicKey, _ = FingerprintOf(digest, c.RawSubjectPublicKeyInfo)
	return p, true
}

// isHashName says whether a file is named as c_rehash does: eight hex digits, a
// dot and a number.
func isHashName(s string) bool {
	if len(s) < 10 || s[8] != '.' {
		return false
	}
	for i := 0; i < 8; i++ {
		if !strings.ContainsRune("0123456789abcdef", rune(s[i])) {
			return false
		}
	}
	return strings.Trim(s[9:], "0123456789") == ""
}
