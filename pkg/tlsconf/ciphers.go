package tlsconf

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// suite is a TLS 1.2 cipher suite with its OpenSSL name and the words of
// OpenSSL's cipher lists that it answers to.
type suite struct {
	id    uint16
	name  string
	bits  int
	words string
}

// The suites of both grades: all that crypto/tls has but RC4 and 3DES. Those
// with RSA key transport and CBC are last: old mail servers have nothing else.
// TLS 1.3's three suites cannot be chosen.
var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", 128, "kecdhe aecdsa aes aes128 aesgcm sha256 eecdh"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", 128, "kecdhe arsa aes aes128 aesgcm sha256 eecdh"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", 256, "kecdhe aecdsa aes aes256 aesgcm sha384 eecdh"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", 256, "kecdhe arsa aes aes256 aesgcm sha384 eecdh"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", 256, "kecdhe aecdsa chacha20 sha256 eecdh"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", 256, "kecdhe arsa chacha20 sha256 eecdh"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", 128, "kecdhe aecdsa aes aes128 cbc sha sha1 eecdh"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", 128, "kecdhe arsa aes aes128 cbc sha sha1 eecdh"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", 256, "kecdhe aecdsa aes aes256 cbc sha sha1 eecdh"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", 256, "kecdhe arsa aes aes256 cbc sha sha1 eecdh"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", 128, "krsa arsa rsa aes aes128 aesgcm sha256"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", 256, "krsa arsa rsa aes aes256 aesgcm sha384"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", 128, "krsa arsa rsa aes aes128 cbc sha sha1"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", 256, "krsa arsa rsa aes aes256 cbc sha sha1"},
}

// neverOffered are words of OpenSSL's lists for what crypto/tls does not have
// or we do not offer: excluding them is already done.
const neverOffered = " anull enull null adh aecdh low export exp export40 export56 medium des 3des des-cbc-sha des-cbc3-sha rc2 rc4 rc5 rc4-md5 rc4-sha md5 seed idea camellia camellia128 camellia256 aria aria128 aria256 aesccm aesccm8 kdh kecdh kedh edh dhe kdhe kdhd kdhr adss dss psk kpsk apsk srp ksrp asrp gost krb5-des krb5-rc2 edh-dss edh-rsa-des edh-dss-des-cbc3-sha edh-rsa-des-cbc3-sha edh-rsa-des-cbc-sha aes128-ccm aes256-ccm dss ecdhe-rsa-des-cbc3-sha ssl v2 sslv2 sslv3 idea-cbc-sha seed-sha "

// ParseCiphers returns the suites of a grade (high, medium; low, export and
// null give the same as medium, with a warning) less the exclusions, an
// OpenSSL-style list of names and classes such as "aNULL, kRSA, SHA1". What it
// cannot map is named in warnings.
func ParseCiphers(grade, exclude string) (ids []uint16, warnings []string, err error) {
	switch g := strings.ToLower(grade); g {
	case "high", "medium":
	case "low", "export", "null":
		warnings = append(warnings, fmt.Sprintf("cipher grade %q is not available, using \"medium\"", grade))
	default:
		return nil, nil, fmt.Errorf("invalid TLS cipher grade %q", grade)
	}
	var drop []string
	for _, w := range strings.FieldsFunc(exclude, func(r rune) bool { return strings.ContainsRune(", :\t\r\n", r) }) {
		l := strings.ToLower(strings.TrimPrefix(w, "!"))
		if strings.Contains(neverOffered, " "+l+" ") {
			continue
		}
		known := false
		for i := range suites {
			known = known || suites[i].matches(l)
		}
		if !known {
			warnings = append(warnings, fmt.Sprintf("cannot exclude cipher %q: no such name or class here", w))
			continue
		}
		drop = append(drop, l)
	}
next:
	for i := range suites {
		for _, d := range drop {
			if suites[i].matches(d) {
				continue next
			}
		}
		ids = append(ids, suites[i].id)
	}
	if len(ids) == 0 {
		return nil, warnings, fmt.Errorf("no TLS cipher is left with %q excluded", exclude)
	}
	return ids, warnings, nil
}

// matches says whether s has the name or is of all classes that are joined in
// w ("kRSA+AES").
func (s *suite) matches(w string) bool {
	if strings.EqualFold(s.name, w) {
		return true
	}
	for _, c := range strings.Split(w, "+") {
		if !strings.Contains(" "+s.words+" ", " "+c+" ") {
			return false
		}
	}
	return true
}
