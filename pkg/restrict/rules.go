package restrict

import "sync"

type argKind uint8

const (
	noArg argKind = iota
	tableArg
	listArgKind // DNS list
	serverArg
	timeArg
)

type ruleDef struct {
	arg argKind
	fn  func(*run, *node) verdict
}

// aliases are old names.
var aliases = map[string]string{
	"reject_unknown_client":    "reject_unknown_client_hostname",
	"reject_invalid_hostname":  "reject_invalid_helo_hostname",
	"reject_non_fqdn_hostname": "reject_non_fqdn_helo_hostname",
	"reject_unknown_hostname":  "reject_unknown_helo_hostname",
	"reject_unknown_address":   "reject_unknown_sender_domain",
	"reject_rbl":               "reject_rbl_client",
	"check_recipient_maps":     "reject_unlisted_recipient",
}

var (
	ruleOnce sync.Once
	ruleMap  map[string]ruleDef
)

// ruleTable is made when first needed, since it refers to functions that
// compile lists.
func ruleTable() map[string]ruleDef {
	ruleOnce.Do(func() {
		ruleMap = map[string]ruleDef{
			"permit": {noArg, func(*run, *node) verdict { return permit }},
			"reject": {noArg, func(r *run, _ *node) verdict { return r.refuseItem(r.p.code.reject, "5.7.1", "Access denied") }},
			"defer":  {noArg, func(r *run, _ *node) verdict { return r.refuseItem(r.p.code.deferred, "4.3.2", "Try again later") }},
			"defer_if_permit": {noArg, func(r *run, _ *node) verdict {
				return r.deferIfPermit(450, "4.7.0", r.rejected("defer_if_permit requested"))
			}},
			"defer_if_reject": {noArg, func(r *run, _ *node) verdict {
				return r.deferIfReject(450, "4.7.0", r.rejected("defer_if_reject requested"))
			}},
			"warn_if_reject": {noArg, func(*run, *node) verdict { return dunno }},
			"sleep":          {timeArg, sleep},

			"reject_unauth_pipelining":      {noArg, rejectPipelining},
			"reject_plaintext_session":      {noArg, rejectPlaintext},
			"reject_multi_recipient_bounce": {noArg, rejectMultiBounce},
			"check_policy_service":          {serverArg, checkPolicy},

			"permit_mynetworks":          {noArg, permitMynetworks},
			"permit_inet_interfaces":     {noArg, permitInterfaces},
			"permit_sasl_authenticated":  {noArg, permitSASL},
			"permit_tls_clientcerts":     {noArg, permitCert},
			"permit_tls_all_clientcerts": {noArg, func(r *run, _ *node) verdict { return okIf(r.Facts.CertTrusted) }},
			"permit_auth_destination":    {noArg, permitAuthDestination},
			"permit_mx_backup":           {noArg, permitMXBackup},
			"reject_unauth_destination":  {noArg, func(r *run, n *node) verdict { return unauthDestination(r, n, r.p.code.relay, "5.7.1") }},
			"defer_unauth_destination":   {noArg, func(r *run, n *node) verdict { return unauthDestination(r, n, r.p.code.relay-100, "4.7.1") }},

			"reject_unknown_client_hostname":         {noArg, rejectUnknownClient},
			"reject_unknown_reverse_client_hostname": {noArg, rejectUnknownReverse},
			"reject_invalid_helo_hostname":           {noArg, rejectInvalidHelo},
			"reject_non_fqdn_helo_hostname":          {noArg, rejectNonFQDNHelo},
			"reject_unknown_helo_hostname":           {noArg, rejectUnknownHelo},
			"reject_non_fqdn_sender":                 {noArg, func(r *run, _ *node) verdict { return r.nonFQDN(true) }},
			"reject_non_fqdn_recipient":              {noArg, func(r *run, _ *node) verdict { return r.nonFQDN(false) }},
			"reject_unknown_sender_domain":           {noArg, func(r *run, _ *node) verdict { return r.unknownDomain(true) }},
			"reject_unknown_recipient_domain":        {noArg, func(r *run, _ *node) verdict { return r.unknownDomain(false) }},
			"reject_unverified_sender":               {noArg, func(r *run, _ *node) verdict { return r.unverified(true) }},
			"reject_unverified_recipient":            {noArg, func(r *run, _ *node) verdict { return r.unverified(false) }},
			"reject_unlisted_sender":                 {noArg, rejectUnlistedSender},
			"reject_unlisted_recipient":              {noArg, rejectUnlistedRcpt},

			"reject_sender_login_mismatch":                 {noArg, rejectLoginMismatch},
			"reject_authenticated_sender_login_mismatch":   {noArg, rejectAuthMismatch},
			"reject_known_sender_login_mismatch":           {noArg, rejectKnownMismatch},
			"reject_unauthenticated_sender_login_mismatch": {noArg, rejectUnauthMismatch},

			"reject_rbl_client":           {listArgKind, rejectRBLClient},
			"permit_dnswl_client":         {listArgKind, permitDNSWL},
			"permit_rhswl_client":         {listArgKind, permitRHSWL},
			"reject_rhsbl_helo":           {listArgKind, func(r *run, n *node) verdict { return r.rhsbl(n, r.Facts.Helo, "Helo command") }},
			"reject_rhsbl_client":         {listArgKind, func(r *run, n *node) verdict { return r.rhsbl(n, r.Facts.ClientName, "Client host") }},
			"reject_rhsbl_reverse_client": {listArgKind, func(r *run, n *node) verdict { return r.rhsbl(n, r.Facts.ReverseName, "Unverified Client host") }},
			"reject_rhsbl_sender":         {listArgKind, func(r *run, n *node) verdict { return r.rhsblAddr(n, true) }},
			"reject_rhsbl_recipient":      {listArgKind, func(r *run, n *node) verdict { return r.rhsblAddr(n, false) }},

			"check_client_access":                  {tableArg, checkClient},
			"check_reverse_client_hostname_access": {tableArg, checkReverse},
			"check_helo_access":                    {tableArg, checkHelo},
			"check_sender_access":                  {tableArg, checkSender},
			"check_recipient_access":               {tableArg, checkRecipient},
			"check_etrn_access":                    {tableArg, checkEtrn},
			"check_sasl_access":                    {tableArg, checkSASL},
			"check_ccert_access":                   {tableArg, checkCcert},
		}
		for _, w := range []struct {
			name string
			get  func(r *run) (domain, item, class string)
		}{
			{"client", func(r *run) (string, string, string) {
				return known(r.Facts.ClientName), r.Facts.client(), "Client host"
			}},
			{"reverse_client_hostname", func(r *run) (string, string, string) {
				return known(r.Facts.ReverseName), r.Facts.ReverseName, "Unverified Client host"
			}},
			{"helo", func(r *run) (string, string, string) { return r.Facts.Helo, r.Facts.Helo, "Helo command" }},
			{"sender", func(r *run) (string, string, string) {
				return mailDomain(r.Facts.Sender), r.p.quote(r.Facts.Sender), "Sender address"
			}},
			{"recipient", func(r *run) (string, string, string) {
				return mailDomain(r.Facts.Rcpt), r.p.quote(r.Facts.Rcpt), "Recipient address"
			}},
		} {
			for _, what := range []string{"mx", "ns", "a"} {
				ruleMap["check_"+w.name+"_"+what+"_access"] = ruleDef{tableArg, func(r *run, n *node) verdict {
					d, item, class := w.get(r)
					return r.checkServers(n, what, d, item, class)
				}}
			}
		}
		for _, name := range []string{"check_relay_domains", "permit_naked_ip_address"} {
			ruleMap[name] = ruleDef{noArg, func(r *run, n *node) verdict {
				return r.configError("support for restriction %q has been removed; use reject_unauth_destination or permit_mynetworks", n.name)
			}}
		}
	})
	return ruleMap
}

func okIf(b bool) verdict {
	if b {
		return permit
	}
	return dunno
}

func (r *run) rejected(text string) string {
	return "<" + r.item + ">: " + r.class + " rejected: " + text
}

func known(name string) string {
	if name == "unknown" {
		return ""
	}
	return name
}
