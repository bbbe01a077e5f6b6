package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestList is LIST with its extensions.
func TestList(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	for _, n := range []string{"a", "a/b", "a/b/c", "x/y"} {
		c.ok("CREATE %s", n)
	}
	c.ok("SUBSCRIBE a/b/c")
	c.ok("SUBSCRIBE gone")
	for _, l := range []struct {
		cmd  string
		want []string
		not  string
	}{
		{`LIST "" a/%`, []string{`* LIST (\HasChildren) "/" a/b`}, "a/b/c"},
		{`LIST a/ *`, []string{`* LIST (\HasChildren) "/" a/b`, `* LIST (\HasNoChildren) "/" a/b/c`}, `"/" a"`},
		{`LIST "" inbox`, []string{`* LIST (\HasNoChildren) "/" INBOX`}, "Sent"},
		{`LIST "" (a x/*)`, []string{`* LIST (\HasChildren) "/" a`, `* LIST (\HasNoChildren) "/" x/y`}, "Sent"},
		{`LIST (SUBSCRIBED) "" *`, []string{`* LIST (\Subscribed \HasNoChildren) "/" a/b/c`, `* LIST (\NonExistent \Subscribed \HasNoChildren) "/" gone`}, `"/" x/y`},
		{`LIST (SUBSCRIBED RECURSIVEMATCH) "" %`, []string{`* LIST (\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))`}, `"/" x`},
		{`LIST (SPECIAL-USE) "" *`, []string{`* LIST (\HasNoChildren \Drafts) "/" Drafts`}, "INBOX"},
		{`LIST "" % RETURN (SUBSCRIBED CHILDREN)`, []string{`* LIST (\Subscribed \HasNoChildren \Sent) "/" Sent`, `* LIST (\NonExistent \HasChildren) "/" x`}, "gone"},
		{`LIST "" *`, []string{`* LIST (\Noselect \HasChildren) "/" x`}, "gone"},
	} {
		out := c.ok("%s", l.cmd)
		for _, w := range l.want {
			has(t, out, w)
		}
		for _, r := range out {
			if strings.HasPrefix(r, "*") && strings.Contains(r, l.not) {
				t.Errorf("%s: %q", l.cmd, r)
			}
		}
	}
	hasPrefix(t, c.do(`LIST (RECURSIVEMATCH) "" %%`), "T BAD")
	c.ok("CREATE Old (USE (\\Archive))")
	has(t, c.ok(`LIST "" Old`), `* LIST (\HasNoChildren \Archive) "/" Old`)
	hasPrefix(t, c.do("CREATE New (USE (\\Bogus))"), "T NO [USEATTR]")
}

