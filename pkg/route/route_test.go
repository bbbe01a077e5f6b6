package route_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/route"
)

const base = `compatibility_level = 3.6
myhostname = mx.example.com
mydomain = example.com
myorigin = example.com
mydestination = mx.example.com, example.com, localhost
inet_interfaces = 127.0.0.1, 192.0.2.25, 2001:db8::25
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
`

func load(t testing.TB, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	text = strings.ReplaceAll(text, "$DIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newRouter(t testing.TB, extra string) *route.Router {
	t.Helper()
	cfg := load(t, base+extra)
	r, err := route.New(cfg, &lookup.Env{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ conf, in, local, remote string }{
		{"", "", "", ""},
		{"", "user", "user@example.com", "user"},
		{"", "user@host", "user@host", "user@host"},
		{"append_dot_mydomain = yes\n", "user@host", "user@host.example.com", "user@host"},
		{"append_dot_mydomain = yes\n", "user@[192.0.2.1]", "user@[192.0.2.1]", "user@[192.0.2.1]"},
		{"append_dot_mydomain = yes\n", "user", "user@example.com", "user"},
		{"remote_header_rewrite_domain = invalid.test\n", "user", "user@example.com", "user@invalid.test"},
		{"append_at_myorigin = no\n", "user", "user", "user"},
		{"", "site!user", "user@site", "user@site"},
		{"", "a!b!user", "b!user@a", "b!user@a"},
		{"swap_bangpath = no\n", "site!user", "site!user@example.com", "site!user"},
		{"", "user%site", "user@site", "user@site"},
		{"", "user%a%b", "user%a@b", "user%a@b"},
		{"allow_percent_hack = no\n", "user%site", "user%site@example.com", "user%site"},
		{"", "user%a@b.example", "user%a@b.example", "user%a@b.example"},
		{"", "user@example.org.", "user@example.org", "user@example.org"},
		{"", "user@example.org..", "user@example.org..", "user@example.org.."},
		{"", "user@.", "user@.", "user@."},
		{"", "user@", "user@", "user@"},
		{"", "@", "", ""},
		{"", "@a.example,@b.example:user@c.example", "user@c.example", "user@c.example"},
		{"", "first last", "first last@example.com", "first last"},
		{"", "a b!c", "a b!c@example.com", "a b!c"},
	} {
		r := newRouter(t, c.conf)
		if got := r.Rewrite(c.in, true); got != c.local {
			t.Errorf("%q: Rewrite(%q, local) = %q, want %q", c.conf, c.in, got, c.local)
		}
		if got := r.Rewrite(c.in, false); got != c.remote {
			t.Errorf("%q: Rewrite(%q, remote) = %q, want %q", c.conf, c.in, got, c.remote)
		}
	}
}

func TestResolve(t *testing.T) {
	const classes = "virtual_alias_domains = alias.example\nvirtual_mailbox_domains = mbox.example\nrelay_domains = relay.example\nrelay_recipient_maps =\n"
	for _, c := range []struct {
		name, conf, sender, rcpt string
		want                     string // transport|nexthop|recipient|class
	}{
		{"local", "", "", "u@example.com", "local|mx.example.com|u@example.com|local"},
		{"local, own nexthop", "local_transport = local\n", "", "u@example.com", "local|example.com|u@example.com|local"},
		{"case", "", "", "u@EXAMPLE.com", "local|mx.example.com|u@EXAMPLE.com|local"},
		{"trailing dot", "", "", "u@example.com.", "local|mx.example.com|u@example.com|local"},
		{"our address", "", "", "u@[192.0.2.25]", "local|mx.example.com|u@[192.0.2.25]|local"},
		{"our IPv6 address", "", "", "u@[IPv6:2001:db8:0::25]", "local|mx.example.com|u@[IPv6:2001:db8:0::25]|local"},
		{"proxy address", "proxy_interfaces = 198.51.100.1\n", "", "u@[198.51.100.1]", "local|mx.example.com|u@[198.51.100.1]|local"},
		{"other address", "", "", "u@[192.0.2.26]", "smtp|[192.0.2.26]|u@[192.0.2.26]|default"},
		{"no domain", "", "", "u", "local|mx.example.com|u@mx.example.com|local"},
		{"null", "", "", "", "local|mx.example.com|MAILER-DAEMON@mx.example.com|local"},
		{"null at us", "", "", "@example.com", "local|mx.example.com|MAILER-DAEMON@example.com|local"},
		{"default", "", "", "u@other.example", "smtp|other.example|u@other.example|default"},
		{"percent", "", "", "u%other.example@example.com", "smtp|other.example|u@other.example|default"},
		{"bang", "", "", "other.example!u@example.com", "smtp|other.example|u@other.example|default"},
		{"two at signs", "", "", "u@other.example@example.com", "smtp|other.example|u@other.example|default"},
		{"quoted percent", "", "", "u x%other.example@example.com", "smtp|other.example|u x@other.example|default"},
		{"alias", classes, "", "u@alias.example", "error|5.1.1 User unknown in virtual alias table|u@alias.example|virtual alias"},
		{"alias, table hidden", classes + "show_user_unknown_table_name = no\n", "", "u@alias.example", "error|5.1.1 User unknown|u@alias.example|virtual alias"},
		{"alias beats transport", classes + "transport_maps = static:smtp:x\n", "", "u@alias.example", "error|5.1.1 User unknown in virtual alias table|u@alias.example|virtual alias"},
		{"mailbox", classes, "", "u@mbox.example", "virtual|mbox.example|u@mbox.example|virtual mailbox"},
		{"mailbox ignores relayhost", classes + "relayhost = hub.example\n", "", "u@mbox.example", "virtual|mbox.example|u@mbox.example|virtual mailbox"},
		{"virtual_transport nexthop", classes + "virtual_transport = lmtp:unix:/run/x\n", "", "u@mbox.example", "lmtp|unix:/run/x|u@mbox.example|virtual mailbox"},
		{"relay", classes, "", "u@relay.example", "relay|relay.example|u@relay.example|relay"},
		{"relay subdomain", classes, "", "u@sub.relay.example", "relay|sub.relay.example|u@sub.relay.example|relay"},
		{"relay, no parents", classes + "parent_domain_matches_subdomains =\n", "", "u@sub.relay.example", "smtp|sub.relay.example|u@sub.relay.example|default"},
		{"relay relayhost", classes + "relayhost = [hub.example]:587\n", "", "u@relay.example", "relay|[hub.example]:587|u@relay.example|relay"},
		{"relayhost", "relayhost = hub.example\n", "", "u@other.example", "smtp|hub.example|u@other.example|default"},
		{"default_transport beats relayhost", "relayhost = hub.example\ndefault_transport = smtp:direct.example\n", "", "u@other.example", "smtp|direct.example|u@other.example|default"},
		{"sender relayhost", "relayhost = hub.example\nsender_dependent_relayhost_maps = inline:{@a.example=[a.hub], b@b.example=DUNNO}\n", "x@a.example", "u@other.example", "smtp|[a.hub]|u@other.example|default"},
		{"sender relayhost DUNNO", "relayhost = hub.example\nsender_dependent_relayhost_maps = inline:{@a.example=[a.hub], b@b.example=DUNNO}\n", "b@b.example", "u@other.example", "smtp|hub.example|u@other.example|default"},
		{"sender relayhost null", "sender_dependent_relayhost_maps = inline:{<>=null.hub}\n", "", "u@other.example", "smtp|null.hub|u@other.example|default"},
		{"sender transport", "sender_dependent_default_transport_maps = inline:{@a.example=slow:}\n", "x@a.example", "u@other.example", "slow|other.example|u@other.example|default"},
		{"sender transport nexthop", "relayhost = hub.example\nsender_dependent_default_transport_maps = inline:{@a.example=slow:there}\n", "x@a.example", "u@other.example", "slow|there|u@other.example|default"},
		{"transport domain", "transport_maps = inline:{other.example=slow:[gw]}\n", "", "u@other.example", "slow|[gw]|u@other.example|default"},
		{"transport user", "recipient_delimiter = +\ntransport_maps = inline:{u@other.example=slow:}\n", "", "u+x@other.example", "slow|other.example|u+x@other.example|default"},
		{"transport resets nexthop", "relayhost = hub.example\ntransport_maps = inline:{other.example=smtp:}\n", "", "u@other.example", "smtp|other.example|u@other.example|default"},
		{"transport keeps channel", "transport_maps = inline:{other.example=:[gw]}\n", "", "u@other.example", "smtp|[gw]|u@other.example|default"},
		{"transport no-op", "relayhost = hub.example\ntransport_maps = inline:{other.example=:}\n", "", "u@other.example", "smtp|hub.example|u@other.example|default"},
		{"transport parent needs dot", "transport_maps = inline:{other.example=slow:}\n", "", "u@sub.other.example", "smtp|sub.other.example|u@sub.other.example|default"},
		{"transport .parent", "transport_maps = inline:{.other.example=slow:}\n", "", "u@sub.other.example", "slow|sub.other.example|u@sub.other.example|default"},
		{"transport parent matches", "parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{other.example=slow:}\n", "", "u@sub.other.example", "slow|sub.other.example|u@sub.other.example|default"},
		{"transport star", "transport_maps = inline:{x.example=slow:, *=fast:}\n", "", "u@other.example", "fast|other.example|u@other.example|default"},
		{"transport error", "transport_maps = inline:{other.example=error:}\n", "", "u@other.example", "error|Address is undeliverable|u@other.example|default"},
		{"transport for local", "transport_maps = inline:{example.com=lmtp:unix:x}\n", "", "u@example.com", "lmtp|unix:x|u@example.com|local"},
		{"relocated", "relocated_maps = inline:{{u@other.example=new@x.example}}\n", "", "u@other.example", "error|5.1.6 User has moved to new@x.example|u@other.example|default"},
		{"relocated local user", "relocated_maps = inline:{{u=new@x.example}}\n", "", "u@example.com", "error|5.1.6 User has moved to new@x.example|u@example.com|local"},
		{"dash", "", "", "-u@other.example", "error|5.1.3 bad address syntax|-u@other.example|default"},
		{"dash allowed", "allow_min_user = yes\n", "", "-u@other.example", "smtp|other.example|-u@other.example|default"},
		{"bad domain", "", "", "u@a..b", "error|5.1.3 bad address syntax|u@a..b|default"},
		{"bad literal", "", "", "u@[nonsense]", "error|5.1.3 bad address syntax|u@[nonsense]|default"},
		{"numeric", "", "", "u@192.0.2.1", "error|5.1.3 bad address syntax|u@192.0.2.1|default"},
		{"numeric allowed", "resolve_numeric_domain = yes\n", "", "u@192.0.2.25", "local|mx.example.com|u@[192.0.2.25]|local"},
		{"empty domain", "", "", "u@", "error|5.1.3 bad address syntax|u@|default"},
		{"utf-8", "", "", "u@bücher.example", "smtp|bücher.example|u@bücher.example|default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t, c.conf)
			rt, err := r.Resolve(c.sender, c.rcpt)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{rt.Transport, rt.Nexthop, rt.Recipient, rt.Class.String()}, "|")
			if got != c.want {
				t.Errorf("Resolve(%q, %q)\n got %s\nwant %s", c.sender, c.rcpt, got, c.want)
			}
			if bad := rt.Transport == "error" || rt.Transport == "retry"; bad != (rt.Problem != nil) {
				t.Errorf("transport %s with problem %v", rt.Transport, rt.Problem)
			}
			if rt.Problem == nil && rt.Why == "" {
				t.Error("no parameter named as the reason")
			}
		})
	}
}

