package smtpclient

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/envelope"
)

func local(port int) string { return fmt.Sprintf("[127.0.0.1]:%d", port) }

func TestDelivered(t *testing.T) {
	got := make(chan string, 1)
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING", "SIZE 1000000", "8BITMIME", "DSN")
		p.expect("MAIL FROM:<sender@client.example> SIZE=35 RET=HDRS")
		p.send("250 2.1.0 Ok")
		p.expect(`RCPT TO:<"a b"@far.example> ORCPT=rfc822;a+20b@far.example NOTIFY=SUCCESS,DELAY`)
		p.send("250 2.1.5 Ok")
		p.expect("RCPT TO:<c@far.example>")
		p.send("250 2.1.5 Ok")
		p.expect("DATA")
		p.send("354 go")
		got <- p.body()
		p.send("250-2.0.0 first", "250 2.0.0 Ok: queued as XYZ")
		p.line()
	})
	r := newRig(t, false, "")
	q := r.request(local(port), "a b@far.example", "c@far.example")
	q.Message.Ret = "HDRS"
	q.Recipients[0].Orcpt = "rfc822;a b@far.example"
	q.Recipients[0].Notify = envelope.NotifySuccess | envelope.NotifyDelay
	v := r.deliver(q, message)
	v.want(t, 0, envelope.Sent, "2.0.0", "250-2.0.0 first 250 2.0.0 Ok: queued as XYZ")
	v.want(t, 1, envelope.Sent, "2.0.0")
	if b := <-got; b != strings.Replace(message, "\r\n.dot", "\r\n..dot", 1) {
		t.Errorf("server got %q", b)
	}
	if want := fmt.Sprintf("127.0.0.1[127.0.0.1]:%d", port); v.outcomes[0].Relay != want {
		t.Errorf("relay %q, want %q", v.outcomes[0].Relay, want)
	}
	if a := v.outcomes[0].Action; a != "delegated" {
		t.Errorf("action %q, want delegated: the server does DSN", a)
	}
}

// Four of five recipients are accepted, with and without pipelining.
func TestFourOfFive(t *testing.T) {
	for _, ext := range []string{"PIPELINING", "X-NOTHING"} {
		t.Run(ext, func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", func(p *peer) {
				p.hello(ext)
				p.expect("MAIL FROM:")
				p.send("250 2.1.0 Ok")
				for i := range 5 {
					p.expect(fmt.Sprintf("RCPT TO:<u%d@", i))
					if i == 2 {
						p.send("550 5.1.1 no such user")
					} else {
						p.send("250 2.1.5 Ok")
					}
				}
				p.rest()
				p.line()
			})
			r := newRig(t, false, "")
			v := r.deliver(r.request(local(port), "u0@x.example", "u1@x.example", "u2@x.example", "u3@x.example", "u4@x.example"), message)
			for n := range uint32(5) {
				if n == 2 {
					v.want(t, n, envelope.Bounced, "5.1.1", "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)")
				} else {
					v.want(t, n, envelope.Sent, "2.0.0")
				}
			}
			if v.done.SiteProblem != "" {
				t.Errorf("site problem %q", v.done.SiteProblem)
			}
		})
	}
}

