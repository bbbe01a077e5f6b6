package harness

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// TLS trusts the instance's own certificate, and nothing else.
func (s *System) TLS() *tls.Config {
	pem, err := os.ReadFile(s.Path("etc/tls/cert.pem"))
	if err != nil {
		s.T.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		s.T.Fatal("no certificate in etc/tls/cert.pem")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}
