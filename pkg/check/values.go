package check

import (
	"slices"
	"strings"

	"posthaste/pkg/config"
)

// choice is a parameter whose value is one of some words, or a list of them.
type choice struct {
	list  bool
	words string // separated by blanks; "-" stands for the empty value
}

// choices are the parameters that have a fixed vocabulary. Words are compared
// without regard to case.
var choices = map[string]choice{
	"inet_protocols":                        {true, "all ipv4 ipv6"},
	"mynetworks_style":                      {false, "class host subnet"},
	"smtpd_tls_security_level":              {false, "- none may encrypt"},
	"smtp_tls_security_level":               {false, clientLevels},
	"lmtp_tls_security_level":               {false, clientLevels},
	"smtpd_tls_ciphers":                     {false, cipherGrades},
	"smtpd_tls_mandatory_ciphers":           {false, cipherGrades},
	"smtp_tls_ciphers":                      {false, cipherGrades},
	"smtp_tls_mandatory_ciphers":            {false, cipherGrades},
	"lmtp_tls_ciphers":                      {false, cipherGrades},
	"lmtp_tls_mandatory_ciphers":            {false, cipherGrades},
	"notify_classes":                        {true, "bounce 2bounce data delay policy protocol resource software"},
	"mailbox_delivery_lock":                 {true, lockMethods},
	"virtual_mailbox_lock":                  {true, lockMethods},
	"syslog_facility":                       {false, "auth authpriv cron daemon ftp kern lpr mail news syslog user uucp local0 local1 local2 local3 local4 local5 local6 local7"},
	"header_from_format":                    {false, "standard obsolete"},
	"sendmail_fix_line_endings":             {false, "always strict never"},
	"canonical_classes":                     {true, "envelope_sender envelope_recipient header_sender header_recipient"},
	"sender_canonical_classes":              {true, "envelope_sender header_sender"},
	"recipient_canonical_classes":           {true, "envelope_recipient header_recipient"},
	"masquerade_classes":                    {true, "envelope_sender envelope_recipient header_sender header_recipient"},
	"propagate_unmatched_extensions":        {true, "canonical virtual alias forward include generic"},
	"allow_mail_to_commands":                {true, "alias forward include"},
	"allow_mail_to_files":                   {true, "alias forward include"},
	"prepend_delivered_header":              {true, "command file forward"},
	"receive_override_options":              {true, "no_unknown_recipient_checks no_address_mappings no_header_body_checks no_milters"},
	"internal_mail_filter_classes":          {true, "bounce notify"},
	"smtp_address_preference":               {false, "any ipv4 ipv6"},
	"lmtp_address_preference":               {false, "any ipv4 ipv6"},
	"smtp_host_lookup":                      {true, "dns native"},
	"lmtp_host_lookup":                      {true, "dns native"},
	"smtp_dns_support_level":                {false, "- disabled enabled dnssec"},
	"lmtp_dns_support_level":                {false, "- disabled enabled dnssec"},
	"smtpd_forbid_bare_newline":             {false, "yes no note normalize reject"},
	"smtpd_sasl_security_options":           {true, saslOptions},
	"smtpd_sasl_tls_security_options":       {true, saslOptions},
	"smtp_sasl_security_options":            {true, saslOptions},
	"smtp_sasl_tls_security_options":        {true, saslOptions},
	"lmtp_sasl_security_options":            {true, saslOptions},
	"smtpd_discard_ehlo_keywords":           {true, ehloKeywords},
	"smtp_discard_ehlo_keywords":            {true, ehloKeywords},
	"lmtp_discard_lhlo_keywords":            {true, ehloKeywords},
	"reject_tempfail_action":                {false, tempfail},
	"unknown_address_tempfail_action":       {false, tempfail},
	"unknown_helo_hostname_tempfail_action": {false, tempfail},
	"unverified_recipient_tempfail_action":  {false, tempfail},
	"unverified_sender_tempfail_action":     {false, tempfail},
	"smtpd_upstream_proxy_protocol":         {false, "- haproxy"},
	"milter_default_action":                 {false, "accept reject tempfail quarantine shutdown"},
	"info_log_address_format":               {false, "external internal"},
	"queue_journal":                         {false, "auto yes no"},
	"queue_syncfs":                          {false, "auto yes no"},
}

const (
	clientLevels = "- none may encrypt fingerprint verify secure dane dane-only half-dane"
	cipherGrades = "export low medium high null"
	lockMethods  = "fcntl flock dotlock"
	saslOptions  = "- noplaintext noactive nodictionary noanonymous forward_secrecy mutual_auth"
	ehloKeywords = "8bitmime auth chunking dsn enhancedstatuscodes etrn pipelining requiretls silent-discard size smtputf8 starttls verp vrfy xclient xforward"
	tempfail     = "defer defer_if_permit defer_if_reject permit reject"
)

