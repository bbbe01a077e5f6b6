package main

import (
	"context"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/proto/shadow"
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
)

// fakeShadow gives verdicts by user name and keeps what it was asked.
type fakeShadow struct {
	mu    sync.Mutex
	asked []shadow.Query
}

func (f *fakeShadow) listen(t *testing.T) *shadow.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shadow")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale := true
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				s := ipc.CallServer{Protocol: shadow.Protocol}
				s.Serve(context.Background(), nc, func(_ *ipc.Conn, _ byte, p []byte) ([]byte, error) {
					q, err := shadow.DecodeQuery(p)
					if err != nil {
						return nil, err
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					f.asked = append(f.asked, *q)
					r := &shadow.Reply{Status: shadow.Unknown}
					switch {
					case q.User == "stale" && stale:
						r.Status, stale = shadow.Stale, false
					case q.User == "sys" || q.User == "stale" || q.User == "both":
						if r.Status = shadow.Mismatch; q.Password == "system" {
							r = &shadow.Reply{Name: q.User, UID: 1007, GID: 1008, Home: "/home/" + q.User}
						}
					case q.User == "expired":
						r.Status = shadow.AccountExpired
					case q.User == "old":
						r.Status = shadow.PasswordExpired
					case q.User == "sick":
						r.Status, r.Detail = shadow.Trouble, "it hurts"
					}
					return shadow.EncodeReply(r), nil
				})
			}()
		}
	}()
	c := shadow.NewClient(path)
	t.Cleanup(func() { c.Close(); l.Close() })
	return c
}

