package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
)

// TestDiskFull: on a full file system a folder can be read, what does not fit
// is refused and leaves nothing, and removing messages works, even when there is
// something to take in for which the index has no room.
func TestDiskFull(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=2m,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	root := mnt + "/Maildir"
	m := newManager(t, []mailbox.Folder{})
	s := openStore(t, m, root)
	var list []string
	for i := range 200 {
		list = append(list, msg(i))
	}
	uids := mailboxtest.Add(t, s, "INBOX", list...)
	f, err := os.Create(mnt + "/ballast")
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	f.Close()
	files, _ := filepath.Glob(root + "/cur/*")
	for _, path := range files {
		if err := os.Rename(path, path+"FR"); err != nil {
			t.Fatal(err)
		}
	}
	b := mailboxtest.Open(t, openStore(t, newManager(t, []mailbox.Folder{}), root), "INBOX")
	if len(b.View().Messages) != 200 || mailboxtest.Body(t, b, b.View().Messages[7]) != msg(7) {
		t.Fatalf("%d messages", len(b.View().Messages))
	}
	a, err := s.Append("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Begin(mailbox.AppendInfo{})
	if err == nil {
		fmt.Fprint(w, strings.Repeat("x\r\n", 10000))
		_, err = a.Commit()
	}
	a.Abort()
	if err == nil {
		t.Error("append on a full disk is possible")
	}
	for _, u := range uids[:60] {
		if _, err := b.Store([]mailbox.UID{u}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted}); err == nil {
			b.Expunge([]mailbox.UID{u})
		}
	}
	if _, err := b.Store(uids[100:101], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err != nil {
		t.Errorf("flags after messages were removed: %v", err)
	}
	os.Remove(mnt + "/ballast")
	mailboxtest.Sync(t, b)
	files, _ = filepath.Glob(root + "/cur/*")
	if n := len(b.View().Messages); n != len(files) || n == 200 {
		t.Errorf("%d messages, %d files", n, len(files))
	}
	for _, x := range b.View().Messages {
		if x.Flags&(mailbox.Flagged|mailbox.Answered) != mailbox.Flagged|mailbox.Answered || x.UID < 1 || x.UID > 200 {
			t.Fatalf("%+v", x)
		}
	}
	if l, _ := filepath.Glob(root + "/tmp/*"); len(l) != 0 {
		t.Errorf("left in tmp/: %v", l)
	}
}
