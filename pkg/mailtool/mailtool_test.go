package mailtool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/maildir/index"
	"posthaste/pkg/maildir/store"
	"posthaste/pkg/mbox/mboxio"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	err := Run(args, Options{Store: store.Options{Host: "mx.test"}, Out: &b})
	return b.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func open(t *testing.T, root string) mailbox.Store {
	t.Helper()
	m, err := store.NewManager(store.Options{Host: "mx.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	s, err := m.Open(root, store.UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"list"}, {"list", "/a", "b"}, {"import", "/a"}, {"list", "-into", "x", "/a"}, {"frob", "/a"}, {"verify", "-x", "/a"}} {
		if _, err := run(t, args...); err != ErrUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := run(t, "list", t.TempDir()); err == nil {
		t.Error("an empty directory is a Maildir")
	}
}

func TestMaildir(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	s := open(t, root)
	s.Create("日本", mailbox.UseNone)
	uids := mailboxtest.Add(t, s, "日本", "a\r\n", "b\r\n", "c\r\n")
	b := mailboxtest.Open(t, s, "日本")
	b.Store(uids[1:2], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged, Keywords: []string{"red"}})
	b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	b.Expunge(nil)
	mailboxtest.Sync(t, b)
	if out := must(t, "list", root); !strings.Contains(out, "日本\n") || !strings.Contains(out, `Sent (\Sent)`) {
		t.Errorf("%s", out)
	}
	if out := must(t, "verify", root); out != "" {
		t.Errorf("%s", out)
	}
	if out := must(t, "rebuild", root, "日本"); !strings.Contains(out, "with its UIDs") {
		t.Errorf("%s", out)
	}
	mailboxtest.SameView(t, mailboxtest.Open(t, open(t, root), "日本").View(), b.View())

	// Handed to Dovecot and back: the same UIDs.
	must(t, "export", root)
	dir, _ := filepath.Glob(root + "/.&*")
	list, err := os.ReadFile(dir[0] + "/dovecot-uidlist")
	if err != nil || !strings.HasPrefix(string(list), fmt.Sprintf("3 V%d N%d ", b.View().UIDValidity, b.View().UIDNext)) {
		t.Errorf("%s, %v", list, err)
	}
	other := filepath.Join(t.TempDir(), "Maildir")
	if out := must(t, "import", other, root); !strings.Contains(out, "日本: 2 messages, with their UIDs") {
		t.Errorf("%s", out)
	}
	c := mailboxtest.Open(t, open(t, other), "日本")
	if got, want := fmt.Sprint(mailboxtest.UIDs(c), c.View().UIDValidity), fmt.Sprint(uids[1:], b.View().UIDValidity); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if m := c.View().Get(uids[1]); m.Flags != mailbox.Flagged || !m.HasKeyword("red") {
		t.Errorf("%+v", m)
	}
	// Once more: added to what is there.
	must(t, "import", other, root)
	if ch := mailboxtest.Sync(t, c); ch.New != 2 || len(ch.Expunged) != 0 {
		t.Errorf("%+v", ch)
	}
	if out := must(t, "verify", other); out != "" {
		t.Errorf("%s", out)
	}
}

func TestDamage(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	s := open(t, root)
	mailboxtest.Add(t, s, "INBOX", "a\r\n", "b\r\n", "c\r\n")
	files, _ := filepath.Glob(root + "/cur/*")
	os.Remove(files[0])
	os.WriteFile(files[1], []byte("other\n"), 0o600)
	out, err := run(t, "verify", root, "inbox")
	if err != ErrProblems || !strings.Contains(out, "INBOX: UID 1: the file is gone") || !strings.Contains(out, "INBOX: UID 2: size is 7, recorded as 3") {
		t.Errorf("%v: %s", err, out)
	}
	must(t, "rebuild", root)
	if out := must(t, "verify", root); out != "" {
		t.Errorf("%s", out)
	}
	os.WriteFile(root+"/"+index.Name, []byte("junk"), 0o600)
	if out, err := run(t, "verify", root, "INBOX"); err != ErrProblems || !strings.Contains(out, "damaged") {
		t.Errorf("%v: %s", err, out)
	}
	if out := must(t, "rebuild", root, "INBOX"); !strings.Contains(out, "built anew") {
		t.Errorf("%s", out)
	}
}

const sampleMbox = "From a@b Thu Jan  1 00:00:10 1970\nSubject: 1\nStatus: RO\nX-Status: AF\n\nbody\n>From x\n>>From y\n\nFrom z: text?\n" +
	"\nFrom c@d Fri Jan  2 00:00:00 1970\r\nSubject: 2\r\n\r\nFrom the start\r\n\r\n"

func TestMbox(t *testing.T) {
	var got []string
	err := readMbox(strings.NewReader(sampleMbox), int64(len(sampleMbox)), func(m *mboxMessage) error {
		got = append(got, fmt.Sprintf("%d %d %s", m.Date.Unix(), m.Flags, m.Content))
		return nil
	})
	want := []string{fmt.Sprintf("10 %d Subject: 1\r\n\r\nbody\r\nFrom x\r\n>From y\r\n\r\nFrom z: text?\r\n", mailbox.Seen|mailbox.Answered|mailbox.Flagged),
		"86400 0 Subject: 2\r\n\r\nFrom the start\r\n"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	dir := t.TempDir()
	os.WriteFile(dir+"/mbox", []byte(sampleMbox), 0o600)
	root := dir + "/Maildir"
	if out := must(t, "import", "-into", "Old/mail", root, dir+"/mbox"); out != "Old/mail: 2 messages\n" {
		t.Errorf("%s", out)
	}
	b := mailboxtest.Open(t, open(t, root), "Old/mail")
	if n := len(b.View().Messages); n != 2 || b.View().Messages[0].Date != 10 {
		t.Errorf("%d messages", n)
	}
	os.WriteFile(dir+"/text", []byte("hello\n"), 0o600)
	if _, err := run(t, "import", root, dir+"/text"); !errors.Is(err, mboxio.ErrNotMbox) {
		t.Errorf("%v", err)
	}
}

func FuzzMbox(f *testing.F) {
	f.Add([]byte(sampleMbox))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		readMbox(bytes.NewReader(b), int64(len(b)), func(m *mboxMessage) error {
			total += len(m.Content)
			return nil
		})
		if total > 2*len(b)+2 {
			t.Fatalf("%d bytes of %d", total, len(b))
		}
	})
}

