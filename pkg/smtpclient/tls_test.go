package smtpclient

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/tlsconf"
)

// testCert makes a certificate for the names, its own authority.
func testCert(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// startTLS does the server's side of STARTTLS.
func (p *peer) startTLS(cert tls.Certificate, max uint16) bool {
	p.expect("STARTTLS")
	p.send("220 2.0.0 go")
	return p.handshake(cert, max)
}

func (p *peer) handshake(cert tls.Certificate, max uint16) bool {
	c := tls.Server(p.Conn, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: max})
	if c.Handshake() != nil {
		return false
	}
	p.Conn, p.r = c, bufio.NewReader(c)
	return true
}

// secured is a server that takes mail under TLS.
func secured(cert tls.Certificate) func(*peer) {
	return func(p *peer) {
		p.hello("STARTTLS", "PIPELINING")
		if p.startTLS(cert, 0) {
			if p.line() == "EHLO client.example" {
				p.ehlo("PIPELINING")
				p.accept()
			}
			p.line()
		}
	}
}

func TestTLS(t *testing.T) {
	cert, ca := testCert(t, "mx.far.example", "far.example")
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, ca, 0o644); err != nil {
		t.Fatal(err)
	}
	print, _ := tlsconf.FingerprintOf("sha256", cert.Certificate[0])
	other, _ := testCert(t, "elsewhere.example")
	ns := startDNS(t, zone{"far.example MX": {"10 mx.far.example."}, "mx.far.example A": {"127.0.0.1"}})
	const good, bad, none = "", "Server certificate not verified", "Server certificate not trusted"
	tests := []struct {
		name, cf string
		cert     tls.Certificate
		reason   string
		trust    string
	}{
		{"may", "smtp_tls_security_level = may\n", other, good, "Untrusted"},
		{"may, trusted", "smtp_tls_security_level = may\nsmtp_tls_CAfile = " + caFile + "\n", cert, good, "Trusted"},
		{"encrypt", "smtp_tls_security_level = encrypt\n", other, good, "Untrusted"},
		{"verify", "smtp_tls_security_level = verify\nsmtp_tls_CAfile = " + caFile + "\n", cert, good, "Verified"},
		{"secure", "smtp_tls_security_level = secure\nsmtp_tls_CAfile = " + caFile + "\n", cert, good, "Verified"},
		{"secure, wrong name", "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = nomatch.example\nsmtp_tls_CAfile = " + caFile + "\n", cert, bad, ""},
		{"verify, unknown authority", "smtp_tls_security_level = verify\n", cert, none, ""},
		{"verify, other certificate", "smtp_tls_security_level = verify\nsmtp_tls_CAfile = " + caFile + "\n", other, none, ""},
		{"fingerprint", "smtp_tls_security_level = fingerprint\nsmtp_tls_fingerprint_digest = sha256\nsmtp_tls_fingerprint_cert_match = " + print + "\n", cert, good, "Verified"},
		{"wrong fingerprint", "smtp_tls_security_level = fingerprint\nsmtp_tls_fingerprint_digest = sha256\nsmtp_tls_fingerprint_cert_match = " + print + "\n", other, none, ""},
		{"policy table", "smtp_tls_security_level = none\nsmtp_tls_CAfile = " + caFile + "\nsmtp_tls_policy_maps = inline:{ { far.example = secure match=mx.far.example } }\n", cert, good, "Verified"},
		{"bad policy", "smtp_tls_policy_maps = inline:{ { far.example = sacure } }\n", cert, "client TLS configuration problem", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", secured(tt.cert))
			r := newRig(t, false, fmt.Sprintf("resolver_nameservers = %s\nsmtp_tcp_port = %d\nsmtp_tls_loglevel = 1\n%s", ns, port, tt.cf))
			v := r.deliver(r.request("far.example", "u@far.example"), message)
			if tt.reason != "" {
				v.want(t, 0, envelope.Deferred, "4.7.5", tt.reason)
				return
			}
			v.want(t, 0, envelope.Sent, "2.0.0")
			if line := fmt.Sprintf("%s TLS connection established to mx.far.example[127.0.0.1]:%d: TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange X25519MLKEM768 server-signature ECDSA (prime256v1)", tt.trust, port); !r.log.has(line) {
				t.Errorf("log lacks %q", line)
			}
		})
	}
}

// What a man in the middle put behind the reply to STARTTLS is not taken for
// the server's word.
func TestStartTLSInjection(t *testing.T) {
	cert, _ := testCert(t, "x.example")
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("STARTTLS")
		p.expect("STARTTLS")
		p.Write([]byte("220 go\r\n250-evil\r\n250-AUTH PLAIN\r\n250 SIZE 1\r\n"))
		if p.handshake(cert, 0) {
			p.expect("EHLO")
			p.ehlo()
			p.accept()
			p.line()
		}
	})
	r := newRig(t, false, "smtp_tls_security_level = encrypt\n")
	v := r.deliver(r.request(local(port), "u@x.example"), message)
	v.want(t, 0, envelope.Sent, "2.0.0")
}

