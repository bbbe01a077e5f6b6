package restrict

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
)

// node is one restriction, ready to run.
type node struct {
	name  string // folded, old names replaced
	text  string // as written
	arg   string
	pos   config.Position
	fn    func(*run, *node) verdict
	maps  *lookup.Maps // access table
	class []node
	rbl   *listArg
	pol   *policyServer
	sleep time.Duration
}

type restrictionList struct {
	param string
	nodes []node
}

// Policy is the compiled form of all restriction lists. It is safe for
// concurrent use.
type Policy struct {
	DelayReject bool // smtpd_delay_reject

	deps                 Deps
	cfg                  *config.Config
	lists                [numKinds]restrictionList
	relayFirst           bool
	rejectUnlistedRcpt   bool
	rejectUnlistedSender bool
	sasl                 bool // smtpd_sasl_auth_enable
	subdomains           bool // smtpd_access_maps is in parent_domain_matches_subdomains
	nullKey              string
	allowUntrusted       bool
	showTable            bool

	mynetworks, mxNetworks *lookup.List
	relayCerts, loginMaps  *lookup.Maps
	rblReply               *lookup.Maps
	rblTemplate            string
	tfSender, tfHelo       string
	unvSender, unvRcpt     unverified
	verifySender           string
	code                   codes
	policyDefaults         policyDefaults

	classes map[string]string // smtpd_restriction_classes: name to value
	tables  map[string]*lookup.Maps
	servers map[string]*policyServer
	rel     []string // names of lists that hold a relay control

	dynMu sync.Mutex
	dyn   map[string][]node // restriction lists found in access tables
}

type codes struct {
	accessDefer, accessReject, reject, deferred, relay   int
	unkClient, invalidHost, nonFQDN, unkHost, unkAddress int
	rbl, plaintext, multiRcpt                            int
	unlLocal, unlAlias, unlMailbox, unlRelay             int
}

// unverified is how reject_unverified_sender or reject_unverified_recipient
// answers; a code of 2xx only logs.
type unverified struct {
	deferCode, rejectCode int
	reason, tempfail      string
}

// ErrNoRelayControl is New's error for a configuration that would make an open
// relay of the server.
var ErrNoRelayControl = errors.New("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")

