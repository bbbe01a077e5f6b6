package e2e

import (
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestBadDestinations: servers that misbehave, each with the outcome that is
// right, and at most one copy.
func TestBadDestinations(t *testing.T) {
	t.Parallel()
	broken, err := badmx.BrokenCertificate()
	if err != nil {
		t.Fatal(err)
	}
	handshake := badmx.BrokenHandshake()
	for _, tt := range []struct {
		name     string
		script   badmx.Script
		main     string
		deferred string // what the first attempt says; "" if it succeeds
		log      string // in the log after the last attempt
		never    bool   // it is not delivered at all
	}{
		{name: "dies in data", script: badmx.DieInData(100, 1), deferred: `dsn=4\.4\.2, status=deferred \(lost connection with 127\.0\.0\.1\[127\.0\.0\.1\] while sending (message body|end of data)`},
		{name: "later at end of data", script: badmx.Later(1, "451 4.3.0 busy"), deferred: `dsn=4\.3\.0, status=deferred \(host .* said: 451 4\.3\.0 busy \(in reply to end of DATA command\)\)`},
		{name: "refuses to talk", script: badmx.Script{Greeting: func(n int) string {
			if n == 1 {
				return "421 4.3.2 not now"
			}
			return ""
		}}, deferred: `status=deferred \(host .* refused to talk to me: 421 4\.3\.2 not now\)`},
		{name: "hangs up at once", script: badmx.Script{Greeting: func(n int) string {
			if n == 1 {
				return badmx.Hangup
			}
			return ""
		}}, deferred: `dsn=4\.4\.2, status=deferred \(lost connection with .* while receiving the initial server greeting\)`},
		{name: "drips", script: badmx.Drip(200 * time.Millisecond), main: "smtp_helo_timeout = 1s", deferred: `dsn=4\.4\.2, status=deferred \(conversation with .* timed out while `, never: true},
		{name: "slow but steady", script: badmx.Drip(2 * time.Millisecond)},
		{name: "broken certificate, opportunistic", script: broken, log: `status=sent`},
		{name: "broken certificate, verified", script: broken, main: "smtp_tls_security_level = secure", deferred: `dsn=4\.7\.5, status=deferred \(Server certificate not `, never: true},
		{name: "broken handshake, opportunistic", script: handshake, main: "minimal_backoff_time = 1s\nqueue_run_delay = 1s", // clear text only after a while, as Postfix
			deferred: `dsn=4\.7\.5, status=deferred \(Cannot start TLS`, log: `status=sent`},
		{name: "broken handshake, required", script: handshake, main: "smtp_tls_security_level = encrypt", deferred: `dsn=4\.7\.5, status=deferred \(Cannot start TLS`, never: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			remote, err := badmx.Start("127.0.0.1:0", tt.script)
			if err != nil {
				t.Fatal(err)
			}
			defer remote.Close()
			main := []string{"relayhost = [127.0.0.1]:" + remote.Port()}
			if tt.main != "" {
				main = append(main, tt.main)
			}
			s := harness.Start(t, main...)
			if err := s.Submit("alice@example.test", []string{"x@far.example"}, harness.Message(tt.name)+strings.Repeat("0123456789\r\n", 1000)); err != nil {
				t.Fatal(err)
			}
			if tt.deferred != "" {
				s.WaitLog(`to=<x@far\.example>, .*` + tt.deferred)
				s.WaitQueue(1)
				if tt.never {
					if n := len(remote.Mails()); n != 0 {
						t.Errorf("%d copies were sent", n)
					}
					return
				}
				s.Run("postqueue", "-f")
			}
			s.Until("it is delivered", func() bool { return len(remote.Mails()) > 0 })
			s.WaitQueue(0)
			if tt.log != "" {
				s.WaitLog(`to=<x@far\.example>, .*` + tt.log)
			}
			l := remote.Mails()
			if len(l) != 1 || !strings.HasSuffix(string(l[0].Data), strings.Repeat("0123456789\r\n", 1000)) {
				t.Errorf("%d copies; the first has %d bytes", len(l), len(l[0].Data))
			}
			if n := len(s.Mail("alice")); n != 0 {
				t.Errorf("alice has %d reports", n)
			}
		})
	}
}
