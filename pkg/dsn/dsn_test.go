package dsn

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"

	"posthaste/pkg/envelope"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var zone = time.FixedZone("CET", 3600)

const original = "Received: from x by y\r\nSubject: hello\r\nMessage-Id: <1@sender.example>\r\n\r\nfirst line\r\n.second\r\n"

func base() *Report {
	return &Report{
		From: "MAILER-DAEMON@here.example", To: "anna@sender.example", Postmaster: "postmaster@here.example",
		ReportingMTA: "mx.here.example", MailName: "Postfix",
		Date:     time.Date(2026, 11, 23, 18, 0, 0, 0, zone),
		Boundary: "4XkP1Q2n3Rz5yJ.ABC/mx.here.example",
		ID:       "4XkP1Q2n3Rz5yJ",
		Message:  &envelope.Message{Arrival: time.Date(2026, 11, 23, 17, 59, 0, 0, zone), Envid: "QQ314159"},
		Sender:   "anna@sender.example",
		External: func(s string) string { return s },
		Original: strings.NewReader(original),
		WithBody: true,
	}
}

func reports() map[string]*Report {
	long := "host mx.far.example[192.0.2.7] said: 550 5.1.1 <nobody@far.example>: Recipient address rejected: " +
		"User unknown in virtual mailbox table, and this server has a great deal more to say about it (in reply to RCPT TO command)"
	at := time.Date(2026, 11, 23, 17, 59, 30, 0, zone)
	failed := Recipient{
		envelope.Recipient{Address: "nobody@far.example", Orig: "alias@here.example", Orcpt: "rfc822;Alias@here.example"},
		envelope.Outcome{Status: envelope.Bounced, DSN: "5.1.1", Reason: long, DiagType: "smtp", DiagText: "550 5.1.1 <nobody@far.example>: unknown", MTAName: "mx.far.example", When: at},
	}
	expired := Recipient{
		envelope.Recipient{Address: "slow@far.example", Orig: "s@here.example"},
		envelope.Outcome{Status: envelope.Expired, DSN: "4.4.1", Reason: "connect to mx.far.example[192.0.2.7]:25: Connection timed out", When: at},
	}
	deferred := expired
	deferred.Status = envelope.Deferred
	ok := Recipient{
		envelope.Recipient{Address: "bob@far.example"},
		envelope.Outcome{Status: envelope.Sent, DSN: "2.0.0", Reason: "250 2.0.0 Ok: queued as ABC", Action: "relayed", MTAName: "mx.far.example", When: at},
	}
	l := map[string]*Report{}

	r := base()
	r.Recipients = []Recipient{failed, expired}
	l["failure"] = r

	r = base()
	r.Kind, r.WithBody, r.Recipients, r.RetryEnd = Delay, false, []Recipient{deferred}, time.Date(2026, 11, 28, 17, 59, 0, 0, zone)
	l["delay"] = r

	r = base()
	r.Kind, r.WithBody, r.Recipients, r.References = Success, false, []Recipient{ok}, "<1@sender.example>"
	l["success"] = r

	r = base()
	r.Role, r.To, r.Sender, r.Recipients, r.EightBit = ForDouble, "postmaster@here.example", "", []Recipient{failed}, true
	l["double"] = r

	r = base()
	r.Role, r.To, r.WithBody, r.Recipients = ForPostmaster, "postmaster@here.example", false, []Recipient{failed}
	l["postmaster"] = r

	r = base()
	r.UTF8, r.To, r.Sender = true, "åsa@sender.example", "åsa@sender.example"
	u := failed
	u.Address, u.Reason, u.Orig, u.Orcpt = "ülo@far.example", "användaren finns inte", "", ""
	r.Recipients = []Recipient{u}
	l["utf8"] = r

	r = base()
	r.Kind, r.WithBody = Trace, false
	v := ok
	v.Status, v.Action = envelope.Deliverable, ""
	w := failed
	w.Status = envelope.Undeliverable
	r.Recipients = []Recipient{v, w}
	l["trace"] = r
	return l
}

func TestGolden(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := r.Write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".eml")
			if *update {
				os.MkdirAll("testdata", 0o755)
				os.WriteFile(file, b.Bytes(), 0o644)
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("report differs from %s:\n%s", file, b.String())
			}
			check(t, r, b.String())
		})
	}
}

// check reads a report with somebody else's parser.
func check(t *testing.T, r *Report, s string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(s, "\r\n"), "\r\n") {
		if strings.ContainsAny(line, "\r\n") || len(line) > 998 {
			t.Errorf("bad line %q", line)
		}
	}
	e, err := message.Read(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	typ, p, _ := e.Header.ContentType()
	if typ != "multipart/report" || p["report-type"] == "" {
		t.Errorf("content type %s %v, want multipart/report", typ, p)
	}
	mr := e.MultipartReader()
	var types []string
	var last []byte
	for {
		part, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		typ, _, _ := part.Header.ContentType()
		types = append(types, typ)
		last, _ = io.ReadAll(part.Body)
	}
	if len(types) != 3 || types[0] != "text/plain" || !strings.HasSuffix(types[1], "delivery-status") {
		t.Errorf("parts %v, want text, status and original", types)
	}
	want := original
	if !r.WithBody {
		want, _, _ = strings.Cut(original, "\r\n\r\n")
	}
	if got := strings.TrimRight(string(last), "\r\n"); got != strings.TrimRight(want, "\r\n") {
		t.Errorf("the returned original is %q, want %q", got, want)
	}
}

func TestHostileText(t *testing.T) {
	r := base()
	r.MailName = "Bad: name\r\n"
	r.Recipients = []Recipient{{envelope.Recipient{Address: "x@y.example"},
		envelope.Outcome{Status: envelope.Bounced, DSN: "5.0.0", Reason: "evil\r\nSubject: injected\xff" + strings.Repeat("x", 5000)}}}
	r.Original = strings.NewReader("Header: " + strings.Repeat("y", 20000))
	r.WithBody = false
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\r\n") {
		if strings.HasPrefix(line, "Subject: injected") {
			t.Error("a reason text became a line of its own")
		}
		if len(line) > 998 && !strings.HasPrefix(line, "Header:") {
			t.Errorf("line of %d bytes", len(line))
		}
	}
}

func TestMessageID(t *testing.T) {
	for in, want := range map[string]string{
		original: "<1@sender.example>",
		"Subject: x\r\n\r\nMessage-Id: <2@body.example>\r\n": "",
		"message-ID:   <3@x.example>  \r\n\r\n":              "<3@x.example>",
		"Message-Id: nonsense\r\n\r\n":                       "",
		"":                                                   "",
	} {
		if got := MessageID(strings.NewReader(in)); got != want {
			t.Errorf("MessageID(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add("nobody@far.example", "550 no such user", "Subject: x\r\n\r\nbody", true)
	f.Add("", "", "", false)
	f.Add("å@x", strings.Repeat("word ", 300), "no header end", true)
	f.Fuzz(func(t *testing.T, addr, reason, orig string, utf8 bool) {
		clean := strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")
		r := base()
		r.UTF8, r.WithBody, r.Original = utf8, false, strings.NewReader(orig)
		r.Recipients = []Recipient{{envelope.Recipient{Address: clean.Replace(addr)}, envelope.Outcome{Status: envelope.Bounced, DSN: "5.0.0", Reason: clean.Replace(reason)}}}
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.String(), "\r\n--"+r.Boundary+"--\r\n") {
			t.Error("the report has no end")
		}
	})
}
