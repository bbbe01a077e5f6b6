package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

func TestParseProtocols(t *testing.T) {
	const v10, v11, v12, v13 = tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	tests := []struct {
		list   string
		lo, hi uint16
		hole   bool
		bad    bool
	}{
		{"", v10, v13, false, false},
		{">=TLSv1", v10, v13, false, false},
		{">=TLSv1.2", v12, v13, false, false},
		{">=TLSv1.2, <=TLSv1.2", v12, v12, false, false},
		{">=0303", v12, v13, false, false},
		{"!SSLv2, !SSLv3", v10, v13, false, false},
		{"!SSLv2,!SSLv3,!TLSv1,!TLSv1.1", v12, v13, false, false},
		{"TLSv1.2 TLSv1.3", v12, v13, false, false},
		{"TLSv1.2", v12, v12, false, false},
		{"TLSv1, !TLSv1.1, TLSv1.2", v12, v12, true, false},
		{"!TLSv1.2", v13, v13, true, false},
		{"SSLv3", 0, 0, false, true},
		{"TLSv9", 0, 0, false, true},
		{">=TLSv1.3, <=TLSv1.2", 0, 0, false, true},
	}
	for _, tt := range tests {
		lo, hi, hole, err := ParseProtocols(tt.list)
		if (err != nil) != tt.bad || lo != tt.lo || hi != tt.hi || hole != tt.hole {
			t.Errorf("%q: got %x %x %v %v", tt.list, lo, hi, hole, err)
		}
	}
}

func TestParseCiphers(t *testing.T) {
	all, w, err := ParseCiphers("medium", "aNULL, MD5 RC4:3DES")
	if err != nil || len(w) != 0 || len(all) != len(suites) {
		t.Errorf("medium: %d suites, %q, %v", len(all), w, err)
	}
	ids, _, _ := ParseCiphers("high", "kRSA, SHA1")
	for _, id := range ids {
		name, _ := cipherName(id)
		if !strings.HasPrefix(name, "ECDHE-") || strings.HasSuffix(name, "-SHA") {
			t.Errorf("%s is left", name)
		}
	}
	if one, _, _ := ParseCiphers("high", "AES256-SHA"); len(one) != len(all)-1 || slices.Contains(one, tls.TLS_RSA_WITH_AES_256_CBC_SHA) {
		t.Error("a suite cannot be excluded by name")
	}
	if _, w, _ := ParseCiphers("medium", "WHATEVER"); len(w) != 1 {
		t.Errorf("no warning about an unknown name: %q", w)
	}
	if _, _, err := ParseCiphers("best", ""); err == nil {
		t.Error("unknown grade accepted")
	}
	if _, _, err := ParseCiphers("high", "AES CHACHA20"); err == nil {
		t.Error("a list without any cipher accepted")
	}
	known := map[uint16]bool{}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.ID] = true
	}
	for _, s := range suites {
		if !known[s.id] {
			t.Errorf("%s is not in crypto/tls", s.name)
		}
	}
}

func TestNameMatches(t *testing.T) {
	tests := []struct {
		name, want string
		sub, multi bool
		ok         bool
	}{
		{"mx.example.com", "mx.example.com", false, true, true},
		{"*.example.com", "mx.example.com", false, false, true},
		{"*.example.com", "a.mx.example.com", false, true, true},
		{"*.example.com", "a.mx.example.com", false, false, false},
		{"*.example.com", "example.com", false, true, false},
		{"*.com", "example.com", false, true, false},
		{"*", "example", false, true, false},
		{"mx.example.com", "example.com", true, true, true},
		{"example.com", "example.com", true, true, false},
		{"badexample.com", "example.com", true, true, false},
		{"m*.example.com", "mx.example.com", false, true, false},
	}
	for _, tt := range tests {
		if got := nameMatches(tt.name, tt.want, tt.sub, tt.multi); got != tt.ok {
			t.Errorf("%q against %q (sub %v, multi %v): %v", tt.name, tt.want, tt.sub, tt.multi, got)
		}
	}
}

type table map[string]string

func (t table) Get(k string) (string, bool, error) {
	if k == "fail.example" {
		return "", false, errors.New("table is gone")
	}
	v, ok := t[k]
	return v, ok, nil
}

