package main

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// TestChinese finds one word in every charset that Chinese mail has.
func TestChinese(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	enc := func(e interface{ String(string) (string, error) }, s string) string {
		out, err := e.String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	simple, traditional := "明天的会议改期", "明天的會議改期"
	for _, m := range []struct{ charset, body string }{
		{"gb2312", enc(simplifiedchinese.GBK.NewEncoder(), simple)},
		{"gbk", enc(simplifiedchinese.GBK.NewEncoder(), simple)},
		{"gb18030", enc(simplifiedchinese.GB18030.NewEncoder(), simple)},
		{"hz-gb-2312", enc(simplifiedchinese.HZGB2312.NewEncoder(), simple)},
		{"utf-8", simple},
		{"big5", enc(traditionalchinese.Big5.NewEncoder(), traditional)},
	} {
		c.append("INBOX", "", "Subject: x\nContent-Type: text/plain; charset="+m.charset+"\nContent-Transfer-Encoding: 8bit\n\n"+m.body+"\n")
	}
	c.append("INBOX", "", "Subject: =?gb2312?B?u+HS6Q==?=\n\nnothing here\n")
	c.append("INBOX", "", "Subject: nothing\n\nnor here\n")
	c.ok("SELECT INBOX")
	for _, s := range []struct{ keys, want string }{
		{"CHARSET UTF-8 TEXT {6+}\r\n会议", "* SEARCH 1 2 3 4 5 7"}, {"CHARSET UTF-8 BODY {6+}\r\n会议", "* SEARCH 1 2 3 4 5"},
		{"CHARSET UTF-8 BODY {6+}\r\n會議", "* SEARCH 6"}, {"CHARSET GB2312 SUBJECT {4+}\r\n\xbb\xe1\xd2\xe9", "* SEARCH 7"},
		{"CHARSET BIG5 BODY {4+}\r\n" + enc(traditionalchinese.Big5.NewEncoder(), "會議"), "* SEARCH 6"},
	} {
		has(t, c.do("SEARCH %s", s.keys), s.want)
	}
}

// TestIdle tells one session of what another does.
func TestIdle(t *testing.T) {
	ts := newTestStore(t)
	a, b := ts.client(), ts.client()
	a.append("INBOX", "", hello)
	a.ok("SELECT INBOX")
	a.send("T IDLE\r\n")
	if r := a.response(); !strings.HasPrefix(r, "+ ") {
		t.Fatal(r)
	}
	b.append("INBOX", "", hello)
	for {
		if r := a.response(); r == "* 2 EXISTS\r\n" {
			break
		}
	}
	b.ok("SELECT INBOX")
	b.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	for {
		if r := a.response(); strings.HasPrefix(r, "* 1 FETCH (FLAGS (\\Deleted") {
			break
		}
	}
	b.ok("EXPUNGE")
	for {
		if r := a.response(); r == "* 1 EXPUNGE\r\n" {
			break
		}
	}
	a.send("DONE\r\n")
	out := a.tagged()
	has(t, out, "T OK IDLE completed")
	// A command within IDLE is a mistake that the session survives.
	a.send("T IDLE\r\n")
	a.response()
	a.send("x NOOP\r\n")
	has(t, a.tagged(), "T BAD DONE expected")
	a.ok("NOOP")
}

// TestExpungeHidden: while a client counts by sequence numbers, they stay.
func TestExpungeHidden(t *testing.T) {
	ts := newTestStore(t)
	a, b := ts.client(), ts.client()
	for range 3 {
		a.append("INBOX", "", hello)
	}
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	b.ok("EXPUNGE")
	out := a.ok("FETCH 3 UID")
	has(t, out, "* 3 FETCH (UID 3)")
	for _, r := range out {
		if strings.Contains(r, "EXPUNGE") {
			t.Errorf("FETCH told of %q", r)
		}
	}
	out = a.ok("FETCH 1:3 BODY.PEEK[]")
	if got := out[len(out)-1]; got != "T OK [EXPUNGEISSUED] some messages are gone" {
		t.Error(got)
	}
	has(t, a.ok("NOOP"), "* 1 EXPUNGE")
	has(t, a.ok("FETCH 2 UID"), "* 2 FETCH (UID 3)")
}

func TestMultiAppend(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	one := strings.ReplaceAll(hello, "\n", "\r\n")
	out := c.ok("APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {%d+}\r\n%s (\\Flagged) {%d+}\r\n%s {%d+}\r\n%s", len(one), one, len(one), one, len(one), one)
	if got := out[len(out)-1]; !strings.HasPrefix(got, "T OK [APPENDUID ") || !strings.HasSuffix(got, " 1:3] APPEND completed") {
		t.Error(got)
	}
	c.ok("SELECT INBOX")
	has(t, c.ok("FETCH 1:2 (FLAGS INTERNALDATE)"), `* 1 FETCH (FLAGS (\Seen \Recent) INTERNALDATE "17-Jul-1996 09:44:25 +0000")`)
	// All or none: the second message is refused.
	out = c.do("APPEND INBOX {%d+}\r\n%s {%d+}\r\n%s", len(one), one, 11<<20, strings.Repeat("x", 11<<20))
	hasPrefix(t, out, "T NO [TOOBIG]")
	has(t, c.ok("STATUS INBOX (MESSAGES)"), "* STATUS INBOX (MESSAGES 3)")
	// With a synchronizing literal, and a name that is one too.
	c.send("T APPEND {5}\r\n")
	if r := c.response(); !strings.HasPrefix(r, "+") {
		t.Fatal(r)
	}
	c.send("INBOX {%d}\r\n", len(one))
	if r := c.response(); !strings.HasPrefix(r, "+") {
		t.Fatal(r)
	}
	c.send("%s\r\n", one)
	hasPrefix(t, c.tagged(), "T OK [APPENDUID")
	hasPrefix(t, c.do("APPEND nowhere {%d+}\r\n%s", len(one), one), "T NO [TRYCREATE]")
	hasPrefix(t, c.do("APPEND INBOX UTF8 (~{%d+}\r\n%s)", len(one), one), "T OK [APPENDUID")
	hasPrefix(t, c.do("APPEND INBOX (\\Bogus) {%d+}\r\n%s", len(one), one), "T BAD unknown flag")
	hasPrefix(t, c.do("APPEND INBOX junk {%d+}\r\n%s", len(one), one), "T BAD")
	hasPrefix(t, c.do("APPEND INBOX {0+}\r\n"), "T NO message is empty")
	hasPrefix(t, c.do("APPEND INBOX"), "T BAD")
	c.ok("NOOP")
}

// TestSameBytes: what was appended is what is fetched, whatever it is.
func TestSameBytes(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	long := strings.Repeat("x", 200<<10)
	bodies := []string{
		"a\r\n", "no line end", "bare\nlf\n", "mixed\r\nline\nends\r", "NUL \x00 octet\r\n", "\xff\xfe8-bit\r\n", "\r\n", "\n", "\r", ".\r\n..\r\n",
		"Subject: x\r\n\r\n" + long, strings.Repeat("line\r\n", 300<<10),
	}
	for _, b := range bodies {
		c.ok("APPEND INBOX {%d+}\r\n%s", len(b), b)
	}
	c.ok("SELECT INBOX")
	for i, b := range bodies {
		out := c.ok("FETCH %d (RFC822.SIZE BODY.PEEK[])", i+1)
		want := fmt.Sprintf("* %d FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%s)", i+1, len(b), len(b), b)
		if out[0] != want {
			t.Errorf("%.40q: got %.200q", b, out[0])
		}
		if len(b) > 50 {
			out = c.ok("FETCH %d BODY.PEEK[]<20.7>", i+1)
			if want := fmt.Sprintf("* %d FETCH (BODY[]<20> {7}\r\n%s)", i+1, b[20:27]); out[0] != want {
				t.Errorf("%.40q: got %.200q", b, out[0])
			}
		}
	}
}

func TestCondstore(t *testing.T) {
	ts := newTestStore(t)
	a := ts.client()
	for range 4 {
		a.append("INBOX", "", hello)
	}
	hasPrefix(t, a.ok("SELECT INBOX (CONDSTORE)"), "* OK [HIGHESTMODSEQ ")
	modseq := func(out []string) (n uint64) {
		t.Helper()
		for _, r := range out {
			if i := strings.Index(r, "MODSEQ ("); i >= 0 {
				fmt.Sscanf(r[i:], "MODSEQ (%d)", &n)
			}
		}
		if n == 0 {
			t.Fatalf("no MODSEQ in %q", out)
		}
		return n
	}
	before := modseq(a.ok("FETCH 4 MODSEQ"))
	after := modseq(a.ok("STORE 2 +FLAGS.SILENT (\\Flagged)"))
	if after <= before {
		t.Errorf("mod-sequence %d, then %d", before, after)
	}
	out := a.ok("STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS (\\Answered)", before)
	if got := out[len(out)-1]; !strings.HasPrefix(got, "T OK [MODIFIED 2] ") {
		t.Errorf("%q", out)
	}
	out = a.ok("FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", after)
	if len(out) != 3 {
		t.Errorf("CHANGEDSINCE: %q", out)
	}
	hasPrefix(t, a.ok("SEARCH MODSEQ %d", after+1), "* SEARCH 1 3 (MODSEQ ")

	// QRESYNC: what happened while away.
	var validity, highest uint64
	for _, r := range a.ok("SELECT INBOX") {
		fmt.Sscanf(r, "* OK [UIDVALIDITY %d]", &validity)
		fmt.Sscanf(r, "* OK [HIGHESTMODSEQ %d]", &highest)
	}
	b := ts.client()
	b.ok("SELECT INBOX")
	b.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
	b.ok("EXPUNGE")
	b.ok("STORE 3 +FLAGS.SILENT (\\Seen)")
	q := ts.client()
	hasPrefix(t, q.do("SELECT INBOX (QRESYNC (%d %d))", validity, highest), "T BAD QRESYNC is not enabled")
	has(t, q.ok("ENABLE QRESYNC"), "* ENABLED QRESYNC")
	out = q.ok("SELECT INBOX (QRESYNC (%d %d 1:4))", validity, highest)
	has(t, out, "* VANISHED (EARLIER) 2")
	hasPrefix(t, out, "* 3 FETCH (UID 4 FLAGS (\\Seen)")
	out = q.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d VANISHED)", highest)
	has(t, out, "* VANISHED (EARLIER) 2")
	b.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	b.ok("EXPUNGE")
	has(t, q.ok("NOOP"), "* VANISHED 1")
}