// TestLineLengthLimit checks that lines above the limit are folded, once told
// in the log, and that 0 lets them pass.
func TestLineLengthLimit(t *testing.T) {
	long := strings.Repeat("x", 2500)
	for _, c := range []struct {
		cf, want string
		lmtp     bool
	}{
		{"", "Subject: s\r\n\r\n" + long[:998] + "\r\n " + long[:997] + "\r\n " + long[:505] + "\r\nend\r\n", false},
		{"", "Subject: s\r\n\r\n" + long[:998] + "\r\n " + long[:997] + "\r\n " + long[:505] + "\r\nend\r\n", true},
		{"smtp_line_length_limit = 0\n", "Subject: s\r\n\r\n" + long + "\r\nend\r\n", false},
	} {
		got := make(chan string, 1)
		port := serve(t, "127.0.0.1:0", func(p *peer) {
			p.send("220 server.example ESMTP")
			p.line()
			p.send("250 server.example")
			p.expect("MAIL FROM:")
			p.send("250 2.1.0 Ok")
			p.expect("RCPT TO:")
			p.send("250 2.1.5 Ok")
			p.expect("DATA")
			p.send("354 go on")
			got <- p.body()
			p.send("250 2.0.0 Ok")
			p.line()
		})
		r := newRig(t, c.lmtp, c.cf)
		dest := local(port)
		if c.lmtp {
			dest = "inet:" + dest
		}
		v := r.deliver(r.request(dest, "u0@x.example"), "Subject: s\r\n\r\n"+long+"\r\nend\r\n")
		v.want(t, 0, envelope.Sent, "2.0.0")
		if g := <-got; g != c.want {
			t.Errorf("%q: the server got %d bytes: %.60q, want %d", c.cf, len(g), g, len(c.want))
		}
		if folds := strings.Contains(c.want, "\r\n x"); strings.Count(r.log.text(), "breaking line > 998 bytes with <CR><LF>SPACE") == 1 != folds {
			t.Errorf("%q: log %q", c.cf, r.log.text())
		}
	}
}