// TestMboxStore: the commands on mbox files.
func TestMboxStore(t *testing.T) {
	dir := t.TempDir()
	at := "mbox:" + dir + "/mail:INBOX=" + dir + "/spool"
	os.WriteFile(dir+"/spool", []byte(sampleMbox), 0o600)
	if out := must(t, "list", at); !strings.Contains(out, "       2        1          3 ") || !strings.Contains(out, `Sent (\Sent)`) {
		t.Errorf("%s", out)
	}
	if out := must(t, "import", "-into", "Old/mail", at, dir+"/spool"); out != "Old/mail: 2 messages\n" {
		t.Errorf("%s", out)
	}
	md := dir + "/Maildir"
	s := open(t, md)
	mailboxtest.Add(t, s, "Sent", "Subject: sent\r\n\r\nFrom here\r\n", "bare\nend")
	if out := must(t, "import", "-into", "INBOX", at, md); !strings.Contains(out, "Sent: 2 messages\n") {
		t.Errorf("%s", out)
	}
	must(t, "export", at)
	b, err := os.ReadFile(dir + "/spool")
	if err != nil || !strings.Contains(string(b), "X-IMAPbase: ") || !strings.Contains(string(b), "X-UID: 2\n") {
		t.Errorf("%s, %v", b, err)
	}
	if out := must(t, "verify", at); out != "" {
		t.Errorf("%s", out)
	}
	if out := must(t, "rebuild", at, "Sent"); out != "Sent: rebuilt with its UIDs\n" {
		t.Errorf("%s", out)
	}
	// Another message under a stamp that is the same.
	path := dir + "/mail/Sent"
	st, _ := os.Stat(path)
	text, _ := os.ReadFile(path)
	f, _ := os.OpenFile(path, os.O_WRONLY, 0)
	f.WriteAt(bytes.Replace(text, []byte("here"), []byte("HERE"), 1), 0)
	f.Close()
	os.Chtimes(path, st.ModTime(), st.ModTime())
	if out, err := run(t, "verify", at, "Sent"); err != ErrProblems || !strings.Contains(out, "Sent: UID 1: at byte 0 is another message") {
		t.Errorf("%v: %s", err, out)
	}
	must(t, "rebuild", at)
	if out := must(t, "verify", at); out != "" {
		t.Errorf("%s", out)
	}
	if _, err := run(t, "list", "mbox:"+dir+"/none"); err == nil {
		t.Error("a directory that does not exist has mail")
	}
}
