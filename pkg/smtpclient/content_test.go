package smtpclient

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"

	gosmtp "github.com/emersion/go-smtp"

	"posthaste/pkg/envelope"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestDowngrade(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"leaf", "Subject: é\nContent-Type: text/plain;\n charset=utf-8\nContent-Transfer-Encoding: 8bit\n\né=x \n.\n",
			"Subject: é\nContent-Type: text/plain;\n charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9=3Dx=20\n.\n"},
		{"no label", "Subject: x\n\né\n", "Subject: x\n\né\n"},
		{"base64 stays", "Content-Transfer-Encoding: base64\n\nw6k=\n", "Content-Transfer-Encoding: base64\n\nw6k=\n"},
		{"multipart", "Content-Type: multipart/mixed; boundary=\"b\"\nContent-Transfer-Encoding: 8bit\n\npreé\n--b\nContent-Transfer-Encoding: 8bit\n\né\n--b\n\né\n--bb\nx\n--b--\né\n",
			"Content-Type: multipart/mixed; boundary=\"b\"\nContent-Transfer-Encoding: 7bit\n\npreé\n--b\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b\n\né\n--bb\nx\n--b--\né\n"},
		{"message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: é\nContent-Transfer-Encoding: 8bit\n\né\n",
			"Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: é\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n"},
		{"long line", "Content-Transfer-Encoding: 8bit\n\n" + strings.Repeat("x", 80) + "\n",
			"Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("x", 75) + "=\nxxxxx\n"},
		{"header only", "Content-Transfer-Encoding: 8bit\n", "Content-Transfer-Encoding: quoted-printable\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(crlf(tt.in)), iotest.OneByteReader(strings.NewReader(crlf(tt.in)))} {
				got, err := io.ReadAll(newDowngrade(in))
				if err != nil || string(got) != crlf(tt.want) {
					t.Errorf("got %q, %v\nwant %q", got, err, crlf(tt.want))
				}
			}
		})
	}
}

// FuzzDowngrade holds that a labelled leaf comes out in 7 bits and decodes to
// what went in, and that nothing makes the converter fail.
func FuzzDowngrade(f *testing.F) {
	f.Add([]byte("é = \t\r\nx\r\n"))
	f.Add([]byte("a\rb\x00\r\n\r\n."))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := io.ReadAll(newDowngrade(bytes.NewReader(body))); err != nil {
			t.Fatal(err)
		}
		norm := bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r"), nil), []byte("\n"), []byte("\r\n"))
		head := "Content-Transfer-Encoding: 8bit\r\n\r\n"
		got, err := io.ReadAll(newDowngrade(io.MultiReader(strings.NewReader(head), bytes.NewReader(norm))))
		if err != nil {
			t.Fatal(err)
		}
		_, enc, ok := bytes.Cut(got, []byte("\r\n\r\n"))
		if !ok {
			t.Fatalf("no header in %q", got)
		}
		for _, c := range enc {
			if c >= 0x7f {
				t.Fatalf("8-bit output %q", enc)
			}
		}
		dec, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(enc)))
		if err != nil || !bytes.Equal(dec, norm) {
			t.Fatalf("decodes to %q (%v), want %q", dec, err, norm)
		}
	})
}

func TestConversionOnTheWire(t *testing.T) {
	const mail = "Content-Transfer-Encoding: 8bit\r\n\r\ngrüße\r\n"
	for _, ext := range []string{"8BITMIME", "X-NOTHING"} {
		got := make(chan string, 1)
		port := serve(t, "127.0.0.1:0", func(p *peer) {
			p.hello(ext)
			l := p.expect("MAIL FROM:")
			if strings.Contains(l, "BODY=8BITMIME") != (ext == "8BITMIME") {
				t.Errorf("%s: %q", ext, l)
			}
			p.send("250 ok")
			got <- p.rest()
			p.line()
		})
		r := newRig(t, false, "")
		r.deliver(r.request(local(port), "u@x.example"), mail).want(t, 0, envelope.Sent, "2.0.0")
		want := mail
		if ext != "8BITMIME" {
			want = "Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe\r\n"
		}
		if g := <-got; g != want {
			t.Errorf("%s: got %q, want %q", ext, g, want)
		}
	}
}

