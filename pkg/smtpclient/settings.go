// Package smtpclient is the delivery agent that smtp(8) and lmtp(8) share: it
// finds a destination's servers, connects, starts TLS, authenticates, delivers
// one message to many recipients in one transaction, and keeps connections for
// the next message. Each recipient gets its own outcome.
package smtpclient

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/dnsclient"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mimestate"
	"posthaste/pkg/params"
	"posthaste/pkg/sasl"
	"posthaste/pkg/service"
	"posthaste/pkg/tlsconf"
)

// settings are the parameters of smtp(8), or the lmtp_ ones of lmtp(8), read
// once.
type settings struct {
	lmtp       bool
	name       string // "smtp" or "lmtp"
	myhostname string
	helo       string
	port       string
	relayhost  string
	fallback   string
	softBounce bool

	timeouts       esmtp.ClientTimeouts
	connectTimeout time.Duration

	v4, v6           bool
	preference       string
	balance          bool
	randomize        bool
	bind4, bind6     netip.Addr
	bindEnforce      bool
	addressLimit     int
	sessionLimit     int
	deferNoMXAddress bool
	dnsDisabled      bool
	ignoreMXError    bool
	nativeFirst      bool // host_lookup begins with native
	nativeLast       bool // host_lookup is dns, native

	alwaysEhlo, neverEhlo bool
	skip5xxGreeting       bool
	skipQuitReply         bool
	discard               map[string]bool
	assumeFinal           bool
	dummyMailAuth         bool
	disableConversion     bool
	lineLimit             int
	quoteEnvelope         bool
	genericExt            bool // propagate_unmatched_extensions has generic

	cacheOnDemand  bool
	cacheTime      time.Duration
	reuseTime      time.Duration
	reuseCount     int
	minimalBackoff time.Duration

	tlsWrapper  bool
	tlsLog      int
	noteOffer   bool
	saslEnable  bool
	saslSoft    bool
	saslSender  bool
	saslDelim   string
	saslOptions [3]sasl.Security // plaintext, TLS, verified TLS
}

// picker reads smtp_x or lmtp_x.
type picker struct {
	cfg  *config.Config
	lmtp bool
}

func (p picker) str(s, l *config.String) string {
	if p.lmtp {
		return l.In(p.cfg)
	}
	return s.In(p.cfg)
}

func (p picker) yes(s, l *config.Bool) bool {
	if p.lmtp {
		return l.In(p.cfg)
	}
	return s.In(p.cfg)
}

func (p picker) num(s, l *config.Int) int {
	if p.lmtp {
		return l.In(p.cfg)
	}
	return s.In(p.cfg)
}

func (p picker) dur(s, l *config.Time) time.Duration {
	if p.lmtp {
		return l.In(p.cfg)
	}
	return s.In(p.cfg)
}

