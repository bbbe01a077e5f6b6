package e2e

import (
	"strings"
	"testing"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestNotify: NOTIFY, RET, ENVID and ORCPT (RFC 3461) of local deliveries and
// failures.
func TestNotify(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Refuse("bad", "550 5.1.1 no such user"))
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	// Whoever comes may relay: the test has no login on port 25.
	s := harness.Start(t, "relayhost = [127.0.0.1]:"+remote.Port(), "mynetworks = 127.0.0.0/8")
	d := s.Talk()
	reports := 0
	send := func(mail string, rcpts ...string) {
		t.Helper()
		d.Want("250", "MAIL FROM:<alice@example.test> "+mail)
		for _, r := range rcpts {
			d.Want("250", "RCPT TO:"+r)
		}
		d.Want("354", "DATA")
		d.Want("250", "Subject: original", "X-Field: kept", "", "the original's body", ".")
	}
	report := func() string {
		t.Helper()
		reports++
		m := s.WaitMail("alice", reports)[reports-1]
		s.WaitQueue(0)
		return m
	}
	check := func(what, m string, want ...string) {
		t.Helper()
		for _, w := range want {
			if neg, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(m, strings.TrimPrefix(w, "!")) {
				t.Errorf("%s: %q (%v) in\n%s", what, neg, !ok, m)
			}
		}
	}

	send("ENVID=order+2D66 RET=HDRS", "<bob@example.test> NOTIFY=SUCCESS ORCPT=rfc822;robert+40example.test")
	check("success", report(), "Subject: Successful Mail Delivery Report", "Action: delivered", "Original-Envelope-Id: order-66", "Original-Recipient: rfc822;robert@example.test",
		"Final-Recipient: rfc822; bob@example.test", "Content-Type: text/rfc822-headers", "X-Field: kept", "!the original's body")

	send("", "<bob@example.test>", "<bob@example.test> NOTIFY=NEVER", "<bad@far.example> NOTIFY=NEVER")
	s.WaitMail("bob", 2)
	s.WaitQueue(0) // no report: the next one would be counted wrongly

	send("RET=FULL", "<bad@far.example> NOTIFY=FAILURE,DELAY", "<bad2@far.example> NOTIFY=NEVER", "<good@far.example> NOTIFY=FAILURE")
	check("failure", report(), "Final-Recipient: rfc822; bad@far.example", "!bad2@far.example", "!rfc822; good@far.example", "Action: failed", "Status: 5.1.1",
		"Diagnostic-Code: smtp; 550 5.1.1 no such user", "Remote-MTA: dns; 127.0.0.1", "Content-Type: message/rfc822", "the original's body")

	send("RET=HDRS ENVID=x", "<bad@far.example>")
	check("headers only", report(), "Content-Type: text/rfc822-headers", "Original-Envelope-Id: x", "!the original's body")

	// The relay does not offer DSN: success there is "relayed".
	send("", "<good@far.example> NOTIFY=SUCCESS")
	check("relayed", report(), "Action: relayed", "Final-Recipient: rfc822; good@far.example")

	for _, bad := range []string{"<bob@example.test> NOTIFY=NEVER,SUCCESS", "<bob@example.test> NOTIFY=SOMETIMES", "<bob@example.test> ORCPT=nothing"} {
		d.Want("250", "MAIL FROM:<alice@example.test>")
		d.Want("501", "RCPT TO:"+bad)
		d.Want("250", "RSET")
	}
	d.Want("501", "MAIL FROM:<alice@example.test> RET=ALL")

	// sendmail has options for the same.
	s.RunInput("Subject: options\n\nx\n", "sendmail", "-f", "alice@example.test", "-N", "success", "-R", "hdrs", "-V", "from-sendmail", "bob@example.test")
	check("sendmail", report(), "Action: delivered", "Original-Envelope-Id: from-sendmail")
	if n := len(s.Mail("alice")); n != reports {
		t.Errorf("alice has %d reports, want %d", n, reports)
	}
}

// TestDelayNotify: only who asked for DELAY, or for nothing, hears of it.
func TestDelayNotify(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(int, string) string { return "450 4.2.1 later" }})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.Start(t, "relayhost = [127.0.0.1]:"+remote.Port(), "mynetworks = 127.0.0.0/8", "delay_warning_time = 1h")
	d := s.Talk()
	d.Want("250", "MAIL FROM:<alice@example.test>")
	d.Want("250", "RCPT TO:<asked@far.example> NOTIFY=DELAY")
	d.Want("250", "RCPT TO:<usual@far.example>")
	d.Want("250", "RCPT TO:<quiet@far.example> NOTIFY=FAILURE")
	d.Want("354", "DATA")
	d.Want("250", "Subject: slow", "", "x", ".")
	s.WaitLog(`to=<quiet@far.example>, .*status=deferred`)
	s.WaitQueue(1)
	s.Later("5h")
	m := s.WaitMail("alice", 1)[0]
	if !strings.Contains(m, "rfc822; asked@far.example") || !strings.Contains(m, "rfc822; usual@far.example") || strings.Contains(m, "rfc822; quiet@far.example") {
		t.Errorf("the warning:\n%s", m)
	}
}

// TestDoubleBounce: a report that cannot be delivered goes to the postmaster if
// he wants it, and nowhere else.
func TestDoubleBounce(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Refuse("", "550 5.1.1 no such user"))
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.New(t, "relayhost = [127.0.0.1]:"+remote.Port(), "mynetworks = 127.0.0.0/8", "notify_classes = 2bounce, resource, software", "2bounce_notice_recipient = bob@example.test")
	s.Start()
	if err := s.Send("gone@far.example", []string{"nobody@far.example"}, harness.Message("nobody wants it")); err != nil {
		t.Fatal(err)
	}
	m := s.WaitMail("bob", 1)[0]
	for _, want := range []string{"Return-Path: <double-bounce@mail.example.test>", "Subject: Postmaster Copy: Undelivered Mail", "gone@far.example"} {
		if !strings.Contains(m, want) {
			t.Errorf("the postmaster's notice has no %q:\n%s", want, m)
		}
	}
	s.WaitQueue(0)
	s.WaitLog(`sender non-delivery notification: \w+`)
	s.WaitLog(`postmaster non-delivery notification: \w+`)
	if n := len(s.Mail("bob")) + len(s.Mail("alice")); n != 1 {
		t.Errorf("%d notices, want 1", n)
	}
}
