package check

import (
	"slices"
	"strings"

	"posthaste/pkg/config"
)

// absentTypes are Postfix's table types that this system does not have: what
// asks such a table is put off.
var absentTypes = []string{"ldap", "mysql", "pgsql", "sqlite", "memcache", "mongodb", "nis", "nisplus"}

// unsupported remarks on values that ask for what this system does not have.
// An error is one that keeps a program from starting, or mail from moving.
func (k *checker) unsupported(c *config.Config, name, value string, pos config.Position) {
	if value == "" {
		return
	}
	switch name {
	case "smtpd_milters", "smtpd_milter_maps", "non_smtpd_milters":
		k.add(pos, Warning, "%s: mail filters are not supported: mail passes unfiltered", name)
	case "smtpd_proxy_filter", "smtpd_upstream_proxy_protocol":
		k.add(pos, Error, "%s is not supported: smtpd does not start", name)
	case "smtpd_sasl_type":
		if value != "dovecot" && k.get(c, "smtpd_sasl_auth_enable") == "yes" {
			k.add(pos, Error, "%s: type %s is not supported, smtpd does not start: use dovecot, which the auth service is too", name, value)
		}
	case "auth_databases":
		for _, w := range config.SplitList(value) {
			if w != "passwd-file" && w != "shadow" {
				k.add(pos, Error, "%s: there is no database %s, auth does not start: use passwd-file, shadow or both", name, w)
			}
		}
	case "smtp_tls_security_level", "lmtp_tls_security_level":
		if l := strings.ToLower(value); l == "dane" || l == "dane-only" || l == "half-dane" {
			k.add(pos, Warning, "%s: DANE is not supported: mail is deferred that needs the level %s", name, l)
		}
	}
	if !strings.Contains(name, "restrictions") {
		return
	}
	verify := k.get(c, "address_verify_service_name")
	for _, w := range config.SplitList(value) {
		if strings.HasPrefix(strings.ToLower(w), "reject_unverified_") && k.master.Find(verify, "unix") == nil {
			k.add(pos, Warning, "%s: %s needs a service %s/unix in master.cf: without it mail is deferred", name, w, verify)
		}
	}
}

// absent says whether a type of table is one of those.
func absent(typ string) bool { return slices.Contains(absentTypes, typ) }
