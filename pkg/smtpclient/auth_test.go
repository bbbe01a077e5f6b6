package smtpclient

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"posthaste/pkg/envelope"
	"posthaste/pkg/sasl"
	"posthaste/pkg/tlsconf"
)

// pencil is a Verifier of one password.
type pencil struct{}

func (pencil) Verify(string, string) (string, error) { return "", sasl.ErrMismatch }
func (pencil) Scram(user, _ string) (sasl.ScramKeys, error) {
	c, _ := scram.SHA256.NewClient("user", "pencil", "")
	k := c.GetStoredCredentials(scram.KeyFactors{Salt: "salt of some length", Iters: 4096})
	return sasl.ScramKeys{Salt: []byte(k.Salt), Iterations: k.Iters, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
}

// TestAuthPlus: under TLS the client binds its login to the connection, as the
// server asks, and says when it was not asked to.
func TestAuthPlus(t *testing.T) {
	cert, _ := testCert(t, "x.example")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	const on = "smtp_tls_security_level = encrypt\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{ 127.0.0.1=user:pencil }\nsmtp_sasl_tls_security_options = noanonymous\n"
	for _, tt := range []struct {
		name, cf, offer, mech string
		max                   uint16
		middle                bool // somebody between ends TLS himself
		stripped              bool // and takes out what the server offers
		status                envelope.Status
	}{
		{"TLS 1.3", on, "AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", 0, false, false, envelope.Sent},
		{"TLS 1.2", on, "AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", tls.VersionTLS12, false, false, envelope.Sent},
		{"other connection", on, "AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", 0, true, false, envelope.Deferred},
		{"offer taken out", on, "AUTH SCRAM-SHA-256", "SCRAM-SHA-256", 0, false, true, envelope.Deferred},
		{"not offered", on, "AUTH SCRAM-SHA-256", "SCRAM-SHA-256", 0, false, false, envelope.Sent},
		{"filtered", on + "smtp_sasl_mechanism_filter = !SCRAM-SHA-256-PLUS, static:all\n", "AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", 0, false, false, envelope.Sent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", func(p *peer) {
				p.hello("STARTTLS")
				p.expect("STARTTLS")
				p.send("220 2.0.0 go")
				c := tls.Server(p.Conn, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tt.max})
				if err := c.Handshake(); err != nil {
					t.Error(err)
					return
				}
				p.Conn, p.r = c, bufio.NewReader(c)
				p.expect("EHLO")
				p.ehlo(tt.offer)
				l := strings.Fields(p.line())
				if len(l) != 3 || l[0] != "AUTH" || l[1] != tt.mech {
					t.Errorf("got %q, want AUTH %s", l, tt.mech)
					return
				}
				cs := c.ConnectionState()
				var b sasl.Bindings
				if strings.Contains(tt.offer, "-PLUS") || tt.stripped {
					b = tlsconf.Bindings(&cs, leaf)
				}
				if tt.middle {
					b = sasl.Bindings{"tls-exporter": []byte("of another connection")}
				}
				s, _ := sasl.NewServer(l[1], pencil{}, b)
				in := l[2]
				for {
					d, _ := base64.StdEncoding.DecodeString(in)
					out, done, err := s.Next(d)
					if err != nil {
						p.send("535 5.7.8 " + err.Error())
						break
					}
					p.send("334 " + base64.StdEncoding.EncodeToString(out))
					in = p.line()
					if done {
						p.send("235 2.7.0 ok")
						break
					}
				}
				if tt.status == envelope.Sent {
					p.accept()
				}
				p.line()
			})
			r := newRig(t, false, tt.cf)
			v := r.deliver(r.request(local(port), "u@x.example"), message)
			dsn := map[envelope.Status]string{envelope.Sent: "2.0.0", envelope.Deferred: "4.7.8"}[tt.status]
			v.want(t, 0, tt.status, dsn, "")
		})
	}
}
