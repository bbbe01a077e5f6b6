package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestSendmail: the flags of sendmail(1) on a running system.
func TestSendmail(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	send := func(in string, args ...string) {
		t.Helper()
		s.RunInput(in, "sendmail", append([]string{"-f", "alice@example.test"}, args...)...)
	}
	// -t takes Bcc: too, and removes it.
	send("To: bob@example.test\nBcc: alice@example.test\nSubject: blind\n\nx\n", "-t")
	m := s.WaitMail("bob", 1)[0]
	if strings.Contains(m, "Bcc") || strings.Contains(s.WaitMail("alice", 1)[0], "Bcc") {
		t.Errorf("Bcc: is still there:\n%s", m)
	}
	// A lone dot ends the message, unless -i.
	send("Subject: dot\n\nbefore\n.\nafter\n", "bob@example.test")
	if m := s.WaitMail("bob", 2)[1]; body(m) != "before\n" {
		t.Errorf("without -i: got body %q", body(m))
	}
	// -F, and CRLF input.
	send("Subject: crlf\r\n\r\nline\r\n", "-F", "Full Name", "bob@example.test")
	m = s.WaitMail("bob", 3)[2]
	if !regexp.MustCompile(`(?m)^From: "?Full Name"? <alice@example\.test>$`).MatchString(m) || body(m) != "line\n" {
		t.Errorf("-F and CRLF:\n%s", m)
	}
	// The null sender.
	s.RunInput("Subject: null\n\nx\n", "sendmail", "-f", "<>", "bob@example.test")
	if m = s.WaitMail("bob", 4)[3]; !strings.HasPrefix(m, "Return-Path: <>\n") {
		t.Errorf("-f <>:\n%s", m)
	}
	// -bs is SMTP.
	out := s.RunInput("EHLO here\r\nMAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n", "sendmail", "-bs")
	if !regexp.MustCompile(`(?s)^220 .*\r\n250 2\.1\.0 .*354 .*250 2\.0\.0 .*221 2\.0\.0 `).MatchString(out) {
		t.Errorf("-bs:\n%s", out)
	}
	m = s.WaitMail("bob", 5)[4]
	trace := regexp.MustCompile(`(?m)^Received: by mail\.example\.test \(Posthaste, from userid \d+\)\n\tid \S+; .*\n` +
		`Received: from here \(localhost \[127\.0\.0\.1\]\)\n\tby mail\.example\.test \(Posthaste\) with ESMTP\n\tfor <bob@example\.test>; .*\nSubject: bs\n`)
	if !trace.MatchString(m) || body(m) != "x\n" {
		t.Errorf("-bs:\n%s", m)
	}
	if log := s.Log(); !regexp.MustCompile(`smtpd\[\d+\]: \w+: client=localhost\[127\.0\.0\.1\]`).MatchString(log) {
		t.Errorf("no client in the log:\n%s", log)
	}
	for _, args := range [][]string{{}, {"-B", "9BIT", "bob@example.test"}, {"-Q"}, {"-q", "bob@example.test"}} {
		if out, err := s.TryInput("Subject: x\n\ny\n", "sendmail", args...); exit(err) != 75 {
			t.Errorf("sendmail %v: %v, want exit status 75\n%s", args, err, out)
		}
	}
	// A wish for reports that cannot be read costs no mail.
	if out := s.RunInput("Subject: x\n\ny\n", "sendmail", "-N", "sometimes", "bob@example.test"); !strings.Contains(out, "warning: bad -N option value -- ignored") {
		t.Errorf("sendmail -N sometimes: %s", out)
	}
	s.WaitMail("bob", 6)
	s.WaitQueue(0)
	if n := len(s.Mail("bob")); n != 6 {
		t.Errorf("bob has %d messages, want 6", n)
	}
}

// body returns what follows the header of a stored message.
func body(msg string) string {
	_, b, _ := strings.Cut(msg, "\n\n")
	return b
}

