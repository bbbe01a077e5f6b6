package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/dnsclient"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/restrict"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/service"
	"posthaste/pkg/tlsconf"
)

// server is what the sessions of one process share.
type server struct {
	env    *service.Env
	set    *settings
	policy *restrict.Policy
	// validDomain says whether an address can be at a domain.
	validDomain func(string) bool
	dns         *dnsclient.Client
	cleanup     *cleanup.Client
	sasl        *dovecot.Client
	tls         *tls.Config
	tlsLvl      tlsconf.Level
	anvil       *anvil.Client

	mynetworks, eventExcept, bareExcept, xclientHosts, xforwardHosts, saslExcept, fastFlush *lookup.List
	forbidden, noop, mechFilter                                                             *lookup.List
	commandFilter, ehloMaps, footerMaps                                                     *lookup.Maps
	localClients                                                                            []localClient

	draining atomic.Bool
	grace    time.Duration // drainGrace
	mu       sync.Mutex
	sessions map[*session]struct{}

	freeMu  sync.Mutex
	freeAt  time.Time
	freeNow int64
}

// settings are the parameters, read once.
type settings struct {
	hostname, banner                 string
	lineLimit                        int
	timeout, tlsTimeout              time.Duration
	perRequest                       bool
	minRate                          int
	softErrors, hardErrors, junk     int
	errorSleep                       time.Duration
	heloRequired, disableVrfy        bool
	delayReject, softBounce          bool
	strictEnvelope, utf8, strictUTF8 bool
	sizeLimit, minFree               int64
	rcptLimit, rcptOvershoot         int
	bareLF                           esmtp.BareLFPolicy
	bareCode                         int
	forbidPipe                       bool
	peerLookup                       bool
	ehloDiscard                      []string
	footer                           string
	wrapper                          bool
	tlsAskCert, tlsReqCert, tlsOnly  bool
	tlsLog                           int
	fingerprint                      string
	saslEnable, brokenSASL           bool
	saslService                      string
	notify                           trouble // what the postmaster wants to know of
	saslOpts, saslTLSOpts            []string
	saslLimit                        int
	tlsHeader                        bool
	flags                            cleanup.Flags
	contentFilter                    string // content_filter; an access table's FILTER overrides it

	connCount, connRate, msgRate, rcptRate, authRate, tlsRate int
	prefix4, prefix6                                          int

	interfaces []netip.Prefix
	proxyAddrs []netip.Addr
}

