package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/service"
)

type sink struct {
	mu    sync.Mutex
	lines []string
}

func (s *sink) Write(_ maillog.Severity, _ string, _ int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, text)
}

// start serves a password file; the result is a client.
func start(t *testing.T, users, extra string) (*dovecot.Client, *sink) {
	t.Helper()
	_, c, lg := startAuth(t, users, extra)
	return c, lg
}

func startAuth(t *testing.T, users, extra string) (*auth, *dovecot.Client, *sink) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"users": users, "main.cf": "auth_failure_delay = 0s\n" + extra} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: "auth"})
	if err != nil {
		t.Fatal(err)
	}
	lg := &sink{}
	a := &auth{}
	env := &service.Env{Config: cfg, Log: maillog.New("postfix/auth", lg)}
	if err := a.open(env); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "auth")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { a.serve(ctx, env, c); c.Close() }()
		}
	}()
	c := dovecot.NewClient(sock)
	t.Cleanup(func() { c.Close(); l.Close(); cancel() })
	return a, c, lg
}

func names(t *testing.T, c *dovecot.Client) string {
	t.Helper()
	l, err := c.Mechanisms(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var n []string
	for _, m := range l {
		n = append(n, m.Name)
	}
	return strings.Join(n, " ")
}

// allMechanisms is main.cf of those who want channel binding.
const allMechanisms = "auth_mechanisms = plain login scram-sha-256-plus scram-sha-256 scram-sha-1-plus scram-sha-1\n"

func TestMechanismsOnOffer(t *testing.T) {
	h, err := passwd.HashScram("x")
	if err != nil {
		t.Fatal(err)
	}
	crypt := "old:$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5\n"
	for _, c := range []struct{ users, extra, want string }{
		{"a:" + h + "\n", "", "PLAIN LOGIN SCRAM-SHA-256"},
		{"a:" + h + "\n", allMechanisms, "PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256"},
		{"a:{PLAIN}x\n", allMechanisms, "PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1"},
		{"a:{PLAIN}x\n", "auth_databases = passwd-file, shadow\n", "PLAIN LOGIN"},
		{"a:{PLAIN}x\n", "auth_databases = shadow\n", "PLAIN LOGIN"},
		{"a:{SCRAM-SHA-1}4096,QSXCR+Q6sek8bf92,6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE=\n", allMechanisms, "PLAIN LOGIN SCRAM-SHA-1-PLUS SCRAM-SHA-1"},
		{"a:" + h + "\n" + crypt, "", "PLAIN LOGIN"},
		{"a:" + h + "\n", "auth_mechanisms = scram-sha-256\n", "SCRAM-SHA-256"},
	} {
		cl, _ := start(t, c.users, c.extra)
		if got := names(t, cl); got != c.want {
			t.Errorf("%q, %q: %s", c.users, c.extra, got)
		}
	}
}

func TestAttempts(t *testing.T) {
	c, lg := start(t, "a:{PLAIN}secret\nlocked:*\ndes:ab1234567890x\n", "")
	ctx := context.Background()
	for in, want := range map[string]struct{ ok, temp bool }{
		"\x00a\x00secret":      {true, false},
		"\x00a\x00wrong":       {false, false},
		"\x00nobody\x00secret": {false, false},
		"\x00locked\x00*":      {false, false},
		"\x00des\x00x":         {false, true},
	} {
		_, r, err := c.Start(ctx, dovecot.Request{Mech: "PLAIN", Service: "smtp", Initial: []byte(in)})
		if err != nil || r.OK != want.ok || r.Temp != want.temp {
			t.Errorf("%q: %+v %v", in, r, err)
		}
	}
	if _, r, err := c.Start(ctx, dovecot.Request{Mech: "CRAM-MD5"}); err != nil || r.OK || !r.Done {
		t.Errorf("%+v %v", r, err)
	}
	lg.mu.Lock()
	defer lg.mu.Unlock()
	for _, l := range lg.lines {
		if strings.Contains(l, "secret") || strings.Contains(l, "wrong") {
			t.Errorf("a password in the log: %s", l)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	for text, want := range map[string]string{"auth_mechanisms = plain, telepathy\n": "telepathy", "auth_databases = pam\n": `unknown database "pam"`, "auth_databases = ,\n": "names no database"} {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o600)
		cfg, err := config.Load(config.Options{Dir: dir, Known: params.All, Program: "auth"})
		if err != nil {
			t.Fatal(err)
		}
		if err := (&auth{}).open(&service.Env{Config: cfg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
}
