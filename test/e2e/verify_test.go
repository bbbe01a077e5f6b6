package e2e

import (
	"strings"
	"sync/atomic"
	"testing"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestAddressVerification: the next hop is asked about each recipient once, in a
// conversation that ends behind RCPT; the answer survives a restart.
func TestAddressVerification(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(_ int, to string) string {
		asked.Add(1)
		switch {
		case strings.HasPrefix(to, "good@"):
			return ""
		case strings.HasPrefix(to, "later@"):
			return "450 4.2.0 come back"
		}
		return "550 5.1.1 no such user here"
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.Start(t, "relay_domains = relay.example", "relay_recipient_maps =", "transport_maps = inline:{relay.example=smtp:[127.0.0.1]:"+remote.Port()+"}",
		"smtpd_recipient_restrictions = reject_unverified_recipient", "unverified_recipient_reject_code = 550", "address_verify_poll_delay = 10s",
		"virtual_alias_maps = inline:{alias@relay.example=good@relay.example}")
	send := func(to, want string) {
		t.Helper()
		err := s.Send("sender@client.example", []string{to}, harness.Message("x"))
		if got := code(err); got != want && !(err == nil && want == "") {
			t.Errorf("%s: %v, want %s", to, err, want)
		}
	}
	const bad = "550 5.1.1"
	send("bad@relay.example", bad)
	s.WaitLog(`<bad@relay\.example>: Recipient address rejected: undeliverable address: host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1 no such user here \(in reply to RCPT TO command\)`)
	s.WaitLog(`to=<bad@relay\.example>, .*status=undeliverable`)
	if n := len(remote.Mails()); n != 0 {
		t.Fatalf("%d probes were delivered", n)
	}
	send("later@relay.example", "450 4.1.1")
	s.WaitLog(`<later@relay\.example>: Recipient address rejected: unverified address: host .* said: 450 4\.2\.0 come back`)
	send("bob@example.test", "")
	send("good@relay.example", "")
	send("alias@relay.example", "")
	s.Until("both messages are delivered", func() bool { return len(remote.Mails()) == 2 })
	s.WaitQueue(0)

	s.Run("posthaste", "-c", s.Etc(), "stop")
	s.Run("posthaste", "-c", s.Etc(), "start")
	before := asked.Load()
	send("bad@relay.example", bad)
	if n := asked.Load(); n != before {
		t.Errorf("asked %d times, %d before the restart", n, before)
	}
	if n := len(s.Mail("alice")) + len(s.Mail("bob")); n != 1 {
		t.Errorf("%d messages, want the one to bob", n)
	}
}
