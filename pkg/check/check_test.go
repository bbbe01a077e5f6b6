package check

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/lookup"
)

// instance makes a configuration directory whose daemon_directory has some
// programs. @ in the texts stands for the directory.
func instance(t *testing.T, main, master string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "@", dir)), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"smtpd", "cleanup", "qmgr", "bounce", "verify", "pickup", "showq", "error", "local", "virtual", "smtp", "lmtp", "discard", "pipe", "anvil"} {
		put("libexec/"+p, "#!/bin/sh\n", 0o755)
	}
	put("libexec/data", "", 0o644)
	put("main.cf", main, 0o644)
	put("master.cf", master, 0o644)
	for _, name := range slices.Sorted(maps.Keys(files)) { // an index after its source, to be no older
		put(name, files[name], 0o644)
	}
	return dir
}

const (
	goodMain = `compatibility_level = 3.6
daemon_directory = @/libexec
command_directory = @/libexec
alias_maps =
mynetworks =
`
	goodMaster = `25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
smtp unix - - n - - smtp
relay unix - - n - - smtp
`
)

func run(t *testing.T, main, master string, files map[string]string) (string, []Problem) {
	t.Helper()
	dir := instance(t, main, master, files)
	ps := Run(dir, Openers{
		Table: func(spec string) error {
			if strings.Contains(spec, "broken") {
				return errors.New("table " + spec + ": broken")
			}
			return nil
		},
		List: func(param, elements string, plain bool) (bad, idle []string) {
			return lookup.ListProblems(param, elements, nil, plain)
		},
	})
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(strings.ReplaceAll(p.String(), dir, "@") + "\n")
	}
	return b.String(), ps
}

