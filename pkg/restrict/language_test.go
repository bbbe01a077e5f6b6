package restrict

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/config"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/route"
)

const basics = `
compatibility_level = 3.6
myhostname = mx.here.example
mydestination = here.example
mynetworks = 192.0.2.0/24
inet_interfaces = 127.0.0.1
local_recipient_maps = inline:{alice=x, bob=x}
alias_maps =
alias_database =
relay_domains = relay.example
default_database_type = texthash
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
`

var (
	errNone = errors.New("no such record")
	errTemp = errors.New("try again")
)

// zone is a fake DNS: "name TYPE" to values.
type zone map[string][]string

func (z zone) get(name, typ string) ([]string, error) {
	v, ok := z[strings.ToLower(name)+" "+typ]
	if !ok {
		return nil, errNone
	}
	if v[0] == "tempfail" {
		return nil, errTemp
	}
	return v, nil
}

func (z zone) MX(_ context.Context, n string) ([]string, error) {
	v, err := z.get(n, "MX")
	if err == nil && v[0] == "." {
		return []string{""}, nil
	}
	return v, err
}
func (z zone) NS(_ context.Context, n string) ([]string, error)  { return z.get(n, "NS") }
func (z zone) TXT(_ context.Context, n string) ([]string, error) { return z.get(n, "TXT") }
func (z zone) A(_ context.Context, n string) ([]netip.Addr, error) {
	v, err := z.get(n, "A")
	var l []netip.Addr
	for _, s := range v {
		l = append(l, netip.MustParseAddr(s))
	}
	return l, err
}
func (z zone) Addrs(c context.Context, n string) ([]netip.Addr, error) { return z.A(c, n) }
func (z zone) NotFound(err error) bool                                 { return errors.Is(err, errNone) }

// game plays one case.
type game struct {
	t     *testing.T
	p     *Policy
	facts Facts
	eff   Effects
	logs  []Event
	steps []string
	last  string
}

func (g *game) check(stage string) *Check {
	g.logs, g.steps = nil, nil
	g.facts.Stage = stage
	return &Check{Facts: &g.facts, Effects: &g.eff, Log: func(e Event) { g.logs = append(g.logs, e) },
		Trace: func(s Step) { g.steps = append(g.steps, fmt.Sprintf("%s: %s: %s", s.List, s.Rule, s.Result)) }}
}

func (g *game) answer(r esmtp.Reply) {
	g.last = "OK"
	if !r.IsZero() {
		g.last = r.String()
	}
}

func build(t *testing.T, extra string, z zone) (*Policy, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(basics+extra), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		t.Fatal(err)
	}
	env := &lookup.Env{Config: cfg}
	rt, err := route.New(cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	return New(cfg, Deps{Tables: env, Router: rt, DNS: z, Warnf: t.Logf, Verify: verified, OwnAddr: func(a netip.Addr) bool { return a.String() == "127.0.0.1" }})
}

func TestPolicies(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no policies")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Split("\n"+string(b), "\n== ")[1:] {
			title, body, _ := strings.Cut(c, "\n")
			t.Run(filepath.Base(name)+"/"+title, func(t *testing.T) { playPolicy(t, strings.Split(body, "\n")) })
		}
	}
}

func playPolicy(t *testing.T, lines []string) {
	var set strings.Builder
	z := zone{}
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "set "); ok {
			set.WriteString(rest + "\n")
		}
		if f := strings.Fields(l); len(f) > 3 && f[0] == "dns" {
			key := f[1] + " " + f[2]
			if f[2] == "TXT" {
				z[key] = []string{strings.Join(f[3:], " ")}
			} else {
				z[key] = append(z[key], f[3:]...)
			}
		}
	}
	p, err := build(t, set.String(), z)
	if err != nil {
		t.Fatal(err)
	}
	g := &game{t: t, p: p}
	g.facts = Facts{ClientName: "unknown", ReverseName: "unknown", ClientAddr: "198.51.100.7", Protocol: "ESMTP"}
	for n, l := range lines {
		f := strings.Fields(l)
		if len(f) == 0 || f[0] == "set" || f[0] == "dns" || f[0] == "#" {
			continue
		}
		if !g.step(f) {
			if got := g.expect(f, l); got != "" {
				t.Errorf("line %d: %s, got %s", n+1, l, got)
			}
		}
	}
}