// New compiles the restriction lists of cfg. Mistakes in a list are logged and
// answered with 451 4.3.5 when they are reached, as Postfix does; a missing
// relay control and tables that cannot be opened at all are errors.
func New(cfg *config.Config, d Deps) (*Policy, error) {
	p := &Policy{
		deps: d, cfg: cfg,
		DelayReject:          params.SmtpdDelayReject.In(cfg),
		relayFirst:           params.SmtpdRelayBeforeRecipientRestrictions.In(cfg),
		rejectUnlistedRcpt:   params.SmtpdRejectUnlistedRecipient.In(cfg),
		rejectUnlistedSender: params.SmtpdRejectUnlistedSender.In(cfg),
		sasl:                 params.SmtpdSaslAuthEnable.In(cfg),
		nullKey:              params.SmtpdNullAccessLookupKey.In(cfg),
		allowUntrusted:       params.AllowUntrustedRouting.In(cfg),
		showTable:            params.ShowUserUnknownTableName.In(cfg),
		rblTemplate:          params.DefaultRblReply.In(cfg),
		tfSender:             params.UnknownAddressTempfailAction.In(cfg),
		tfHelo:               params.UnknownHeloHostnameTempfailAction.In(cfg),
		unvSender: unverified{params.UnverifiedSenderDeferCode.In(cfg), params.UnverifiedSenderRejectCode.In(cfg),
			params.UnverifiedSenderRejectReason.In(cfg), params.UnverifiedSenderTempfailAction.In(cfg)},
		unvRcpt: unverified{params.UnverifiedRecipientDeferCode.In(cfg), params.UnverifiedRecipientRejectCode.In(cfg),
			params.UnverifiedRecipientRejectReason.In(cfg), params.UnverifiedRecipientTempfailAction.In(cfg)},
		verifySender: params.AddressVerifySender.In(cfg),
		classes:      map[string]string{},
		tables:       map[string]*lookup.Maps{},
		servers:      map[string]*policyServer{},
		dyn:          map[string][]node{},
	}
	if slices.Contains(params.ReceiveOverrideOptions.List(cfg), "no_unknown_recipient_checks") {
		p.rejectUnlistedRcpt = false
	}
	parents := params.ParentDomainMatchesSubdomains.List(cfg)
	p.subdomains = slices.Contains(parents, "smtpd_access_maps")
	p.code = codes{
		params.AccessMapDeferCode.In(cfg), params.AccessMapRejectCode.In(cfg), params.RejectCode.In(cfg), params.DeferCode.In(cfg), params.RelayDomainsRejectCode.In(cfg),
		params.UnknownClientRejectCode.In(cfg), params.InvalidHostnameRejectCode.In(cfg), params.NonFqdnRejectCode.In(cfg), params.UnknownHostnameRejectCode.In(cfg), params.UnknownAddressRejectCode.In(cfg),
		params.MapsRblRejectCode.In(cfg), params.PlaintextRejectCode.In(cfg), params.MultiRecipientBounceRejectCode.In(cfg),
		params.UnknownLocalRecipientRejectCode.In(cfg), params.UnknownVirtualAliasRejectCode.In(cfg), params.UnknownVirtualMailboxRejectCode.In(cfg), params.UnknownRelayRecipientRejectCode.In(cfg),
	}
	p.policyDefaults = policyDefaultsFrom(cfg)
	var err error
	open := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	open(func() (e error) {
		p.mynetworks, e = lookup.OpenList("mynetworks", params.Mynetworks.In(cfg), d.Tables, slices.Contains(parents, "mynetworks"))
		return
	})
	open(func() (e error) {
		p.mxNetworks, e = lookup.OpenList("permit_mx_backup_networks", params.PermitMxBackupNetworks.In(cfg), d.Tables, slices.Contains(parents, "permit_mx_backup_networks"))
		return
	})
	for _, m := range []struct {
		dst  **lookup.Maps
		name string
		val  string
	}{
		{&p.relayCerts, "relay_clientcerts", params.RelayClientcerts.In(cfg)},
		{&p.loginMaps, "smtpd_sender_login_maps", params.SmtpdSenderLoginMaps.In(cfg)},
		{&p.rblReply, "rbl_reply_maps", params.RblReplyMaps.In(cfg)},
	} {
		open(func() (e error) {
			*m.dst, e = lookup.OpenMaps(m.name, m.val, d.Tables)
			return
		})
	}
	if err != nil {
		return nil, err
	}
	for _, c := range params.SmtpdRestrictionClasses.List(cfg) {
		p.classes[c] = cfg.Get(c)
	}
	for k, l := range map[kind]*config.String{
		kindClient: &params.SmtpdClientRestrictions, kindHelo: &params.SmtpdHeloRestrictions, kindSender: &params.SmtpdSenderRestrictions,
		kindRelay: &params.SmtpdRelayRestrictions, kindRcpt: &params.SmtpdRecipientRestrictions, kindData: &params.SmtpdDataRestrictions,
		kindEOD: &params.SmtpdEndOfDataRestrictions, kindEtrn: &params.SmtpdEtrnRestrictions,
	} {
		p.lists[k] = restrictionList{l.Name, p.compile(l.Name, l.In(cfg), k, 0, true)}
	}
	if !hasRelayControl(p.lists[kindRelay].nodes) && !hasRelayControl(p.lists[kindRcpt].nodes) {
		return nil, ErrNoRelayControl
	}
	return p, nil
}

// hasRelayControl tells whether a list refuses strangers. What stands behind
// "permit" is never reached, and what warn_if_reject disarms refuses nobody.
func hasRelayControl(l []node) bool {
	for i, n := range l {
		if i > 0 && l[i-1].name == "warn_if_reject" {
			continue
		}
		switch n.name {
		case "permit":
			return false
		case "reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit", "check_relay_domains":
			return true
		}
		if hasRelayControl(n.class) {
			return true
		}
	}
	return false
}

func (p *Policy) warnf(format string, a ...any) {
	if p.deps.Warnf != nil {
		p.deps.Warnf(format, a...)
	}
}

func (p *Policy) quote(addr string) string { return address.Quote(addr) }

// broken makes a node that answers with a configuration error.
func (p *Policy) broken(n node, format string, a ...any) node {
	msg := fmt.Sprintf(format, a...)
	if n.pos.File != "" {
		msg = n.pos.String() + ": " + msg
	}
	p.warnf("%s", msg)
	n.fn = func(r *run, _ *node) verdict { return r.configError("%s", msg) }
	return n
}

// splitRestrictions splits a list and keeps braced text with its braces.
func splitRestrictions(s string) []string {
	var out []string
	for {
		s = strings.TrimLeft(s, ", \t\r\n")
		if s == "" {
			return out
		}
		depth, i := 0, 0
		for ; i < len(s); i++ {
			c := s[i]
			if c == '{' {
				depth++
			} else if c == '}' {
				depth--
			} else if depth <= 0 && strings.IndexByte(", \t\r\n", c) >= 0 {
				break
			}
		}
		out = append(out, s[:i])
		s = s[i:]
	}
}