// failures are servers that fail in one way each.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		cf     string
		script func(*peer)
		status envelope.Status
		dsn    string
		reason string
		site   bool
	}{
		{"greeting 421", "", func(p *peer) { p.send("421 4.3.2 busy") },
			envelope.Deferred, "4.3.2", "refused to talk to me: 421 4.3.2 busy", true},
		{"greeting 554", "", func(p *peer) { p.send("554 go away"); p.line() },
			envelope.Deferred, "4.0.0", "refused to talk to me: 554 go away", true},
		{"greeting 554, not skipped", "smtp_skip_5xx_greeting = no\n", func(p *peer) { p.send("554 go away"); p.line() },
			envelope.Bounced, "5.0.0", "refused to talk to me: 554 go away", false},
		{"no greeting", "", func(p *peer) {},
			envelope.Deferred, "4.4.2", "lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting", true},
		{"not SMTP", "", func(p *peer) { p.send("HTTP/1.0 400 Bad Request") },
			envelope.Deferred, "4.5.0", "malformed reply", true},
		{"slow greeting", "smtp_helo_timeout = 1s\n", func(p *peer) { p.trickle("220 server.example ESMTP hello there\r\n") },
			envelope.Deferred, "4.4.2", "timed out while receiving the initial server greeting", true},
		{"slow reply to RCPT", "smtp_rcpt_timeout = 1s\n", func(p *peer) {
			p.hello()
			p.expect("MAIL")
			p.send("250 ok")
			p.expect("RCPT")
			p.trickle("250 all is well that ends well\r\n")
		}, envelope.Deferred, "4.4.2", "timed out while sending RCPT TO", true},
		{"endless greeting", "", func(p *peer) {
			for {
				if _, err := p.Write([]byte(strings.Repeat("220 x", 1000))); err != nil {
					return
				}
			}
		}, envelope.Deferred, "4.5.0", "reply is too long", true},
		{"endless multi-line reply", "", func(p *peer) {
			p.send("220 x ESMTP")
			p.expect("EHLO")
			for {
				if _, err := p.Write([]byte("250-PIPELINING\r\n")); err != nil {
					return
				}
			}
		}, envelope.Deferred, "4.5.0", "reply is too long", true},
		{"MAIL refused", "", func(p *peer) {
			p.hello("PIPELINING")
			p.expect("MAIL")
			p.send("550 5.7.1 spam")
			p.expect("RCPT")
			p.send("503 5.5.1 no")
			p.expect("DATA")
			p.send("503 5.5.1 no")
			p.line()
		}, envelope.Bounced, "5.7.1", "said: 550 5.7.1 spam (in reply to MAIL FROM command)", false},
		{"DATA refused", "", func(p *peer) {
			p.hello("PIPELINING")
			p.expect("MAIL")
			p.send("250 ok")
			p.expect("RCPT")
			p.send("250 ok")
			p.expect("DATA")
			p.send("451 4.3.0 later")
			p.line()
		}, envelope.Deferred, "4.3.0", "(in reply to DATA command)", false},
		{"no recipient, but 354", "", func(p *peer) {
			p.hello("PIPELINING")
			p.expect("MAIL")
			p.send("250 ok")
			p.expect("RCPT")
			p.send("550 5.1.1 nobody")
			p.expect("DATA")
			p.send("354 go")
			if b := p.body(); b != "" {
				p.t.Errorf("server got content %q for no recipient", b)
			}
			p.send("554 5.5.1 no valid recipients")
			p.line()
		}, envelope.Bounced, "5.1.1", "nobody", false},
		{"message refused", "", func(p *peer) {
			p.hello("PIPELINING")
			p.expect("MAIL")
			p.send("250 ok", "250 ok", "354 go")
			p.expect("RCPT")
			p.expect("DATA")
			p.body()
			p.send("554 5.6.0 virus")
			p.line()
		}, envelope.Bounced, "5.6.0", "(in reply to end of DATA command)", false},
		{"hangs up after the end of data", "", func(p *peer) {
			p.hello("PIPELINING")
			p.expect("MAIL")
			p.send("250 ok", "250 ok", "354 go")
			p.expect("RCPT")
			p.expect("DATA")
			p.body()
		}, envelope.Deferred, "4.4.2", "lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once", true},
		{"odd reply", "", func(p *peer) {
			p.hello()
			p.expect("MAIL")
			p.send("354 what")
			p.line()
		}, envelope.Bounced, "5.5.0", "Protocol error: host", false},
		{"too big", "", func(p *peer) { p.hello("SIZE 10"); p.line() },
			envelope.Bounced, "5.3.4", "message size 35 exceeds size limit 10 of server", false},
		{"TLS wanted, not offered", "smtp_tls_security_level = encrypt\n", func(p *peer) { p.hello(); p.line() },
			envelope.Deferred, "4.7.4", "TLS is required, but was not offered by host", true},
		{"TLS wanted, refused", "smtp_tls_security_level = encrypt\n", func(p *peer) {
			p.hello("STARTTLS")
			p.expect("STARTTLS")
			p.send("454 4.7.0 not now")
			p.line()
		}, envelope.Deferred, "4.7.0", "refused to start TLS", true},
		{"EHLO and HELO refused", "", func(p *peer) {
			p.send("220 x")
			p.expect("EHLO")
			p.send("502 what")
			p.expect("HELO client.example")
			p.send("550 5.7.1 go away")
			p.line()
		}, envelope.Bounced, "5.7.1", "refused to talk to me", false},
		{"DANE", "smtp_tls_security_level = dane\n", func(p *peer) { p.t.Error("server was connected to") },
			envelope.Deferred, "4.7.5", "is not available", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, "127.0.0.1:0", tt.script)
			r := newRig(t, false, tt.cf)
			v := r.deliver(r.request(local(port), "u@x.example"), message)
			v.want(t, 0, tt.status, tt.dsn, tt.reason)
			if (v.done.SiteProblem != "") != tt.site {
				t.Errorf("site problem %q, want one: %v", v.done.SiteProblem, tt.site)
			}
		})
	}
}

// trickle sends one byte at a time, until the client gives up.
func (p *peer) trickle(s string) {
	for i := 0; i < len(s); i++ {
		if _, err := p.Write([]byte{s[i]}); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // what a slow server does, not a synchronisation
	}
}

func TestConnectionRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	r := newRig(t, false, "")
	v := r.deliver(r.request(local(port), "u@x.example"), message)
	text := fmt.Sprintf("connect to 127.0.0.1[127.0.0.1]:%d: Connection refused", port)
	v.want(t, 0, envelope.Deferred, "4.4.1", text)
	if v.outcomes[0].Relay != "none" || v.done.SiteDSN != "4.4.1" || !r.log.has(text) {
		t.Errorf("got %v, log %s", v, r.log.text())
	}
}

// A server that dies in the middle of the content; the connection breaks while
// we write.
func TestDiesInData(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok", "250 ok", "354 go")
		p.expect("RCPT")
		p.expect("DATA")
		p.r.ReadString('\n')
		p.Conn.(*net.TCPConn).SetLinger(0)
	})
	r := newRig(t, false, "")
	v := r.deliver(r.request(local(port), "u@x.example"), message+strings.Repeat("x\r\n", 4<<20))
	v.want(t, 0, envelope.Deferred, "4.4.2", "lost connection with 127.0.0.1[127.0.0.1] while sending message body")
}

