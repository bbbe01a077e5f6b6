package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// tls trusts the instance's own certificate, and nothing else.
func (s *system) tls() *tls.Config {
	pem, err := os.ReadFile(s.path("etc/tls/cert.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		s.t.Fatal("no certificate in etc/tls/cert.pem")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}
