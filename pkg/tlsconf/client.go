package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

// Client holds the TLS settings of smtp(8) or lmtp(8) and finds the policy of
// each destination. It is safe for concurrent use.
type Client struct {
	Level Level // of destinations without a policy of their own

	log       *maillog.Logger
	name      string // "smtp" or "lmtp"
	policies  Getter
	protocols [2]string // opportunistic, mandatory
	ciphers   [2]string
	exclude   [2]string
	match     [2][]string // verify, secure
	prints    []string
	digest    string
	sni       string
	wildMulti bool
	roots     *x509.CertPool
	anchors   *x509.CertPool // smtp_tls_trust_anchor_file; nil for none
	certs     []tls.Certificate
	sessions  tls.ClientSessionCache
}

// NewClient reads the smtp_tls_ parameters (lmtp_tls_ if lmtp is set) and the
// files they name: call it before the sandbox closes. policies is
// smtp_tls_policy_maps, nil for none.
func NewClient(cfg *config.Config, lmtp bool, policies Getter, log *maillog.Logger) (*Client, error) {
	str := func(s, l *config.String) string {
		if lmtp {
			return l.In(cfg)
		}
		return s.In(cfg)
	}
	yes := func(s, l *config.Bool) bool {
		if lmtp {
			return l.In(cfg)
		}
		return s.In(cfg)
	}
	c := &Client{name: "smtp", policies: policies, log: log, wildMulti: params.TlsWildcardMatchesMultipleLabels.In(cfg)}
	if lmtp {
		c.name = "lmtp"
	}
	var err error
	if s := str(&params.SmtpTlsSecurityLevel, &params.LmtpTlsSecurityLevel); s != "" {
		if c.Level, err = ParseLevel(s); err != nil {
			return nil, fmt.Errorf("%s_tls_security_level: %w", c.name, err)
		}
	} else if yes(&params.SmtpEnforceTls, &params.LmtpEnforceTls) {
		c.Level = Encrypt
		if yes(&params.SmtpTlsEnforcePeername, &params.LmtpTlsEnforcePeername) {
			c.Level = Verify
		}
	} else if yes(&params.SmtpUseTls, &params.LmtpUseTls) {
		c.Level = May
	}
	c.protocols = [2]string{str(&params.SmtpTlsProtocols, &params.LmtpTlsProtocols),
		str(&params.SmtpTlsMandatoryProtocols, &params.LmtpTlsMandatoryProtocols)}
	c.ciphers = [2]string{str(&params.SmtpTlsCiphers, &params.LmtpTlsCiphers),
		str(&params.SmtpTlsMandatoryCiphers, &params.LmtpTlsMandatoryCiphers)}
	c.exclude[0] = str(&params.SmtpTlsExcludeCiphers, &params.LmtpTlsExcludeCiphers)
	c.exclude[1] = c.exclude[0] + " " + str(&params.SmtpTlsMandatoryExcludeCiphers, &params.LmtpTlsMandatoryExcludeCiphers)
	c.match[0] = splitMatch(str(&params.SmtpTlsVerifyCertMatch, &params.LmtpTlsVerifyCertMatch))
	c.match[1] = splitMatch(str(&params.SmtpTlsSecureCertMatch, &params.LmtpTlsSecureCertMatch))
	c.prints = config.SplitList(str(&params.SmtpTlsFingerprintCertMatch, &params.LmtpTlsFingerprintCertMatch))
	c.digest = str(&params.SmtpTlsFingerprintDigest, &params.LmtpTlsFingerprintDigest)
	c.sni = str(&params.SmtpTlsServername, &params.LmtpTlsServername)
	if c.Level == None && policies == nil {
		return c, nil // nothing below is ever used
	}
	if _, err := FingerprintOf(c.digest, nil); err != nil {
		return nil, fmt.Errorf("%s_tls_fingerprint_digest: %w", c.name, err)
	}
	// Every combination in main.cf is tried now, so that mistakes show at start.
	for i := range c.protocols {
		if err := setVersions(&tls.Config{}, c.protocols[i], c.ciphers[i], c.exclude[i], c.warn); err != nil {
			return nil, fmt.Errorf("%s_tls: %w", c.name, err)
		}
	}
	c.roots, err = LoadCAs(str(&params.SmtpTlsCAfile, &params.LmtpTlsCAfile),
		str(&params.SmtpTlsCApath, &params.LmtpTlsCApath), params.TlsAppendDefaultCA.In(cfg))
	if err != nil {
		return nil, err
	}
	if f := config.SplitList(str(&params.SmtpTlsTrustAnchorFile, &params.LmtpTlsTrustAnchorFile)); len(f) > 0 {
		if c.anchors, err = loadAnchors(f); err != nil {
			return nil, err
		}
	}
	c.certs, err = loadCertificates(config.SplitList(str(&params.SmtpTlsChainFiles, &params.LmtpTlsChainFiles)),
		str(&params.SmtpTlsCertFile, &params.LmtpTlsCertFile), str(&params.SmtpTlsKeyFile, &params.LmtpTlsKeyFile),
		str(&params.SmtpTlsEccertFile, &params.LmtpTlsEccertFile), str(&params.SmtpTlsEckeyFile, &params.LmtpTlsEckeyFile))
	if err != nil {
		return nil, err
	}
	c.sessions = tls.NewLRUClientSessionCache(128)
	return c, nil
}