// What is left of a damaged queue file is not sent as the message.
func TestQueueFileEndsEarly(t *testing.T) {
	end := make(chan bool, 2)
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok", "250 ok", "354 go")
		p.expect("RCPT")
		p.expect("DATA")
		whole := false
		for {
			l, err := p.r.ReadString('\n')
			if whole = whole || l == ".\r\n"; err != nil || whole {
				break
			}
		}
		end <- whole
	})
	r := newRig(t, false, "")
	r.cut = 1
	v := r.deliver(r.request(local(port), "u@x.example"), message)
	v.want(t, 0, envelope.Deferred, "4.3.0", "local data error")
	if <-end {
		t.Error("the server got the end of the message")
	}
}

// A refusal before the end of the content is believed.
func TestRefusedInData(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok", "250 ok", "354 go", "552 5.3.4 too much")
		p.expect("RCPT")
		p.expect("DATA")
		p.r.ReadString('\n')
		p.Conn.(*net.TCPConn).CloseWrite()
		p.r.Discard(8 << 20)
		p.Conn.(*net.TCPConn).SetLinger(0)
	})
	r := newRig(t, false, "")
	v := r.deliver(r.request(local(port), "u@x.example"), message+strings.Repeat("x\r\n", 12<<20))
	if o := v.outcomes[0]; o.Status == envelope.Sent {
		t.Errorf("got %v", v)
	}
}

// 4xx from the first server, 2xx from the second.
func TestNextServer(t *testing.T) {
	var two net.Listener
	one, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := one.Addr().(*net.TCPAddr).Port
	if two, err = net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port)); err != nil {
		t.Skip(err)
	}
	serveOn(t, one, func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok", "250 ok", "451 4.2.0 greylisted", "354 go")
		p.body()
		p.send("250 2.0.0 one")
		p.line()
	})
	serveOn(t, two, func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok")
		p.expect("RCPT TO:<b@")
		p.send("250 ok")
		p.expect("DATA")
		p.send("354 go")
		p.body()
		p.send("250 2.0.0 two")
		p.line()
	})
	ns := startDNS(t, zone{"far.example MX": {"20 mx2.far.example.", "10 mx1.far.example."},
		"mx1.far.example A": {"127.0.0.1"}, "mx2.far.example A": {"127.0.0.2"}})
	r := newRig(t, false, fmt.Sprintf("resolver_nameservers = %s\nsmtp_tcp_port = %d\n", ns, port))
	v := r.deliver(r.request("far.example", "a@far.example", "b@far.example"), message)
	v.want(t, 0, envelope.Sent, "2.0.0", "one")
	v.want(t, 1, envelope.Sent, "2.0.0", "two")
	if !r.log.has("ID1: host mx1.far.example[127.0.0.1] said: 451 4.2.0 greylisted (in reply to RCPT TO command)") {
		t.Errorf("log lacks the soft failure")
	}
	if want := fmt.Sprintf("mx2.far.example[127.0.0.2]:%d", port); v.outcomes[1].Relay != want {
		t.Errorf("relay %q, want %q", v.outcomes[1].Relay, want)
	}
}