func readSettings(cfg *config.Config, lmtp bool) (*settings, error) {
	p := picker{cfg, lmtp}
	s := &settings{lmtp: lmtp, name: "smtp"}
	if lmtp {
		s.name = "lmtp"
	}
	s.myhostname = params.Myhostname.In(cfg)
	s.helo = p.str(&params.SmtpHeloName, &params.LmtpLhloName)
	s.port = p.str(&params.SmtpTcpPort, &params.LmtpTcpPort)
	s.fallback = p.str(&params.SmtpFallbackRelay, &params.LmtpFallbackRelay)
	s.relayhost = params.Relayhost.In(cfg)
	s.softBounce = params.SoftBounce.In(cfg)
	s.timeouts = esmtp.ClientTimeouts{
		Hello:    p.dur(&params.SmtpHeloTimeout, &params.LmtpLhloTimeout),
		StartTLS: p.dur(&params.SmtpStarttlsTimeout, &params.LmtpStarttlsTimeout),
		Mail:     p.dur(&params.SmtpMailTimeout, &params.LmtpMailTimeout),
		Rcpt:     p.dur(&params.SmtpRcptTimeout, &params.LmtpRcptTimeout),
		DataInit: p.dur(&params.SmtpDataInitTimeout, &params.LmtpDataInitTimeout),
		DataXfer: p.dur(&params.SmtpDataXferTimeout, &params.LmtpDataXferTimeout),
		DataDone: p.dur(&params.SmtpDataDoneTimeout, &params.LmtpDataDoneTimeout),
		Reset:    p.dur(&params.SmtpRsetTimeout, &params.LmtpRsetTimeout),
		Quit:     p.dur(&params.SmtpQuitTimeout, &params.LmtpQuitTimeout),
	}
	s.connectTimeout = p.dur(&params.SmtpConnectTimeout, &params.LmtpConnectTimeout)
	s.addressLimit = p.num(&params.SmtpMxAddressLimit, &params.LmtpMxAddressLimit)
	s.sessionLimit = p.num(&params.SmtpMxSessionLimit, &params.LmtpMxSessionLimit)
	s.deferNoMXAddress = p.yes(&params.SmtpDeferIfNoMxAddressFound, &params.LmtpDeferIfNoMxAddressFound)
	s.ignoreMXError = params.IgnoreMxLookupError.In(cfg)
	s.alwaysEhlo = params.SmtpAlwaysSendEhlo.In(cfg)
	s.neverEhlo = params.SmtpNeverSendEhlo.In(cfg)
	s.skip5xxGreeting = p.yes(&params.SmtpSkip5xxGreeting, &params.LmtpSkip5xxGreeting)
	s.skipQuitReply = p.yes(&params.SmtpSkipQuitResponse, &params.LmtpSkipQuitResponse)
	s.discard = map[string]bool{}
	for _, k := range config.SplitList(p.str(&params.SmtpDiscardEhloKeywords, &params.LmtpDiscardLhloKeywords)) {
		s.discard[strings.ToUpper(k)] = true
	}
	s.assumeFinal = lmtp && params.LmtpAssumeFinal.In(cfg)
	s.dummyMailAuth = p.yes(&params.SmtpSendDummyMailAuth, &params.LmtpSendDummyMailAuth)
	s.genericExt = slices.Contains(params.PropagateUnmatchedExtensions.List(cfg), "generic")
	s.lineLimit = p.num(&params.SmtpLineLengthLimit, &params.LmtpLineLengthLimit)
	s.disableConversion = params.DisableMimeOutputConversion.In(cfg)
	s.quoteEnvelope = p.yes(&params.SmtpQuoteRfc821Envelope, &params.LmtpQuoteRfc821Envelope)
	s.cacheOnDemand = p.yes(&params.SmtpConnectionCacheOnDemand, &params.LmtpConnectionCacheOnDemand)
	s.cacheTime = p.dur(&params.SmtpConnectionCacheTimeLimit, &params.LmtpConnectionCacheTimeLimit)
	s.reuseTime = p.dur(&params.SmtpConnectionReuseTimeLimit, &params.LmtpConnectionReuseTimeLimit)
	s.reuseCount = p.num(&params.SmtpConnectionReuseCountLimit, &params.LmtpConnectionReuseCountLimit)
	s.minimalBackoff = params.MinimalBackoffTime.In(cfg)
	s.tlsWrapper = p.yes(&params.SmtpTlsWrappermode, &params.LmtpTlsWrappermode)
	s.tlsLog = tlsconf.LogLevel(p.str(&params.SmtpTlsLoglevel, &params.LmtpTlsLoglevel))
	s.noteOffer = p.yes(&params.SmtpTlsNoteStarttlsOffer, &params.LmtpTlsNoteStarttlsOffer)
	if err := s.readNetwork(p); err != nil {
		return nil, err
	}
	return s, s.readSASL(p)
}

func (s *settings) readSASL(p picker) (err error) {
	s.saslEnable = p.yes(&params.SmtpSaslAuthEnable, &params.LmtpSaslAuthEnable)
	s.saslSoft = p.yes(&params.SmtpSaslAuthSoftBounce, &params.LmtpSaslAuthSoftBounce)
	s.saslSender = p.yes(&params.SmtpSenderDependentAuthentication, &params.LmtpSenderDependentAuthentication)
	s.saslDelim = p.str(&params.SmtpSaslPasswordResultDelimiter, &params.LmtpSaslPasswordResultDelimiter)
	for i, v := range [...]string{
		p.str(&params.SmtpSaslSecurityOptions, &params.LmtpSaslSecurityOptions),
		p.str(&params.SmtpSaslTlsSecurityOptions, &params.LmtpSaslTlsSecurityOptions),
		p.str(&params.SmtpSaslTlsVerifiedSecurityOptions, &params.LmtpSaslTlsVerifiedSecurityOptions),
	} {
		if s.saslOptions[i], err = sasl.ParseSecurity(config.SplitList(v)); err != nil {
			return fmt.Errorf("%s_sasl_security_options: %w", s.name, err)
		}
	}
	return nil
}

