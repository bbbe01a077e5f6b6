package badmx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Refuse refuses the recipients whose address begins with prefix and takes the
// others.
func Refuse(prefix, answer string) Script {
	return Script{Rcpt: func(_ int, to string) string {
		if strings.HasPrefix(to, prefix) {
			return answer
		}
		return ""
	}}
}

// DieInData hangs up after so many bytes of data, in the first conns
// connections that get there.
func DieInData(bytes, conns int) Script {
	var mu sync.Mutex
	n := 0
	return Script{CutAfter: func(int) int {
		mu.Lock()
		defer mu.Unlock()
		if n++; n <= conns {
			return bytes
		}
		return 0
	}}
}

// Later answers the first times end of data of each recipient with answer, and
// then takes the message.
func Later(times int, answer string) Script {
	var mu sync.Mutex
	seen := map[string]int{}
	return Script{Done: func(_ int, m *Mail) string {
		mu.Lock()
		defer mu.Unlock()
		key := strings.Join(m.To, ",")
		if seen[key]++; seen[key] <= times {
			return answer
		}
		return ""
	}}
}

// LaterRcpt is Later for RCPT.
func LaterRcpt(times int, answer string) Script {
	var mu sync.Mutex
	seen := map[string]int{}
	return Script{Rcpt: func(_ int, to string) string {
		mu.Lock()
		defer mu.Unlock()
		if seen[to]++; seen[to] <= times {
			return answer
		}
		return ""
	}}
}

// Drip answers one byte in each interval.
func Drip(interval time.Duration) Script { return Script{Interval: interval} }

// BrokenCertificate offers TLS with a certificate that expired yesterday and
// is for another name.
func BrokenCertificate() (Script, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Script{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "elsewhere.test"}, DNSNames: []string{"elsewhere.test"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return Script{}, err
	}
	return Script{TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}, nil
}

// BrokenHandshake offers STARTTLS and then cannot shake hands: it has no
// certificate at all.
func BrokenHandshake() Script { return Script{TLS: &tls.Config{}} }