func (c *Client) warn(format string, a ...any) {
	c.log.Warningf("%s_tls: %s", c.name, fmt.Sprintf(format, a...))
}

func loadAnchors(files []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, f := range files {
		b, err := readPEM(f)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: no certificate", f)
		}
	}
	return pool, nil
}

func splitMatch(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n:", r) })
}

// PolicyError says that the policy for a destination cannot be carried out:
// mail is deferred with 4.7.5 and this text.
type PolicyError struct{ Text string }

func (e *PolicyError) Error() string { return e.Text }

// configProblem is Postfix's text for a policy entry that makes no sense; the
// log has the details.
const configProblem = "client TLS configuration problem"

// Policy is how to make a TLS connection to one destination.
type Policy struct {
	Level     Level
	client    *Client
	nexthop   string
	match     []string // names, or fingerprints
	protocols string
	ciphers   string
	exclude   string
	sni       string
	anchors   *x509.CertPool
	set       attrs
}

// attrs remembers which attributes an entry has set.
type attrs struct{ ciphers, protocols, sni, exclude, match bool }

// Policy finds the policy for a next hop as it stands in the transport, such as
// "example.com" or "[mail.example.com]:587". The table is asked for it, and for
// the parent domains of a plain domain with a leading dot. An error is a
// *PolicyError or trouble with the table; both are temporary.
func (c *Client) Policy(nexthop string) (*Policy, error) {
	p := &Policy{Level: c.Level, client: c, nexthop: destinationName(nexthop)}
	if c.policies != nil {
		key := strings.ToLower(nexthop)
		plain := !strings.ContainsAny(key, "[]:/")
		for key != "" {
			v, ok, err := c.policies.Get(key)
			if err != nil {
				return nil, err
			}
			if ok {
				if err := p.parse(v); err != nil {
					c.log.Warningf("TLS policy table, entry %q: %v", key, err)
					return nil, &PolicyError{configProblem}
				}
				break
			}
			i := strings.IndexByte(key[1:], '.')
			if !plain || i < 0 {
				break
			}
			key = key[i+1:]
		}
	}
	return p, p.complete()
}

// destinationName strips brackets and port off a next hop.
func destinationName(s string) string {
	if strings.HasPrefix(s, "[") {
		if i := strings.IndexByte(s, ']'); i > 0 {
			return s[1:i]
		}
		return s
	}
	if i := strings.LastIndexByte(s, ':'); i > 0 && strings.Count(s, ":") == 1 {
		return s[:i]
	}
	return s
}

// ParsePolicy checks the text of one entry of smtp_tls_policy_maps.
func ParsePolicy(text string) error { return new(Policy).parse(text) }

// parse reads an entry: a level and attributes name=value, of which a value
// with blanks stands in braces: { name = value }.
func (p *Policy) parse(text string) error {
	words, err := policyWords(text)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return fmt.Errorf("invalid empty policy")
	}
	if p.Level, err = ParseLevel(words[0]); err != nil {
		return fmt.Errorf("invalid security level %q", words[0])
	}
	if p.Level == None {
		return nil // attributes have no meaning without TLS
	}
	for _, w := range words[1:] {
		name, value, ok := strings.Cut(w, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || name == "" {
			return fmt.Errorf("malformed attribute/value pair %q", w)
		}
		if err := p.attribute(name, value); err != nil {
			return err
		}
	}
	return nil
}

func policyWords(s string) ([]string, error) {
	var l []string
	for {
		s = strings.TrimLeft(s, ", \t\r\n")
		if s == "" {
			return l, nil
		}
		if s[0] == '{' {
			i := strings.IndexByte(s, '}')
			if i < 0 {
				return nil, fmt.Errorf("missing \"}\" in %q", s)
			}
			l = append(l, strings.TrimSpace(s[1:i]))
			s = s[i+1:]
			continue
		}
		i := strings.IndexAny(s, ", \t\r\n")
		if i < 0 {
			i = len(s)
		}
		l = append(l, s[:i])
		s = s[i:]
	}
}

