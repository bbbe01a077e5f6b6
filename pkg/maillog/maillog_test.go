package maillog

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

func str(s string) *string { return &s }

func TestEvents(t *testing.T) {
	h := Host{"mail.sender.example", "192.0.2.7"}
	at := time.Unix(1700000000, 0)
	tests := []struct {
		name string
		e    Event
		want string
	}{
		{"connect", Connected{h}, "connect from mail.sender.example[192.0.2.7]"},
		{"connect unknown", Connected{Host{"", "192.0.2.8"}}, "connect from unknown[192.0.2.8]"},
		{"disconnect", Disconnected{h, []CommandCount{{"ehlo", 1, 1}, {"mail", 1, 1}, {"rcpt", 2, 3}, {"data", 1, 1}, {"quit", 1, 1}}},
			"disconnect from mail.sender.example[192.0.2.7] ehlo=1 mail=1 rcpt=2/3 data=1 quit=1 commands=6/7"},
		{"client", Received{ID: "4X", Client: h, SASLMethod: "PLAIN", SASLUser: "anna"},
			"4X: client=mail.sender.example[192.0.2.7], sasl_method=PLAIN, sasl_username=anna"},
		{"reject", Policy{Verb: "reject", Stage: "RCPT", Client: h, Text_: "554 5.7.1 <u@far.example>: Relay access denied",
			Sender: str("a@b.example"), Rcpt: str("u@far.example"), Protocol: "ESMTP", Helo: "h.example"},
			"NOQUEUE: reject: RCPT from mail.sender.example[192.0.2.7]: 554 5.7.1 <u@far.example>: Relay access denied; from=<a@b.example> to=<u@far.example> proto=ESMTP helo=<h.example>"},
		{"lost", SessionEnd{Kind: "lost connection", Stage: "RCPT", Client: h}, "lost connection after RCPT from mail.sender.example[192.0.2.7]"},
		{"timeout", SessionEnd{Kind: "timeout", Stage: "DATA", Bytes: 1234, Client: h}, "timeout after DATA (1234 bytes) from mail.sender.example[192.0.2.7]"},
		{"message-id", MessageID{"4X", "<id@host>", false}, "4X: message-id=<id@host>"},
		{"pickup", PickedUp{"4X", 1000, "anna"}, "4X: uid=1000 from=<anna>"},
		{"active", QueueActive{"4X", "a@b.example", 1234, 2}, "4X: from=<a@b.example>, size=1234, nrcpt=2 (queue active)"},
		{"removed", Removed{"4X"}, "4X: removed"},
		{"delivery", Delivery{ID: "4X", To: "x@y.example", Relay: "mx.y.example[198.51.100.9]:25", DSN: "2.0.0", Status: "sent", Reason: "250 2.0.0 Ok",
			Delays: Delays{at, at.Add(30 * time.Millisecond), at.Add(40 * time.Millisecond), at.Add(540 * time.Millisecond), at.Add(1200 * time.Millisecond)}},
			"4X: to=<x@y.example>, relay=mx.y.example[198.51.100.9]:25, delay=1.2, delays=0.03/0.01/0.5/0.66, dsn=2.0.0, status=sent (250 2.0.0 Ok)"},
		{"delivery alias", Delivery{ID: "4X", To: "anna@here.example", OrigTo: "postmaster", Relay: "local", ConnUse: 2, DSN: "2.0.0", Status: "sent", Reason: "delivered to mailbox",
			Delays: Delays{at, at, at, time.Time{}, at.Add(1203 * time.Second)}},
			"4X: to=<anna@here.example>, orig_to=<postmaster>, relay=local, conn_use=2, delay=1203, delays=0/0/0/1203, dsn=2.0.0, status=sent (delivered to mailbox)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			l := New("postfix/test", NewFileSink(&b, "mx.here.example"))
			l.Event(tt.e)
			m := regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} mx postfix/test\[[0-9]+\]: (.*)\n$`).FindStringSubmatch(b.String())
			if m == nil {
				t.Fatalf("malformed line %q", b.String())
			}
			if m[1] != tt.want {
				t.Errorf("got  %s\nwant %s", m[1], tt.want)
			}
		})
	}
}

// TestInjection: nobody outside writes a second line or an escape sequence.
func TestInjection(t *testing.T) {
	var b bytes.Buffer
	l := New("postfix/smtpd", NewFileSink(&b, "mx"))
	l.Event(Policy{Verb: "reject", Stage: "RCPT", Client: Host{"x\r\ny", "1"}, Text_: "550 \x1b[31m \u202e \x00 \xff 会议", Helo: "a\nfatal: b"})
	l.Warningf("bad %s", "x\ny")
	s := b.String()
	if strings.Count(s, "\n") != 2 || strings.ContainsAny(s, "\r\x1b\x00") || strings.ContainsRune(s, '\u202e') || !strings.Contains(s, "会议") {
		t.Errorf("got %q", s)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	l := New("postfix/qmgr", NewFileSink(&b, "mx"))
	l.JSON = true
	l.Event(Removed{"4X"})
	_, obj, _ := strings.Cut(b.String(), "]: ")
	var m map[string]any
	if err := json.Unmarshal([]byte(obj), &m); err != nil || m["event"] != "Removed" || m["fields"].(map[string]any)["ID"] != "4X" {
		t.Errorf("got %q, %v", obj, err)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("abc\n\xff")
	f.Fuzz(func(t *testing.T, s string) {
		p := Printable(s)
		for _, r := range p {
			if r < ' ' || r == 0x7f {
				t.Fatalf("%q -> %q", s, p)
			}
		}
		if Printable(p) != p {
			t.Fatalf("%q is not stable", p)
		}
	})
}

// TestGather: lines that come together are written together, soon, in order,
// and nothing is lost at the end.
func TestGather(t *testing.T) {
	var w counter
	f := NewFileSink(&w, "mx")
	f.Gather = true
	l := New("postfix/qmgr", f)
	for range 1000 {
		l.Event(Removed{"4X"})
	}
	l.Flush()
	if lines := strings.Count(w.b.String(), "removed\n"); lines != 1000 || w.n > 100 {
		t.Errorf("%d lines in %d writes", lines, w.n)
	}
	n := w.n
	l.Warningf("now")
	if w.n != n+1 || !strings.HasSuffix(w.b.String(), "warning: now\n") {
		t.Error("a warning has to wait")
	}
}

type counter struct {
	b bytes.Buffer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	c.n++
	return c.b.Write(p)
}