func load(t *testing.T, mainCf string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.10\nmyhostname = x.example\n"+mainCf), 0o644)
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestPolicy(t *testing.T) {
	cfg := load(t, "smtp_tls_security_level = may\nsmtp_tls_fingerprint_digest = sha256\n")
	c, err := NewClient(cfg, false, table{
		"plain.example": "none", ".parent.example": "encrypt protocols=TLSv1.2 ciphers=high", "[host.example]:587": "secure match=a.example:b.example servername=sni.example",
		"braces.example": "verify { match = x.example }", "print.example": "fingerprint match=AA|BB match=CC", "noprint.example": "fingerprint",
		"bad1.example": "secure match=", "bad2.example": "may match=x", "bad3.example": "encrypt what=x", "bad4.example": "encrypt ciphers=high ciphers=high",
		"bad5.example": "encrypt { match = x", "bad6.example": "", "bad7.example": "encrypt protocols=TLSv7", "dane.example": "dane-only", "bad8.example": "encrypt word",
	}, maillog.New("test", maillog.Discard{}))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		dest  string
		level Level
		match string
		bad   bool
	}{
		{"unlisted.example", May, "", false},
		{"plain.example", None, "", false},
		{"PLAIN.example", None, "", false},
		{"a.b.parent.example", Encrypt, "", false},
		{"parent.example", May, "", false},
		{"[host.example]:587", Secure, "a.example b.example", false},
		{"[host.example]", May, "", false},
		{"braces.example", Verify, "x.example", false},
		{"print.example", Fingerprint, "AA BB CC", false},
		{"noprint.example", 0, "", true},
		{"dane.example", 0, "", true},
		{"fail.example", 0, "", true},
		{"bad1.example", 0, "", true}, {"bad2.example", 0, "", true}, {"bad3.example", 0, "", true}, {"bad4.example", 0, "", true},
		{"bad5.example", 0, "", true}, {"bad6.example", 0, "", true}, {"bad7.example", 0, "", true}, {"bad8.example", 0, "", true},
	}
	for _, tt := range tests {
		p, err := c.Policy(tt.dest)
		if tt.bad {
			if err == nil {
				t.Errorf("%s: no error", tt.dest)
			}
			continue
		}
		if err != nil || p.Level != tt.level || strings.Join(p.match, " ") != tt.match {
			t.Errorf("%s: got %+v, %v", tt.dest, p, err)
		}
	}
	p, _ := c.Policy("x.parent.example")
	tc, err := p.Config("mx.example")
	if err != nil || tc.MinVersion != tls.VersionTLS12 || tc.MaxVersion != tls.VersionTLS12 || tc.ServerName != "" {
		t.Errorf("config: %+v, %v", tc, err)
	}
	p, _ = c.Policy("[host.example]:587")
	if tc, _ := p.Config("mx.example"); tc.ServerName != "sni.example" {
		t.Errorf("servername %q", tc.ServerName)
	}
}

// FuzzTLSPolicy holds that an entry is either refused or names a level, and
// that checked levels never come out without something to match.
func FuzzTLSPolicy(f *testing.F) {
	for _, s := range []string{"none", "may", "secure match=nexthop:.example.com", "encrypt { protocols = >=TLSv1.2 } ciphers=high", "fingerprint match=AA:BB|CC:DD", "verify,match=x", "{", "secure match=|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "tafile") {
			return // names a file
		}
		p := &Policy{client: &Client{log: nil, protocols: [2]string{">=TLSv1", ">=TLSv1"}, ciphers: [2]string{"medium", "medium"}, match: [2][]string{{"hostname"}, {"nexthop"}}}}
		if p.parse(s) != nil || p.complete() != nil {
			return
		}
		if p.Level < None || p.Level > Secure {
			t.Fatalf("level %d", p.Level)
		}
		if p.Level.Checked() && len(p.match) == 0 {
			t.Fatalf("%q: level %v with nothing to match", s, p.Level)
		}
	})
}

func makeCert(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// handshake connects a client to a server configuration.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	errs := make(chan error, 1)
	go func() { errs <- s.Handshake() }()
	err := c.Handshake()
	if err != nil {
		b.Close() // or the server waits, and its state cannot be had
		<-errs
	} else {
		err = <-errs
	}
	return s.ConnectionState(), c.ConnectionState(), err
}