func TestSearchKeys(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.ok("APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 +0000\" {%d+}\r\n%s", 40, "Subject: one\r\nX-Thing: Yes\r\n\r\n0123456789")
	c.append("INBOX", `\Flagged $Label`, "From: Zoë <zoe@example.test>\nSubject: two\n\ntext\n")
	c.append("INBOX", `\Answered \Draft`, "Cc: someone@else.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nDate: 5 May 2005 23:30:00 -0500\n\nlast\n")
	c.ok("SELECT INBOX")
	for _, s := range []struct{ keys, want string }{
		{"SEEN", " 1"}, {"UNSEEN", " 2 3"}, {"FLAGGED KEYWORD $label", " 2"}, {"UNKEYWORD $Label", " 1 3"}, {"DRAFT ANSWERED UNFLAGGED", " 3"},
		{"OR SEEN DRAFT", " 1 3"}, {"NOT OR SEEN DRAFT", " 2"}, {"(SEEN) 1:2", " 1"}, {"2:*", " 2 3"}, {"UID 3", " 3"}, {"NOT 1", " 2 3"}, {"9", ""},
		{"ON 17-Jul-1996", " 1"}, {"BEFORE 17-Jul-1996", ""}, {"BEFORE 18-Jul-1996", " 1"}, {"SINCE 18-Jul-1996", " 2 3"}, {"SENTON 5-May-2005", " 3"}, {"SENTSINCE 6-May-2005", ""},
		{"YOUNGER 3600", " 2 3"}, {"OLDER 3600", " 1"}, {"SAVEDSINCE 1-Jan-2020", " 1 2 3"}, {"SAVEDBEFORE 1-Jan-2020", ""}, {"SAVEDATESUPPORTED", " 1 2 3"},
		{"LARGER 39 SMALLER 41", " 1"}, {"HEADER X-Thing yes", " 1"}, {`HEADER X-Thing ""`, " 1"}, {"HEADER X-Thing no", ""}, {"FROM ZOË", ""},
		{"CHARSET UTF-8 FROM {4+}\r\nZOË", " 2"}, {"CHARSET UTF-8 SUBJECT {8+}\r\nGRÜßE", ""}, {"CHARSET UTF-8 SUBJECT {4+}\r\nGRÜ", " 3"},
		{"CC someone BODY LAST", " 3"}, {"TEXT zoe@", " 2"}, {"NEW", " 2 3"}, {"OLD", ""}, {"RECENT", " 1 2 3"}, {"ALL DELETED", ""}, {"EMAILID nothing", ""},
	} {
		out := c.do("SEARCH %s", s.keys)
		if strings.HasPrefix(s.keys, "FROM ZO") { // 8-bit outside of a string
			hasPrefix(t, out, "T BAD")
			continue
		}
		if strings.Contains(s.keys, "{8+}") {
			s.want = " 3"
			s.keys = "CHARSET UTF-8 SUBJECT {7+}\r\nGRÜßE"
			out = c.do("SEARCH %s", s.keys)
		}
		if out[0] != "* SEARCH"+s.want {
			t.Errorf("%s: %q, want %q", s.keys, out, s.want)
		}
	}
	for _, bad := range []string{"", "FROBNICATE", "OR SEEN", "NOT", "()", "SINCE yesterday", "LARGER x", "SUBJECT", "RETURN (BOGUS) ALL", "1:", "SEEN SEEN)"} {
		hasPrefix(t, c.do("SEARCH %s", bad), "T BAD")
	}
}

