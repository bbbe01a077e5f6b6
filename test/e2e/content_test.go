package e2e

import (
	"os"
	"strings"
	"testing"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// write makes a file of the instance.
func write(t *testing.T, s *harness.System, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.Path(name), []byte(text), 0644); err != nil {
		t.Fatal(err)
	}
}

// header returns a field of a stored message, unfolded.
func header(msg, name string) string {
	h, _, _ := strings.Cut(msg, "\n\n")
	for _, l := range strings.Split(strings.NewReplacer("\n\t", " ", "\n ", " ").Replace(h), "\n") {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestHeaderChecks: every action of the content checks that decides a
// message's way.
func TestHeaderChecks(t *testing.T) {
	t.Parallel()
	filter, err := badmx.Start("127.0.0.1:0", badmx.Script{})
	if err != nil {
		t.Fatal(err)
	}
	defer filter.Close()
	s := harness.New(t)
	s.Append("etc/main.cf", "header_checks = regexp:"+s.Path("etc/header_checks"), "body_checks = regexp:"+s.Path("etc/body_checks"))
	write(t, s, "etc/header_checks", strings.Join([]string{
		`/^Subject: hold me/ HOLD look at it`,
		`/^Subject: redirect me/ REDIRECT alice@example.test`,
		`/^Subject: filter me/ FILTER smtp:[127.0.0.1]:` + filter.Port(),
		`/^Subject: discard me/ DISCARD`,
		`/^Subject: reject me/ REJECT 5.7.99 not this one`,
		`/^Subject: replace me/ REPLACE Subject: replaced`,
		`/^Subject: prepend me/ PREPEND X-Seen: yes`,
		`/^Subject: bcc me/ BCC alice@example.test`,
		`/^Subject: warn me/ WARN careful`,
		`/^X-Secret:/ IGNORE`, ""}, "\n"))
	write(t, s, "etc/body_checks", "/forbidden words/ REJECT not those words\n")
	s.Start()
	send := func(subject string) {
		t.Helper()
		text := strings.Replace(harness.Message(subject), "\r\n\r\n", "\r\nX-Secret: hidden\r\n\r\n", 1)
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, text); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	}
	send("replace me")
	m := s.WaitMail("bob", 1)[0]
	if header(m, "Subject") != "replaced" || strings.Contains(m, "X-Secret") {
		t.Errorf("REPLACE or IGNORE:\n%s", m)
	}
	send("prepend me")
	if m = s.WaitMail("bob", 2)[1]; header(m, "X-Seen") != "yes" || header(m, "Subject") != "prepend me" {
		t.Errorf("PREPEND:\n%s", m)
	}
	send("warn me")
	s.WaitMail("bob", 3)
	s.WaitLog(`cleanup\[\d+\]: \w+: warning: header Subject: warn me from \S+; from=<sender@client.example> to=<bob@example.test> proto=ESMTP helo=<client.example>: careful`)
	send("redirect me")
	if m = s.WaitMail("alice", 1)[0]; header(m, "Delivered-To") != "alice@example.test" {
		t.Errorf("REDIRECT:\n%s", m)
	}
	send("bcc me")
	s.WaitMail("bob", 4)
	s.WaitMail("alice", 2)
	send("filter me")
	s.Until("the filter has it", func() bool { return filter.Count()["bob@example.test"] == 1 })
	send("discard me")
	s.WaitLog(`cleanup\[\d+\]: \w+: discard: header Subject: discard me from `)
	if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("reject me"))); got != "550 5.7.99" {
		t.Errorf("REJECT: got %s", got)
	}
	if got := code(s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("x")+"some forbidden words\r\n")); got != "550 5.7.1" {
		t.Errorf("REJECT of the body: got %s", got)
	}
	s.WaitQueue(0)

	send("hold me")
	id := s.WaitLog(`cleanup\[\d+\]: (\w+): hold: header Subject: hold me from \S+; .*: look at it`)[1]
	s.WaitQueue(1)
	if out := s.Run("mailq"); !strings.Contains(out, id+"!") {
		t.Errorf("mailq:\n%s", out)
	}
	s.Run("postsuper", "-H", id)
	s.Run("postqueue", "-i", id)
	if m = s.WaitMail("bob", 5)[4]; header(m, "Subject") != "hold me" {
		t.Errorf("after the release:\n%s", m)
	}
	s.WaitQueue(0)

	// What sendmail submitted and a check rejects comes back.
	s.RunInput("Subject: reject me\n\nx\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	if m = s.WaitMail("alice", 3)[2]; !strings.Contains(m, "5.7.99") || header(m, "Return-Path") != "<>" {
		t.Errorf("the report:\n%s", m)
	}
	s.WaitQueue(0)
	if b, a := len(s.Mail("bob")), len(s.Mail("alice")); b != 5 || a != 3 {
		t.Errorf("bob has %d messages and alice %d, want 5 and 3", b, a)
	}
}