func TestSortAndThread(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	for _, m := range []struct{ subject, date, id, refs string }{
		{"beta", "3 Feb 2020 10:00:00 +0000", "1", ""},
		{"Re: beta", "4 Feb 2020 10:00:00 +0000", "2", "<1@x>"},
		{"alpha", "1 Feb 2020 10:00:00 +0000", "3", ""},
		{"Re: [list] beta (fwd)", "6 Feb 2020 10:00:00 +0000", "4", "<1@x> <2@x>"},
		{"Re: beta", "5 Feb 2020 10:00:00 +0000", "5", "<1@x>"},
		{"lost", "7 Feb 2020 10:00:00 +0000", "6", "<none@x>"},
		{"lost too", "8 Feb 2020 10:00:00 +0000", "7", "<none@x>"},
		{"Re: alpha", "9 Feb 2020 10:00:00 +0000", "8", ""},
	} {
		c.append("INBOX", "", fmt.Sprintf("Subject: %s\nDate: %s\nMessage-ID: <%s@x>\nReferences: %s\n\nx\n", m.subject, m.date, m.id, m.refs))
	}
	c.ok("SELECT INBOX")
	for _, s := range []struct{ cmd, want string }{
		{"SORT (DATE) UTF-8 ALL", "* SORT 3 1 2 5 4 6 7 8"}, {"SORT (REVERSE DATE) UTF-8 1:3", "* SORT 2 1 3"},
		{"SORT (SUBJECT DATE) UTF-8 ALL", "* SORT 3 8 1 2 5 4 6 7"}, {"SORT RETURN (COUNT MIN) (DATE) UTF-8 ALL", `* ESEARCH (TAG "T") MIN 3 COUNT 8`},
		{"THREAD REFERENCES UTF-8 ALL", "* THREAD (3 8)(1 (2 4)(5))((6)(7))"},
		{"THREAD ORDEREDSUBJECT UTF-8 1:5", "* THREAD (3)(1 (2)(5)(4))"},
	} {
		has(t, c.ok("%s", s.cmd), s.want)
	}
}