func (p *Policy) attribute(name, value string) error {
	once := func(done *bool, to *string) error {
		if *done {
			return fmt.Errorf("attribute %q is specified multiple times", name)
		}
		*done, *to = true, value
		return nil
	}
	switch name {
	case "ciphers":
		if _, _, err := ParseCiphers(value, ""); err != nil {
			return err
		}
		return once(&p.set.ciphers, &p.ciphers)
	case "protocols":
		if _, _, _, err := ParseProtocols(value); err != nil {
			return err
		}
		return once(&p.set.protocols, &p.protocols)
	case "exclude":
		return once(&p.set.exclude, &p.exclude)
	case "servername":
		if value == "" || strings.ContainsAny(value, " /:@") {
			return fmt.Errorf("\"servername=%s\" specifies an invalid hostname", value)
		}
		return once(&p.set.sni, &p.sni)
	case "match":
		if value == "" {
			return fmt.Errorf("attribute %q has empty value", name)
		}
		sep := ":"
		switch {
		case p.Level == Fingerprint:
			sep = "|"
		case !p.Level.pkix():
			return fmt.Errorf("attribute %q invalid at security level %q", name, p.Level)
		}
		p.set.match = true
		p.match = append(p.match, strings.Split(value, sep)...)
	case "tafile":
		if !p.Level.pkix() {
			return fmt.Errorf("attribute %q invalid at security level %q", name, p.Level)
		}
		pool, err := loadAnchors([]string{value})
		if err != nil {
			return err
		}
		p.anchors = pool
	case "connection_reuse", "enable_rpk":
		if !strings.EqualFold(value, "yes") && !strings.EqualFold(value, "no") {
			return fmt.Errorf("attribute %q has bad value: %q", name, value)
		}
	case "policy_ttl":
		if _, err := strconv.ParseUint(value, 10, 31); err != nil {
			return fmt.Errorf("attribute %q has a malformed value: %q", name, value)
		}
	case "policy_type", "policy_domain", "policy_string", "mx_host_pattern", "policy_failure":
		// These describe where a policy came from, for TLS reports.
	default:
		return fmt.Errorf("invalid attribute name: %q", name)
	}
	return nil
}

// complete fills in what the entry left to main.cf.
func (p *Policy) complete() error {
	c := p.client
	switch p.Level {
	case Dane, DaneOnly:
		return &PolicyError{fmt.Sprintf("TLS security level %q is not available: this system does not look up TLSA records", p.Level)}
	case None:
		return nil
	}
	mand := 0
	if p.Level.Mandatory() {
		mand = 1
	}
	if !p.set.protocols {
		p.protocols = c.protocols[mand]
	}
	if !p.set.ciphers {
		p.ciphers = c.ciphers[mand]
	}
	if !p.set.exclude {
		p.exclude = c.exclude[mand]
	}
	if !p.set.sni {
		p.sni = c.sni
	}
	if p.anchors == nil {
		p.anchors = c.anchors
	}
	if !p.set.match {
		switch p.Level {
		case Verify:
			p.match = c.match[0]
		case Secure:
			p.match = c.match[1]
		case Fingerprint:
			p.match = c.prints
		}
	}
	if p.Level == Fingerprint && len(p.match) == 0 {
		c.log.Warningf("nexthop domain %s: configured at fingerprint security level, but with no fingerprints to match", p.nexthop)
		return &PolicyError{configProblem}
	}
	return nil
}

// Config makes the crypto/tls configuration for a connection to host, which is
// one of the destination's servers. Where the level demands it, a handshake
// with a certificate that does not match fails with a *VerifyError.
func (p *Policy) Config(host string) (*tls.Config, error) {
	c := p.client
	t := &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection below does what the level asks for
		Certificates:       c.certs,
		ClientSessionCache: sessionCache{c.sessions, p.sessionKey(host)},
	}
	if err := setVersions(t, p.protocols, p.ciphers, p.exclude, c.warn); err != nil {
		return nil, &PolicyError{configProblem}
	}
	switch p.sni {
	case "hostname":
		t.ServerName = host
	case "nexthop":
		t.ServerName = p.nexthop
	default:
		t.ServerName = p.sni
	}
	if p.Level.Checked() {
		t.VerifyConnection = func(cs tls.ConnectionState) error { return p.Verify(&cs, host) }
	}
	return t, nil
}

// sessionKey keeps sessions of different servers and policies apart.
func (p *Policy) sessionKey(host string) string {
	return strings.Join([]string{p.Level.String(), p.nexthop, host, p.sni, p.protocols, p.ciphers, strings.Join(p.match, ":")}, "\x00")
}

type sessionCache struct {
	tls.ClientSessionCache
	key string
}

func (s sessionCache) Get(key string) (*tls.ClientSessionState, bool) {
	return s.ClientSessionCache.Get(s.key + "\x00" + key)
}

func (s sessionCache) Put(key string, cs *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.key+"\x00"+key, cs)
}