func TestGeneric(t *testing.T) {
	got := make(chan string, 3)
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello()
		got <- p.expect("MAIL FROM:")
		p.send("250 ok")
		got <- p.expect("RCPT TO:")
		p.send("250 ok")
		got <- p.rest()
		p.line()
	})
	r := newRig(t, false, "smtp_generic_maps = inline:{ sender@client.example=me@isp.example, @inner.example=@outer.example }\n")
	v := r.deliver(r.request(local(port), "u@inner.example"), "From: Me <sender@client.example>\r\nSubject: sender@client.example\r\nTo: a@far.example,\r\n u@inner.example\r\n\r\nsender@client.example\r\n")
	v.want(t, 0, envelope.Sent, "2.0.0")
	if l := <-got; !strings.HasPrefix(l, "MAIL FROM:<me@isp.example>") {
		t.Errorf("sender: %q", l)
	}
	if l := <-got; l != "RCPT TO:<u@outer.example>" {
		t.Errorf("recipient: %q", l)
	}
	b := <-got
	for _, want := range []string{"From: Me <me@isp.example>\r\n", "Subject: sender@client.example\r\n", "u@outer.example", "\r\n\r\nsender@client.example\r\n"} {
		if !strings.Contains(b, want) {
			t.Errorf("content %q lacks %q", b, want)
		}
	}
}

// TestGenericExtension: an extension that the pattern leaves out goes on only
// with propagate_unmatched_extensions.
func TestGenericExtension(t *testing.T) {
	for config, want := range map[string]string{
		"": "me@isp.example",
		"propagate_unmatched_extensions = canonical, generic\n": "me+ext@isp.example",
	} {
		r := newRig(t, false, "recipient_delimiter = +\nsmtp_generic_maps = inline:{u@client.example=me@isp.example}\n"+config)
		if got, err := r.agent.rewrite("u+ext@client.example"); got != want || err != nil {
			t.Errorf("%q: got %q (%v), want %q", config, got, err, want)
		}
	}
}

// backend is a server by other people: go-smtp.
type backend struct{ got chan string }

func (b *backend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &peerSession{b: b}, nil }

type peerSession struct {
	b     *backend
	rcpts []string
}

func (s *peerSession) Reset()                                 { s.rcpts = nil }
func (s *peerSession) Logout() error                          { return nil }
func (s *peerSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (s *peerSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "bad@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.rcpts = append(s.rcpts, to)
	return nil
}
func (s *peerSession) Data(r io.Reader) error {
	c, err := io.ReadAll(r)
	s.b.got <- string(c)
	return err
}
func (s *peerSession) LMTPData(r io.Reader, st gosmtp.StatusCollector) error {
	if err := s.Data(r); err != nil {
		return err
	}
	for _, to := range s.rcpts {
		var err error
		if strings.HasPrefix(to, "full@") {
			err = &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 2, 2}, Message: "full"}
		}
		st.SetStatus(to, err)
	}
	return nil
}

func TestGoSMTP(t *testing.T) {
	content := "Subject: x\r\n\r\n.\r\n..\r\n.x\r\n" + strings.Repeat(strings.Repeat("y", 700)+"\r\n.\r\n", 300)
	for _, lmtp := range []bool{false, true} {
		b := &backend{got: make(chan string, 2)}
		srv := gosmtp.NewServer(b)
		srv.LMTP, srv.Domain = lmtp, "peer.example"
		ln, err := listenLocal()
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
		r := newRig(t, lmtp, "smtp_connection_cache_time_limit = 60s\nlmtp_connection_cache_time_limit = 60s\n")
		for range 2 {
			v := r.deliver(r.request("["+"127.0.0.1"+"]:"+portOf(ln), "a@x.example", "bad@x.example", "full@x.example"), content)
			v.want(t, 0, envelope.Sent, "2.0.0")
			v.want(t, 1, envelope.Bounced, "5.1.1", "no such user (in reply to RCPT TO command)")
			if lmtp {
				v.want(t, 2, envelope.Deferred, "4.2.2", "full")
			} else {
				v.want(t, 2, envelope.Sent, "2.0.0")
			}
			if got := <-b.got; got != content {
				t.Errorf("content of %d bytes arrived as %d", len(content), len(got))
			}
		}
		if !r.log.has("conn_use=2") {
			t.Error("the connection was not used twice")
		}
	}
}