// TestBrokenThread: a message's own References take a parent away from it even
// where the link they ask for would make a loop.
func TestBrokenThread(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	for i, m := range []struct{ id, refs string }{{"<a@b>", ""}, {"<b@b>", "<a@b> <c@b>"}, {"<c@b>", "<b@b>"}} {
		c.append("INBOX", "", fmt.Sprintf("Date: %d Feb 2008 10:00:00 +0000\nMessage-ID: %s\nReferences: %s\n\nx\n", 7+(3-i)%3, m.id, m.refs))
	}
	c.ok("SELECT INBOX")
	has(t, c.ok("THREAD REFERENCES US-ASCII ALL"), "* THREAD (1)(3 2)")
	c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	c.ok("EXPUNGE")
	has(t, c.ok("THREAD REFERENCES US-ASCII ALL"), "* THREAD (2 1)")
}

// TestSearchAddresses: what counts is the envelope's address, without comments
// and quoting, as well as what is written.
func TestSearchAddresses(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	for _, from := range []string{
		"user@domain.example", "Real <user@domain.example>", "<user (comment)@ (comment) domain.example>", "user@domain.example (Real)",
		"other@domain.example", "\"Re\\al\" <other@domain.example>", "=?UTF-8?B?5L2g5aW9?= (x) <other@domain.example>",
	} {
		c.append("INBOX", "", "From: "+from+"\nTo: group: a@b.example;\n\nx\n")
	}
	c.ok("SELECT INBOX")
	for _, s := range []struct{ cmd, want string }{
		{"SEARCH FROM user@domain.example", "* SEARCH 1 2 3 4"}, {"SEARCH FROM comment", "* SEARCH 3"},
		{"SEARCH FROM real", "* SEARCH 2 4 6"}, {"SEARCH CHARSET UTF-8 FROM {6+}\r\n你好", "* SEARCH 7"},
		{"SEARCH TO group", "* SEARCH 1 2 3 4 5 6 7"}, {"SEARCH FROM nobody", "* SEARCH"},
	} {
		has(t, c.ok("%s", s.cmd), s.want)
	}
}