// readNetwork reads protocols, addresses and how names are looked up.
func (s *settings) readNetwork(p picker) error {
	for _, w := range params.InetProtocols.List(p.cfg) {
		switch strings.ToLower(w) {
		case "all":
			s.v4, s.v6 = true, true
		case "ipv4":
			s.v4 = true
		case "ipv6":
			s.v6 = true
		default:
			return fmt.Errorf("%s: unknown protocol %q", params.InetProtocols.Name, w)
		}
	}
	s.preference = strings.ToLower(p.str(&params.SmtpAddressPreference, &params.LmtpAddressPreference))
	switch s.preference {
	case "any", "ipv4", "ipv6":
	default:
		return fmt.Errorf("%s_address_preference: bad value %q", s.name, s.preference)
	}
	s.balance = p.yes(&params.SmtpBalanceInetProtocols, &params.LmtpBalanceInetProtocols)
	s.randomize = p.yes(&params.SmtpRandomizeAddresses, &params.LmtpRandomizeAddresses)
	s.bindEnforce = p.yes(&params.SmtpBindAddressEnforce, &params.LmtpBindAddressEnforce)
	for _, b := range []struct {
		to    *netip.Addr
		value string
		what  string
	}{
		{&s.bind4, p.str(&params.SmtpBindAddress, &params.LmtpBindAddress), "bind_address"},
		{&s.bind6, p.str(&params.SmtpBindAddress6, &params.LmtpBindAddress6), "bind_address6"},
	} {
		if b.value == "" {
			continue
		}
		a, ok := dnsclient.ParseAddr(b.value)
		if !ok {
			return fmt.Errorf("%s_%s: bad address %q", s.name, b.what, b.value)
		}
		*b.to = a
	}
	switch level := p.str(&params.SmtpDnsSupportLevel, &params.LmtpDnsSupportLevel); level {
	case "":
		s.dnsDisabled = params.DisableDnsLookups.In(p.cfg)
	case "disabled":
		s.dnsDisabled = true
	case "enabled", "dnssec":
	default:
		return fmt.Errorf("%s_dns_support_level: bad value %q", s.name, level)
	}
	how := config.SplitList(p.str(&params.SmtpHostLookup, &params.LmtpHostLookup))
	for i, w := range how {
		switch {
		case w == "dns":
		case w == "native" && i == 0:
			s.nativeFirst = true
		case w == "native":
			s.nativeLast = true
		default:
			return fmt.Errorf("%s_host_lookup: bad value %q", s.name, w)
		}
	}
	s.nativeFirst = s.nativeFirst || s.dnsDisabled
	return nil
}

// Agent is the delivery agent of one process.
type Agent struct {
	s        *settings
	log      *maillog.Logger
	dns      *dnsclient.Client
	tls      *tlsconf.Client
	generic  *lookup.Maps
	checks   checks
	delims   string
	ports    map[string]uint16
	password *lookup.Maps
	filter   *lookup.List // mechanisms that may be used
	keep     *lookup.List // destinations whose connections are kept in any case
	cache    connCache
	self     map[netip.Addr]bool // this machine's and its proxies' addresses
	dial     func(network string, local, remote netip.AddrPort, timeout time.Duration) (net.Conn, error)
}