func TestRouting(t *testing.T) {
	ns := startDNS(t, zone{
		"null.example MX":    {"0 ."},
		"self.example MX":    {"10 mx.self.example.", "20 other.example."},
		"mx.self.example A":  {"127.0.0.1"},
		"zero.example MX":    {"10 zero.example."},
		"zero.example A":     {"0.0.0.0"},
		"name.example MX":    {"10 client.example."},
		"other.example A":    {"127.0.0.2"},
		"fail.example MX":    {"SERVFAIL"},
		"empty.example MX":   {"10 gone.example."},
		"noaddr.example TXT": {`"x"`},
	})
	tests := []struct {
		name, nexthop string
		status        envelope.Status
		dsn, reason   string
	}{
		{"null MX", "null.example", envelope.Bounced, "5.1.10", "Domain null.example does not accept mail (nullMX)"},
		{"MX to loopback", "self.example", envelope.Bounced, "5.4.6", "mail for self.example loops back to myself"},
		{"MX to the null address", "zero.example", envelope.Bounced, "5.4.6", "mail for zero.example loops back to myself"},
		{"MX to own name", "name.example", envelope.Bounced, "5.4.6", "loops back to myself"},
		{"self in brackets", "[127.0.0.1]:25", envelope.Bounced, "5.4.6", "mail for 127.0.0.1 loops back to myself"},
		{"SERVFAIL", "fail.example", envelope.Deferred, "4.4.3", "Host or domain name not found. Name service error for name=fail.example type=MX: Host not found, try again"},
		{"NXDOMAIN", "nowhere.example", envelope.Bounced, "5.4.4", "Host or domain name not found. Name service error for name=nowhere.example type=A: Host not found"},
		{"MX without address", "empty.example", envelope.Bounced, "5.4.4", "name=gone.example"},
		{"no data", "noaddr.example", envelope.Bounced, "5.4.4", "Host found but no data record of requested type"},
		{"bad port", "[127.0.0.1]:nonsense", envelope.Deferred, "4.3.5", "unknown service"},
	}
	r := newRig(t, false, "resolver_nameservers = "+ns+"\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := r.deliver(r.request(tt.nexthop, "u@x.example"), message)
			v.want(t, 0, tt.status, tt.dsn, tt.reason)
		})
	}
}

// A relayhost that does not resolve is our mistake: mail is kept.
func TestRelayhostProblem(t *testing.T) {
	ns := startDNS(t, zone{})
	r := newRig(t, false, "relayhost = [relay.example]\nresolver_nameservers = "+ns+"\n")
	v := r.deliver(r.request("[relay.example]", "u@x.example"), message)
	v.want(t, 0, envelope.Deferred, "4.3.5", "Host not found")
}

func TestFallbackRelay(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) { p.hello(); p.accept(); p.line() })
	ns := startDNS(t, zone{"far.example A": {"127.0.0.3"}})
	r := newRig(t, false, fmt.Sprintf("resolver_nameservers = %s\nsmtp_fallback_relay = %s\nsmtp_tcp_port = 1\n", ns, local(port)))
	v := r.deliver(r.request("far.example", "u@x.example"), message)
	v.want(t, 0, envelope.Sent, "2.0.0")
}

// One connection carries several messages; when the server has closed it in
// the meantime, a new one is made without anyone noticing.
func TestReuse(t *testing.T) {
	closed := make(chan struct{})
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.accept()
		p.expect("RSET")
		p.send("250 2.0.0 Ok")
		p.accept()
		p.Close()
		close(closed)
	}, func(p *peer) {
		p.hello("PIPELINING")
		p.accept()
		p.expect("RSET")
		p.send("421 4.4.2 idle for too long")
	}, func(p *peer) { p.hello("PIPELINING"); p.accept(); p.line() })
	r := newRig(t, false, "smtp_connection_cache_time_limit = 60s\n")
	for i := range 4 {
		if i == 2 {
			<-closed
		}
		v := r.deliver(r.request(local(port), "u@x.example"), message)
		v.want(t, 0, envelope.Sent, "2.0.0")
		if use := r.log.has("conn_use=2"); use != (i > 0) {
			t.Errorf("message %d: conn_use=2 in the log: %v", i, use)
		}
	}
}

// Something that nobody asked for makes a connection unfit for more.
func TestUnsolicited(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok", "250 ok", "354 go")
		p.body()
		p.Write([]byte("250 2.0.0 Ok\r\n250 2.0.0 free gift\r\n"))
		if l := p.line(); l == "RCPT TO:<u@x.example>" || l == "DATA" {
			l = p.line()
		} else if l == "RSET" {
			p.t.Error("the connection was used again")
		}
	})
	r := newRig(t, false, "smtp_connection_cache_time_limit = 60s\n")
	for range 2 {
		v := r.deliver(r.request(local(port), "u@x.example"), message)
		v.want(t, 0, envelope.Sent, "2.0.0")
	}
}