// TestLargestUID: only "*" means the last message; 4294967295 is a number.
func TestLargestUID(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", "Subject: x\n\nx\n")
	c.ok("SELECT INBOX")
	has(t, c.ok("UID SEARCH UID 2:4294967295"), "* SEARCH")
	has(t, c.ok("UID SEARCH UID 1:4294967295"), "* SEARCH 1")
	has(t, c.ok("UID SEARCH UID 2:*"), "* SEARCH 1")
	if out := c.ok("UID FETCH 2:4294967295 (FLAGS)"); len(out) != 1 {
		t.Errorf("%q", out)
	}
	hasPrefix(t, c.do("FETCH 4294967295 (FLAGS)"), "T BAD ")
	hasPrefix(t, c.do("FETCH 9:* (FLAGS)"), "T BAD ")
}

func TestCompress(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.ok("COMPRESS DEFLATE")
	fw, _ := flate.NewWriter(c.c, flate.BestSpeed)
	c.w = flushing{fw}
	c.r = bufio.NewReader(flate.NewReader(c.r))
	c.append("INBOX", "", hello)
	c.ok("SELECT INBOX")
	has(t, c.ok("FETCH 1 BODY.PEEK[TEXT]"), "* 1 FETCH (BODY[TEXT] {12}\r\nHello Bob.\r\n)")
	hasPrefix(t, c.do("COMPRESS DEFLATE"), "T NO [COMPRESSIONACTIVE]")
	// A bomb: megabytes of zero octets from a few kilobytes.
	go io.WriteString(c.w, strings.Repeat("x", 8<<20)+"\r\nT NOOP\r\n")
	out := c.tagged()
	hasPrefix(t, out, "* BAD [LIMIT] command line is longer")
	has(t, out, "T OK NOOP completed")
}