// step does what the line says; false if it is an expectation.
func (g *game) step(f []string) bool {
	ctx := context.Background()
	switch f[0] {
	case "client":
		g.facts = Facts{ClientName: f[1], ClientAddr: f[2], ReverseName: f[1], Protocol: "ESMTP"}
		if len(f) > 3 {
			g.facts.ReverseName = f[3]
		}
		g.eff = Effects{}
	case "helo":
		g.facts.Helo = f[1]
	case "login":
		g.facts.SASLUser = strings.Join(f[1:], "")
	case "tls":
		g.facts.TLS = true
	case "mail":
		g.eff = Effects{}
		g.facts.HaveSender, g.facts.Sender, g.facts.HaveRcpt, g.facts.RcptCount = true, strings.Trim(f[1], "<>"), false, 0
		if g.last = "OK"; !g.p.DelayReject {
			r, _ := g.p.Sender(ctx, g.check("MAIL"))
			g.answer(r)
		}
	case "rcpt":
		pt, _, err := esmtp.ParsePath("<"+strings.Join(f[1:], " ")+">", false)
		if err != nil {
			g.t.Fatal(err)
		}
		g.facts.HaveRcpt, g.facts.Rcpt = true, pt.Addr
		g.answer(g.p.Rcpt(ctx, g.check("RCPT")))
		if g.last == "OK" {
			g.facts.RcptCount++
		}
	case "data":
		g.answer(g.p.Data(ctx, g.check("DATA")))
	case "eod":
		g.answer(g.p.EndOfData(ctx, g.check("END-OF-MESSAGE")))
	case "etrn":
		g.facts.Etrn = f[1]
		g.answer(g.p.Etrn(ctx, g.check("ETRN")))
	default:
		return false
	}
	return true
}

// expect compares; the result is what was found instead, "" if all is well.
func (g *game) expect(f []string, line string) string {
	switch f[0] {
	case "effect":
		var have []string
		e := &g.eff
		for k, v := range map[string]bool{"hold": e.Hold, "discard": e.Discard} {
			if v {
				have = append(have, k)
			}
		}
		have = append(have, "filter="+e.Filter, "redirect="+e.Redirect)
		for _, b := range e.BCC {
			have = append(have, "bcc="+b)
		}
		for _, b := range e.Prepend {
			have = append(have, "prepend="+b)
		}
		if !slices.Contains(have, strings.Join(f[1:], " ")) {
			return fmt.Sprint(have)
		}
	case "log":
		for _, e := range g.logs {
			if e.Verb == f[1] && wild(e.Text, strings.Join(f[2:], " ")) {
				return ""
			}
		}
		return fmt.Sprint(g.logs)
	case "trace":
		if !slices.Contains(g.steps, strings.Join(f[1:], " ")) {
			return strings.Join(g.steps, "\n")
		}
	default:
		if !wild(g.last, line) {
			return g.last
		}
	}
	return ""
}

func wild(got, want string) bool {
	a, b, ok := strings.Cut(want, "...")
	return got == want || ok && len(got) >= len(a)+len(b) && strings.HasPrefix(got, a) && strings.HasSuffix(got, b)
}

func TestRelayControlIsDemanded(t *testing.T) {
	for set, ok := range map[string]bool{
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks\n":                                           false,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n":                true,
		"smtpd_relay_restrictions = permit, reject_unauth_destination\nsmtpd_recipient_restrictions =\n":                           false,
		"smtpd_relay_restrictions = warn_if_reject reject_unauth_destination\nsmtpd_recipient_restrictions =\n":                    false,
		"smtpd_relay_restrictions = warn_if_reject reject_unauth_destination, reject\nsmtpd_recipient_restrictions =\n":            true,
		"smtpd_restriction_classes = last\nlast = reject\nsmtpd_relay_restrictions = permit_mynetworks, last\n":                    true,
		"smtpd_relay_restrictions = permit_mynetworks, check_recipient_access inline:{a=reject}\nsmtpd_recipient_restrictions =\n": false,
		"smtpd_relay_restrictions = defer_if_permit\n":                                                                             true,
	} {
		if _, err := build(t, set, nil); (err == nil) != ok || err != nil && !errors.Is(err, ErrNoRelayControl) {
			t.Errorf("%q: %v", set, err)
		}
	}
}