// TestFoundDates: dates of messages that other programs put into the Maildir,
// which are looked at when they are asked for.
func TestFoundDates(t *testing.T) {
	ts := newTestStore(t)
	ts.client().ok("SELECT INBOX")
	for i, day := range []int64{3, 1, 2} { // of 1970, in the order of the save dates
		name := fmt.Sprintf("%s/cur/%d.x.host:2,", ts.root, 1000000000+86400*i)
		at := time.Unix(86400*(day-1)+60, 0)
		if err := os.WriteFile(name, []byte("Subject: x\n\nbody\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []struct{ cmd, want string }{
		{"SORT (ARRIVAL) UTF-8 ALL", "* SORT 2 3 1"}, {"SORT (REVERSE ARRIVAL) UTF-8 ALL", "* SORT 1 3 2"}, {"SORT (DATE) UTF-8 ALL", "* SORT 2 3 1"},
		{"SEARCH SINCE 2-Jan-1970", "* SEARCH 1 3"}, {"SEARCH BEFORE 2-Jan-1970", "* SEARCH 2"}, {"SEARCH ON 2-Jan-1970", "* SEARCH 3"}, {"SEARCH NOT ON 2-Jan-1970 UNSEEN", "* SEARCH 1 2"},
		{"SEARCH YOUNGER 86400", "* SEARCH"}, {"SEARCH OLDER 86400", "* SEARCH 1 2 3"},
		{"SEARCH SAVEDBEFORE 10-Sep-2001", "* SEARCH 1"}, {"SEARCH SAVEDON 10-Sep-2001", "* SEARCH 2"}, {"SEARCH SAVEDSINCE 10-Sep-2001", "* SEARCH 2 3"},
		{"FETCH 2 INTERNALDATE", `* 2 FETCH (INTERNALDATE " 1-Jan-1970 00:01:00 +0000")`},
		{"FETCH 3 (INTERNALDATE SAVEDATE)", `* 3 FETCH (INTERNALDATE " 2-Jan-1970 00:01:00 +0000" SAVEDATE "11-Sep-2001 01:46:40 +0000")`},
		{"FETCH 1 (RFC822.SIZE INTERNALDATE)", `* 1 FETCH (RFC822.SIZE 20 INTERNALDATE " 3-Jan-1970 00:01:00 +0000")`},
	} {
		// Each is the first that asks.
		c := ts.client()
		c.ok("SELECT INBOX")
		has(t, c.ok("%s", l.cmd), l.want)
		c.ok("CLOSE")
		os.Remove(ts.root + "/posthaste.index")
	}
	c := ts.client()
	c.ok("SELECT INBOX")
	c.ok("STORE 1:* +FLAGS (\\Answered)")
	c.ok("CREATE Other")
	c.ok("COPY 1:* Other")
	has(t, c.ok("FETCH 1 INTERNALDATE"), `* 1 FETCH (INTERNALDATE " 3-Jan-1970 00:01:00 +0000")`)
	c.ok("SELECT Other")
	has(t, c.ok("SORT (ARRIVAL) UTF-8 ALL"), "* SORT 2 3 1")
	has(t, c.ok("FETCH 2 INTERNALDATE"), `* 2 FETCH (INTERNALDATE " 1-Jan-1970 00:01:00 +0000")`)
	has(t, c.ok("SEARCH SAVEDBEFORE 12-Sep-2001"), "* SEARCH")
}

// TestObjects is OBJECTID, PREVIEW and SAVEDATE.
func TestObjects(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	hasPrefix(t, c.ok("SELECT INBOX"), "* OK [MAILBOXID (")
	has(t, c.ok("FETCH 1 (PREVIEW (LAZY))"), "* 1 FETCH (PREVIEW NIL)")
	has(t, c.ok("FETCH 1 PREVIEW"), `* 1 FETCH (PREVIEW "Hello Bob.")`)
	has(t, c.ok("FETCH 1 (UID PREVIEW (LAZY))"), `* 1 FETCH (UID 1 PREVIEW "Hello Bob.")`)
	hasPrefix(t, c.ok("FETCH 1 SAVEDATE"), `* 1 FETCH (SAVEDATE "`+time.Now().UTC().Format("_2-Jan-2006"))
	id := func(n int) string {
		t.Helper()
		out := c.ok("FETCH %d (EMAILID THREADID)", n)
		var id string
		if _, err := fmt.Sscanf(out[0], "* 1 FETCH (EMAILID (%s THREADID NIL)", &id); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return strings.TrimSuffix(id, ")")
	}
	first := id(1)
	has(t, c.ok("SEARCH EMAILID %s", first), "* SEARCH 1")
	c.ok("COPY 1 Sent")
	c.ok("SELECT Sent")
	if second := id(1); second != first {
		t.Errorf("the copy of %s is %s", first, second)
	}
	hasPrefix(t, c.ok("STATUS Sent (MAILBOXID APPENDLIMIT)"), "* STATUS Sent (APPENDLIMIT 10485760 MAILBOXID (")
	hasPrefix(t, c.do("LOGIN a b"), "T BAD already logged in")
}

// TestQuota refuses what does not fit, and tells why.
func TestQuota(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	text := strings.Repeat("x", 9<<20)
	var out []string
	for range 7 {
		out = c.do("APPEND INBOX {%d+}\r\nA: b\r\n\r\n%s", len(text)+8, text)
	}
	hasPrefix(t, out, "T NO [OVERQUOTA]")
	hasPrefix(t, c.ok("GETQUOTA \"User quota\""), `* QUOTA "User quota" (STORAGE 46`)
	hasPrefix(t, c.do("GETQUOTA other"), "T NO [NONEXISTENT]")
	c.ok("SELECT INBOX")
	hasPrefix(t, c.do("COPY 1 Sent"), "T NO [OVERQUOTA]")
	c.ok("NOOP")
}

// TestPipeline answers commands that come at once, in order.
func TestPipeline(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	c.send("T SELECT INBOX\r\nT FETCH 1 FLAGS\r\nT STORE 1 FLAGS (\\Seen)\r\nT UID SEARCH ALL\r\nT LOGOUT\r\n")
	for _, want := range []string{"T OK [READ-WRITE]", "T OK FETCH", "T OK STORE", "T OK UID SEARCH", "T OK LOGOUT"} {
		hasPrefix(t, c.tagged(), want)
	}
}