// TestAddresses: canonical_maps, masquerading, alias chains, extensions, BCC.
func TestAddresses(t *testing.T) {
	t.Parallel()
	s := harness.New(t,
		"canonical_maps = inline:{ {a.lice@example.test = alice@example.test} {@old.example = @example.test} }",
		"virtual_alias_domains = old.example",
		"masquerade_domains = example.test", "masquerade_exceptions = root",
		"recipient_delimiter = +",
		"always_bcc = archive@example.test",
		"sender_bcc_maps = inline:{ {watched@client.example = alice@example.test} }",
		"local_header_rewrite_clients = static:all")
	s.Append("etc/virtual", "one@example.test two@example.test", "two@example.test three@example.test, bob+box@example.test",
		"three@example.test alice@example.test, bob+box@example.test", "loop@example.test loop@example.test, bob@example.test", "archive@example.test archive@example.test")
	s.Append("etc/vmailbox", "archive@example.test archive/Maildir/")
	s.Run("postmap", "hash:"+s.Path("etc/virtual"), "hash:"+s.Path("etc/vmailbox"))
	s.Start()
	bobs, alices, archived := 0, 0, 0
	send := func(from, to, fields string, bob, alice int) {
		t.Helper()
		if err := s.Send(from, []string{to}, fields+"Subject: x\r\n\r\nx\r\n"); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		bobs, alices, archived = bobs+bob, alices+alice, archived+1
		s.WaitMail("bob", bobs)
		s.WaitMail("alice", alices)
		s.WaitMail("archive", archived)
		s.WaitQueue(0)
	}
	// An extension without an entry of its own reaches the mailbox.
	send("sender@client.example", "bob+list@example.test", "", 1, 0)
	if m := s.Mail("bob")[0]; header(m, "Delivered-To") != "bob+list@example.test" {
		t.Errorf("extension:\n%s", m)
	}
	// A chain of aliases, each final recipient once.
	send("sender@client.example", "one@example.test", "", 1, 1)
	if m := s.Mail("bob")[1]; header(m, "X-Original-To") != "one@example.test" || header(m, "Delivered-To") != "bob+box@example.test" {
		t.Errorf("chain:\n%s", m)
	}
	// Envelope and header are made canonical.
	send("sender@client.example", "a.lice@example.test", "To: A <a.lice@example.test>, bob@old.example\r\nFrom: a.lice@example.test\r\n", 0, 1)
	m := s.Mail("alice")[alices-1]
	if header(m, "To") != "A <alice@example.test>, bob@example.test" || header(m, "From") != "alice@example.test" {
		t.Errorf("canonical:\n%s", m)
	}
	// Hosts below a masqueraded domain vanish, but for root.
	send("joe@pc.example.test", "bob@example.test", "From: joe@pc.example.test\r\nReply-To: root@pc.example.test\r\nCc: x@mail.other.example\r\n", 1, 0)
	m = s.Mail("bob")[bobs-1]
	if header(m, "From") != "joe@example.test" || header(m, "Reply-To") != "root@pc.example.test" || header(m, "Cc") != "x@mail.other.example" || header(m, "Return-Path") != "<joe@example.test>" {
		t.Errorf("masquerade:\n%s", m)
	}
	// An alias that has itself among its targets ends there.
	if err := s.Send("sender@client.example", []string{"loop@example.test"}, harness.Message("loop")); err == nil {
		bobs++
		s.WaitMail("bob", bobs)
	}
	send("watched@client.example", "bob@example.test", "", 1, 1)
	if n := len(s.Mail("bob")); n != bobs {
		t.Errorf("bob has %d messages, want %d", n, bobs)
	}
	if n := len(s.Mail("alice")); n != alices {
		t.Errorf("alice has %d messages, want %d", n, alices)
	}
}

// TestSoftBounce: no failure is final.
func TestSoftBounce(t *testing.T) {
	t.Parallel()
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(int, string) string { return "550 5.1.1 no such user" }})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.Start(t, "soft_bounce = yes", "relayhost = [127.0.0.1]:"+remote.Port())
	if got := code(s.Send("sender@client.example", []string{"nobody@example.test"}, harness.Message("x"))); got != "450 5.1.1" && got != "450 4.1.1" {
		t.Errorf("unknown recipient: got %s, want a 450", got)
	}
	if err := s.Submit("alice@example.test", []string{"x@far.example"}, harness.Message("soft")); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<x@far.example>, .*dsn=4\.1\.1, status=(SOFTBOUNCE|deferred) \(host .* said: 550 5\.1\.1 no such user`)
	s.WaitQueue(1)
	if n := len(s.Mail("alice")); n != 0 {
		t.Errorf("alice got %d reports", n)
	}
}

// TestPartly: a server that takes four of five recipients, and one that answers
// later: each recipient has an outcome of its own.
func TestPartly(t *testing.T) {
	t.Parallel()
	script := badmx.Refuse("bad", "550 5.1.1 no such user")
	later := badmx.LaterRcpt(1, "451 4.2.0 not yet")
	script.Rcpt = func(n int, to string) string {
		if strings.HasPrefix(to, "bad") {
			return "550 5.1.1 no such user"
		}
		if strings.HasPrefix(to, "later") {
			return later.Rcpt(n, to)
		}
		return ""
	}
	remote, err := badmx.Start("127.0.0.1:0", script)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.Start(t, "relayhost = [127.0.0.1]:"+remote.Port())
	if err := s.Submit("alice@example.test", []string{"a@far.example", "b@far.example", "bad@far.example", "later@far.example", "c@far.example"}, harness.Message("partly")); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(`to=<later@far.example>, .*dsn=4\.2\.0, status=deferred`)
	s.WaitLog(`to=<bad@far.example>, .*dsn=5\.1\.1, status=bounced`)
	m := s.WaitMail("alice", 1)[0]
	if !strings.Contains(m, "Final-Recipient: rfc822; bad@far.example") || strings.Contains(m, "rfc822; a@far.example") || strings.Contains(m, "later@far.example") {
		t.Errorf("the report:\n%s", m)
	}
	s.WaitQueue(1)
	s.Run("postqueue", "-f")
	s.WaitQueue(0)
	for _, r := range []string{"a", "b", "c", "later"} {
		if n := remote.Count()[r+"@far.example"]; n != 1 {
			t.Errorf("%s has %d copies", r, n)
		}
	}
	if n := len(s.Mail("alice")); n != 1 {
		t.Errorf("alice has %d reports, want 1", n)
	}
}