// New reads the configuration and opens tables and certificates: it belongs in
// Before. Run Drain when the process is to leave.
func New(env *service.Env, lmtp bool) (*Agent, error) {
	cfg := env.Config
	s, err := readSettings(cfg, lmtp)
	if err != nil {
		return nil, err
	}
	a := &Agent{s: s, log: env.Log, delims: params.RecipientDelimiter.In(cfg), dial: dialTCP}
	if a.dns, err = dnsclient.FromConfig(cfg); err != nil {
		return nil, err
	}
	p := picker{cfg, lmtp}
	le := &lookup.Env{Config: cfg, Log: env.Log, Stale: func(t string) { env.RequestDrain("table " + t + " has changed") }}
	open := func(name string, sp, lp *config.String) (*lookup.Maps, error) {
		return lookup.OpenMaps(s.name+"_"+name, p.str(sp, lp), le)
	}
	policies, err := open("tls_policy_maps", &params.SmtpTlsPolicyMaps, &params.LmtpTlsPolicyMaps)
	if err != nil {
		return nil, err
	}
	var get tlsconf.Getter
	if !policies.Empty() {
		get = policies
	}
	if a.tls, err = tlsconf.NewClient(cfg, lmtp, get, env.Log); err != nil {
		return nil, err
	}
	if s.tlsWrapper && !a.tls.Level.Mandatory() && get == nil {
		return nil, fmt.Errorf("%s_tls_wrappermode requires \"%s_tls_security_level = encrypt\" (or stronger)", s.name, s.name)
	}
	if a.generic, err = open("generic_maps", &params.SmtpGenericMaps, &params.LmtpGenericMaps); err != nil {
		return nil, err
	}
	a.checks = checks{name: s.name, options: mimestate.Options{Nesting: params.MimeNestingLimit.In(cfg),
		BoundaryLength: params.MimeBoundaryLengthLimit.In(cfg), HeaderSize: params.HeaderSizeLimit.In(cfg)}}
	for _, m := range []struct {
		maps   **lookup.Maps
		name   string
		sp, lp *config.String
	}{
		{&a.checks.header, "header_checks", &params.SmtpHeaderChecks, &params.LmtpHeaderChecks},
		{&a.checks.mime, "mime_header_checks", &params.SmtpMimeHeaderChecks, &params.LmtpMimeHeaderChecks},
		{&a.checks.nested, "nested_header_checks", &params.SmtpNestedHeaderChecks, &params.LmtpNestedHeaderChecks},
		{&a.checks.body, "body_checks", &params.SmtpBodyChecks, &params.LmtpBodyChecks},
	} {
		if *m.maps, err = open(m.name, m.sp, m.lp); err != nil {
			return nil, err
		}
	}
	if s.saslEnable {
		if a.password, err = open("sasl_password_maps", &params.SmtpSaslPasswordMaps, &params.LmtpSaslPasswordMaps); err != nil {
			return nil, err
		}
		if a.password.Empty() {
			return nil, fmt.Errorf("specify a password table via the `%s_sasl_password_maps' configuration parameter", s.name)
		}
		if f := p.str(&params.SmtpSaslMechanismFilter, &params.LmtpSaslMechanismFilter); f != "" {
			if a.filter, err = lookup.OpenList(s.name+"_sasl_mechanism_filter", f, le, false); err != nil {
				return nil, err
			}
		}
	}
	if l := p.str(&params.SmtpConnectionCacheDestinations, &params.LmtpConnectionCacheDestinations); l != "" {
		if a.keep, err = lookup.OpenList(s.name+"_connection_cache_destinations", l, le, false); err != nil {
			return nil, err
		}
	}
	a.self = ownAddresses(cfg, a.dns)
	a.ports = knownPorts(params.KnownTcpPorts.In(cfg))
	if _, err := a.port(s.port); err != nil {
		return nil, fmt.Errorf("%s_tcp_port: %w", s.name, err)
	}
	return a, nil
}

// ownAddresses are the addresses that mail for a domain must not be sent to,
// since it would come back: those of inet_interfaces and proxy_interfaces, and
// those that mean this machine anywhere.
func ownAddresses(cfg *config.Config, dns *dnsclient.Client) map[netip.Addr]bool {
	m := map[netip.Addr]bool{
		netip.MustParseAddr("127.0.0.1"): true, netip.MustParseAddr("0.0.0.0"): true,
		netip.IPv6Loopback(): true, netip.IPv6Unspecified(): true,
	}
	for _, w := range append(params.InetInterfaces.List(cfg), params.ProxyInterfaces.List(cfg)...) {
		if w == "all" {
			list, err := net.InterfaceAddrs()
			if err != nil {
				continue // not allowed to ask: the configured ones remain
			}
			for _, x := range list {
				if n, ok := x.(*net.IPNet); ok {
					if ip, ok := netip.AddrFromSlice(n.IP); ok {
						m[ip.Unmap()] = true
					}
				}
			}
		} else if ip, ok := dnsclient.ParseAddr(w); ok {
			m[ip] = true
		} else {
			for _, ip := range dns.HostsFile(w) {
				m[ip] = true
			}
		}
	}
	return m
}
