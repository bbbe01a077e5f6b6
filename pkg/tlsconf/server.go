package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
)

// ErrNoCertificate says that a server has no certificate configured.
var ErrNoCertificate = errors.New("no server certificate is configured")

// Getter is a look-up table; *lookup.Maps is one.
type Getter interface {
	Get(key string) (value string, ok bool, err error)
}

// Env is what a server configuration takes from its program.
type Env struct {
	Log *maillog.Logger // for warnings about what is approximated
	SNI Getter          // tls_server_sni_maps; nil for none
}

// ServerOptions are a server's settings, in the notation of the parameters of
// the same names.
type ServerOptions struct {
	Param      string // prefix of the parameters, for messages: "smtpd_tls_"
	CertFile   string
	KeyFile    string
	ECCertFile string
	ECKeyFile  string
	ChainFiles []string
	CAFile     string
	CAPath     string
	Protocols  string // "" is ">=TLSv1.2"
	Ciphers    string // grade; "" is "medium"
	Exclude    string
	AskCert    bool // ask for a client certificate, take any
	ReqCert    bool // refuse clients without a trusted one
	Env        Env
}

// Server makes a server's configuration from o; a certificate is required.
// Files are read now: call it before the sandbox closes. Session tickets are
// on, with keys of this process that crypto/tls rotates.
func Server(cfg *config.Config, o ServerOptions) (*tls.Config, error) {
	c := &tls.Config{}
	warn := func(format string, a ...any) {
		o.Env.Log.Warningf("%s: %s", o.Param, fmt.Sprintf(format, a...))
	}
	if o.Protocols == "" {
		o.Protocols = ">=TLSv1.2"
	}
	if o.Ciphers == "" {
		o.Ciphers = "medium"
	}
	if err := setVersions(c, o.Protocols, o.Ciphers, o.Exclude, warn); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Param, err)
	}
	var err error
	if c.Certificates, err = loadCertificates(o.ChainFiles, o.CertFile, o.KeyFile, o.ECCertFile, o.ECKeyFile); err != nil {
		return nil, err
	}
	if len(c.Certificates) == 0 {
		return nil, ErrNoCertificate
	}
	if o.AskCert || o.ReqCert {
		system := params.TlsAppendDefaultCA.In(cfg)
		if c.ClientCAs, err = LoadCAs(o.CAFile, o.CAPath, system); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequestClientCert
		if o.ReqCert {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	if o.Env.SNI != nil {
		c.GetCertificate = sniCertificates(o.Env.SNI, o.Env.Log)
	}
	noteLeaf(c)
	return c, nil
}

// SmtpdServer makes smtpd's configuration from the smtpd_tls_ parameters. With
// security level encrypt or in wrapper mode, the mandatory protocols and ciphers
// hold. It is ErrNoCertificate when no certificate is configured.
func SmtpdServer(cfg *config.Config, env ...Env) (*tls.Config, error) {
	level, err := SmtpdLevel(cfg)
	if err != nil {
		return nil, err
	}
	o := ServerOptions{
		Param:      "smtpd_tls",
		CertFile:   params.SmtpdTlsCertFile.In(cfg),
		KeyFile:    params.SmtpdTlsKeyFile.In(cfg),
		ECCertFile: params.SmtpdTlsEccertFile.In(cfg),
		ECKeyFile:  params.SmtpdTlsEckeyFile.In(cfg),
		ChainFiles: params.SmtpdTlsChainFiles.List(cfg),
		CAFile:     params.SmtpdTlsCAfile.In(cfg),
		CAPath:     params.SmtpdTlsCApath.In(cfg),
		AskCert:    params.SmtpdTlsAskCcert.In(cfg),
		Protocols:  params.SmtpdTlsProtocols.In(cfg),
		Ciphers:    params.SmtpdTlsCiphers.In(cfg),
		Exclude:    params.SmtpdTlsExcludeCiphers.In(cfg),
	}
	if level.Mandatory() || params.SmtpdTlsWrappermode.In(cfg) {
		o.ReqCert = params.SmtpdTlsReqCcert.In(cfg)
		o.Protocols = params.SmtpdTlsMandatoryProtocols.In(cfg)
		o.Ciphers = params.SmtpdTlsMandatoryCiphers.In(cfg)
		o.Exclude += " " + params.SmtpdTlsMandatoryExcludeCiphers.In(cfg)
	}
	if len(env) > 0 {
		o.Env = env[0]
	}
	return Server(cfg, o)
}

// SmtpdLevel is smtpd's security level: none, may or encrypt. Stronger levels
// mean encrypt, since a server cannot choose its clients' certificates.
func SmtpdLevel(cfg *config.Config) (Level, error) {
	if s := params.SmtpdTlsSecurityLevel.In(cfg); s != "" {
		l, err := ParseLevel(s)
		if err != nil {
			return None, fmt.Errorf("%s: %w", params.SmtpdTlsSecurityLevel.Name, err)
		}
		return min(l, Encrypt), nil
	}
	switch {
	case params.SmtpdEnforceTls.In(cfg):
		return Encrypt, nil
	case params.SmtpdUseTls.In(cfg):
		return May, nil
	}
	return None, nil
}

// setVersions sets protocols and ciphers; warn is told what is approximated.
func setVersions(c *tls.Config, protocols, grade, exclude string, warn func(string, ...any)) error {
	lo, hi, hole, err := ParseProtocols(protocols)
	if err != nil {
		return err
	}
	if hole {
		warn("protocol list %q has a hole: using %s to %s", protocols, protocolName(lo), protocolName(hi))
	}
	c.MinVersion, c.MaxVersion = lo, hi
	ids, warnings, err := ParseCiphers(grade, exclude)
	for _, w := range warnings {
		warn("%s", w)
	}
	c.CipherSuites = ids
	return err
}

// loadCertificates loads chain files or, without them, the RSA and ECDSA pairs.
func loadCertificates(chains []string, cert, key, eccert, eckey string) ([]tls.Certificate, error) {
	if len(chains) > 0 {
		return loadChains(chains)
	}
	var l []tls.Certificate
	for _, p := range [...][2]string{{eccert, eckey}, {cert, key}} {
		if p[0] == "" || p[0] == "none" {
			continue
		}
		c, err := loadPair(p[0], p[1])
		if err != nil {
			return nil, err
		}
		l = append(l, c)
	}
	return l, nil
}

// sniCertificates chooses a certificate by the name that the client asks for:
// the name, then its parent domains with a leading dot. The table's value is
// what postmap -F makes, a chain file in base64. A nil result means the default
// certificate.
func sniCertificates(t Getter, log *maillog.Logger) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(strings.TrimSuffix(h.ServerName, "."))
		for key := name; key != ""; {
			v, ok, err := t.Get(key)
			if err != nil {
				return nil, err
			}
			if ok {
				certs, err := sniValue(v)
				if err != nil {
					log.Warningf("tls_server_sni_maps: entry %q: %v", key, err)
					return nil, err
				}
				for i := range certs {
					if h.SupportsCertificate(&certs[i]) == nil {
						return &certs[i], nil
					}
				}
				return &certs[0], nil
			}
			i := strings.IndexByte(key[1:], '.')
			if i < 0 {
				break
			}
			key = key[i+1:]
		}
		return nil, nil
	}
}

func sniValue(v string) ([]tls.Certificate, error) {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return nil, errors.New("not base64; build the table with postmap -F")
	}
	return parseChains(b)
}

// VerifyClient says whether the certificate that a client sent is signed by an
// authority in roots.
func VerifyClient(cs *tls.ConnectionState, roots *x509.CertPool) error {
	return verifyChain(cs.PeerCertificates, roots, x509.ExtKeyUsageClientAuth)
}
