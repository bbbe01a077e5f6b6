package main

import (
	"context"
	"strings"
	"testing"

	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
)

// TestExtraFields: what restricts a user in Dovecot's password file restricts
// him here, with PLAIN and with SCRAM, and the client learns no more than from a
// wrong password.
func TestExtraFields(t *testing.T) {
	c, lg := start(t, `free:{PLAIN}secret:1:1::/h::userdb_quota_rule=*:bytes=1G nodelay
shut:{PLAIN}secret:1:1::/h::nologin reason=closed
near:{PLAIN}secret:1:1::/h::allow_nets=192.0.2.0/24,2001:db8::/32,local
one:{PLAIN}secret:1:1::/h::allow_nets=192.0.2.9
far:{PLAIN}secret:1:1::/h::allow_nets=10.0.0.0/8,127.0.0.1
bad:{PLAIN}secret:1:1::/h::allow_nets=10.0.0.0/8,elsewhere
away:{PLAIN}secret:1:1::/h::proxy host=10.1.1.1
`, "")
	for _, tt := range []struct {
		user, ip string
		ok, temp bool
		log      string
	}{
		{"free", "192.0.2.9", true, false, ""},
		{"shut", "192.0.2.9", false, false, "passwd-file(shut,192.0.2.9): login is not allowed (nologin) (service=imap, method=PLAIN)"},
		{"near", "192.0.2.9", true, false, ""},
		{"near", "::ffff:192.0.2.9", true, false, ""},
		{"near", "2001:db8::1", true, false, ""},
		{"near", "", true, false, ""},
		{"near", "198.51.100.1", false, false, "passwd-file(near,198.51.100.1): client is not in allow_nets"},
		{"one", "192.0.2.9", true, false, ""},
		{"one", "192.0.2.8", false, false, "client is not in allow_nets"},
		{"one", "", false, false, "client is not in allow_nets"},
		{"far", "192.0.2.9", false, false, "client is not in allow_nets"},
		{"bad", "10.1.1.1", false, true, `line 6, user "bad": allow_nets: "elsewhere" is neither an address nor a network`},
		{"away", "192.0.2.9", false, true, `line 7, user "away": the extra field "proxy" is not supported`},
	} {
		lg.mu.Lock()
		lg.lines = nil
		lg.mu.Unlock()
		_, r, err := c.Start(context.Background(), dovecot.Request{Mech: "PLAIN", Service: "imap", RemoteIP: tt.ip, Initial: []byte("\x00" + tt.user + "\x00secret")})
		if err != nil {
			t.Fatal(err)
		}
		lg.mu.Lock()
		logged := strings.Join(lg.lines, "\n")
		lg.mu.Unlock()
		if r.OK != tt.ok || r.Temp != tt.temp || !strings.Contains(logged, tt.log) {
			t.Errorf("%s from %q: %+v, logged %q", tt.user, tt.ip, r, logged)
		}
	}
	for user, ok := range map[string]bool{"free": true, "shut": false, "far": false, "away": false} {
		if r := exchange(t, c, "SCRAM-SHA-256", user, "secret", &sasl.Offer{}, nil); r.OK != ok {
			t.Errorf("%s by SCRAM: %+v", user, r)
		}
	}
}