func readSettings(env *service.Env) (*settings, error) {
	c := env.Config
	s := &settings{
		hostname: params.Myhostname.In(c), banner: params.SmtpdBanner.In(c),
		lineLimit: params.LineLengthLimit.In(c),
		timeout:   params.SmtpdTimeout.In(c), tlsTimeout: params.SmtpdStarttlsTimeout.In(c),
		perRequest: params.SmtpdPerRequestDeadline.In(c), minRate: params.SmtpdMinDataRate.In(c),
		softErrors: params.SmtpdSoftErrorLimit.In(c), hardErrors: params.SmtpdHardErrorLimit.In(c), junk: params.SmtpdJunkCommandLimit.In(c),
		errorSleep:   params.SmtpdErrorSleepTime.In(c),
		heloRequired: params.SmtpdHeloRequired.In(c), disableVrfy: params.DisableVrfyCommand.In(c),
		delayReject: params.SmtpdDelayReject.In(c), softBounce: params.SoftBounce.In(c),
		strictEnvelope: params.StrictRfc821Envelopes.In(c), utf8: params.Smtputf8Enable.In(c), strictUTF8: params.StrictSmtputf8.In(c),
		sizeLimit: params.MessageSizeLimit.In64(c), minFree: params.QueueMinfree.In64(c),
		rcptLimit: params.SmtpdRecipientLimit.In(c), rcptOvershoot: params.SmtpdRecipientOvershootLimit.In(c),
		bareCode: params.SmtpdForbidBareNewlineRejectCode.In(c), forbidPipe: params.SmtpdForbidUnauthPipelining.In(c),
		peerLookup: params.SmtpdPeernameLookup.In(c), footer: params.SmtpdRejectFooter.In(c),
		wrapper: params.SmtpdTlsWrappermode.In(c), tlsOnly: params.SmtpdTlsAuthOnly.In(c),
		tlsAskCert: params.SmtpdTlsAskCcert.In(c), tlsReqCert: params.SmtpdTlsReqCcert.In(c),
		fingerprint: params.SmtpdTlsFingerprintDigest.In(c),
		saslEnable:  params.SmtpdSaslAuthEnable.In(c), brokenSASL: params.BrokenSaslAuthClients.In(c),
		saslService: params.SmtpdSaslService.In(c), saslLimit: params.SmtpdSaslResponseLimit.In(c),
		saslOpts: params.SmtpdSaslSecurityOptions.List(c), saslTLSOpts: params.SmtpdSaslTlsSecurityOptions.List(c),
		tlsHeader: params.SmtpdTlsReceivedHeader.In(c),
		connCount: params.SmtpdClientConnectionCountLimit.In(c), connRate: params.SmtpdClientConnectionRateLimit.In(c),
		msgRate: params.SmtpdClientMessageRateLimit.In(c), rcptRate: params.SmtpdClientRecipientRateLimit.In(c),
		authRate: params.SmtpdClientAuthRateLimit.In(c), tlsRate: params.SmtpdClientNewTlsSessionRateLimit.In(c),
		prefix4: params.SmtpdClientIpv4PrefixLength.In(c), prefix6: params.SmtpdClientIpv6PrefixLength.In(c),
		interfaces:    c.Interfaces(),
		contentFilter: params.ContentFilter.In(c),
		notify:        troubleClasses(c),
		flags:         cleanup.External,
	}
	var ok bool
	if s.bareLF, ok = esmtp.ParseBareLFPolicy(params.SmtpdForbidBareNewline.In(c)); !ok {
		return nil, fmt.Errorf("smtpd_forbid_bare_newline: unknown value %q", params.SmtpdForbidBareNewline.In(c))
	}
	for _, p := range []*config.String{&params.SmtpdProxyFilter, &params.SmtpdUpstreamProxyProtocol} {
		if p.In(c) != "" {
			// Going on without it would let mail in unfiltered, or under false names.
			return nil, fmt.Errorf("%s: not supported", p.Name)
		}
	}
	if params.SmtpdMilters.In(c) != "" || params.SmtpdMilterMaps.In(c) != "" {
		env.Log.Warningf("smtpd_milters: milters are not supported: mail is not filtered")
	}
	for _, w := range params.SmtpdDiscardEhloKeywords.List(c) {
		s.ehloDiscard = append(s.ehloDiscard, strings.ToUpper(w))
	}
	fmt.Sscan(params.SmtpdTlsLoglevel.In(c), &s.tlsLog)
	for _, a := range params.ProxyInterfaces.List(c) {
		if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil {
			s.proxyAddrs = append(s.proxyAddrs, ip)
		}
	}
	for _, o := range params.ReceiveOverrideOptions.List(c) {
		switch o {
		case "no_address_mappings":
			s.flags &^= cleanup.Map | cleanup.BCC
		case "no_header_body_checks":
			s.flags &^= cleanup.Filter
		case "no_unknown_recipient_checks", "no_milters":
		default:
			return nil, fmt.Errorf("receive_override_options: unknown option %q", o)
		}
	}
	return s, nil
}

// openTLS prepares STARTTLS and wrapper mode. With level may, a missing or bad
// certificate only turns TLS off, as in Postfix; a stricter configuration
// fails.
func (s *server) openTLS(tables *lookup.Env) error {
	if s.env.Stdio {
		return nil
	}
	lvl, err := tlsconf.SmtpdLevel(s.env.Config)
	if err != nil {
		return err
	}
	s.tlsLvl = lvl
	if lvl == tlsconf.None && !s.set.wrapper {
		return nil
	}
	e := tlsconf.Env{Log: s.env.Log}
	sni, err := lookup.OpenMapsWith("tls_server_sni_maps", params.TlsServerSniMaps.In(s.env.Config), tables, lookup.Options{File: true})
	if err != nil {
		return err
	}
	if !sni.Empty() {
		e.SNI = sni
	}
	cfg, err := tlsconf.SmtpdServer(s.env.Config, e)
	if err != nil {
		if lvl.Mandatory() || s.set.wrapper {
			return fmt.Errorf("TLS: %w", err)
		}
		s.env.Log.Warningf("TLS is not available: %v", err)
		return nil
	}
	s.tls = cfg
	return nil
}

// discards returns the EHLO keywords not to announce to a client.
func (s *server) discards(addr string) []string {
	l := s.set.ehloDiscard
	if !s.ehloMaps.Empty() {
		v, ok, err := s.ehloMaps.Get(addr)
		if err != nil {
			s.env.Log.Warningf("%v", err)
		} else if ok {
			l = nil
			for _, w := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }) {
				l = append(l, strings.ToUpper(w))
			}
		}
	}
	return l
}

func discarded(l []string, keyword string) bool { return len(l) > 0 && slices.Contains(l, keyword) }