func TestSmtpdServer(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCert(t, "mail.example")
	both := filepath.Join(dir, "both.pem")
	one, two := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	os.WriteFile(both, append(append([]byte{}, key...), cert...), 0o600)
	os.WriteFile(one, cert, 0o644)
	os.WriteFile(two, key, 0o600)
	sniCert, sniKey := makeCert(t, "other.example")
	for name, cf := range map[string]string{
		"chain": "smtpd_tls_chain_files = " + both + "\n",
		"pair":  "smtpd_tls_cert_file = " + one + "\nsmtpd_tls_key_file = " + two + "\n",
		"joint": "smtpd_tls_cert_file = " + both + "\n",
		"ec":    "smtpd_tls_eccert_file = " + one + "\nsmtpd_tls_eckey_file = " + two + "\n",
	} {
		cfg := load(t, "smtpd_tls_security_level = may\nsmtpd_tls_protocols = >=TLSv1.2\n"+cf)
		c, err := SmtpdServer(cfg, Env{SNI: table{".sni.example": base64.StdEncoding.EncodeToString(append(append([]byte{}, sniKey...), sniCert...))}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for sni, want := range map[string]string{"": "mail.example", "mail.example": "mail.example", "x.sni.example": "other.example"} {
			_, cs, err := handshake(t, c, &tls.Config{InsecureSkipVerify: true, ServerName: sni})
			if err != nil || cs.PeerCertificates[0].Subject.CommonName != want {
				t.Errorf("%s, SNI %q: %v", name, sni, err)
			}
		}
		if _, _, err := handshake(t, c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Errorf("%s: TLS 1.1 accepted", name)
		}
		ss, cs, err := handshake(t, c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if p, ci, bits, kx := Describe(cs); err != nil || p != "TLSv1.2" || ci != "ECDHE-ECDSA-AES128-GCM-SHA256" || bits != 128 || kx != "X25519" {
			t.Errorf("%s: %s %s %d %q, %v", name, p, ci, bits, kx, err)
		}
		if _, _, _, kx := DescribeServer(ss, nil); kx != "X25519" {
			t.Errorf("server side: %q", kx)
		}
	}
	if _, err := SmtpdServer(load(t, "smtpd_tls_security_level = may\n")); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("no certificate: %v", err)
	}
	for _, cf := range []string{"smtpd_tls_cert_file = " + two, "smtpd_tls_chain_files = " + one, "smtpd_tls_cert_file = /nonexistent", "smtpd_tls_security_level = most"} {
		if _, err := SmtpdServer(load(t, cf+"\n")); err == nil {
			t.Errorf("%s: no error", cf)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCert(t, "client.example")
	both := filepath.Join(dir, "both.pem")
	os.WriteFile(both, append(append([]byte{}, key...), cert...), 0o600)
	cfg := load(t, "smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_chain_files = "+both+"\n")
	c, err := SmtpdServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := tls.X509KeyPair(cert, key)
	ss, _, err := handshake(t, c, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	p, ok := Peer(&ss, "sha256")
	if err != nil || !ok || p.Subject != "client.example" || len(p.Cert) != 95 || p.Cert == p.PublicKey {
		t.Errorf("got %+v %v %v", p, ok, err)
	}
	if VerifyClient(&ss, x509.NewCertPool()) == nil {
		t.Error("a certificate without a known authority is trusted")
	}
	if ss, _, err = handshake(t, c, &tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	if _, ok := Peer(&ss, "sha256"); ok {
		t.Error("a peer without certificate has one")
	}
}

func TestLevels(t *testing.T) {
	for s, want := range map[string]Level{"may": May, "ENCRYPT": Encrypt, "dane-only": DaneOnly, "secure": Secure} {
		if l, err := ParseLevel(s); err != nil || l != want {
			t.Errorf("%s: %v, %v", s, l, err)
		}
	}
	for cf, want := range map[string]Level{"": None, "smtpd_use_tls = yes": May, "smtpd_enforce_tls = yes": Encrypt, "smtpd_tls_security_level = secure": Encrypt} {
		if l, err := SmtpdLevel(load(t, cf+"\n")); err != nil || l != want {
			t.Errorf("%q: %v, %v", cf, l, err)
		}
	}
	for s, want := range map[string]int{"0": 0, "1": 1, "2": 2, "": 0, "summary": 1} {
		if LogLevel(s) != want {
			t.Errorf("log level %q: %d", s, LogLevel(s))
		}
	}
}