// vocabulary checks the words of a value.
func (k *checker) vocabulary(name, value string, pos config.Position) {
	c, ok := choices[name]
	if !ok {
		return
	}
	words := []string{value}
	if c.list {
		words = config.SplitList(value)
	}
	allowed := strings.Fields(c.words)
	for _, w := range words {
		if w == "" {
			w = "-"
		}
		if slices.Contains(allowed, strings.ToLower(w)) {
			continue
		}
		k.suggest(closest(strings.ToLower(w), allowed), pos, Error, "%s: unknown value %q: one of %s expected", name, w, strings.Join(slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "-" }), ", "))
	}
}

// restrictions are the words of smtpd_*_restrictions; true means that an
// argument follows.
var restrictions = map[string]bool{
	"permit": false, "reject": false, "defer": false, "defer_if_permit": false, "defer_if_reject": false, "warn_if_reject": false,
	"sleep": true, "reject_unauth_pipelining": false, "reject_plaintext_session": false, "check_policy_service": true,
	"reject_unknown_client_hostname": false, "reject_unknown_client": false, "reject_unknown_reverse_client_hostname": false,
	"reject_unknown_forward_client_hostname": false, "permit_inet_interfaces": false, "permit_mynetworks": false,
	"check_client_access": true, "check_reverse_client_hostname_access": true, "check_ccert_access": true, "check_sasl_access": true,
	"permit_tls_clientcerts": false, "permit_tls_all_clientcerts": false, "permit_sasl_authenticated": false,
	"reject_rbl_client": true, "reject_rbl": true, "reject_maps_rbl": false, "permit_dnswl_client": true, "reject_rhsbl_client": true,
	"reject_rhsbl_reverse_client": true, "permit_rhswl_client": true,
	"check_client_mx_access": true, "check_client_ns_access": true, "check_client_a_access": true,
	"check_reverse_client_hostname_mx_access": true, "check_reverse_client_hostname_ns_access": true, "check_reverse_client_hostname_a_access": true,
	"check_helo_mx_access": true, "check_helo_ns_access": true, "check_helo_a_access": true,
	"check_sender_mx_access": true, "check_sender_ns_access": true, "check_sender_a_access": true,
	"check_recipient_mx_access": true, "check_recipient_ns_access": true, "check_recipient_a_access": true,
	"check_helo_access": true, "reject_invalid_helo_hostname": false, "reject_invalid_hostname": false,
	"reject_non_fqdn_helo_hostname": false, "reject_non_fqdn_hostname": false, "reject_unknown_helo_hostname": false,
	"reject_unknown_hostname": false, "permit_naked_ip_address": false, "reject_rhsbl_helo": true,
	"check_sender_access": true, "reject_non_fqdn_sender": false, "reject_unknown_sender_domain": false, "reject_unknown_address": false,
	"reject_unverified_sender": false, "reject_unlisted_sender": false, "reject_sender_login_mismatch": false,
	"reject_authenticated_sender_login_mismatch": false, "reject_known_sender_login_mismatch": false,
	"reject_unauthenticated_sender_login_mismatch": false, "reject_rhsbl_sender": true, "reject_multi_recipient_bounce": false,
	"check_recipient_access": true, "permit_auth_destination": false, "reject_unauth_destination": false, "defer_unauth_destination": false,
	"permit_mx_backup": false, "check_relay_domains": false, "reject_non_fqdn_recipient": false, "reject_unknown_recipient_domain": false,
	"reject_unlisted_recipient": false, "check_recipient_maps": false, "reject_unverified_recipient": false, "reject_rhsbl_recipient": true,
	"check_etrn_access": true, "check_address_map": true,
}

// restrictionLists checks the words of a restriction list, or of a class.
func (k *checker) restrictionLists(c *config.Config, name, value string, pos config.Position) {
	classes := config.SplitList(k.get(c, "smtpd_restriction_classes"))
	if !(strings.HasPrefix(name, "smtpd_") && strings.HasSuffix(name, "_restrictions")) && !slices.Contains(classes, name) {
		return
	}
	words := config.SplitList(value)
	for i := 0; i < len(words); i++ {
		w := strings.ToLower(words[i])
		argument, ok := restrictions[w]
		switch {
		case !ok && (slices.Contains(classes, words[i]) || strings.Contains(w, ":")):
		case !ok:
			known := slices.Clone(classes)
			for r := range restrictions {
				known = append(known, r)
			}
			slices.Sort(known)
			k.suggest(closest(w, known), pos, Error, "%s: unknown smtpd restriction: %q", name, words[i])
		case argument && i+1 == len(words):
			k.add(pos, Error, "%s: %s needs an argument", name, w)
		case argument:
			i++
			if _, isWord := restrictions[strings.ToLower(words[i])]; isWord {
				k.add(pos, Error, "%s: %s needs an argument, but %s follows", name, w, words[i])
				i--
			}
		case w == "warn_if_reject" && i+1 == len(words):
			k.add(pos, Warning, "%s: nothing follows warn_if_reject", name)
		}
		if (w == "permit" || w == "reject" || w == "defer") && i+1 < len(words) && (i == 0 || !strings.EqualFold(words[i-1], "warn_if_reject")) {
			k.add(pos, Warning, "%s: restriction %s after %s is never reached", name, words[i+1], w)
			return
		}
	}
}
