package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAbuse: each gets a clear answer, and the session, or at least the others,
// go on.
func TestAbuse(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	c.ok("SELECT INBOX")
	big := strings.Repeat("1,", 20000) + "1"
	for _, a := range []struct{ name, cmd, want string }{
		{"literal of 2^63", "LIST {9223372036854775808}", "T BAD [LIMIT]"},
		{"literal of 2^64 and more", "LIST {99999999999999999999999}", "T BAD [LIMIT]"},
		{"literal of 4 GiB", "SEARCH TEXT {4294967296}", "T BAD [LIMIT]"},
		{"message of 2^63", "APPEND INBOX {9223372036854775808}", "T NO [TOOBIG]"},
		{"message above the limit", "APPEND INBOX {20000000}", "T NO [TOOBIG]"},
		{"nested parentheses", "SEARCH " + strings.Repeat("(", 10000) + "ALL" + strings.Repeat(")", 10000), "T BAD nested too deeply"},
		{"nested NOT", "SEARCH " + strings.Repeat("NOT ", 10000) + "ALL", "T BAD nested too deeply"},
		{"long OR", "SEARCH " + strings.Repeat("OR ALL ", 5000) + "ALL", "T BAD more than 1000 search keys"},
		{"nested OR", "SEARCH " + strings.Repeat("OR ALL (", 5000) + "ALL" + strings.Repeat(")", 5000), "T BAD nested too deeply"},
		{"many keys", "SEARCH" + strings.Repeat(" ALL", 5000), "T BAD more than"},
		{"many texts", "SEARCH" + strings.Repeat(" TEXT a", 500), "T BAD more than"},
		{"many ranges", "FETCH " + big + " UID", "T OK FETCH completed"},
		{"line of 100 KB", "SEARCH TEXT " + strings.Repeat("x", 100<<10), "T BAD [LIMIT]"},
		{"many items", "FETCH 1 (" + strings.Repeat("BODY.PEEK[1] ", 1000) + "UID)", "T BAD more than"},
		{"nested FETCH", "FETCH 1 " + strings.Repeat("(", 10000), "T BAD"},
		{"many fields", "FETCH 1 BODY.PEEK[HEADER.FIELDS (" + strings.Repeat("a ", 1000) + "b)]", "T BAD too many header fields"},
		{"deep part", "FETCH 1 BODY.PEEK[" + strings.Repeat("1.", 1000) + "1]", "T BAD bad part number"},
		{"many patterns", `LIST "" (` + strings.Repeat("a ", 1000) + "b)", "T BAD more than"},
		{"wildcards", `LIST "" ` + strings.Repeat("*a", 400), "T OK LIST completed"},
		{"many flags", "STORE 1 +FLAGS (" + strings.Repeat("a ", 1000) + "b)", "T BAD too many flags"},
		{"many keywords", "STORE 1 +FLAGS (" + keywords(200) + ")", "T NO [LIMIT]"},
		{"huge number", "FETCH 99999999999999999999 UID", "T BAD number too large"},
		{"NUL", "SELECT a\x00b", "T BAD"},
		{"NUL in quotes", "SELECT \"a\x00b\"", "T BAD"},
		{"NUL in a literal", "SELECT {3+}\r\na\x00b", "T BAD NUL"},
		{"parent", "CREATE ../x", "T NO [CANNOT]"},
		{"parent within", "CREATE a/../../b", "T NO [CANNOT]"},
		{"absolute", "CREATE /etc/passwd", "T NO [CANNOT]"},
		{"dot", "SELECT .", "T NO"},
		{"dots in UTF-7", "CREATE &AC4ALg-", "T NO [CANNOT]"},
		{"newline", "CREATE {3+}\r\na\nb", "T NO [CANNOT]"},
		{"escape", "CREATE \"a\x1bb\"", "T NO [CANNOT]"},
		{"control in UTF-7", "CREATE a&AAo-b", "T NO [CANNOT]"},
		{"long name", "CREATE " + strings.Repeat("x", 4096), "T NO [CANNOT]"},
		{"deep name", "CREATE " + strings.Repeat("x/", 90) + "x", "T NO [CANNOT]"},
		{"rename out", "RENAME Sent ../Sent", "T NO [CANNOT]"},
		{"8-bit name", "CREATE \"\xff\xfe\"", "T NO [CANNOT]"},
		{"select resync garbage", "SELECT INBOX (QRESYNC (1 2 3 (4", "T BAD"},
		{"unknown", strings.Repeat("x", 60000), "T BAD unknown command"},
	} {
		t.Run(a.name, func(t *testing.T) {
			out := c.do("%s", a.cmd)
			if got := out[len(out)-1]; !strings.HasPrefix(got, a.want) {
				t.Errorf("got %.200q, want %q", out, a.want)
			}
			c.ok("NOOP") // still there, and forgiven
			if c.do("EXAMINE INBOX"); t.Failed() {
				t.FailNow()
			}
			c.ok("SELECT INBOX")
		})
	}
	// Nothing was made outside.
	filepath.WalkDir(filepath.Dir(ts.root), func(path string, d os.DirEntry, err error) error {
		if err == nil && !strings.HasPrefix(path, ts.root) && path != filepath.Dir(ts.root) {
			t.Errorf("%s was made", path)
		}
		return nil
	})
}

func keywords(n int) string {
	var l []string
	for i := range n {
		l = append(l, fmt.Sprintf("k%d", i))
	}
	return strings.Join(l, " ")
}

// TestNonsense ends a session that never makes sense, and one whose literal is
// too large to skip.
func TestNonsense(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.send("%s", strings.Repeat("x\r\n", 100))
	for i := 0; ; i++ {
		if r := c.response(); strings.HasPrefix(r, "* BYE") {
			break
		} else if i > 30 {
			t.Fatal(r)
		}
	}
	c = ts.client()
	c.send("T LIST {9223372036854775807+}\r\n")
	if r := c.response(); !strings.HasPrefix(r, "* BYE [LIMIT]") {
		t.Error(r)
	}
}

// TestMIMEBombs: structures without end have one.
func TestMIMEBombs(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	var deep strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	c.append("INBOX", "", deep.String())
	c.append("INBOX", "", strings.Repeat("Content-Type: message/rfc822\n\n", 10000))
	c.append("INBOX", "", "Content-Type: multipart/mixed; boundary=x\n\n"+strings.Repeat("--x\n\n", 100000))
	c.append("INBOX", "", strings.Repeat("To: "+strings.Repeat("a@b, ", 100)+"\n", 5000)+"\nx\n")
	c.ok("SELECT INBOX")
	for i := range 4 {
		c.ok("FETCH %d (ENVELOPE BODYSTRUCTURE BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1] PREVIEW)", i+1)
	}
	c.ok("SEARCH BODY nothing")
}