func TestResolveMarksRoutedAddresses(t *testing.T) {
	r := newRouter(t, "allow_percent_hack = no\nswap_bangpath = no\n")
	for rcpt, want := range map[string]bool{"u@other.example": false, "u%x@other.example": true, "x!u@other.example": true, "a@b@other.example": true} {
		rt, err := r.Resolve("", rcpt)
		if err != nil || rt.Routed != want {
			t.Errorf("%s: routed = %v, %v, want %v", rcpt, rt.Routed, err, want)
		}
	}
}

func TestTableTroubleIsTemporary(t *testing.T) {
	for _, conf := range []string{"mydestination = fail:x\n", "virtual_alias_domains = fail:x\n", "virtual_mailbox_domains = fail:x\n", "relay_domains = fail:x\n",
		"transport_maps = fail:x\n", "relocated_maps = fail:x\n", "sender_dependent_relayhost_maps = fail:x\n", "sender_dependent_default_transport_maps = fail:x\n"} {
		r := newRouter(t, conf)
		if rt, err := r.Resolve("s@x.example", "u@other.example"); err == nil {
			t.Errorf("%q: no error, but %+v", conf, rt)
		}
		if ok, p, err := r.Listed("u@other.example"); err == nil {
			t.Errorf("%q: Listed = %v, %v without an error", conf, ok, p)
		}
	}
}

