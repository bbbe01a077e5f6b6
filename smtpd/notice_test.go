package main

import (
	"strings"
	"testing"
)

// TestNotices: the postmaster gets the dialogue of sessions with the kinds of
// trouble that notify_classes has.
func TestNotices(t *testing.T) {
	const (
		hello   = "EHLO c.example\r\nMAIL FROM:<a@far.example>\r\n"
		relay   = hello + "RCPT TO:<x@far.example>\r\n"
		access  = "smtpd_client_restrictions = check_client_access fail:x\n"
		lookup  = "local_recipient_maps = fail:x\n"
		config  = "smtpd_client_restrictions = reject_nonsense\n"
		unknown = "FOO\r\n"
		auth    = "AUTH PLAIN AGEAYg==\r\n"
	)
	for _, c := range []struct {
		name, set, send string
		want            string // in the notice; "" for none
	}{
		{"default and a refusal", "", relay, ""},
		{"default and a mistake of the client", "", unknown, ""},
		{"default and a broken access table", access, hello + "RCPT TO:<alice@here.example>\r\n", ""},
		{"default and a broken recipient table", lookup, hello + "RCPT TO:<alice@here.example>\r\n", " Out: 451 4.3.0 <alice@here.example>: Temporary lookup failure\r\n"},
		{"default and a broken configuration", config, hello + "RCPT TO:<alice@here.example>\r\n", " Out: 451 4.3.5 Server configuration error\r\n"},
		{"nothing wanted", lookup + "notify_classes =\n", hello + "RCPT TO:<alice@here.example>\r\n", ""},
		{"policy", "notify_classes = policy\n", relay, " In:  RCPT TO:<x@far.example>\r\n Out: 554 5.7.1 <x@far.example>: Relay access denied\r\n"},
		{"policy and a mistake", "notify_classes = policy\n", unknown, ""},
		{"protocol and a refusal", "notify_classes = protocol\n", relay, ""},
		{"protocol", "notify_classes = protocol\n", unknown, " In:  FOO\r\n Out: 500 5.5.2 Error: command not recognized\r\n"},
		{"no passwords", "notify_classes = protocol\n", auth + unknown, " In:  AUTH PLAIN <hidden>\r\n"},
		{"the end of a long dialogue", "notify_classes = protocol\nsmtpd_hard_error_limit = 1000\nsmtpd_soft_error_limit = 1000\n",
			strings.Repeat(unknown, 400) + "BAR\r\n", "\r\n\r\n ...\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, c.set+"myorigin = here.example\n")
			p := f.dial()
			p.expect("", "220 ...")
			for _, l := range strings.SplitAfter(c.send+"QUIT\r\n", "\r\n") {
				if l != "" {
					p.send(l)
					p.reply()
				}
			}
			f.done()
			mails := f.queued()
			if c.want == "" {
				if len(mails) != 0 {
					t.Fatalf("a notice was sent:\n%s", mails[0].content)
				}
				return
			}
			if len(mails) != 1 {
				t.Fatalf("%d messages; the log is\n%s", len(mails), f.log())
			}
			m, text := mails[0], string(mails[0].content)
			if !strings.Contains(text, c.want) || !strings.Contains(text, "\r\nSubject: Posthaste SMTP server: errors from unknown[127.0.0.1]\r\n") {
				t.Errorf("want %q in\n%s", c.want, text)
			}
			if len(text) > maxTranscript+1000 || !strings.Contains(text, " Out: 221 2.0.0 Bye\r\n") {
				t.Errorf("%d bytes:\n%s", len(text), text)
			}
			if from := m.begin.Message.Sender; from != "double-bounce@mx.here.example" || len(m.rcpts) != 1 || m.rcpts[0].Address != "postmaster@here.example" {
				t.Errorf("from %q to %v", from, m.rcpts)
			}
		})
	}
}

// TestNoNoticeOfGoodMail: what went well is forgotten.
func TestNoNoticeOfGoodMail(t *testing.T) {
	f := start(t, "notify_classes = policy, protocol, resource, software\n")
	p := f.dial()
	p.envelope()
	p.expect("DATA", "354 ...")
	p.expect("Subject: first\r\n\r\nx\r\n.", "250 2.0.0 Ok...")
	p.expect("FOO", "500 ...")
	p.expect("QUIT", "221 ...")
	f.done()
	mails := f.queued()
	if len(mails) != 2 {
		t.Fatalf("%d messages", len(mails))
	}
	text := string(mails[1].content)
	if strings.Contains(text, "MAIL FROM") || strings.Contains(text, "first") || !strings.Contains(text, " In:  FOO\r\n") {
		t.Error(text)
	}
}
