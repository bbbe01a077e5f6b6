package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// TestClientCounts: connections are counted for all processes of smtpd, while
// anvil and smtpd are replaced, and when anvil dies.
func TestClientCounts(t *testing.T) {
	s := harness.New(t, "smtpd_client_event_limit_exceptions =", "smtpd_client_connection_count_limit = 2")
	s.Start()
	a, b := s.Talk(), s.Talk()
	for _, d := range []*harness.Dialogue{a, b} {
		d.Want("250", "MAIL FROM:<alice@example.test>") // within a transaction a reload does not cut it
	}
	refused := func() bool { return strings.HasPrefix(s.Banner(), "421 4.7.0 ") }
	if !refused() {
		t.Error("a third connection is let in")
	}
	old := s.Processes("smtpd")
	s.Reload()
	s.Until("two processes of smtpd", func() bool { s.Banner(); return len(s.Processes("smtpd")) > len(old) })
	s.Until("the successor counts the connections of the predecessor", refused)
	// Killed while it starts, it would be kept back for service_throttle_time.
	s.Until("one anvil that knows", func() bool { return refused() && len(s.Processes("anvil")) == 1 })
	if s.Kill("anvil") == 0 {
		t.Error("there was no anvil")
	}
	s.Until("anvil hears of the connections again", refused)
	a.Want("221", "QUIT")
	s.Until("the end of one makes room", func() bool { return strings.HasPrefix(s.Banner(), "220 ") })
	b.Want("250", "RCPT TO:<bob@example.test>")
	b.Want("354", "DATA")
	b.Want("250", "Subject: x", "", "x", ".")
	s.WaitMail("bob", 1)
	s.WaitLog(`warning: Connection concurrency limit exceeded: 3 from .*\[127\.0\.0\.1\] for service \d+`)
	s.Reload()
	s.WaitLog(`anvil\[\d+\]: statistics: max connection count \d for \(\d+:127\.0\.0\.1\) at `)
}

// TestWithoutAnvil: mail flows on, and the log says what is missing.
func TestWithoutAnvil(t *testing.T) {
	s := harness.New(t, "smtpd_client_event_limit_exceptions =", "smtpd_client_connection_count_limit = 1", "smtpd_client_message_rate_limit = 1",
		"mail_max_userip_connections = 1", "master_service_disable = anvil.unix")
	s.Start()
	a, b := s.Talk(), s.Talk()
	for _, d := range []*harness.Dialogue{a, b} {
		d.Want("250", "MAIL FROM:<alice@example.test>")
		d.Want("250", "RCPT TO:<bob@example.test>")
		d.Want("354", "DATA")
		d.Want("250", "Subject: x", "", "x", ".")
	}
	s.WaitMail("bob", 2)
	for range 2 {
		r := dialReader(t, s, 993)
		r.imap("LOGIN bob hunter2")
	}
	s.WaitLog(`warning: problem talking to service anvil: .*: clients are not counted`)
	if len(s.Processes("anvil")) != 0 {
		t.Error("anvil runs although it is disabled")
	}
}

// TestUserConnections: sessions of a user from one address are counted with
// and without TLS, until the session program ends them, or dies.
func TestUserConnections(t *testing.T) {
	s := harness.New(t, "mail_max_userip_connections = 2")
	s.Start()
	killed := false // imapd was, and may have had a connection on its way to it
	login := func(secure bool) (verdict string, c net.Conn) {
		t.Helper()
		var err error
		if secure {
			c, err = tls.Dial("tcp", s.Addr(993), s.TLS())
		} else {
			c, err = net.Dial("tcp", s.Addr(143))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(harness.Patience))
		r := bufio.NewReader(c)
		fmt.Fprint(c, "a LOGIN bob hunter2\r\n")
		for !strings.HasPrefix(verdict, "a ") {
			if verdict, err = r.ReadString('\n'); err != nil && !killed {
				t.Fatal(err)
			} else if err != nil {
				return "a NO [UNAVAILABLE] handed to a process that died", c
			}
		}
		return verdict, c
	}
	in := func(secure bool) bool {
		v, c := login(secure)
		c.Close()
		if strings.HasPrefix(v, "a OK") {
			return true
		}
		if !strings.HasPrefix(v, "a NO [LIMIT] ") && !(killed && strings.HasPrefix(v, "a NO [UNAVAILABLE] ")) {
			t.Errorf("refused with %q", v)
		}
		return false
	}
	full := func() {
		t.Helper()
		for _, secure := range []bool{true, false} {
			if in(secure) {
				t.Errorf("a third session, TLS %v, is let in", secure)
			}
		}
	}
	for _, secure := range []bool{true, false} {
		s.Until("there is room", func() bool { return in(true) })
		var held [2]net.Conn
		for i, tls := range []bool{secure, !secure} {
			s.Until("a session", func() bool {
				v, c := login(tls)
				held[i] = c
				return strings.HasPrefix(v, "a OK")
			})
		}
		full()
		fmt.Fprint(held[0], "b LOGOUT\r\n")
		held[0].Close()
		s.Until("the end of one makes room", func() bool { return in(secure) })
		held[1].Close()
	}
	s.Until("a session without TLS", func() bool { v, _ := login(false); return strings.HasPrefix(v, "a OK") })
	s.Until("another", func() bool { v, _ := login(false); return strings.HasPrefix(v, "a OK") })
	full()
	killed = true
	s.Kill("imapd")
	s.Until("dead sessions are not counted", func() bool { return in(false) })
}