func TestSound(t *testing.T) {
	if got, _ := run(t, goodMain, goodMaster, nil); got != "" {
		t.Errorf("a sound configuration has problems:\n%s", got)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct{ name, main, master, want string }{
		{"unknown name", "smtpd_relay_restriction = x", "", `warning: @/main.cf, line 6: unused parameter: smtpd_relay_restriction=x (did you mean "smtpd_relay_restrictions"?)`},
		{"swapped letters", "myhotsname = x.example", "", `(did you mean "myhostname"?)`},
		{"own name in use", "mine = 1\nmyorigin = x$mine", "", ""},
		{"restriction class", "smtpd_restriction_classes = strict\nstrict = reject", "", ""},
		{"transport parameter", "relay_destination_concurrency_limit = 5", "", ""},
		{"transport parameter of no transport", "rely_destination_concurrency_limit = 5", "", "unused parameter: rely_destination_concurrency_limit=5"},
		{"bad transport parameter", "relay_destination_concurrency_limit = x", "", "error: @/main.cf, line 6: bad numerical configuration: relay_destination_concurrency_limit = x"},
		{"table parameter", "virtual_alias_maps = ldap:people\npeople_server_host = x", "", "error: @/main.cf, line 6: virtual_alias_maps: tables of type ldap are not supported"},
		{"bad boolean", "biff = maybe", "", "error: @/main.cf, line 6: bad boolean configuration: biff = maybe"},
		{"bad time", "smtpd_timeout = 3q", "", `bad time configuration (bad time unit "q"): smtpd_timeout = 3q`},
		{"too short", "myorigin =", "", "bad string length 0 < 1: myorigin = "},
		{"loop", "a = $b\nb = $a\nmyorigin = $a", "", "error: @/main.cf, line 8: parameter refers to itself: a -> b -> a: myorigin = $a"},
		{"loop among own names", "a = $b\nb = $a\n", "", "parameter refers to itself: a -> b -> a"},
		{"bad syntax", "nonsense\nfoo = ${", "", "error: @/main.cf, line 6: missing '=' after attribute name: \"nonsense\""},
		{"undefined", "myorigin = $myhostnam", "", `warning: @/main.cf, line 6: undefined parameter: myhostnam in the value of myorigin (did you mean "myhostname"?)`},
		{"no effect", "tls_random_source = x", "", "note: @/main.cf, line 6: tls_random_source has no effect here: "},
		{"mailbox too small", "virtual_mailbox_limit = 1000", "", "error: @/main.cf, line 6: virtual_mailbox_limit (1000) is smaller than message_size_limit (10240000)"},
		{"mail location", "mail_location = mdbox:~/mdbox", "", `error: @/main.cf, line 6: mail_location: mail location "mdbox:~/mdbox": only maildir:PATH and mbox:PATH are known`},
		{"good mail location", "mail_location = mbox:~/mail:INBOX=/var/mail/%u", "", ""},
		{"message too large", "message_size_limit = 0", "", "error: @/main.cf, line 6: mailbox_size_limit (51200000) is smaller than message_size_limit (0)"},
		{"alias", "virtual_maps = static:x", "", "virtual_maps is an old name: it supplies the default of virtual_alias_maps"},
		{"duplicate", "myorigin = a\nmyorigin = b", "", "warning: @/main.cf, line 7: overriding earlier entry: myorigin=a (of line 6)"},
		{"level", "compatibility_level = three", "", "bad compatibility level"},
		{"two classes", "mydestination = a.example\nvirtual_alias_domains = A.example", "", "do not list domain a.example in both mydestination and virtual_alias_domains"},

		{"no such transport", "default_transport = smpt:x", "", `error: @/main.cf, line 6: default_transport: there is no service smpt/unix in master.cf (did you mean "smtp"?)`},
		{"good transport", "mailbox_transport = lmtp:unix:/x\nrelay_transport=relay", "lmtp unix - - n - - smtp", ""},
		{"content filter of a service", "", "26 inet n - n - - smtpd -o content_filter=scan:[127.0.0.1]:10024", "error: @/master.cf, line 13: content_filter: there is no service scan/unix"},

		{"setting cut short", "", "26 inet n - n - - smtpd -o smtpd_relay_restrictions=permit_mynetworks, reject", "error: @/master.cf, line 13: service 26: unexpected command-line argument: reject (a setting with blanks needs braces: -o { name = value })"},
		{"setting in braces", "", "26 inet n - n - - smtpd -v -o { smtpd_relay_restrictions = permit_mynetworks, reject } -D", ""},
		{"datagram service", "", "x unix-dgram - - n - - smtpd", "error: @/master.cf, line 13: service x: type unix-dgram is not supported"},
		{"log service", "", "postlog unix-dgram n - n - 1 postlogd", "service postlog (postlogd) is built in"},
		{"fifo", "", "x fifo n - n 60 1 smtpd", "note: @/master.cf, line 13: service x: type fifo means a socket here"},
		{"pipe without a command", "", "scan unix - n n - - pipe flags=Rq user=nobody", "error: @/master.cf, line 13: service scan: missing argv= command-line attribute"},
		{"pipe with a bad flag", "", "scan unix - n n - - pipe\n  flags=RZ user=nobody argv=/bin/scan", "error: @/master.cf, line 13: service scan: unknown flag: Z"},
		{"pipe with a bad macro", "", "scan unix - n n - - pipe user=nobody argv=/bin/scan -f ${sendr}", `service scan: argv: unknown macro name "sendr" in "${sendr}"`},
		{"pipe", "", "scan unix - n n - - pipe flags=DRXhu user=nobody argv=/bin/scan -f ${sender} -- ${user} {two words}", ""},

		{"word of a vocabulary", "smtp_tls_security_level = encrpyt", "", `error: @/main.cf, line 6: smtp_tls_security_level: unknown value "encrpyt": one of none, may,`},
		{"suggested word", "inet_protocols = ipv4, ivp6", "", `(did you mean "ipv6"?)`},
		{"empty word", "smtpd_tls_security_level =", "", ""},
		{"misspelt restriction", "smtpd_client_restrictions = permit_mynetwork", "", `error: @/main.cf, line 6: smtpd_client_restrictions: unknown smtpd restriction: "permit_mynetwork" (did you mean "permit_mynetworks"?)`},
		{"restriction in class", "smtpd_restriction_classes = c\nc = rejct", "", `c: unknown smtpd restriction: "rejct" (did you mean "reject"?)`},
		{"restriction needs argument", "smtpd_client_restrictions = reject_rbl_client", "", "reject_rbl_client needs an argument"},
		{"restriction instead of argument", "smtpd_client_restrictions = check_client_access, permit", "", "check_client_access needs an argument, but permit follows"},
		{"restriction unreachable", "smtpd_client_restrictions = permit, reject_rbl_client x.example", "", "restriction reject_rbl_client after permit is never reached"},
		{"policy service in braces", "smtpd_client_restrictions = warn_if_reject reject, sleep 1, check_policy_service { unix:private/p, timeout=10s }", "", ""},
		{"missing table", "transport_maps = hash:@/none", "", "error: @/main.cf, line 6: transport_maps: table hash:@/none does not exist, nor does its source"},
		{"unbuilt table", "transport_maps = hash:@/source", "", `transport_maps: table hash:@/source is not built: run "postmap hash:@/source"`},
		{"unbuilt alias", "alias_maps = hash:@/source", "", `run "postalias hash:@/source"`},
		{"old table", "transport_maps = cdb:@/old", "", `warning: @/main.cf, line 6: transport_maps: @/old is newer than the table built from it`},
		{"fresh table", "transport_maps = proxy:cdb:@/fresh", "", ""},
		{"table in restrictions", "smtpd_client_restrictions = check_client_access hash:@/none", "", "smtpd_client_restrictions: table hash:@/none does not exist"},
		{"table in braces", "smtpd_client_restrictions = check_client_access { hash:@/none, default_action=DUNNO }", "", "table hash:@/none does not exist"},
		{"broken pattern table", "header_checks = regexp:/broken", "", "error: @/main.cf, line 6: header_checks: table regexp:/broken: broken"},
		{"unknown type", "transport_maps = hahs:/x", "", `unsupported table type "hahs" in hahs:/x (did you mean "hash"?)`},
		{"bad network", "mynetworks = 127.0.0.0/8, 10.0.0.0/33", "", `error: @/main.cf, line 6: mynetworks: bad net/mask pattern: "10.0.0.0/33"`},
		{"network with a host", "smtpd_authorized_xclient_hosts = 10.0.0.1/8", "", `perhaps you should use "10.0.0.0/8" instead`},
		{"IPv6 without brackets", "mynetworks = [::1] 2001:db8::/32", "", "error: @/main.cf, line 6: mynetworks: 2001:db8::/32: an IPv6 address needs brackets: [2001:db8::]/32"},
		{"unknown type in a list", "relay_domains = foo:bar", "", `error: @/main.cf, line 6: relay_domains: table foo:bar: unsupported table type "foo"`},
		{"no address", "mynetworks = 300.1.2.3", "", "warning: @/main.cf, line 6: mynetworks: \"300.1.2.3\" is neither an address nor a network nor a name: it matches nothing"},
		{"nothing excluded", "relay_domains = !", "", "error: @/main.cf, line 6: relay_domains: no pattern after '!'"},
		{"two mistakes in a list", "relay_domains = 1.2.3.4/99 !", "", `error: @/main.cf, line 6: relay_domains: bad net/mask pattern: "1.2.3.4/99"`},
		{"missing list", "relay_domains = a.example @/none", "", "error: @/main.cf, line 6: relay_domains: open @/none: no such file or directory"},
		{"list with a mistake", "mynetworks = @/nets", "", `warning: @/main.cf, line 6: mynetworks: "1.2.3.4/y" is neither`},
		{"table in a list", "relay_domains = a.example cidr:/x, !static:y", "", ""},
		{"network of a service", "", "26 inet n - n - - smtpd -o mynetworks=1.2.3.4/8", "error: @/master.cf, line 13: mynetworks: non-null host address bits"},
		{"sockets are no tables", "smtpd_milters = unix:/run/x inet:localhost:99", "", "warning: @/main.cf, line 6: smtpd_milters: mail filters are not supported"},
		{"no milters", "smtpd_milters =", "", ""},
		{"proxy filter", "smtpd_proxy_filter = 127.0.0.1:10025", "", "error: @/main.cf, line 6: smtpd_proxy_filter is not supported: smtpd does not start"},
		{"Cyrus", "smtpd_sasl_type = cyrus\nsmtpd_sasl_auth_enable = yes", "", "error: @/main.cf, line 6: smtpd_sasl_type: type cyrus is not supported"},
		{"Cyrus unused", "smtpd_sasl_type = cyrus", "", ""},
		{"Cyrus in a service", "smtpd_sasl_type = cyrus", "26 inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_type=cyrus", "error: @/master.cf, line 13: smtpd_sasl_type: type cyrus"},
		{"databases", "auth_databases = passwd-file, shadow", "", ""},
		{"no such database", "auth_databases = pam", "", "error: @/main.cf, line 6: auth_databases: there is no database pam, auth does not start: use passwd-file, shadow or both"},
		{"DANE", "smtp_tls_security_level = dane", "", "warning: @/main.cf, line 6: smtp_tls_security_level: DANE is not supported"},
		{"policy server by TCP", "smtpd_end_of_data_restrictions = check_policy_service { inet:127.0.0.1:10023, timeout=9s }", "", ""},
		{"SASL by TCP", "smtpd_sasl_path = inet:127.0.0.1:12345", "", ""},
		{"table by TCP", "transport_maps = socketmap:inet:127.0.0.1:99:x", "", ""},
		{"table by TCP for smtp", "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:99:x", "", ""},
		{"table by socket", "transport_maps = socketmap:unix:private/maps:x", "", ""},
		{"verification", "smtpd_recipient_restrictions = reject_unverified_recipient, reject", "", "warning: @/main.cf, line 6: smtpd_recipient_restrictions: reject_unverified_recipient needs a service verify/unix in master.cf: without it mail is deferred"},
		{"verification with its service", "smtpd_recipient_restrictions = reject_unverified_recipient, reject", "verify unix - - n - 1 verify", ""},

		{"bad field", "", "x unix q - n - - local", `error: @/master.cf, line 13: field "private": bad value "q"`},
		{"no such program", "", "x unix - - n - - lcoal", `error: @/master.cf, line 13: service x: there is no program lcoal in @/libexec (did you mean "local"?)`},
		{"no program", "", "x unix - - n - - data", "service x: @/libexec/data is not a program"},
		{"built in", "", "rewrite unix - - n - - trivial-rewrite", "note: @/master.cf, line 13: service rewrite (trivial-rewrite) is built in: each program rewrites"},
		{"built in under a program's name", "", "defer unix - - n - 0 bounce", "note: @/master.cf, line 13: service defer (bounce) is built in: "},
		{"bad override", "", "26 inet n - n - - smtpd -o smtpd_timeout=x", "error: @/master.cf, line 13: bad time configuration"},
		{"misspelt override", "", "26 inet n - n - - smtpd -o smtpd_tls_wrapermode=yes", `(did you mean "smtpd_tls_wrappermode"?)`},

		{"open relay", "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = permit_mynetworks", "", "error: @/main.cf, line 6: service 25: neither smtpd_relay_restrictions nor"},
		{"permit hides the rest", "smtpd_relay_restrictions = permit, reject", "", "service 25: neither"},
		{"either list", "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination", "", ""},
		{"by class", "smtpd_restriction_classes = safe\nsafe = reject\nsmtpd_relay_restrictions = permit_mynetworks, safe", "", ""},
		{"override opens", "", "26 inet n - n - - smtpd -o smtpd_relay_restrictions=permit_mynetworks", "error: @/master.cf, line 13: service 26: neither"},
	} {
		got, _ := run(t, goodMain+tc.main+"\n", goodMaster+tc.master+"\n", map[string]string{
			"source": "a b\n", "old": "a b\n", "old.cdb": "x", "fresh": "a b\n", "fresh.cdb": "x", "nets": "10.0.0.0/8\n1.2.3.4/y\n"})
		if tc.name == "old table" {
			dir := instance(t, goodMain+tc.main+"\n", goodMaster, map[string]string{"old": "a", "old.cdb": "b"})
			past := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, "old.cdb"), past, past); err != nil {
				t.Fatal(err)
			}
			got = ""
			for _, p := range Run(dir, Openers{}) {
				got += strings.ReplaceAll(p.String(), dir, "@") + "\n"
			}
		}
		// What no program reads yet is not this table's subject.
		var kept []string
		for _, l := range strings.Split(got, "\n") {
			if l != "" && (!strings.Contains(l, "no program of this system reads it") || strings.Contains(tc.want, "no effect")) {
				kept = append(kept, l)
			}
		}
		got = strings.Join(kept, "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// TestStock: what a distribution's Postfix comes with raises notes alone
// (docs/howto-postfix-migration.md).
func TestStock(t *testing.T) {
	master := ""
	for _, l := range []string{
		"smtp inet n - y - - smtpd", "pickup unix n - y 60 1 pickup", "cleanup unix n - y - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
		"tlsmgr unix - - y 1000? 1 tlsmgr", "rewrite unix - - y - - trivial-rewrite", "bounce unix - - y - 0 bounce",
		"defer unix - - y - 0 bounce", "trace unix - - y - 0 bounce", "verify unix - - y - 1 verify", "flush unix n - y 1000? 0 flush",
		"proxymap unix - - n - - proxymap", "proxywrite unix - - n - 1 proxymap", "smtp unix - - y - - smtp",
		"relay unix - - y - - smtp -o syslog_name=postfix/$service_name", "showq unix n - y - - showq", "error unix - - y - - error",
		"retry unix - - y - - error", "discard unix - - y - - discard", "local unix - n n - - local", "virtual unix - n n - - virtual",
		"lmtp unix - - y - - lmtp", "anvil unix - - y - 1 anvil", "scache unix - - y - 1 scache", "postlog unix-dgram n - n - 1 postlogd",
		"uucp unix - n n - - pipe flags=Fqhu user=uucp argv=uux -r -n -z -a$sender - $nexthop!rmail ($recipient)",
	} {
		master += l + "\n"
	}
	_, ps := run(t, goodMain+`smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
smtpd_tls_security_level = may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
relayhost =
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
`, master, nil)
	for _, p := range ps {
		if p.Severity != Note {
			t.Error(p)
		}
	}
	if len(ps) == 0 {
		t.Error("nothing is said of what is built in")
	}
}

func TestAllAtOnce(t *testing.T) {
	got, ps := run(t, goodMain+"nonsense\nbiff = x\nmyorigin =\n", goodMaster+"a b\nx unix q q n - - lcoal\n", nil)
	lines := 0
	for _, p := range ps {
		if p.Severity == Error {
			lines++
		}
	}
	if lines != 6 {
		t.Errorf("got %d errors, want 6:\n%s", lines, got)
	}
}

func TestMissing(t *testing.T) {
	if ps := Run(t.TempDir(), Openers{}); len(ps) != 1 || ps[0].Severity != Error || !strings.Contains(ps[0].Text, "main.cf") {
		t.Errorf("no main.cf: %v", ps)
	}
	dir := instance(t, goodMain, "", nil)
	os.Remove(filepath.Join(dir, "master.cf"))
	if ps := Run(dir, Openers{}); len(ps) != 1 || !strings.Contains(ps[0].Text, "master.cf") {
		t.Errorf("no master.cf: %v", ps)
	}
}

func TestSuffix(t *testing.T) {
	if indexSuffix != lookup.IndexSuffix {
		t.Errorf("index suffix %q, lookup has %q", indexSuffix, lookup.IndexSuffix)
	}
	for _, typ := range lookup.Types() {
		if lookup.IsIndexed(typ) != contains(indexTypes, typ) {
			t.Errorf("type %s: indexed %v", typ, lookup.IsIndexed(typ))
		}
		if typ != "proxy" && !contains(indexTypes, typ) && !contains(localTypes, typ) && !contains(serverTypes, typ) {
			t.Errorf("type %s is unknown to the checker", typ)
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"abc", "xyz", 3}, {"smtpd", "smtp", 1}} {
		if got := distance(tc.a, tc.b, 5); got != tc.want {
			t.Errorf("%s, %s: got %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
