package tlsconf

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// makeRSA is makeCert with another kind of key.
func makeRSA(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// Both sides find the same bindings, whichever certificate the client got and
// whether the session is new or resumed.
func TestBindings(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b ...[]byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, bytes.Join(b, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ecCert, ecKey := makeCert(t, "mail.example")
	rsaCert, rsaKey := makeRSA(t, "mail.example")
	sniCert, sniKey := makeCert(t, "other.example")
	cfg := load(t, "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = "+write("ec", ecKey, ecCert)+", "+write("rsa", rsaKey, rsaCert)+"\n")
	server, err := SmtpdServer(cfg, Env{SNI: table{"other.example": base64.StdEncoding.EncodeToString(append(append([]byte{}, sniKey...), sniCert...))}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect := func(client *tls.Config) (ours, theirs *tls.ConnectionState, leaf *x509.Certificate) {
		t.Helper()
		b, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		a.SetDeadline(time.Now().Add(30 * time.Second))
		b.SetDeadline(time.Now().Add(30 * time.Second))
		s, c := Accept(a, server), tls.Client(b, client)
		done := make(chan error, 1)
		go func() {
			err := s.Handshake()
			if err == nil {
				_, err = s.Write([]byte("x"))
			}
			done <- err
		}()
		if _, err := c.Read(make([]byte, 1)); err != nil { // reads the session ticket, too
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		x, y := s.ConnectionState(), c.ConnectionState()
		return &x, &y, Leaf(s)
	}
	for _, tt := range []struct {
		what   string
		client *tls.Config
		want   []string
	}{
		{"TLS 1.3", &tls.Config{}, []string{"tls-exporter", "tls-server-end-point"}},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, []string{"tls-exporter", "tls-server-end-point", "tls-unique"}},
		{"RSA", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, []string{"tls-exporter", "tls-server-end-point", "tls-unique"}},
		{"SNI", &tls.Config{ServerName: "other.example"}, []string{"tls-exporter", "tls-server-end-point"}},
	} {
		tt.client.InsecureSkipVerify = true
		tt.client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if tt.client.ServerName == "" {
			tt.client.ServerName = "mail.example"
		}
		for i := range 2 {
			ours, theirs, leaf := connect(tt.client)
			if i == 1 && !theirs.DidResume {
				t.Errorf("%s: not resumed", tt.what)
			}
			a, b := Bindings(ours, leaf), Bindings(theirs, nil)
			if got := slices.Sorted(maps.Keys(a)); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %d: bindings %v", tt.what, i, got)
			}
			if !maps.EqualFunc(a, b, bytes.Equal) {
				t.Errorf("%s, %d: server has %x, client %x", tt.what, i, a, b)
			}
			if sum := sha256.Sum256(theirs.PeerCertificates[0].Raw); !bytes.Equal(a["tls-server-end-point"], sum[:]) {
				t.Errorf("%s, %d: tls-server-end-point is not the certificate's hash", tt.what, i)
			}
		}
	}
}