func TestVerifyOnly(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok")
		p.expect("RCPT TO:<a@")
		p.send("250 2.1.5 fine")
		p.expect("RCPT TO:<b@")
		p.send("550 5.1.1 nobody")
		if l := p.line(); l == "DATA" {
			p.t.Error("a probe must not send DATA")
		}
	})
	r := newRig(t, false, "")
	q := r.request(local(port), "a@x.example", "b@x.example")
	q.Message.VerifyOnly = true
	v := r.deliver(q, message)
	v.want(t, 0, envelope.Deliverable, "2.1.5", "fine")
	v.want(t, 1, envelope.Undeliverable, "5.1.1", "nobody")
}

func TestLMTP(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, func(p *peer) {
		p.send("220 store LMTP")
		p.expect("LHLO client.example")
		p.ehlo("PIPELINING")
		p.expect("MAIL")
		p.send("250 ok")
		for i := range 4 {
			p.expect(fmt.Sprintf("RCPT TO:<u%d@", i))
			if i == 1 {
				p.send("550 5.1.1 nobody")
			} else {
				p.send("250 ok")
			}
		}
		p.expect("DATA")
		p.send("354 go")
		p.body()
		p.send("250 2.1.5 u0 saved", "452 4.2.2 u2 is full") // nothing for u3
	})
	r := newRig(t, true, "")
	v := r.deliver(r.request("unix:"+path, "u0@x.example", "u1@x.example", "u2@x.example", "u3@x.example"), message)
	v.want(t, 0, envelope.Sent, "2.1.5", "u0 saved")
	v.want(t, 1, envelope.Bounced, "5.1.1")
	v.want(t, 2, envelope.Deferred, "4.2.2", "(in reply to end of DATA command)")
	v.want(t, 3, envelope.Deferred, "4.4.2", "lost connection with client.example["+path+"] while sending end of data")
	if want := "client.example[" + path + "]"; v.outcomes[0].Relay != want {
		t.Errorf("relay %q, want %q", v.outcomes[0].Relay, want)
	}
}

func TestSMTPUTF8(t *testing.T) {
	port := serve(t, "127.0.0.1:0", func(p *peer) { p.hello("8BITMIME"); p.line() })
	r := newRig(t, false, "")
	q := r.request(local(port), "用户@x.example")
	q.Message.SMTPUTF8 = true
	r.deliver(q, message).want(t, 0, envelope.Bounced, "5.6.7", "SMTPUTF8 is required, but was not offered by host 127.0.0.1[127.0.0.1]")
}

// A server that never answers QUIT delays nobody.
func TestSilentQuit(t *testing.T) {
	release := make(chan struct{})
	port := serve(t, "127.0.0.1:0", func(p *peer) {
		p.hello("PIPELINING")
		p.accept()
		p.expect("QUIT")
		<-release
	})
	r := newRig(t, false, "smtp_skip_quit_response = no\nsmtp_connection_cache_on_demand = no\n")
	v := r.deliver(r.request(local(port), "u@x.example"), message) // hangs if the outcome waits for the farewell
	v.want(t, 0, envelope.Sent, "2.0.0")
	close(release)
}

// With on-demand keeping off, only the connections to listed destinations are
// kept.
func TestKeptDestinations(t *testing.T) {
	for _, list := range []string{"127.0.0.1", "other.example"} {
		port := serve(t, "127.0.0.1:0", func(p *peer) {
			p.hello("PIPELINING")
			p.accept()
			for p.line() == "RSET" {
				p.send("250 ok")
				p.accept()
			}
		})
		r := newRig(t, false, "smtp_connection_cache_on_demand = no\nsmtp_connection_cache_time_limit = 60s\nsmtp_connection_cache_destinations = "+list+"\n")
		for range 2 {
			r.deliver(r.request(local(port), "u@x.example"), message).want(t, 0, envelope.Sent, "2.0.0")
		}
		if kept := r.log.has("conn_use=2"); kept != (list == "127.0.0.1") {
			t.Errorf("%s listed: kept %v", list, kept)
		}
	}
}