func TestSystemUsers(t *testing.T) {
	f, m := &fakeShadow{}, &fakeMaster{}
	a, c, lg := startAuth(t, "both:{PLAIN}file:5:6::/b::\nfile:{PLAIN}file:5:6::/f::\n", "auth_databases = passwd-file shadow\nauth_default_realm = here.example\nhome_mailbox = Maildir/\n")
	a.sessions = m.listen(t)
	a.dbs[1].(*systemUsers).shadow = f.listen(t)
	try := func(user, password string) *dovecot.Result {
		t.Helper()
		_, r, err := c.Start(context.Background(), dovecot.Request{Mech: "PLAIN", Service: "imap", RemoteIP: "192.0.2.9", Program: "imapd", Initial: []byte("\x00" + user + "\x00" + password)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		user, password string
		ok, temp       bool
	}{
		{"sys", "system", true, false},
		{"sys@HERE.example", "system", true, false},
		{"both", "file", true, false},
		{"both", "system", true, false}, // refused by one, right for the next
		{"file", "file", true, false},
		{"stale", "system", true, false},
		{"sys", "wrong", false, false},
		{"sys@there.example", "system", false, false},
		{"file", "system", false, false},
		{"expired", "system", false, false},
		{"old", "system", false, false},
		{"nobody", "system", false, false},
		{"evil:x", "system", false, false},
		{"sick", "system", false, true},
	} {
		r := try(tt.user, tt.password)
		if r.OK != tt.ok || r.Temp != tt.temp {
			t.Errorf("%s with %s: %+v", tt.user, tt.password, r)
		}
	}
	m.mu.Lock()
	g := m.grants[0]
	m.mu.Unlock()
	if want := (&session.Grant{Cookie: g.Cookie, Program: "imapd", User: "sys", UID: 1007, GID: 1008, Home: "/home/sys", Mail: "maildir:~/Maildir"}); !reflect.DeepEqual(g, want) {
		t.Errorf("granted %+v", g)
	}
	f.mu.Lock()
	for _, q := range f.asked {
		if strings.Contains(q.User, ":") {
			t.Errorf("asked for %q", q.User)
		}
	}
	if n := len(f.asked); n != 13 {
		t.Errorf("%d questions: databases are not asked in order, or not all before a refusal", n)
	}
	f.mu.Unlock()
	lg.mu.Lock()
	defer lg.mu.Unlock()
	log := strings.Join(lg.lines, "\n")
	for _, want := range []string{
		"shadow(sys,192.0.2.9): password mismatch (service=imap, method=PLAIN)",
		"shadow(expired,192.0.2.9): account has expired (service=imap",
		"shadow(old,192.0.2.9): password has expired (service=imap",
		"shadow(nobody,192.0.2.9): unknown user (service=imap",
		"passwd-file(file,192.0.2.9): password mismatch (service=imap",
		"shadow service: it hurts",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no line %q in\n%s", want, log)
		}
	}
}

// Without the helper nobody is refused for good.
func TestShadowAway(t *testing.T) {
	a, c, _ := startAuth(t, "", "auth_databases = shadow\n")
	a.dbs[0].(*systemUsers).shadow = shadow.NewClient(filepath.Join(t.TempDir(), "none"))
	_, r, err := c.Start(context.Background(), dovecot.Request{Mech: "PLAIN", Initial: []byte("\x00u\x00p")})
	if err != nil || r.OK || !r.Temp {
		t.Errorf("%+v %v", r, err)
	}
}

func TestSystemMail(t *testing.T) {
	for conf, want := range map[string]string{
		"home_mailbox = Maildir/\n": "maildir:~/Maildir",
		"home_mailbox = mail/box\n": "mbox:~/mail:INBOX=~/mail/box",
		"":                          "mbox:~/mail:INBOX=/var/mail/sys",
		"mail_spool_directory = /var/maildirs/\n": "maildir:/var/maildirs/sys",
	} {
		a, _, _ := startAuth(t, "", "auth_databases = shadow\n"+conf)
		if got := a.dbs[0].(*systemUsers).mail("sys"); got != want {
			t.Errorf("%q: %s, want %s", conf, got, want)
		}
	}
}

// exchange runs SCRAM against auth.
func exchange(t *testing.T, c *dovecot.Client, mech, user, password string, offer *sasl.Offer, b sasl.Bindings) *dovecot.Result {
	t.Helper()
	ctx := context.Background()
	m, err := sasl.NewClient(mech, user, password, offer)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := m.Start()
	x, r, err := c.Start(ctx, dovecot.Request{Mech: mech, Service: "smtp", RemoteIP: "192.0.2.9", Bindings: b, Initial: first})
	for err == nil && !r.Done {
		var resp []byte
		if resp, err = m.Next(r.Data); err != nil {
			t.Fatal(err)
		}
		r, err = x.Respond(ctx, resp)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.OK {
		if _, err := m.Next(r.Data); err != nil || !sasl.Verified(m) {
			t.Errorf("%s: the server's proof: %v", mech, err)
		}
	}
	return r
}

func TestScramMechanisms(t *testing.T) {
	_, c, lg := startAuth(t, "Anna:{PLAIN}secret\n", allMechanisms)
	ours := sasl.Bindings{"tls-exporter": []byte("this connection"), "tls-server-end-point": []byte("cert")}
	theirs := sasl.Bindings{"tls-exporter": []byte("another")}
	plus := &sasl.Offer{Mechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}}
	with := func(b sasl.Bindings) *sasl.Offer { return &sasl.Offer{Mechanisms: plus.Mechanisms, Bindings: b} }
	stripped := &sasl.Offer{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-1"}, Bindings: ours}
	for _, h := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		for _, tt := range []struct {
			what, mech, password string
			offer                *sasl.Offer
			bound                sasl.Bindings
			ok                   bool
			reason               string
		}{
			{"plain", h, "secret", &sasl.Offer{}, nil, true, ""},
			{"wrong", h, "wrong", &sasl.Offer{}, nil, false, "password mismatch"},
			{"not bound although it could be", h, "secret", plus, ours, true, ""},
			{"bound", h + "-PLUS", "secret", with(ours), ours, true, ""},
			{"bound, wrong", h + "-PLUS", "wrong", with(ours), ours, false, "password mismatch"},
			{"other connection", h + "-PLUS", "secret", with(theirs), ours, false, "channel binding does not match"},
			{"other type", h + "-PLUS", "secret", with(sasl.Bindings{"tls-unique": []byte("x")}), ours, false, "channel binding of a type that this connection does not have"},
			{"certificate", h + "-PLUS", "secret", with(sasl.Bindings{"tls-server-end-point": []byte("cert")}), ours, true, ""},
			{"no TLS here", h + "-PLUS", "secret", with(ours), nil, false, "channel binding of a type"},
			{"offer taken out", h, "secret", stripped, ours, false, "the client was not shown the mechanisms with channel binding"},
			{"none offered", h, "secret", stripped, nil, true, ""},
		} {
			lg.mu.Lock()
			lg.lines = nil
			lg.mu.Unlock()
			r := exchange(t, c, tt.mech, "anna", tt.password, tt.offer, tt.bound)
			if r.OK != tt.ok || r.Temp || r.OK && r.User != "Anna" {
				t.Errorf("%s %s: %+v", h, tt.what, r)
			}
			lg.mu.Lock()
			if log := strings.Join(lg.lines, "\n"); !strings.Contains(log, tt.reason) || tt.ok && log != "" {
				t.Errorf("%s %s: log %q", h, tt.what, log)
			}
			lg.mu.Unlock()
		}
	}
	lg.lines = nil
	if r := exchange(t, c, "SCRAM-SHA-1-PLUS", "nobody", "secret", with(ours), ours); r.OK || !strings.Contains(lg.lines[0], "passwd-file(nobody,192.0.2.9): unknown user") {
		t.Errorf("%+v %q", r, lg.lines)
	}
	// A mechanism's name and what the client says of binding must agree.
	for mech, first := range map[string]string{"SCRAM-SHA-256": "p=tls-exporter,,n=anna,r=x", "SCRAM-SHA-256-PLUS": "n,,n=anna,r=x"} {
		_, r, err := c.Start(context.Background(), dovecot.Request{Mech: mech, Bindings: ours, Initial: []byte(first)})
		if err != nil || !r.Done || r.OK || r.Reason != "Invalid authentication message" {
			t.Errorf("%s: %+v %v", mech, r, err)
		}
	}
}
