package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestClosed: SELECT tells that the mailbox before is closed, whatever the
// client has enabled and whether or not the new one exists (RFC 7162, section
// 3.2.11).
func TestClosed(t *testing.T) {
	c := newTestStore(t).client()
	for _, r := range c.ok("SELECT INBOX") {
		if strings.Contains(r, "CLOSED") {
			t.Errorf("nothing was open: %q", r)
		}
	}
	hasPrefix(t, c.ok("EXAMINE Drafts"), "* OK [CLOSED] ")
	out := c.do("SELECT nothing")
	hasPrefix(t, out, "* OK [CLOSED] ")
	hasPrefix(t, out, "T NO [NONEXISTENT]")
}

// TestSavedAfterFailure: NO empties the saved result, BAD leaves it (RFC 5182,
// section 2.1).
func TestSavedAfterFailure(t *testing.T) {
	c := newTestStore(t).client()
	c.append("INBOX", "", hello)
	c.ok("SELECT INBOX")
	for _, refused := range []string{"SEARCH RETURN (SAVE) CHARSET X-NONE SUBJECT x", "SORT RETURN (SAVE) (DATE) X-NONE ALL"} {
		c.ok("SEARCH RETURN (SAVE) ALL")
		hasPrefix(t, c.do("SEARCH RETURN (SAVE) FROBNICATE"), "T BAD")
		has(t, c.ok("SEARCH $"), "* SEARCH 1")
		hasPrefix(t, c.do("%s", refused), "T NO [BADCHARSET ")
		has(t, c.ok("SEARCH $"), "* SEARCH")
	}
}

// TestSearchModSeq: the MODSEQ of a result is that of what it names (RFC 4731,
// section 3.2).
func TestSearchModSeq(t *testing.T) {
	c := newTestStore(t).client()
	for range 3 {
		c.append("INBOX", "", hello)
	}
	c.ok("SELECT INBOX (CONDSTORE)")
	var seq [4]uint64
	for _, n := range []int{3, 1, 2} {
		fmt.Sscanf(c.ok("STORE %d +FLAGS.SILENT (\\Seen)", n)[0], fmt.Sprintf("* %d FETCH (UID %d MODSEQ (%%d))", n, n), &seq[n])
	}
	if !(0 < seq[3] && seq[3] < seq[1] && seq[1] < seq[2]) {
		t.Fatalf("mod-sequences %v", seq)
	}
	for _, s := range []struct {
		options string
		want    string
	}{
		{"MIN", fmt.Sprintf("MIN 1 MODSEQ %d", seq[1])},
		{"MAX", fmt.Sprintf("MAX 3 MODSEQ %d", seq[3])},
		{"MIN MAX", fmt.Sprintf("MIN 1 MAX 3 MODSEQ %d", seq[1])},
		{"MIN COUNT", fmt.Sprintf("MIN 1 COUNT 3 MODSEQ %d", seq[2])},
		{"ALL", fmt.Sprintf("ALL 1:3 MODSEQ %d", seq[2])},
	} {
		has(t, c.ok("SEARCH RETURN (%s) MODSEQ 1", s.options), `* ESEARCH (TAG "T") `+s.want)
	}
	has(t, c.ok(`SEARCH MODSEQ "/flags/\\seen" priv %d`, seq[2]), fmt.Sprintf("* SEARCH 2 (MODSEQ %d)", seq[2]))
	for _, bad := range []string{`MODSEQ "/flags/\\seen" none 1`, "YOUNGER 0", "OLDER 0"} {
		hasPrefix(t, c.do("SEARCH %s", bad), "T BAD")
	}
}