// A server whose TLS is broken gets opportunistic mail in plaintext, but only
// when that has waited, and never when TLS is required.
func TestBrokenTLS(t *testing.T) {
	for _, tt := range []struct {
		level  string
		waited time.Duration
		want   envelope.Status
	}{
		{"may", 0, envelope.Deferred}, {"may", time.Hour, envelope.Sent}, {"encrypt", time.Hour, envelope.Deferred},
	} {
		t.Run(fmt.Sprintf("%s after %v", tt.level, tt.waited), func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", func(p *peer) {
				p.hello("STARTTLS")
				p.expect("STARTTLS")
				p.send("220 go", "this is no TLS")
				p.line()
			}, func(p *peer) {
				p.hello("STARTTLS")
				p.accept()
				p.line()
			})
			r := newRig(t, false, "smtp_tls_security_level = "+tt.level+"\n")
			q := r.request(local(port), "u@x.example")
			q.Message.Arrival = q.Activated.Add(-tt.waited)
			v := r.deliver(q, message)
			if tt.want == envelope.Sent {
				v.want(t, 0, envelope.Sent, "2.0.0")
				return
			}
			v.want(t, 0, envelope.Deferred, "4.7.5", "Cannot start TLS: handshake failure")
			if site := v.done.SiteProblem != ""; site != (tt.level == "encrypt") {
				t.Errorf("site problem %q", v.done.SiteProblem)
			}
		})
	}
}

// A server with old protocols only is refused by a policy that wants newer.
func TestOldProtocol(t *testing.T) {
	cert, _ := testCert(t, "x.example")
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("STARTTLS")
		p.startTLS(cert, tls.VersionTLS11)
	})
	r := newRig(t, false, "smtp_tls_security_level = encrypt\nsmtp_tls_mandatory_protocols = >=TLSv1.2\n")
	v := r.deliver(r.request(local(port), "u@x.example"), message)
	v.want(t, 0, envelope.Deferred, "4.7.5", "Cannot start TLS: handshake failure")
}

func TestWrapperMode(t *testing.T) {
	cert, _ := testCert(t, "x.example")
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		if p.handshake(cert, 0) {
			p.hello()
			p.accept()
			p.line()
		}
	})
	r := newRig(t, false, "smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\n")
	r.deliver(r.request(local(port), "u@x.example"), message).want(t, 0, envelope.Sent, "2.0.0")
}

// A TLS session is kept open and used again like any other.
func TestTLSReuse(t *testing.T) {
	cert, _ := testCert(t, "x.example")
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("STARTTLS")
		p.startTLS(cert, 0)
		p.expect("EHLO")
		p.ehlo("PIPELINING")
		p.accept()
		p.expect("RSET")
		p.send("250 ok")
		p.accept()
		p.line()
	}, func(p *peer) { p.t.Error("a second connection") })
	r := newRig(t, false, "smtp_tls_security_level = encrypt\nsmtp_connection_cache_time_limit = 60s\n")
	for range 2 {
		r.deliver(r.request(local(port), "u@x.example"), message).want(t, 0, envelope.Sent, "2.0.0")
	}
}

func TestAuth(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const on = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{ 127.0.0.1=user:pass }\nsmtp_sasl_security_options = noanonymous\n"
	tests := []struct {
		name, cf, offer string
		dialogue        []string // client and server lines in turn
		status          envelope.Status
		dsn, reason     string
	}{
		{"PLAIN", on, "AUTH PLAIN LOGIN", []string{"AUTH PLAIN " + b64("\x00user\x00pass"), "235 2.7.0 ok"}, envelope.Sent, "2.0.0", ""},
		{"LOGIN", on, "AUTH=LOGIN", []string{"AUTH LOGIN", "334 " + b64("Username:"), b64("user"), "334 " + b64("Password:"), b64("pass"), "235 2.7.0 ok"}, envelope.Sent, "2.0.0", ""},
		{"CRAM-MD5", on, "AUTH PLAIN CRAM-MD5", []string{"AUTH CRAM-MD5", "334 " + b64("<1@x>"), b64("user 4a6f8b1c4d9f2c2c"), "235 2.7.0 ok"}, envelope.Sent, "2.0.0", ""},
		{"refused", on, "AUTH PLAIN", []string{"AUTH PLAIN ", "535 5.7.8 no"}, envelope.Deferred, "4.7.8", "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 no"},
		{"refused for good", on + "smtp_sasl_auth_soft_bounce = no\n", "AUTH PLAIN", []string{"AUTH PLAIN ", "535 5.7.8 no"}, envelope.Bounced, "5.7.8", ""},
		{"no plaintext", strings.Replace(on, "= noanonymous", "= noplaintext", 1), "AUTH PLAIN LOGIN", nil, envelope.Deferred, "4.7.0", "offered no compatible authentication mechanisms"},
		{"filtered", on + "smtp_sasl_mechanism_filter = !plain, static:rest\n", "AUTH PLAIN", nil, envelope.Deferred, "4.7.0", "offered no compatible"},
		{"not offered", on, "X-NOTHING", nil, envelope.Sent, "2.0.0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", func(p *peer) {
				p.hello(tt.offer)
				for i := 0; i+1 < len(tt.dialogue); i += 2 {
					if tt.name == "CRAM-MD5" && i == 2 {
						l := p.line()
						if d, _ := base64.StdEncoding.DecodeString(l); !strings.HasPrefix(string(d), "user ") || len(d) != 37 {
							t.Errorf("response %q", d)
						}
					} else {
						p.expect(tt.dialogue[i])
					}
					p.send(tt.dialogue[i+1])
				}
				if tt.status == envelope.Sent {
					p.accept()
				}
				p.line()
			})
			r := newRig(t, false, tt.cf)
			v := r.deliver(r.request(local(port), "u@x.example"), message)
			v.want(t, 0, tt.status, tt.dsn, tt.reason)
		})
	}
}
