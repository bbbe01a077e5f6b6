// Package e2e tests whole mail systems as the user who runs the tests.
package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestFlow follows one message by each way in, and out to a mailbox.
func TestFlow(t *testing.T) { flow(t, harness.Start(t)) }

// TestFlowOrdinaryUser is the same for a user without any rights.
func TestFlowOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: TestFlow has run as an ordinary user already")
	}
	s := harness.NewAs(t, 65534)
	s.Start()
	flow(t, s)
}

func flow(t *testing.T, s *harness.System) {
	t.Run("SMTP", func(t *testing.T) {
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("by smtp")); err != nil {
			t.Fatal(err)
		}
		m := s.WaitMail("bob", 1)[0]
		for _, want := range []string{
			"Return-Path: <sender@client.example>\n", "Delivered-To: bob@example.test\n",
			"Received: from client.example (", "by mail.example.test (", "\tfor <bob@example.test>; ",
			"Subject: by smtp\n", "\n\nbody of by smtp\n",
		} {
			if !strings.Contains(m, want) {
				t.Errorf("no %q in\n%s", want, m)
			}
		}
		s.WaitQueue(0)
		id := s.WaitLog(`postfix/smtpd\[\d+\]: (\w+): client=`)[1]
		for _, want := range []string{
			`postfix/smtpd\[\d+\]: connect from `,
			`postfix/cleanup\[\d+\]: ` + id + `: message-id=<`,
			`postfix/qmgr\[\d+\]: ` + id + `: from=<sender@client.example>, size=\d+, nrcpt=1 \(queue active\)`,
			`postfix/virtual\[\d+\]: ` + id + `: to=<bob@example.test>, relay=virtual, delay=\S+, delays=\S+, dsn=2.0.0, status=sent \(delivered to maildir\)`,
			`postfix/qmgr\[\d+\]: ` + id + `: removed`,
			`postfix/smtpd\[\d+\]: disconnect from \S+ ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5`,
		} {
			s.WaitLog(want)
		}
	})
	t.Run("submission", func(t *testing.T) {
		if err := s.Submit("alice@example.test", []string{"bob@example.test"}, harness.Message("by submission")); err != nil {
			t.Fatal(err)
		}
		m := s.WaitMail("bob", 2)
		if !strings.Contains(m[0]+m[1], "with ESMTPSA id ") {
			t.Errorf("no ESMTPSA in\n%s", m)
		}
		s.WaitLog(`sasl_method=PLAIN, sasl_username=alice`)
	})
	t.Run("sendmail", func(t *testing.T) {
		s.RunInput("Subject: by sendmail\nTo: bob@example.test\n\nhello\n.\nrest\n", "sendmail", "-t", "-i", "-f", "alice@example.test")
		m := s.WaitMail("bob", 3)
		all := strings.Join(m, "")
		for _, want := range []string{"Subject: by sendmail\n", "\nhello\n.\nrest\n", "Message-Id: <", "Date: ", "From: ", "alice@example.test"} {
			if !strings.Contains(all, want) {
				t.Errorf("no %q in\n%s", want, all)
			}
		}
		s.WaitLog(`postfix/pickup\[\d+\]: \w+: uid=\d+ from=<alice@example.test>`)
	})
	t.Run("ledger", func(t *testing.T) {
		s.Until("balance", func() bool {
			out := s.Run("posthaste", "-c", s.Etc(), "status")
			return regexp.MustCompile(`(?m)^  accepted   3$`).MatchString(out) && strings.Contains(out, "delivered  3\n") && strings.Contains(out, "balanced   yes")
		})
	})
}

// code is the reply code of an SMTP error.
func code(err error) string {
	var se *smtp.SMTPError
	if errors.As(err, &se) {
		return fmt.Sprintf("%d %d.%d.%d", se.Code, se.EnhancedCode[0], se.EnhancedCode[1], se.EnhancedCode[2])
	}
	return fmt.Sprint(err)
}

// TestRefusals: what must not get in gets its reply at RCPT.
func TestRefusals(t *testing.T) {
	s := harness.Start(t)
	for _, tt := range []struct{ rcpt, want string }{
		{"nobody@example.test", "550 5.1.1"},
		{"someone@elsewhere.example", "554 5.7.1"},
		{"someone%elsewhere.example@example.test", "554 5.7.1"},
	} {
		err := s.Send("sender@client.example", []string{tt.rcpt}, harness.Message("x"))
		if got := code(err); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.rcpt, got, tt.want)
		}
	}
	s.WaitLog(`NOQUEUE: reject: RCPT from \S+\[127.0.0.1\]: 554 5.7.1 <someone@elsewhere.example>: Relay access denied; from=<sender@client.example> to=<someone@elsewhere.example> proto=ESMTP helo=<client.example>`)
	s.WaitLog(`reject: RCPT from \S+: 550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table`)
}