func TestListed(t *testing.T) {
	const tables = `local_recipient_maps = inline:{alice=x}
recipient_delimiter = +
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{info@alias.example=alice}, {@catch.example=alice}}
virtual_mailbox_domains = mbox.example
virtual_mailbox_maps = inline:{bob@mbox.example=bob/}
relay_domains = relay.example, open.example
relay_recipient_maps = inline:{carol@relay.example=x, @open.example=x}
`
	for _, c := range []struct{ conf, rcpt, want string }{
		{tables, "alice@example.com", ""},
		{tables, "Alice+ext@example.com", ""},
		{tables, "nobody@example.com", "550 5.1.1 User unknown in local recipient table"},
		{tables, "postmaster@example.com", ""},
		{tables, "MAILER-DAEMON@example.com", ""},
		{tables, "info@alias.example", ""},
		{tables, "x@alias.example", "550 5.1.1 User unknown in virtual alias table"},
		{tables, "any@catch.example", ""},
		{tables, "bob@mbox.example", ""},
		{tables, "bob+x@mbox.example", ""},
		{tables, "x@mbox.example", "550 5.1.1 User unknown in virtual mailbox table"},
		{tables, "carol@relay.example", ""},
		{tables, "x@relay.example", "550 5.1.1 User unknown in relay recipient table"},
		{tables, "x@open.example", ""},
		{tables, "x@elsewhere.example", ""},
		{tables, "", ""},
		{tables + "unknown_local_recipient_reject_code = 450\n", "nobody@example.com", "450 4.1.1 User unknown in local recipient table"},
		{"", "nobody@example.com", ""},
		{"transport_maps = inline:{{gone.example=error:5.2.1 Closed}}\n", "u@gone.example", "550 5.2.1 Closed"},
		{"transport_maps = inline:{{gone.example=retry:4.3.2 Later}}\n", "u@gone.example", "450 4.3.2 Later"},
		{"relocated_maps = inline:{{u@x.example=v@y.example}}\n", "u@x.example", "550 5.1.6 User has moved to v@y.example"},
	} {
		r := newRouter(t, c.conf)
		ok, p, err := r.Listed(c.rcpt)
		if err != nil {
			t.Errorf("%s: %v", c.rcpt, err)
			continue
		}
		got := ""
		if p != nil {
			got = strings.TrimSpace(strings.Join([]string{itoa(p.Code), p.String()}, " "))
		}
		if got != c.want || ok != (c.want == "") {
			t.Errorf("Listed(%s) = %v, %q, want %q", c.rcpt, ok, got, c.want)
		}
	}
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

func TestTraceNamesParameters(t *testing.T) {
	cfg := load(t, base+"relayhost = hub.example\ntransport_maps = inline:{other.example=slow:}\n")
	r, err := route.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	r.Trace = func(s string) { steps = append(steps, s) }
	if _, err := r.Resolve("", "u@other.example"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"relayhost", "transport_maps"} {
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no step names %s: %q", want, steps)
		}
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	r := newRouter(t, "relay_domains = relay.example\nvirtual_mailbox_domains = mbox.example\nhelpful_warnings = no\n")
	for _, rcpt := range []string{"user@other.example", "user@relay.example", "user@mbox.example"} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := r.Resolve("s@x.example", rcpt); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("Resolve(%s): %v allocations", rcpt, n)
		}
	}
}
