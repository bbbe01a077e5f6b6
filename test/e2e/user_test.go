package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

// TestInitRefuses: an instance that could not work is not made.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	s := &harness.System{T: t, Dir: filepath.Join(t.TempDir(), "i")}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"usage", []string{"--user", "a:b"}},
		{"want NAME:PASSWORD", []string{"--dir", s.Dir, "--user", "a"}},
		{"no users", []string{"--dir", s.Dir, "--domain", "x.test"}},
		{"named twice", []string{"--dir", s.Dir, "--user", "anna:b", "--user", "Anna:c"}},
		{"want names of letters", []string{"--dir", s.Dir, "--user", "a:b", "--domain", "x test"}},
		{"want names of letters", []string{"--dir", s.Dir, "--user", "a:b", "--domain", "x..test"}},
		{"want names of letters", []string{"--dir", s.Dir, "--user", "a:b", "--domain", "$x.test"}},
		{"port base", []string{"--dir", s.Dir, "--user", "a:b", "--port-base", "70000"}},
	} {
		out, err := s.Try("posthaste", append([]string{"init"}, tc.args...)...)
		if exit(err) != 1 || !strings.Contains(strings.ToLower(out), strings.ToLower(tc.want)) {
			t.Errorf("init %q: %v, %s; want %q", tc.args, err, out, tc.want)
		}
		if _, err := os.Stat(s.Dir); err == nil {
			t.Fatalf("init %q made something", tc.args)
		}
	}
	s.Run("posthaste", "init", "--dir", s.Dir, "--user", "a:b", "--domain", "邮件.例子")
	if out := s.Run("postconf", "-h", "myhostname", "mydomain"); out != "mail.xn--5nq051n.xn--fsqu00a\n邮件.例子\n" {
		t.Errorf("a domain in Chinese: %s", out)
	}
	if out := s.Run("posthaste", "-c", s.Etc(), "check"); out != "" {
		t.Errorf("check: %s", out)
	}
}

// TestUser: users come and go while the system runs.
func TestUser(t *testing.T) {
	s := harness.Start(t)
	s.RunInput("geheim\n", "posthaste", "-c", s.Etc(), "user", "add", "carl")
	if err := s.Send("sender@client.example", []string{"carl@example.test"}, harness.Message("for carl")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("carl", 1)
	s.RunInput("neu\n", "posthaste", "-c", s.Etc(), "user", "passwd", "carl")
	s.Until("the new password is good", func() bool {
		r := dialReader(t, s, 993)
		r.c.Write([]byte("x LOGIN carl neu\r\n"))
		return strings.HasPrefix(r.line(), "x OK")
	})
	if out := s.Run("posthaste", "-c", s.Etc(), "mailbox", "list", "carl"); !strings.Contains(out, "INBOX") {
		t.Errorf("mailbox list: %s", out)
	}
	if out := s.Run("posthaste", "-c", s.Etc(), "mailbox", "verify", "carl"); out != "" {
		t.Logf("verify: %s", out)
	}
	if out := s.Run("posthaste", "-c", s.Etc(), "user", "list"); !strings.Contains(out, "carl\t") {
		t.Errorf("user list: %s", out)
	}
	s.Run("posthaste", "-c", s.Etc(), "user", "del", "carl")
	s.Until("mail for carl is refused", func() bool {
		err := s.Send("sender@client.example", []string{"carl@example.test"}, harness.Message("too late"))
		return code(err) == "550 5.1.1"
	})
	for _, bad := range []string{"", "a b", "x:y", "../x", "#z"} {
		if out, err := s.TryInput("pw\n", "posthaste", "-c", s.Etc(), "user", "add", bad); err == nil {
			t.Errorf("user add %q: %s", bad, out)
		}
	}
	if _, err := s.TryInput("", "posthaste", "-c", s.Etc(), "user", "add", "nopassword"); err == nil {
		t.Error("a user without a password")
	}
}