// TestResyncRules is what a client that enabled QRESYNC may rely on (RFC 7162,
// section 3.2).
func TestResyncRules(t *testing.T) {
	c := newTestStore(t).client()
	c.append("INBOX", "", hello)
	c.ok("ENABLE QRESYNC")
	c.ok("SELECT INBOX")
	hasPrefix(t, c.ok("FETCH 1 BODY[TEXT]"), "* 1 FETCH (UID 1 BODY[TEXT] {12}")
	for _, bad := range []string{"1:*", "1 (1 *)", "1 (* 1)"} {
		hasPrefix(t, c.do("SELECT INBOX (QRESYNC (1 1 %s))", bad), "T BAD")
	}
}

// TestCopyOfNothing: a client that is told OK may delete the originals.
func TestCopyOfNothing(t *testing.T) {
	ts := newTestStore(t)
	a, b := ts.client(), ts.client()
	a.append("INBOX", "", hello)
	a.append("INBOX", "", hello)
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	b.ok("EXPUNGE")
	hasPrefix(t, a.do("COPY 1 Drafts"), "T NO [EXPUNGEISSUED]")
	hasPrefix(t, a.ok("COPY 1:2 Drafts"), "T OK [COPYUID ")
	has(t, a.ok("STATUS Drafts (MESSAGES)"), "* STATUS Drafts (MESSAGES 1)")
}

// TestSortOrder is the order of i;unicode-casemap (RFC 5051): as if written in
// capitals, and accents do not move a letter out of the alphabet.
func TestSortOrder(t *testing.T) {
	c := newTestStore(t).client()
	for _, s := range []string{"zebra", "[only]", "_under", "Zulu", "=?utf-8?q?=C3=84rger?=", "apple", "\u00e4rger", "^up", "9 lives"} {
		c.append("INBOX", "", "From: "+s+" <x@y.example>\nSubject: "+s+"\n\nx\n")
	}
	c.ok("SELECT INBOX")
	has(t, c.ok("SORT (SUBJECT) UTF-8 ALL"), "* SORT 9 6 5 7 1 4 2 8 3")
	has(t, c.ok("SORT (DISPLAYFROM) UTF-8 1,4:7,9"), "* SORT 9 6 5 7 1 4")
}

// TestDeleteRefused: a refusal leaves the client where it was.
func TestDeleteRefused(t *testing.T) {
	for _, mbox := range []bool{false, true} {
		ts := newTestStore(t)
		ts.mbox = mbox
		c := ts.client()
		c.append("INBOX", "", hello)
		c.ok("CREATE a/b")
		c.ok("SELECT INBOX")
		hasPrefix(t, c.do("DELETE INBOX"), "T NO [CANNOT]")
		has(t, c.ok("FETCH 1 UID"), "* 1 FETCH (UID 1)")
		hasPrefix(t, c.do("DELETE a"), "T NO [HASCHILDREN]")
		c.ok("SELECT a/b")
		c.ok("DELETE a/b")
		hasPrefix(t, c.do("CHECK"), "T BAD no mailbox is selected")
	}
}

// TestLongChoice: clients look for one of many with a chain of ORs, nested either
// way.
func TestLongChoice(t *testing.T) {
	c := newTestStore(t).client()
	for _, s := range []string{"number0", "number40", "other"} {
		c.append("INBOX", "", "Subject: "+s+"\n\nx\n")
	}
	c.ok("SELECT INBOX")
	var right, left strings.Builder
	for i := range 60 {
		fmt.Fprintf(&right, "OR SUBJECT number%d ", i)
		fmt.Fprintf(&left, " SUBJECT number%d", i)
	}
	for _, keys := range []string{
		right.String() + "SUBJECT nothing",
		strings.Repeat("OR ", 60) + "SUBJECT nothing" + left.String(),
		right.String() + "or (SUBJECT number0 SUBJECT nothing) NOT ALL",
	} {
		has(t, c.ok("SEARCH %s", keys), "* SEARCH 1 2")
		has(t, c.ok("SEARCH NOT %s UID 2:3", keys), "* SEARCH 3")
	}
	for _, bad := range []string{"OR", "OR ALL", "OR OR ALL ALL", "OR ALL OR"} {
		hasPrefix(t, c.do("SEARCH %s", bad), "T BAD")
	}
}