// TestSendmailReports: -bv asks what would happen, -v what has.
func TestSendmailReports(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.Run("sendmail", "-f", "alice@example.test", "-bv", "bob@example.test", "nobody@example.test")
	m := s.WaitMail("alice", 1)[0]
	for _, want := range []string{"Final-Recipient: rfc822; bob@example.test", "Action: deliverable", "Final-Recipient: rfc822; nobody@example.test", "Action: undeliverable"} {
		if !strings.Contains(m, want) {
			t.Errorf("-bv: no %q in\n%s", want, m)
		}
	}
	s.WaitLog(`to=<bob@example.test>, .*status=deliverable`)
	s.WaitLog(`to=<nobody@example.test>, .*status=undeliverable`)
	s.WaitQueue(0)
	if n := len(s.Mail("bob")); n != 0 {
		t.Errorf("-bv delivered %d messages", n)
	}
	s.RunInput("Subject: verbose\n\nx\n", "sendmail", "-f", "alice@example.test", "-v", "bob@example.test")
	s.WaitMail("bob", 1)
	m = s.WaitMail("alice", 2)[1]
	for _, want := range []string{"Final-Recipient: rfc822; bob@example.test", "Action: delivered", "Status: 2.0.0"} {
		if !strings.Contains(m, want) {
			t.Errorf("-v: no %q in\n%s", want, m)
		}
	}
}

// TestTables: a table that is made anew counts within seconds, in programs that
// run, and cuts no session.
func TestTables(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	d := s.Talk()
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("550 5.1.1", "RCPT TO:<team@example.test>")
	s.Append("etc/virtual", "team@example.test alice@example.test, bob@example.test")
	s.Run("postmap", "hash:"+s.Path("etc/virtual"))
	s.Until("the open session knows the new alias", func() bool { return strings.HasPrefix(d.Say("RCPT TO:<team@example.test>"), "250") })
	d.Want("354", "DATA")
	d.Want("250", "Subject: team", "", "x", ".")
	s.WaitMail("alice", 1)
	s.WaitMail("bob", 1)
	s.WaitLog(`to=<bob@example.test>, orig_to=<team@example.test>`)

	// Without a source file the old index stays.
	if out, err := s.Try("postmap", "hash:"+s.Path("etc/nothing")); err == nil {
		t.Errorf("postmap of no file: %s", out)
	}
	if got := s.Run("postmap", "-q", "team@example.test", "hash:"+s.Path("etc/virtual")); got != "alice@example.test, bob@example.test\n" {
		t.Errorf("postmap -q: %q", got)
	}
	if out, err := s.Try("postmap", "-q", "none@example.test", "hash:"+s.Path("etc/virtual")); exit(err) != 1 || out != "" {
		t.Errorf("postmap -q of a missing key: %v %q", err, out)
	}
	// newaliases.
	s.Append("etc/aliases", "crew: alice@example.test")
	s.Run("newaliases")
	if got := s.Run("postalias", "-q", "crew", "hash:"+s.Path("etc/aliases")); got != "alice@example.test\n" {
		t.Errorf("postalias -q: %q", got)
	}
	s.Until("local knows the new alias", func() bool {
		return s.Send("sender@client.example", []string{"crew@localhost"}, harness.Message("crew")) == nil
	})
	s.WaitMail("alice", 2)
}

// TestPostconf: what postconf -e sets counts after a reload.
func TestPostconf(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	if got := s.Run("postconf", "-h", "myhostname"); got != "mail.example.test\n" {
		t.Errorf("postconf -h myhostname: %q", got)
	}
	s.Run("postconf", "-e", "message_size_limit=5000", "virtual_mailbox_limit=100000", "mailbox_size_limit=100000")
	if got := s.Run("postconf", "-n", "message_size_limit"); got != "message_size_limit = 5000\n" {
		t.Errorf("postconf -n: %q", got)
	}
	if got := s.Run("postconf", "-d", "message_size_limit"); got != "message_size_limit = 10240000\n" {
		t.Errorf("postconf -d: %q", got)
	}
	s.Reload()
	s.Until("the new limit counts", func() bool {
		d := s.Talk()
		defer d.Close()
		return strings.HasPrefix(d.Say("MAIL FROM:<a@client.example> SIZE=5001"), "552 5.3.4")
	})
	s.Run("postconf", "-#", "message_size_limit")
	if got := s.Run("postconf", "-h", "message_size_limit"); got != "10240000\n" {
		t.Errorf("after postconf -#: %q", got)
	}
	s.Run("postconf", "-M", "smtp/unix=smtp unix - - n - 7 smtp")
	if got := s.Run("postconf", "-F", "smtp/unix/process_limit"); got != "smtp/unix/process_limit = 7\n" {
		t.Errorf("postconf -F: %q", got)
	}
}