// compile turns one list into nodes. tables says whether type:table is allowed
// (not in lists that come out of a table).
func (p *Policy) compile(param, value string, k kind, depth int, tables bool) []node {
	words := splitRestrictions(value)
	var out []node
	for i := 0; i < len(words); i++ {
		w := words[i]
		n := node{text: w, name: strings.ToLower(w), pos: p.cfg.Pos(param)}
		if alias := aliases[n.name]; alias != "" {
			n.name = alias
		}
		switch def, known := ruleTable()[n.name]; {
		case depth > 20:
			return append(out, p.broken(n, "%s: restriction classes nest too deeply", param))
		case known && def.arg != noArg:
			if i+1 >= len(words) {
				out = append(out, p.broken(n, "%s: restriction %s requires an argument", param, w))
				continue
			}
			i++
			n.arg = words[i]
			n.fn = def.fn
			out = append(out, p.prepare(n, def.arg, param, tables))
		case known && strings.HasSuffix(n.name, "_sender_login_mismatch") && !p.sasl:
			// Nobody can log in here: the owners of addresses would all be refused.
			p.warnf("%s: restriction %s is ignored: smtpd_sasl_auth_enable = no", param, w)
			n.fn = func(*run, *node) verdict { return dunno }
			out = append(out, n)
		case known:
			n.fn = def.fn
			out = append(out, n)
		case p.isClass(w):
			n.class = p.compile(w, p.classes[w], k, depth+1, tables)
			n.fn = func(r *run, n *node) verdict { return r.list(n.text, n.class) }
			out = append(out, n)
		case strings.Contains(w, ":") || strings.HasPrefix(w, "{"):
			name := defaultAccess[k]
			if name == "" {
				out = append(out, p.broken(n, "%s: %s: specify a check_*_access restriction before the table", param, w))
				continue
			}
			n.name, n.arg, n.fn = name, w, ruleTable()[name].fn
			out = append(out, p.prepare(n, tableArg, param, tables))
		default:
			out = append(out, p.broken(n, "unknown smtpd restriction: %q in %s", w, param))
		}
	}
	return out
}

func (p *Policy) isClass(w string) bool {
	_, ok := p.classes[w]
	return ok
}

var defaultAccess = [numKinds]string{kindClient: "check_client_access", kindHelo: "check_helo_access", kindSender: "check_sender_access",
	kindRelay: "check_recipient_access", kindRcpt: "check_recipient_access", kindEtrn: "check_etrn_access"}

// prepare reads the argument of a restriction.
func (p *Policy) prepare(n node, a argKind, param string, tables bool) node {
	switch a {
	case tableArg:
		if !tables {
			return p.broken(n, "%s: lookup table %s in an access table", param, n.arg)
		}
		m, ok := p.tables[n.arg]
		if !ok {
			var err error
			if m, err = lookup.OpenMaps(param, strings.TrimPrefix(n.arg, "{"), p.deps.Tables); err != nil {
				return p.broken(n, "%s: %v", param, err)
			}
			p.tables[n.arg] = m
		}
		n.maps = m
	case listArgKind:
		l, err := parseListArg(n.arg)
		if err != nil {
			return p.broken(n, "%s: %s: %v", param, n.text, err)
		}
		n.rbl = l
	case serverArg:
		s, ok := p.servers[n.arg]
		if !ok {
			var err error
			if s, err = newPolicyServer(n.arg, p.policyDefaults, p.deps.Dial); err != nil {
				return p.broken(n, "%s: %s: %v", param, n.text, err)
			}
			p.servers[n.arg] = s
		}
		n.pol = s
	case timeArg:
		d, err := config.ParseTime(n.arg, 's')
		if err != nil || d > time.Hour {
			return p.broken(n, "%s: sleep: bad time %q", param, n.arg)
		}
		n.sleep = d
	}
	return n
}

// dynamic compiles a restriction list that an access table returned.
func (p *Policy) dynamic(table, value string, k kind) []node {
	key := string(rune('0'+k)) + value
	p.dynMu.Lock()
	defer p.dynMu.Unlock()
	l, ok := p.dyn[key]
	if !ok {
		if len(p.dyn) >= 1000 {
			clear(p.dyn)
		}
		l = p.compile(table, value, k, 1, false)
		p.dyn[key] = l
	}
	return l
}

func (r *run) ownAddr(a netip.Addr) bool {
	return r.p.deps.OwnAddr != nil && r.p.deps.OwnAddr(a.Unmap())
}
