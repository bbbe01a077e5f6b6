package mboxio

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
)

func scan(t testing.TB, text string) (list []*Message) {
	t.Helper()
	if err := Scan(strings.NewReader(text), 0, int64(len(text)), func(m *Message) error {
		list = append(list, m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func wire(t testing.TB, text string, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := DecodeAt(&b, strings.NewReader(text), m.Off, m.End); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != m.Size {
		t.Errorf("%d bytes, size %d", b.Len(), m.Size)
	}
	return b.String()
}

func TestFrom(t *testing.T) {
	at := time.Date(2001, 11, 9, 22, 33, 52, 0, time.Local)
	utc := time.Date(2001, 11, 9, 22, 33, 52, 0, time.UTC)
	for line, want := range map[string]time.Time{
		"From a@b  Fri Nov  9 22:33:52 2001":                    at,
		"From a@b Fri Nov 09 22:33 2001\r\n":                    at.Add(-52 * time.Second),
		"From a b c Fri Nov 9 22:33:52 GMT 2001":                utc,
		"From \"a b\"@c Fri Nov 9 22:33:52 2001 +0300":          utc.Add(-3 * time.Hour),
		"From Fri Nov  9 22:33:52 2001":                         at,
		"From x Fri Nov  9 22:33:52 2001 remote from elsewhere": at,
		"From x Fri Nov 9 22:33:52 MET DST 2001":                at,
	} {
		if got, ok := ParseFrom([]byte(line)); !ok || got != want.Unix() {
			t.Errorf("%s: %d, %v, want %d", line, got, ok, want.Unix())
		}
	}
	for _, line := range []string{"From here on", "from a Fri Nov  9 22:33:52 2001", ">From a Fri Nov  9 22:33:52 2001", "From a Fri Nov  9 2001", "From a Fri Nov 32 22:33:52 2001",
		"From a Fri Nov  9 24:33:52 2001", "From a Fri Nov  9 22:33:52", "From a Nov  9 22:33:52 2001", "From " + strings.Repeat("x", 5000) + " Fri Nov  9 22:33:52 2001"} {
		if _, ok := ParseFrom([]byte(line)); ok {
			t.Errorf("%.60s is a From_ line", line)
		}
	}
}

const date = " Thu Jan  1 00:00:10 1970\n"

// TestScan: what other programs write.
func TestScan(t *testing.T) {
	text := "\n\nFrom a@b" + date + "X-IMAPbase: 1234567890 0000000042 red\n\tblue\nX-UID: 7\nSubject: 1\nStatus: RO\nX-Status: AF\nX-Keywords: red $Forwarded   \nContent-Length: 5\nLines: 1\n\nbody\n>From x\n\n" +
		"From c@d" + date + "Subject: 2\r\nstatus:\r\n\r\nFrom the start\r\n\r\n" + "From no blank line" + date + "Subject: 3\n\nno end"
	l := scan(t, text)
	if len(l) != 3 {
		t.Fatalf("%d messages", len(l))
	}
	m := l[0]
	if m.Off != 2 || m.UID != 7 || m.Base == nil || m.Base.Validity != 1234567890 || m.Base.Last != 42 || fmt.Sprint(m.Base.Keywords) != "[red blue]" || m.Base.Pseudo ||
		m.Flags != mailbox.Seen|mailbox.Answered|mailbox.Flagged || !m.Old || fmt.Sprint(m.Keywords) != "[red $Forwarded]" || m.Tidy {
		t.Errorf("%+v, %+v", m, m.Base)
	}
	for i, want := range []string{"Subject: 1\r\n\r\nbody\r\n>From x\r\n", "Subject: 2\r\n\r\nFrom the start\r\n", "Subject: 3\r\n\r\nno end"} {
		if got := wire(t, text, l[i]); got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
	for _, bad := range []string{"hello\n", "From me\n", "\n\nSubject: x\n"} {
		if err := Scan(strings.NewReader(bad), 0, int64(len(bad)), func(*Message) error { return nil }); !errors.Is(err, ErrNotMbox) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if l := scan(t, ""); len(l) != 0 {
		t.Errorf("%d messages in nothing", len(l))
	}
}

// TestContentLength: believed where it fits, and never so that it hides a message.
func TestContentLength(t *testing.T) {
	inner := "one\n\nFrom x" + date + "not a field\n"
	next := "\nFrom c@d" + date + "Subject: 2\n\nx\n"
	text := func(n int, body string) string {
		return fmt.Sprintf("From a@b%sContent-Length: %d\n\n%s%s", date, n, body, next)
	}
	if n := len(scan(t, text(len(inner), inner))); n != 2 {
		t.Errorf("right: %d messages", n)
	}
	if n := len(scan(t, text(len(inner)-1, inner))); n != 3 {
		t.Errorf("wrong: %d messages", n)
	}
	both := inner + next
	if n := len(scan(t, text(len(both), inner))); n != 2 {
		t.Errorf("one that would hide a message: %d messages", n)
	}
	if n := len(scan(t, text(1<<40, inner))); n != 3 {
		t.Errorf("too long: %d messages", n)
	}
}

// TestForeignFields: what programs do to fields that clients do not see leaves the sum.
func TestForeignFields(t *testing.T) {
	a := scan(t, "From a"+date+"Subject: 1\nX-UID: 5\n\nbody\n\n")[0]
	b := scan(t, "From other"+date+"X-UID: 9\nStatus: RO\nSubject: 1\nLines: 1\nContent-Length: 5\n\nbody\n")[0]
	c := scan(t, "From a"+date+"Subject: 1\nX-UID: 5\n\nBody\n\n")[0]
	if a.Sum != b.Sum || a.Sum == c.Sum {
		t.Errorf("%x, %x, %x", a.Sum, b.Sum, c.Sum)
	}
}

func encode(t testing.TB, content string, verbatim bool, meta *Meta) string {
	t.Helper()
	var err error
	if meta.Text, err = Inspect(strings.NewReader(content), verbatim); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Encode(&b, strings.NewReader(content), "x@y", 10, meta); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// roundTrip puts content between other messages and reads it again.
func roundTrip(t testing.TB, content string, verbatim bool) {
	t.Helper()
	want := content
	if !verbatim {
		want = strings.ReplaceAll(content, "\n", "\r\n")
	}
	mine := encode(t, content, verbatim, &Meta{UID: 3, Flags: mailbox.Seen | mailbox.Draft, Old: true, Keywords: []string{"k"}})
	text := "From a" + date + "\nx\n\n" + mine + "From b" + date + "\ny\n"
	l := scan(t, text)
	if len(l) != 3 {
		t.Fatalf("%.200q: %d messages:\n%.500s", content, len(l), text)
	}
	m := l[1]
	if got := wire(t, text, m); got != want || m.UID != 3 || m.Flags != mailbox.Seen|mailbox.Draft || !m.Old || !m.Tidy || fmt.Sprint(m.Keywords) != "[k]" {
		t.Fatalf("%.200q came back as %.200q, %+v\n%.500s", want, got, m, text)
	}
	if s, _ := SumOf(strings.NewReader(content), verbatim); s != m.Sum {
		t.Errorf("%q: another sum", content)
	}
	// With other fields, and once more with those in place.
	var b bytes.Buffer
	if err := CopyMessage(&b, strings.NewReader(text), m.Off, m.End, &Meta{UID: 4, Base: &Base{Validity: 9, Last: 4}, Keywords: []string{"a", "b"}}); err != nil {
		t.Fatal(err)
	}
	again := b.String() + "From b" + date + "\ny\n"
	l = scan(t, again)
	if len(l) != 2 || wire(t, again, l[0]) != want || l[0].Sum != m.Sum || l[0].UID != 4 || l[0].Base == nil {
		t.Fatalf("%q with other fields:\n%s", content, again)
	}
}

var contents = []string{"", "\n", "x", "x\n", "Subject: 1\n\nbody\n", "Subject: 1\n\nbody", "Subject: 1\n", "Subject: 1\n\n", "Subject: 1\n\n\n\n", "From me\n", ">From\n>From x\n>>From y\nFrom z Thu Jan  1 00:00:00 1970\n",
	"Status: RO\nX-UID: 77\n more\nX-Escaped-Status: x\nX-IMAPbase: 1 2\nSubject: 1\n\nStatus: body\nFrom a Thu Jan  1 00:00:00 1970\n", " begins with a blank\n\nx\n", "\tx\n", "X-Posthaste-Text: nq\n\nx\n",
	"Content-Length: 100000\n\nx\n", "a\rb\n", "a\r", "X-Escaped->From a\n\n", "Status", "Status:", "\n\nFrom a Thu Jan  1 00:00:00 1970", strings.Repeat("x", 200000) + "\nFrom x\n", "Status: " + strings.Repeat("x", 200000) + "\n\nx\n"}

func TestRoundTrip(t *testing.T) {
	for _, c := range contents {
		if !strings.Contains(c, "\r\n") {
			roundTrip(t, c, false)
		}
		roundTrip(t, c, true)
		roundTrip(t, strings.ReplaceAll(c, "\n", "\r\n")+"\n", true)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, c := range contents {
		f.Add(c, true)
		f.Add(c, false)
	}
	f.Fuzz(func(t *testing.T, c string, verbatim bool) {
		if !verbatim && strings.Contains(c, "\r\n") {
			return // has another form
		}
		roundTrip(t, c, verbatim)
	})
}

// FuzzScan: any file is read without loss, and reading it in parts gives the same.
func FuzzScan(f *testing.F) {
	f.Add([]byte("From a" + date + "Subject: 1\nX-UID: 1\n\nx\n\nFrom b" + date + "Content-Length: 10\nStatus: O\n\ny\n"))
	f.Add([]byte("From a" + date + "X-IMAP: 1 2\nSubject: DON'T DELETE THIS MESSAGE\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []*Message
		if err := Scan(bytes.NewReader(b), 0, int64(len(b)), func(m *Message) error { list = append(list, m); return nil }); err != nil {
			return
		}
		for i, m := range list {
			if i > 0 && m.Off != list[i-1].End || m.End <= m.Off || i == len(list)-1 && m.End != int64(len(b)) {
				t.Fatalf("message %d: %d to %d of %d", i, m.Off, m.End, len(b))
			}
			wire(t, string(b), m)
			// Other fields do not change what clients see.
			var out bytes.Buffer
			if err := CopyMessage(&out, bytes.NewReader(b), m.Off, m.End, &Meta{UID: 1, Old: true}); err != nil {
				t.Fatal(err)
			}
			n := scan(t, out.String())
			if len(n) == 1 && (n[0].Sum != m.Sum || n[0].UID != 1) {
				t.Fatalf("%q became %q", b[m.Off:m.End], out.String())
			}
		}
	})
}

func TestSetMeta(t *testing.T) {
	text := "From z" + date + "\n\n" + encode(t, "From x\nStatus: D\n\nx\n", false, &Meta{UID: 3})
	path := filepath.Join(t.TempDir(), "mbox")
	os.WriteFile(path, []byte(text), 0o600)
	f, _ := os.OpenFile(path, os.O_RDWR, 0)
	defer f.Close()
	m := scan(t, text)[1]
	if err := SetMeta(f, m.Off, m.End, &Meta{UID: 3, Flags: 31, Old: true, Keywords: []string{"red", "blue"}}); err != nil {
		t.Fatal(err)
	}
	now, _ := os.ReadFile(path)
	n := scan(t, string(now))[1]
	if len(now) != len(text) || n.Flags != 31 || n.Sum != m.Sum || fmt.Sprint(n.Keywords) != "[red blue]" {
		t.Errorf("%+v\n%s", n, now)
	}
	if err := SetMeta(f, m.Off, m.End, &Meta{UID: 3, Keywords: []string{strings.Repeat("x", 100)}}); err != ErrRoom {
		t.Errorf("too much: %v", err)
	}
	if err := SetMeta(f, 0, m.Off, &Meta{UID: 3}); err != ErrRoom {
		t.Errorf("no fields: %v", err)
	}
	if err := SetMeta(f, m.Off+1, m.End, &Meta{UID: 3}); err != ErrPlace {
		t.Errorf("no message: %v", err)
	}
}