// TestCheck: all mistakes at once, each with file and line.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	if out, err := s.Try("posthaste", "-c", s.Etc(), "check"); err != nil || out != "" {
		t.Errorf("the configuration that init made: %v\n%s", err, out)
	}
	line := func(name, text string) string {
		s.Append(name, text)
		b, err := os.ReadFile(s.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s, line %d: ", s.Path(name), strings.Count(string(b), "\n"))
	}
	var want []string
	for _, l := range []struct{ file, text, says string }{
		{"etc/main.cf", "smtpd_timeout = 5q", "smtpd_timeout"},
		{"etc/main.cf", "message_size_limit = many", "message_size_limit"},
		{"etc/main.cf", "smtpd_helo_required = perhaps", "smtpd_helo_required"},
		{"etc/main.cf", "smtpd_recipient_restrictons = permit", "smtpd_recipient_restrictions"}, // with the suggestion
		{"etc/main.cf", "transport_maps = hsah:/etc/transport", "hsah"},
		{"etc/main.cf", "relay_recipient_maps = hash:/nonexistent/table", "/nonexistent/table"},
		{"etc/main.cf", "smtpd_client_restrictions = permit_mynetwork", "permit_mynetwork"},
		{"etc/master.cf", "broken unix - - n", ""},
		{"etc/master.cf", "nowhere unix - - n - - nosuchprogram", "nosuchprogram"},
	} {
		want = append(want, regexp.QuoteMeta(line(l.file, l.text))+".*"+l.says)
	}
	out, err := s.Try("posthaste", "-c", s.Etc(), "check")
	if exit(err) != 1 {
		t.Errorf("check: %v, want exit status 1", err)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out) {
			t.Errorf("no %s in\n%s", w, out)
		}
	}
	if out, err := s.Try("posthaste", "-c", s.Etc(), "start"); err == nil {
		t.Errorf("it starts all the same:\n%s", out)
		s.Run("posthaste", "-c", s.Etc(), "abort")
	}
}

// TestTooLarge: 552 for a declared size and at the end of data.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "message_size_limit = 20000")
	d := s.Talk()
	d.Want("552 5.3.4", "MAIL FROM:<sender@client.example> SIZE=20001")
	d.Want("250", "MAIL FROM:<sender@client.example> SIZE=100")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Want("552 5.3.4", "Subject: large", "", strings.Repeat(strings.Repeat("x", 70)+"\r\n", 400), ".")
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Want("250", "Subject: small", "", "x", ".")
	s.WaitMail("bob", 1)
	if l := queueFiles(t, s); len(l) > 1 {
		t.Errorf("left: %v", l)
	}
	// Submitted locally, it comes back or is refused by sendmail.
	out, err := s.TryInput("Subject: large\n\n"+strings.Repeat("0123456789\n", 4000), "sendmail", "-f", "alice@example.test", "bob@example.test")
	if exit(err) != 75 && exit(err) != 69 {
		t.Errorf("sendmail: %v\n%s", err, out)
	}
}

// TestLater: a destination that is down for a day gets a warning out, and one
// that is down for six an expired message.
func TestLater(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{})
	if err != nil {
		t.Fatal(err)
	}
	port := remote.Port()
	remote.Close() // nobody listens there
	s := harness.Start(t, "relayhost = [127.0.0.1]:"+port, "delay_warning_time = 4h", "confirm_delay_cleared = no")
	if err := s.Submit("alice@example.test", []string{"x@far.example", "y@far.example"}, harness.Message("patience")); err != nil {
		t.Fatal(err)
	}
	id := s.WaitLog(`(\w+): to=<x@far.example>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to 127\.0\.0\.1\[127\.0\.0\.1\]:` + port + `: Connection refused\)`)[1]
	s.WaitQueue(1)
	s.Later("26h")
	m := s.WaitMail("alice", 1)[0]
	for _, want := range []string{"Subject: Delayed Mail (still being retried)", "Action: delayed", "Will-Retry-Until: ", "x@far.example", "y@far.example", "Status: 4.4.1"} {
		if !strings.Contains(m, want) {
			t.Errorf("the warning has no %q:\n%s", want, m)
		}
	}
	s.WaitLog(`postfix/bounce\[\d+\]: ` + id + `: sender delay notification: \w+`)
	s.WaitQueue(1)
	s.Later("30h") // no second warning
	s.WaitLog(id + `: to=<x@far.example>, .*delay=108\d\d\d, `)
	s.WaitQueue(1)
	s.Later("144h")
	m = s.WaitMail("alice", 2)[1]
	for _, want := range []string{"Subject: Undelivered Mail Returned to Sender", "Action: failed", "x@far.example", "y@far.example", "Subject: patience"} {
		if !strings.Contains(m, want) {
			t.Errorf("the bounce has no %q:\n%s", want, m)
		}
	}
	s.WaitLog(id + `: from=<alice@example.test>, status=expired, returned to sender`)
	s.WaitQueue(0)
	if n := len(s.Mail("alice")); n != 2 {
		t.Errorf("alice has %d reports, want 2", n)
	}
}