// TestBytes: content passes unchanged, whatever it is.
func TestBytes(t *testing.T) {
	s := harness.Start(t, "local_header_rewrite_clients =") // no header is added or rewritten
	var every strings.Builder
	for i := range 256 {
		if i != '\r' && i != '\n' {
			every.WriteByte(byte(i))
		}
	}
	long := strings.Repeat("0123456789", 10000)
	text := "Subject: \xe4\xbc\x9a\xe8\xae\xae raw 8-bit\r\nX-Odd : kept\r\n\r\n" + every.String() + "\r\n.leading dot\r\n..two\r\n.\r\n" +
		strings.Repeat("x", 998) + "\r\n" + long + "\r\nlast line without end"
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, text); err != nil {
		t.Fatal(err)
	}
	got := s.WaitMail("bob", 1)[0]
	i := strings.Index(got, "Subject: \xe4")
	if i < 0 {
		t.Fatalf("no subject in %.500q", got)
	}
	want := strings.ReplaceAll(text, "\r\n", "\n") + "\n"
	if got[i:] != want {
		t.Errorf("content changed: got %d bytes, want %d", len(got)-i, len(want))
		for k := 0; k < len(want) && k < len(got)-i; k++ {
			if got[i+k] != want[k] {
				t.Errorf("first difference at %d: got %.60q, want %.60q", k, got[i+k:], want[k:])
				break
			}
		}
	}
}

// TestBounce: mail that cannot be delivered comes back as an RFC 3464 report.
func TestBounce(t *testing.T) {
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(int, string) string { return "550 5.7.99 no mail here" }})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	host, port, _ := net.SplitHostPort(remote.Addr)
	s := harness.Start(t, "relayhost = ["+host+"]:"+port)
	if err := s.Submit("alice@example.test", []string{"x@dead.example"}, harness.Message("will bounce")); err != nil {
		t.Fatal(err)
	}
	m := s.WaitMail("alice", 1)[0]
	for _, want := range []string{
		"Return-Path: <>\n", "Content-Type: multipart/report; report-type=delivery-status", "Content-Type: message/delivery-status",
		"Reporting-MTA: dns; mail.example.test\n", "Final-Recipient: rfc822; x@dead.example\n", "Action: failed\n", "Status: 5.7.99\n", "Subject: will bounce\n",
	} {
		if !strings.Contains(m, want) {
			t.Errorf("no %q in\n%s", want, m)
		}
	}
	s.WaitLog(`postfix/bounce\[\d+\]: \w+: sender non-delivery notification: \w+`)
	s.WaitQueue(0)
}

// TestMailboxTrouble: a mailbox that cannot be written defers its mail, which
// arrives when it can.
func TestMailboxTrouble(t *testing.T) {
	s := harness.Start(t)
	if err := os.Rename(s.Path("mail/bob/Maildir"), s.Path("mail/bob/away")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path("mail/bob/Maildir"), nil, 0600); err != nil {
		t.Fatal(err)
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test", "alice@example.test"}, harness.Message("deferred")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("alice", 1)
	s.WaitLog(`to=<bob@example.test>, .*status=deferred`)
	s.WaitQueue(1)
	if out := s.Run("postqueue", "-p"); !strings.Contains(out, "bob@example.test") || strings.Contains(out, "alice@example.test") {
		t.Errorf("mailq shows\n%s", out)
	}
	os.Remove(s.Path("mail/bob/Maildir"))
	if err := os.Rename(s.Path("mail/bob/away"), s.Path("mail/bob/Maildir")); err != nil {
		t.Fatal(err)
	}
	s.Run("postqueue", "-f")
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
	if n := len(s.Mail("alice")); n != 1 {
		t.Errorf("alice has %d copies", n)
	}
}

// TestWhileDown: sendmail(1) takes mail while nothing runs.
func TestWhileDown(t *testing.T) {
	s := harness.New(t)
	s.RunInput("Subject: early\n\nbird\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	s.Start()
	s.WaitMail("bob", 1)
}

// TestReload: a changed configuration is in force after reload, and a session
// that was open goes on.
func TestReload(t *testing.T) {
	s := harness.Start(t)
	c, err := smtp.Dial(s.Addr(25))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("client.example"); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("sender@client.example", nil); err != nil {
		t.Fatal(err)
	}
	s.Run("postconf", "-e", "smtpd_banner=changed ESMTP")
	s.Run("posthaste", "-c", s.Etc(), "reload")
	s.Until("new banner", func() bool {
		n, err := smtp.Dial(s.Addr(25))
		if err != nil {
			return false
		}
		defer n.Close()
		return s.Banner() == "220 changed ESMTP"
	})
	if err := c.Rcpt("bob@example.test", nil); err != nil {
		t.Fatalf("the open session was cut: %v", err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, harness.Message("across a reload"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)

	// A configuration with a mistake changes nothing.
	s.Append("etc/main.cf", "smtpd_timeout = 5q")
	if out, err := s.Try("posthaste", "-c", s.Etc(), "reload"); err == nil || !strings.Contains(out, "main.cf, line ") || !strings.Contains(out, "smtpd_timeout") {
		t.Errorf("reload of a broken configuration: %v\n%s", err, out)
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("still up")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 2)
}