// TestCompressPartialFlush: mbsync flushes with zlib's Z_PARTIAL_FLUSH, and waits
// for its answer. The octets are those of its NAMESPACE and LIST.
func TestCompressPartialFlush(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.ok("COMPRESS DEFLATE")
	c.r = bufio.NewReader(flate.NewReader(c.r))
	io.WriteString(c.c, "\x0a\x51\xf0\x73\xf4\x75\x0d\x0e\x70\x74\x76\xe5\xe5\x02\x08")
	has(t, c.tagged(), "T OK NAMESPACE completed")
	io.WriteString(c.c, "\xa0\x10\x05\x1f\xcf\xe0\x10\x05\x25\x25\x05\x4f\x3f\x27\xff\x08\x5e\x2e\x80\x00")
	has(t, c.tagged(), "* LIST (\\HasNoChildren) \"/\" INBOX")
}

type flushing struct{ *flate.Writer }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// TestRev2: what IMAP4rev2 does otherwise.
func TestRev2(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	has(t, c.ok("ENABLE IMAP4rev2"), "* ENABLED IMAP4rev2")
	out := c.ok("SELECT INBOX")
	has(t, out, `* LIST () "/" INBOX`)
	for _, r := range out {
		if strings.Contains(r, "RECENT") || strings.Contains(r, "UNSEEN") {
			t.Error(r)
		}
	}
	has(t, c.ok("SEARCH ALL"), `* ESEARCH (TAG "T") ALL 1`)
	has(t, c.ok("FETCH 1 FLAGS"), `* 1 FETCH (FLAGS ())`)
	has(t, c.ok("STATUS INBOX (DELETED DELETED-STORAGE SIZE)"), `* STATUS INBOX (DELETED 0 DELETED-STORAGE 0 SIZE 152)`)
	has(t, c.ok("SELECT Sent"), "* OK [CLOSED] previous mailbox is closed")
}

// TestBinary fetches parts without their encoding.
func TestBinary(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\nSGVsbG8=\n--b\nContent-Transfer-Encoding: quoted-printable\n\n=41=\nB\n--b\nContent-Transfer-Encoding: base64\n\nAAEC\n--b\nContent-Transfer-Encoding: x-odd\n\nx\n--b--\n")
	c.ok("SELECT INBOX")
	has(t, c.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])"), "* 1 FETCH (BINARY[1] {5}\r\nHello BINARY.SIZE[1] 5)")
	has(t, c.ok("FETCH 1 BINARY.PEEK[2]"), "* 1 FETCH (BINARY[2] {2}\r\nAB)")
	has(t, c.ok("FETCH 1 BINARY.PEEK[3]<1.5>"), "* 1 FETCH (BINARY[3]<1> ~{2}\r\n\x01\x02)")
	hasPrefix(t, c.do("FETCH 1 BINARY.PEEK[4]"), "* 1 FETCH (BINARY[4] NIL)")
	hasPrefix(t, c.do("FETCH 1 BINARY.PEEK[4]"), "T NO [UNKNOWN-CTE]")
}

// TestKeepalive: a client in IDLE gets signs of life.
func TestKeepalive(t *testing.T) {
	ts := newTestStore(t)
	ts.opt.keepalive = 5 * time.Millisecond
	c := ts.client()
	c.send("T IDLE\r\n")
	c.response()
	for range 2 {
		if r := c.response(); r != "* OK still here\r\n" {
			t.Error(r)
		}
	}
	c.send("DONE\r\n")
	has(t, c.tagged(), "T OK IDLE completed")
}

// TestInactivity ends a session that says nothing, with a word.
func TestInactivity(t *testing.T) {
	ts := newTestStore(t)
	ts.opt.timeout = 50 * time.Millisecond
	c := ts.client()
	if r := c.response(); !strings.HasPrefix(r, "* BYE [INACTIVITY]") {
		t.Error(r)
	}
}
