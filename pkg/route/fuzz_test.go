package route_test

import (
	"strings"
	"testing"

	"posthaste/pkg/route"
)

// FuzzResolve checks that whatever the address, rewriting is stable, and a
// route is complete and names the recipient as user@domain.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", "@", "a", "a@b", "a@b.example", "x!y", "x%y@example.com", "a@b@example.com", "@r,@s:a@b", "a b@example.com.", "u@[192.0.2.25]", "u@[IPv6:::1]", "-x@y", "\"@example.com"} {
		f.Add(s, true)
	}
	var routers [2]*route.Router
	for i, conf := range []string{"append_dot_mydomain = yes\n", "swap_bangpath = no\nallow_percent_hack = no\nresolve_null_domain = yes\nresolve_numeric_domain = yes\nresolve_dequoted_address = no\n"} {
		routers[i] = newRouter(f, conf)
	}
	f.Fuzz(func(t *testing.T, addr string, local bool) {
		if strings.ContainsAny(addr, "\r\n\x00") || len(addr) > 2000 {
			return // refused before they get here
		}
		for _, r := range routers {
			once := r.Rewrite(addr, local)
			if len(once) > len(addr)+100 {
				t.Fatalf("Rewrite(%q) = %q", addr, once)
			}
			rt, err := r.Resolve("", once)
			if err != nil {
				t.Fatalf("Resolve(%q): %v", once, err)
			}
			if rt.Transport == "" || rt.Nexthop == "" || rt.Why == "" || strings.IndexByte(rt.Recipient, '@') < 0 {
				t.Fatalf("Resolve(%q) = %+v", once, rt)
			}
			again, err := r.Resolve("", rt.Recipient)
			if err != nil || !rt.Invalid && (again.Recipient != rt.Recipient || again.Class != rt.Class || again.Nexthop != rt.Nexthop) {
				t.Fatalf("Resolve(%q) = %+v, and for that recipient %+v, %v", once, rt, again, err)
			}
		}
	})
}

func BenchmarkRewriteResolve(b *testing.B) {
	r := newRouter(b, "relay_domains = relay.example\nvirtual_mailbox_domains = mbox.example\ntransport_maps = inline:{x.example=slow:}\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Resolve("s@x.example", r.Rewrite("user@mbox.example", true)); err != nil {
			b.Fatal(err)
		}
	}
}
