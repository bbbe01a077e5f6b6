package smtpclient

import (
	"strings"
	"testing"

	"posthaste/pkg/envelope"
)

// TestChecks: smtp_header_checks and its siblings change what goes out.
func TestChecks(t *testing.T) {
	const settings = `
smtp_header_checks = pcre:{{/^X-Ignore:/ IGNORE}, {/^X-Strip:/ STRIP gone}, {/^X-Old: (.*)/ REPLACE X-New: $$1}, {/^X-Pre:/ PREPEND X-Before: 1}, {/^X-Warn:/ WARN look}, {/^X-Info:/ INFO note}, {/^X-Bad:/ REPLACE nothing}, {/^X-No:/ REJECT never}, {/^X-Dunno:/ DUNNO}}
smtp_mime_header_checks = pcre:{{/^Content-Description:/ IGNORE}}
smtp_nested_header_checks = pcre:{{/^Subject: inner/ REPLACE Subject: changed}}
smtp_body_checks = pcre:{{/^secret/ IGNORE}, {/^old (.*)/ REPLACE new $$1}, {/^two/ PREPEND one}, {/^bad/ DISCARD}}
`
	const in = "X-Ignore: a\n folded\nX-Strip: b\nX-Old: c\nX-Pre: d\nX-Warn: e\nX-Info: f\nX-Bad: g\nX-No: h\nX-Dunno: i\nContent-Type: multipart/mixed; boundary=q\n\n" +
		"--q\nContent-Description: x\n\nsecret\nold text\ntwo\nbad\nX-Ignore: text\n--q\nContent-Type: message/rfc822\n\nSubject: inner\nX-Ignore: stays\n\n.dot\n--q--\n"
	const want = "X-New: c\nX-Before: 1\nX-Pre: d\nX-Warn: e\nX-Info: f\nX-Bad: g\nX-No: h\nX-Dunno: i\nContent-Type: multipart/mixed; boundary=q\n\n" +
		"--q\n\nnew text\none\ntwo\nbad\nX-Ignore: text\n--q\nContent-Type: message/rfc822\n\nSubject: changed\nX-Ignore: stays\n\n..dot\n--q--\n"
	got := make(chan string, 1)
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello()
		p.expect("MAIL")
		p.send("250 ok")
		p.expect("RCPT")
		p.send("250 ok")
		p.expect("DATA")
		p.send("354 go")
		got <- p.body()
		p.send("250 2.0.0 taken")
	})
	r := newRig(t, false, settings)
	r.deliver(r.request(local(port), "a@x.example"), crlf(in)).want(t, 0, envelope.Sent, "2.0.0")
	if g := <-got; g != crlf(want) {
		t.Errorf("got %q\nwant %q", g, crlf(want))
	}
	for _, l := range []string{": strip: header X-Strip: b: gone", ": replace: header X-Old: c: X-New: c", ": prepend: header X-Pre: d: X-Before: 1", ": warning: header X-Warn: e: look",
		": info: header X-Info: f: note", "bad REPLACE header text \"nothing\"", "unsupported command in smtp_header_checks map: REJECT never",
		": replace: body old text: new text", ": prepend: body two: one", "unsupported command in smtp_body_checks map: DISCARD"} {
		if !r.log.has(l) {
			t.Errorf("no %q in\n%s", l, r.log.text())
		}
	}
}

// TestChecksTrouble: nothing goes out that a table could not be asked about.
func TestChecksTrouble(t *testing.T) {
	for name, settings := range map[string]string{"header": "smtp_header_checks = fail:x\n", "body": "smtp_body_checks = fail:x\n"} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			port := serve(t, "127.0.0.1:0", func(p *peer) {
				p.hello()
				p.expect("MAIL")
				p.send("250 ok")
				p.expect("RCPT")
				p.send("250 ok")
				p.expect("DATA")
				p.send("354 go")
				for {
					s, err := p.r.ReadString('\n')
					if err != nil {
						got <- "cut"
						return
					}
					if s == ".\r\n" {
						got <- "whole"
						p.send("250 ok")
						return
					}
				}
			})
			r := newRig(t, false, settings)
			r.deliver(r.request(local(port), "a@x.example"), message).want(t, 0, envelope.Deferred, "4.3.0")
			if g := <-got; g != "cut" || !r.log.has("fail:x") {
				t.Errorf("the message arrived: %s\n%s", g, r.log.text())
			}
		})
	}
}

// TestChecksOfLongLines: what is looked at in pieces goes out whole.
func TestChecksOfLongLines(t *testing.T) {
	in := "Subject: x\n\n" + strings.Repeat("abcdefgh", 5000) + "\nend\n"
	got := make(chan string, 1)
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello()
		p.expect("MAIL")
		p.send("250 ok")
		p.expect("RCPT")
		p.send("250 ok")
		p.expect("DATA")
		p.send("354 go")
		got <- p.body()
		p.send("250 2.0.0 taken")
	})
	r := newRig(t, false, "smtp_line_length_limit = 0\nsmtp_body_checks = pcre:{{/^never/ IGNORE}}\n")
	r.deliver(r.request(local(port), "a@x.example"), crlf(in)).want(t, 0, envelope.Sent, "2.0.0")
	if g := <-got; g != crlf(in) {
		t.Errorf("%d bytes, want %d", len(g), len(crlf(in)))
	}
}
