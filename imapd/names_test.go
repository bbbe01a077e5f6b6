package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNames: no command takes a mailbox name out of the user's mail, or makes
// of it anything that is no folder.
func TestNames(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.append("INBOX", "", hello)
	c.ok("SELECT INBOX")
	outside := filepath.Dir(ts.root)
	tree := func() (paths []string) {
		filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				paths = append(paths, path)
			}
			return nil
		})
		return paths
	}
	before := append(tree(), ts.root+"/.a") // for "a/" is "a" (RFC 9051, section 6.3.4)
	names := []string{
		"..", ".", "../x", "a/../b", "a/../../b", "a/..", "./a", "a/./b", "/", "//", "/etc/passwd", "a/", "a//b", "/a", "&AC4ALg-", "&AC4ALg-/x", "a&AC8-b", "&AAA-", "a&AAo-", "&AH8-",
		"&ZeVnLIqe", "&-&", "&AGE-", "&2AA-", "\x01", "a\nb", "a\rb", "a\x00b", "a\x7fb", "\xff\xfe", "a\xc3", strings.Repeat("x", 256), strings.Repeat("x", 4096), strings.Repeat("x/", 200) + "x",
		strings.Repeat("&Tho-", 200), "",
	}
	msg := "Subject: x\r\n\r\nx\r\n"
	for _, name := range names {
		n := fmt.Sprintf("{%d+}\r\n%s", len(name), name)
		for _, cmd := range []string{
			"SELECT " + n, "EXAMINE " + n, "STATUS " + n + " (MESSAGES)", "DELETE " + n, "RENAME " + n + " fine", "RENAME INBOX " + n, "RENAME Sent " + n, "COPY 1 " + n, "MOVE 1 " + n,
			fmt.Sprintf("APPEND %s {%d+}\r\n%s", n, len(msg), msg), "CREATE " + n, "SUBSCRIBE " + n, "UNSUBSCRIBE " + n, "GETQUOTAROOT " + n,
		} {
			verb, _, _ := strings.Cut(cmd, " ")
			out := c.do("%s", cmd)
			last := out[len(out)-1]
			harmless := verb == "UNSUBSCRIBE" || verb == "GETQUOTAROOT"
			if !strings.HasPrefix(last, "T NO") && !strings.HasPrefix(last, "T BAD") && !harmless && name != "a/" {
				t.Errorf("%s with the name %.60q: %s", verb, name, last)
			}
			c.do("EXAMINE INBOX")
			if c.do("SELECT INBOX"); t.Failed() {
				t.FailNow()
			}
		}
		for _, out := range [][]string{c.do("LIST \"\" %s", n), c.do("LIST %s *", n), c.do("LSUB %s %%", n)} {
			for _, l := range out {
				if strings.Contains(l, "passwd") || strings.Contains(l, "..") {
					t.Errorf("LIST of %.60q: %s", name, l)
				}
			}
		}
	}
	for _, p := range tree() {
		rel := p
		for _, sub := range []string{"/cur", "/new", "/tmp"} {
			rel = strings.TrimSuffix(rel, sub)
		}
		if !slices.Contains(before, p) && !slices.Contains(before, rel) && rel != ts.root+"/.fine" {
			t.Errorf("%s was made", p)
		}
	}
}
