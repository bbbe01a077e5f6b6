package tlsconf

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
)

var protocolNames = map[string]uint16{
	"sslv2": 0x0002, "sslv3": 0x0300, "tlsv1": tls.VersionTLS10, "tlsv1.0": tls.VersionTLS10,
	"tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
}

var tlsVersions = [...]uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

func protocolVersion(s string) (uint16, error) {
	if v, ok := protocolNames[strings.ToLower(s)]; ok {
		return v, nil
	}
	if n, err := strconv.ParseUint(s, 16, 16); err == nil && len(s) == 4 {
		return uint16(n), nil
	}
	return 0, fmt.Errorf("invalid TLS protocol %q", s)
}

// ParseProtocols reads a protocol list: ">=TLSv1.2", "<=TLSv1.2",
// "!SSLv3, !TLSv1" or "TLSv1.2 TLSv1.3"; these may be combined. min and max are
// for tls.Config. SSLv2 and SSLv3 are never offered. When the list leaves a
// hole, the newest range without one is used and hole is true.
func ParseProtocols(list string) (min, max uint16, hole bool, err error) {
	allowed := [len(tlsVersions)]bool{true, true, true, true}
	var named [len(tlsVersions)]bool
	positive := false
	words := strings.FieldsFunc(list, func(r rune) bool {
		return r == ',' || r == ':' || r == ' ' || r == '\t' || r == '\n' || r == '\r'
	})
	for _, w := range words {
		op := ""
		for _, p := range []string{">=", "<=", "!"} {
			if rest, ok := strings.CutPrefix(w, p); ok {
				op, w = p, rest
				break
			}
		}
		if w == "" || (op == ">=" || op == "<=") && w == "0" { // >=0 lifts the bound
			continue
		}
		v, err := protocolVersion(w)
		if err != nil {
			return 0, 0, false, err
		}
		if op == "" {
			positive = true
		}
		for i, t := range tlsVersions {
			switch op {
			case ">=":
				allowed[i] = allowed[i] && t >= v
			case "<=":
				allowed[i] = allowed[i] && t <= v
			case "!":
				allowed[i] = allowed[i] && t != v
			default:
				named[i] = named[i] || t == v
			}
		}
	}
	hi := -1
	for i := range allowed {
		allowed[i] = allowed[i] && (!positive || named[i])
		if allowed[i] {
			hi = i
		}
	}
	if hi < 0 {
		return 0, 0, false, fmt.Errorf("no usable TLS protocol in %q", list)
	}
	lo := hi
	for lo > 0 && allowed[lo-1] {
		lo--
	}
	for i := 0; i < lo; i++ {
		hole = hole || allowed[i]
	}
	return tlsVersions[lo], tlsVersions[hi], hole, nil
}
