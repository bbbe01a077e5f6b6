package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/sasl/dovecot"
)

// fakeMaster keeps what it is granted.
type fakeMaster struct {
	mu     sync.Mutex
	grants []*session.Grant
	refuse bool
}

func (m *fakeMaster) listen(t *testing.T) *session.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "session")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				c, err := ipc.Accept(nc, session.Protocol, 5*time.Second)
				if err != nil {
					return
				}
				session.Serve(c, func(g *session.Grant) error {
					m.mu.Lock()
					defer m.mu.Unlock()
					if m.refuse {
						return errors.New("no")
					}
					m.grants = append(m.grants, g)
					return nil
				}, nil)
			}()
		}
	}()
	c := session.NewClient(path)
	t.Cleanup(func() { c.Close() })
	return c
}

const sessionUsers = `anna:{PLAIN}secret:1000:1001::/home/anna::userdb_mail=maildir:/m/anna userdb_quota_rule=*:bytes=1G other=x
nouid:{PLAIN}secret:::::
nohome:{PLAIN}secret:5:5::::
root:{PLAIN}secret:0:0::/root::
named:{PLAIN}secret:nobody:nogroup::/home/named::
bob@here.example:{PLAIN}secret:7:8::/home/bob::
`

func TestGrant(t *testing.T) {
	m := &fakeMaster{}
	a, c, lg := startAuth(t, sessionUsers, "auth_default_realm = here.example\n")
	a.sessions = m.listen(t)
	ctx := context.Background()
	login := func(user, pass, program string) *dovecot.Result {
		t.Helper()
		_, r, err := c.Start(ctx, dovecot.Request{Mech: "PLAIN", Service: "imap", RemoteIP: "192.0.2.9", Program: program, Initial: []byte("\x00" + user + "\x00" + pass)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, user := range []string{"anna", "ANNA", "anna@here.example", "Anna@HERE.example"} {
		r := login(user, "secret", "imapd")
		if !r.OK || r.User != "anna" {
			t.Fatalf("%s: %+v", user, r)
		}
		m.mu.Lock()
		g := m.grants[len(m.grants)-1]
		m.mu.Unlock()
		want := &session.Grant{Cookie: g.Cookie, Program: "imapd", User: "anna", UID: 1000, GID: 1001, Home: "/home/anna",
			Mail: "maildir:/m/anna", Extra: []string{"quota_rule=*:bytes=1G"}}
		if !reflect.DeepEqual(g, want) || r.Field("cookie") != hex.EncodeToString([]byte(g.Cookie)) {
			t.Errorf("%s: granted %+v, answered %v", user, g, r.Fields)
		}
	}
	if r := login("bob", "secret", "pop3d"); !r.OK || r.User != "bob@here.example" {
		t.Errorf("%+v", r)
	}
	n := len(m.grants)
	for _, user := range []string{"nouid", "nohome", "root"} {
		if r := login(user, "secret", "imapd"); r.OK || !r.Temp {
			t.Errorf("%s: %+v", user, r)
		}
	}
	if r := login("anna", "secret", ""); !r.OK || r.Field("cookie") != "" {
		t.Errorf("smtpd's question: %+v", r)
	}
	for _, user := range []string{"anna@there.example", "bob@there.example", "evil\n(x),192.0.2.1): unknown user"} {
		if r := login(user, "secret", "imapd"); r.OK || r.Temp {
			t.Errorf("%s: %+v", user, r)
		}
	}
	login("anna", "wrong", "imapd")
	if len(m.grants) != n {
		t.Error("granted without success")
	}
	m.mu.Lock()
	m.refuse = true
	m.mu.Unlock()
	if r := login("anna", "secret", "imapd"); r.OK || !r.Temp {
		t.Errorf("master refused, yet %+v", r)
	}
	lg.mu.Lock()
	defer lg.mu.Unlock()
	log := strings.Join(lg.lines, "\n")
	for _, want := range []string{
		"passwd-file(anna@there.example,192.0.2.9): unknown user (service=imap, method=PLAIN)",
		"passwd-file(anna,192.0.2.9): password mismatch (service=imap, method=PLAIN)",
		"passwd-file(evil??x??192.0.2.1?:?unknown?user,192.0.2.9): unknown user",
		"user nouid: cannot open a session of imapd: no uid",
		"user nohome: cannot open a session of imapd: no home directory",
		"user root: cannot open a session of imapd: session: user \"root\" has user or group ID 0",
		"user anna: cannot open a session of imapd: master: no",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no line %q in\n%s", want, log)
		}
	}
}

func TestPenalties(t *testing.T) {
	now := time.Unix(1000, 0)
	p := penalties{base: 2 * time.Second, now: func() time.Time { return now }}
	for i, want := range []time.Duration{2, 4, 8, 8, 8} {
		if got := p.failed("192.0.2.1", fmt.Sprint("u", i)); got != want*time.Second {
			t.Errorf("failure %d of a client: %v, want %vs", i+1, got, want)
		}
	}
	if got := p.failed("192.0.2.2", "U0"); got != 4*time.Second {
		t.Errorf("second failure for a name: %v", got)
	}
	if got := p.failed("192.0.2.3", "other"); got != 2*time.Second {
		t.Errorf("another client: %v", got)
	}
	p.failed("2001:db8::1", "x")
	if got := p.failed("2001:db8::2", "y"); got != 4*time.Second {
		t.Errorf("the same IPv6 network: %v", got)
	}
	now = now.Add(penaltyLife)
	if got := p.failed("192.0.2.1", "u1"); got != 2*time.Second {
		t.Errorf("after a pause: %v", got)
	}
	for i := range maxPenalties + 10 {
		p.failed(fmt.Sprint("client", i), "u")
	}
	if len(p.m) > maxPenalties {
		t.Errorf("%d remembered", len(p.m))
	}
}