func TestPolicyServer(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "policy")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan map[string]string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewScanner(c)
				attr := map[string]string{}
				for n := 0; r.Scan(); {
					if k, v, ok := strings.Cut(r.Text(), "="); ok {
						attr[k] = v
						continue
					}
					asked <- attr
					if attr["recipient"] == "bob@here.example" {
						c.Write([]byte("action=451 4.7.1 Greylisted\n\n"))
					} else if attr["helo_name"] == "quiet" {
						c.Write([]byte("action=\n\n"))
					} else {
						c.Write([]byte("action=PREPEND X-Policy: seen\n\n"))
					}
					attr = map[string]string{}
					if n++; n == 2 {
						return // idle connections die
					}
				}
			}()
		}
	}()
	p, err := build(t, "smtpd_recipient_restrictions = check_policy_service { unix:"+sock+", timeout=5s, policy_context=ctx }\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := Facts{ClientName: "c.example", ReverseName: "c.example", ClientAddr: "198.51.100.7", Helo: "h", HaveSender: true, Sender: "a b@far.example", HaveRcpt: true, Protocol: "ESMTP", Stage: "RCPT", Instance: "1.2"}
	for i, want := range []string{"", "451 4.7.1 <bob@here.example>: Recipient address rejected: Greylisted", "", "451 4.7.1 <bob@here.example>: Recipient address rejected: Greylisted", ""} {
		f.Rcpt = []string{"alice@here.example", "bob@here.example"}[i%2]
		var e Effects
		got := ""
		if r := p.Rcpt(context.Background(), &Check{Facts: &f, Effects: &e}); !r.IsZero() {
			got = r.String()
		}
		if got != want || want == "" && len(e.Prepend) != 1 {
			t.Errorf("request %d: %q, want %q; %+v", i, got, want, e)
		}
		a := <-asked
		if a["request"] != "smtpd_access_policy" || a["protocol_state"] != "RCPT" || a["sender"] != `"a b"@far.example` || a["client_address"] != "198.51.100.7" || a["policy_context"] != "ctx" || a["instance"] != "1.2" {
			t.Errorf("attributes %v", a)
		}
	}
	var e Effects
	f.Helo, f.Rcpt = "quiet", "alice@here.example"
	if r := p.Rcpt(context.Background(), &Check{Facts: &f, Effects: &e}); !r.IsZero() || len(e.Prepend) != 0 {
		t.Errorf("an empty action: %v %+v", r, e)
	}
	p, err = build(t, "smtpd_recipient_restrictions = check_policy_service { unix:/nonexistent, try_limit=1, { default_action = DEFER later } }\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Rcpt(context.Background(), &Check{Facts: &f}); r.String() != "450 4.7.1 <alice@here.example>: Recipient address rejected: later" {
		t.Error(r)
	}
}

func TestExpand(t *testing.T) {
	val := func(n string) string { return map[string]string{"a": "A", "b": ""}[n] }
	for in, want := range map[string]string{
		"x": "x", "$a-$b-$c": "A--", "${a}$(a)": "AA", "$$a": "$a", "${a?yes $a}": "yes A", "${b?yes}": "", "${b:no}": "no", "${a:no}": "A",
		"${a?{y}:{n}}": "y", "${b?{y}:{n}}": "n", "$": "$", "${a": "", "$-": "$-", "${b?; $a}": "",
	} {
		if got := Expand(in, val); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestSleepEndsWithContext(t *testing.T) {
	p, err := build(t, "smtpd_recipient_restrictions = sleep 3000\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	p.Rcpt(ctx, &Check{Facts: &Facts{ClientAddr: "192.0.2.1", HaveRcpt: true, Rcpt: "alice@here.example"}})
	if time.Since(begin) > time.Minute {
		t.Error("slept on")
	}
}

func FuzzAccessAction(f *testing.F) {
	for _, s := range []string{"OK", "550 5.1.1 x", "REJECT", "defer_if_permit, reject", "FILTER x:y", "PREPEND a: b", "123456", "check_client_access inline:{a=b}", "a,b,{c"} {
		f.Add(s)
	}
	dir := f.TempDir()
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte(basics), 0o600)
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All})
	if err != nil {
		f.Fatal(err)
	}
	rt, err := route.New(cfg, &lookup.Env{Config: cfg})
	if err != nil {
		f.Fatal(err)
	}
	p, err := New(cfg, Deps{Tables: &lookup.Env{Config: cfg}, Router: rt, DNS: zone{}, Verify: verified, Sleep: func(context.Context, time.Duration) {}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.Contains(value, "policy") {
			return // would dial
		}
		fa := Facts{ClientName: "c", ClientAddr: "198.51.100.7", HaveSender: true, Sender: "a@b", HaveRcpt: true, Rcpt: "alice@here.example"}
		r := p.newRun(context.Background(), &Check{Facts: &fa})
		r.kind, r.item, r.class = kindRcpt, "x", "y"
		if v := r.action(&node{arg: "table"}, value, "i", "c"); v == reject && r.reply.Code != Hangup && (r.reply.Code < 400 || r.reply.Code > 599) {
			t.Fatalf("%q: %+v", value, r.reply)
		}
		parseListArg(value)
		Expand(value, func(string) string { return "v" })
	})
}

// verified is an address verification service that knows addresses by their
// local parts.
func verified(_ context.Context, addr string) (Verified, string, error) {
	switch local, _ := address.Split(addr); local {
	case "good":
		return Deliverable, "250 ok", nil
	case "bad":
		return Undeliverable, "550 no such user", nil
	case "broken":
		return Unverified, "", errors.New("no such socket")
	}
	return Unverified, "Address verification in progress", nil
}
