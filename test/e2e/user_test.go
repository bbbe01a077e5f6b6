package e2e

import (
	"strings"
	"testing"

	"posthaste/test/tools/harness"
)

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
