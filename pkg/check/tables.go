package check

import (
	"os"
	"slices"
	"strings"

	"posthaste/pkg/config"
)

// indexSuffix is what the name of an index adds to that of its source; a test
// compares it with package lookup's.
const indexSuffix = ".cdb"

// Types of tables by how they can be checked. Those that ask a server are not
// asked.
var (
	indexTypes  = []string{"cdb", "hash", "btree", "lmdb", "dbm", "sdbm"}
	localTypes  = []string{"texthash", "regexp", "pcre", "cidr", "inline", "pipemap", "unionmap", "randmap", "static", "fail", "environ", "debug", "unix"}
	serverTypes = []string{"socketmap", "tcp"}
)

// caches are tables that a daemon makes itself.
var caches = []string{"address_verify_map", "postscreen_cache_map", "smtp_sasl_auth_cache_name", "lmtp_sasl_auth_cache_name",
	"smtp_tls_session_cache_database", "lmtp_tls_session_cache_database", "smtpd_tls_session_cache_database"}

// holdsTables says whether a parameter's words with a colon are tables.
func holdsTables(name string) bool {
	return strings.HasSuffix(name, "_maps") || strings.HasSuffix(name, "_checks") || name == "alias_database"
}

// tables checks the tables that a parameter's value names.
func (k *checker) tables(c *config.Config, name, value string, pos config.Position) {
	if slices.Contains(caches, name) || !strings.Contains(value, ":") {
		return
	}
	for _, w := range config.SplitList(value) {
		// check_client_access { type:name, ... } comes without its braces.
		for _, spec := range config.SplitList(w) {
			k.table(c, name, spec, pos)
		}
	}
}

func (k *checker) table(c *config.Config, param, spec string, pos config.Position) {
	spec = strings.TrimPrefix(spec, "!")
	for strings.HasPrefix(spec, "proxy:") {
		spec = spec[len("proxy:"):]
	}
	typ, name, ok := strings.Cut(spec, ":")
	if !ok || name == "" {
		return
	}
	switch {
	case slices.Contains(indexTypes, typ):
		if !strings.HasPrefix(name, "/") {
			if holdsTables(param) || strings.Contains(param, "restrictions") {
				k.add(pos, Warning, "%s: table %s has no absolute name", param, spec)
			}
			return
		}
		k.index(param, typ, name, pos)
	case slices.Contains(localTypes, typ):
		if typ == "unix" && name != "passwd.byname" && name != "group.byname" && !holdsTables(param) {
			return // a socket
		}
		if k.open.Table == nil || k.seen["table "+spec] {
			return
		}
		k.seen["table "+spec] = true
		if err := k.open.Table(spec); err != nil {
			k.add(pos, Error, "%s: %v", param, err)
		}
	case slices.Contains(serverTypes, typ):
		// They may be asked; opening them here would have side effects.
	case absent(typ):
		k.add(pos, Error, "%s: tables of type %s are not supported: mail that needs %s is deferred", param, typ, spec)
	case holdsTables(param):
		k.suggest(closest(typ, append(slices.Clone(indexTypes), localTypes...)), pos, Error, "%s: unsupported table type %q in %s", param, typ, spec)
	}
}

// lists are the parameters that name hosts and networks, or (true) plain names.
var lists = map[string]bool{
	"mynetworks":                           false,
	"relay_domains":                        false,
	"permit_mx_backup_networks":            false,
	"fast_flush_domains":                   false,
	"smtpd_authorized_xclient_hosts":       false,
	"smtpd_authorized_xforward_hosts":      false,
	"smtpd_client_event_limit_exceptions":  false,
	"smtpd_forbid_bare_newline_exclusions": false,
	"smtpd_sasl_exceptions_networks":       false,
	"smtp_connection_cache_destinations":   false,
	"lmtp_connection_cache_destinations":   false,
	"mydestination":                        true,
	"virtual_alias_domains":                true,
	"virtual_mailbox_domains":              true,
	"masquerade_exceptions":                true,
	"authorized_flush_users":               true,
	"authorized_mailq_users":               true,
	"authorized_submit_users":              true,
}

// list checks the elements of a list other than tables.
func (k *checker) list(name, value string, pos config.Position) {
	plain, ok := lists[name]
	if !ok || k.open.List == nil {
		return
	}
	elements := slices.DeleteFunc(config.SplitList(value), func(e string) bool {
		typ, _, ok := strings.Cut(strings.TrimLeft(e, "!"), ":")
		return ok && (typ == "proxy" || slices.Contains(indexTypes, typ) || slices.Contains(localTypes, typ) || slices.Contains(serverTypes, typ) || absent(typ))
	})
	bad, idle := k.open.List(name, strings.Join(elements, " "), plain)
	for _, text := range bad {
		k.add(pos, Error, "%s", text)
	}
	for _, text := range idle {
		k.add(pos, Warning, "%s", text)
	}
}

// index checks that an indexed table exists and is not older than its source.
func (k *checker) index(param, typ, name string, pos config.Position) {
	if key := "index " + name; k.seen[key] {
		return
	} else {
		k.seen[key] = true
	}
	tool := "postmap "
	if strings.HasPrefix(param, "alias_") {
		tool = "postalias "
	}
	severity := Error
	if pos.File == "" {
		severity = Warning // a default that the administrator may not care about
	}
	source, serr := os.Stat(name)
	built, err := os.Stat(name + indexSuffix)
	switch {
	case err != nil && os.IsNotExist(err) && serr != nil && os.IsNotExist(serr):
		k.add(pos, severity, "%s: table %s:%s does not exist, nor does its source", param, typ, name)
	case err != nil && os.IsNotExist(err):
		k.add(pos, severity, "%s: table %s:%s is not built: run \"%s%s:%s\"", param, typ, name, tool, typ, name)
	case err != nil:
		k.add(pos, severity, "%s: table %s:%s: %v", param, typ, name, err)
	case serr == nil && source.ModTime().After(built.ModTime()):
		k.add(pos, Warning, "%s: %s is newer than the table built from it: run \"%s%s:%s\"", param, name, tool, typ, name)
	default:
		if k.open.Table != nil {
			if err := k.open.Table(typ + ":" + name); err != nil {
				k.add(pos, severity, "%s: %v", param, err)
			}
		}
	}
}
