package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

func setup(t testing.TB) (*Manager, string, mailbox.Store) {
	root := filepath.Join(t.TempDir(), "Maildir")
	m := newManager(t, []mailbox.Folder{})
	return m, root, openStore(t, m, root)
}

// sees syncs and wants ok to be true then.
func sees(t *testing.T, b mailbox.Mailbox, what string, ok func() bool) {
	t.Helper()
	mailboxtest.Sync(t, b)
	if !ok() {
		t.Fatalf("%s: not seen: %+v", what, b.View())
	}
}

func msg(i int) string { return fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i) }

// TestForeign: what mutt, procmail and rm do is seen, and no UID changes.
func TestForeign(t *testing.T) {
	m, root, s := setup(t)
	var paths []string
	for i := range 5 {
		paths = append(paths, drop(t, root, msg(i)))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	uids := mailboxtest.UIDs(b)
	base := func(i int) string { return filepath.Base(paths[i]) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(paths[0], root+"/cur/"+base(0)+":2,FRS")
	sees(t, b, "flags", func() bool {
		return b.View().Get(uids[0]).Flags == mailbox.Seen|mailbox.Flagged|mailbox.Answered
	})
	os.Remove(paths[1])
	sees(t, b, "a removal", func() bool { return len(b.View().Messages) == 4 })
	// Ours, from a View that does not know the new name.
	stale := mailboxtest.Open(t, s, "INBOX")
	move(paths[2], root+"/cur/"+base(2)+":2,D")
	out, err := stale.Store(uids[2:3], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	if err != nil || len(out.Changed) != 1 || out.Changed[0].Flags != mailbox.Seen|mailbox.Draft {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := mailboxtest.Body(t, stale, b.View().Get(uids[2])); got != msg(2) {
		t.Errorf("body by the old name: %q", got)
	}
	// Dovecot's keywords, and letters that nobody knows, which stay.
	os.WriteFile(root+"/dovecot-keywords", []byte("0 $Label1\n2 work\n"), 0o600)
	move(paths[3], root+"/cur/"+base(3)+":2,Sacz")
	sees(t, b, "keywords", func() bool { return slices.Equal(b.View().Get(uids[3]).Keywords, []string{"$Label1", "work"}) })
	if _, err := b.Store(uids[3:4], mailbox.StoreChange{Op: mailbox.Add, Keywords: []string{"new"}}); err != nil {
		t.Fatal(err)
	}
	if l, _ := filepath.Glob(root + "/cur/" + base(3) + "*"); len(l) != 1 || !strings.HasSuffix(l[0], ":2,Sacdz") {
		t.Errorf("%v", l)
	}
	if k, _ := os.ReadFile(root + "/dovecot-keywords"); string(k) != "0 $Label1\n2 work\n3 new\n" {
		t.Errorf("%q", k)
	}
	// A message in both places, as link and unlink leave it for a moment, is one.
	os.Link(paths[4], root+"/cur/"+base(4)+":2,S")
	sees(t, b, "a link", func() bool { v := b.View(); return len(v.Messages) == 4 && v.Get(uids[4]).Flags == mailbox.Seen })
	os.Remove(paths[4])
	sees(t, b, "the end of it", func() bool { return len(b.View().Messages) == 4 })
	want := []mailbox.UID{uids[0], uids[2], uids[3], uids[4]}
	if got := mailboxtest.UIDs(b); !slices.Equal(got, want) {
		t.Errorf("UIDs %v, want %v", got, want)
	}
	// Another process reads the same from the index, and from the files alone.
	c := mailboxtest.Open(t, openStore(t, newManager(t, nil), root), "INBOX")
	mailboxtest.SameView(t, c.View(), b.View())
	m.Close()
}

// TestNoise: what is no message is left alone.
func TestNoise(t *testing.T) {
	_, root, s := setup(t)
	os.WriteFile(root+"/new/.hidden", nil, 0o600)
	os.Mkdir(root+"/cur/dir", 0o700)
	os.Symlink("/etc/passwd", root+"/new/link")
	drop(t, root, msg(1))
	os.WriteFile(root+"/new/1700000001.x,S=99,W=1000000:2,S", []byte("abc\n"), 0o600)
	b := mailboxtest.Open(t, s, "INBOX")
	if len(b.View().Messages) != 2 {
		t.Fatalf("%+v", b.View())
	}
	for _, x := range b.View().Messages {
		n, err := b.Size(x)
		if body := mailboxtest.Body(t, b, x); err != nil || int64(len(body)) != n {
			t.Errorf("%s: size %d, %v, of %q", x.File, n, err, body)
		}
	}
}

// TestDovecot: UIDs, UIDVALIDITY, flags and keywords of Dovecot are taken over
// at first sight, and only then.
func TestDovecot(t *testing.T) {
	_, root, s := setup(t)
	names := []string{"1700000005.M1P1.host,S=5,W=6", "1700000001.M1P1.host", "1700000003.M1P1.host", "1700000002.new.host"}
	for i, n := range names {
		file := root + "/cur/" + n + ":2,Sa"
		if i == 3 {
			file = root + "/new/" + n
		}
		os.WriteFile(file, []byte("body\n"), 0o600)
	}
	os.WriteFile(root+"/dovecot-keywords", []byte("0 $Label1\n"), 0o600)
	os.WriteFile(root+"/dovecot-uidlist", []byte("3 V1234567 N40 Gabcdef\n7 W6 :"+names[0]+"\n9 :gone.host\n20 :"+names[1]+":2,F\n31 S5 W6 :"+names[2]+"\n32 torn"), 0o600)
	b := mailboxtest.Open(t, s, "INBOX")
	v := b.View()
	if got := mailboxtest.UIDs(b); !slices.Equal(got, []mailbox.UID{7, 20, 31, 40}) || v.UIDValidity != 1234567 || v.UIDNext != 41 {
		t.Fatalf("%v, %+v", got, v)
	}
	for i, m := range v.Messages[:3] {
		if m.Flags != mailbox.Seen || !m.HasKeyword("$label1") || !strings.HasPrefix(m.File, names[i]) {
			t.Errorf("%+v", m)
		}
	}
	for i, m := range v.Messages[:2] {
		if n, err := b.Size(m); err != nil || n != 6 {
			t.Errorf("size of message %d: %d, %v", i+1, n, err)
		}
	}
	// The index lost: nobody knows what was given out since.
	os.Remove(root + "/" + index.Name)
	c := mailboxtest.Open(t, openStore(t, newManager(t, nil), root), "INBOX")
	if c.View().UIDValidity == 1234567 || len(c.View().Messages) != 4 {
		t.Errorf("%+v", c.View())
	}
}

// TestDelivery: what package maildir delivers is in the index before a reader looks.
func TestDelivery(t *testing.T) {
	_, root, s := setup(t)
	b := mailboxtest.Open(t, s, "INBOX")
	var d maildir.Store
	for i := range 300 {
		content := msg(i)
		m := &maildir.Message{Dir: root, Name: maildir.UniqueName(time.Now(), "4abcz1", uint32(i), "mx.test"), Content: section(content), Arrival: time.Now()}
		if _, err := d.Deliver(m); err != nil {
			t.Fatal(err)
		}
	}
	f, err := index.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.State.Messages) != 300 || f.Lost {
		t.Fatalf("%d messages in the index, lost %v", len(f.State.Messages), f.Lost)
	}
	if c := mailboxtest.Sync(t, b); c.New != 300 {
		t.Fatalf("%+v", c)
	}
	for i, m := range b.View().Messages {
		if m.Size != int64(len(msg(i))) || mailboxtest.Body(t, b, m) != msg(i) {
			t.Fatalf("%d: %+v", i, m)
		}
	}
	// While a reader has the lock, the delivery does not wait, and nothing is lost.
	l, err := index.TryLock(root, false)
	if err != nil {
		t.Fatal(err)
	}
	m := &maildir.Message{Dir: root, Name: maildir.UniqueName(time.Now(), "4abcz1", 999, "mx.test"), Content: section(msg(1)), Arrival: time.Now()}
	if _, err := d.Deliver(m); err != nil {
		t.Fatal(err)
	}
	l.Release()
	sees(t, b, "a delivery without index", func() bool { return len(b.View().Messages) == 301 })
}

func TestQuota(t *testing.T) {
	m, root, _ := setup(t)
	s, err := m.Open(root, UserOptions{QuotaBytes: 1000, QuotaMessages: 5})
	if err != nil {
		t.Fatal(err)
	}
	s.Create("Trash", mailbox.UseTrash)
	uids := mailboxtest.Add(t, s, "INBOX", msg(1), msg(2), msg(3))
	q, err := s.Quota()
	if err != nil || q.Messages != 3 || q.MessagesLimit != 5 || q.BytesLimit != 1000 || q.Bytes <= 0 {
		t.Fatalf("%+v, %v", q, err)
	}
	a, _ := s.Append("INBOX")
	defer a.Abort()
	w, err := a.Begin(mailbox.AppendInfo{})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 2000))
	if _, err := a.Commit(); err != mailbox.ErrQuota {
		t.Errorf("append: %v", err)
	}
	a.Abort()
	if a2, _ := s.Append("INBOX"); a2 != nil {
		if _, err := a2.Begin(mailbox.AppendInfo{Size: 2000}); err != mailbox.ErrQuota {
			t.Errorf("announced: %v", err)
		}
		a2.Abort()
	}
	b := mailboxtest.Open(t, s, "INBOX")
	if _, err := b.Copy(uids, "INBOX"); err != mailbox.ErrQuota {
		t.Errorf("copy: %v", err)
	}
	// A move within what the quota counts takes nothing more, however full it is.
	if err := maildir.SetQuota(root, 1, 1); err != nil {
		t.Fatal(err)
	}
	s.Create("Kept", mailbox.UseNone)
	moved, err := b.Move(uids[2:], "Kept")
	if err != nil {
		t.Errorf("move of a full mailbox: %v", err)
	}
	kept := mailboxtest.Open(t, s, "Kept")
	if _, err := kept.Move(moved.UIDs, "Trash"); err != nil {
		t.Errorf("move to the trash: %v", err)
	}
	trash := mailboxtest.Open(t, s, "Trash")
	if _, err := trash.Move([]mailbox.UID{1}, "INBOX"); err != mailbox.ErrQuota {
		t.Errorf("move out of the trash: %v", err)
	}
	if err := maildir.SetQuota(root, 1000, 5); err != nil {
		t.Fatal(err)
	}
	mailboxtest.Add(t, s, "INBOX", msg(4))
	if _, err := b.Move(uids[:2], "Trash"); err != nil {
		t.Errorf("move to the trash: %v", err)
	}
	if q, _ = s.Quota(); q.Messages != 1 {
		t.Errorf("after the move: %+v", q)
	}
	for _, sub := range []string{"", "/.Trash"} {
		if l, _ := filepath.Glob(root + sub + "/tmp/*"); len(l) != 0 {
			t.Errorf("left behind: %v", l)
		}
	}
}

// TestFirstLogin: a new user has folders with their uses; who removes one keeps it removed.
func TestFirstLogin(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	m := newManager(t, nil)
	s := openStore(t, m, root)
	list, err := s.List()
	if err != nil || len(list) != 5 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, f := range list[1:] {
		if string(f.Use) != `\`+f.Name || !f.Subscribed {
			t.Errorf("%+v", f)
		}
	}
	s.Delete("Junk")
	if list, _ = openStore(t, m, root).List(); len(list) != 5 || list[2].Exists {
		t.Errorf("%+v", list) // still subscribed to
	}
}

// TestManyAppended: more messages in one append than descriptors are kept for.
func TestManyAppended(t *testing.T) {
	_, root, s := setup(t)
	a, err := s.Append("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	const n = keptOpen + 50
	before, _ := os.ReadDir("/proc/self/fd")
	for i := range n {
		w, err := a.Begin(mailbox.AppendInfo{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, msg(i))
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err == nil && len(fds)-len(before) > keptOpen+10 {
		t.Errorf("%d descriptors are open, %d before", len(fds), len(before))
	}
	out, err := a.Commit()
	if err != nil || len(out.UIDs) != n {
		t.Fatalf("%d, %v", len(out.UIDs), err)
	}
	b := mailboxtest.Open(t, s, "INBOX")
	for i, m := range b.View().Messages {
		if mailboxtest.Body(t, b, m) != msg(i) {
			t.Fatalf("message %d is another", i)
		}
	}
	if l, _ := os.ReadDir(root + "/tmp"); len(l) != 0 {
		t.Errorf("%d files left in tmp/", len(l))
	}
}

// TestCleanTmp: what a killed writer left goes after 36 hours by the change
// time, which no program can set, so that a test can only show that young ones stay.
func TestCleanTmp(t *testing.T) {
	_, root, s := setup(t)
	mailboxtest.Open(t, s, "INBOX").Close()
	os.WriteFile(root+"/tmp/x", nil, 0o600)
	os.Chtimes(root+"/tmp/x", time.Unix(0, 0), time.Unix(0, 0))
	mailboxtest.Open(t, openStore(t, newManager(t, nil), root), "INBOX").Close()
	if _, err := os.Stat(root + "/tmp/x"); err != nil {
		t.Error(err)
	}
}

// TestKeywordsAfterRestart: a process that has just started, and has no reason
// to look into the directories, knows the letters of the keywords that it
// removes, so that the next rename by another program does not bring them back.
func TestKeywordsAfterRestart(t *testing.T) {
	_, root, s := setup(t)
	u := mailboxtest.Add(t, s, "INBOX", msg(1))
	b := mailboxtest.Open(t, s, "INBOX")
	if _, err := b.Store(u, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen, Keywords: []string{"one", "two"}}); err != nil {
		t.Fatal(err)
	}
	again := newManager(t, []mailbox.Folder{})
	again.settle = time.Hour
	c := mailboxtest.Open(t, openStore(t, again, root), "INBOX")
	if _, err := c.Store(u, mailbox.StoreChange{Op: mailbox.Remove, Keywords: []string{"two"}}); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(root + "/cur/*")
	if len(files) != 1 || !strings.HasSuffix(files[0], ":2,Sa") {
		t.Errorf("the file's name is %q, which should end in :2,Sa", files)
	}
	if err := os.Rename(files[0], strings.Replace(files[0], ":2,S", ":2,FS", 1)); err != nil {
		t.Fatal(err)
	}
	sees(t, c, "a rename", func() bool {
		x := c.View().Get(u[0])
		return x.Flags == mailbox.Seen|mailbox.Flagged && slices.Equal(x.Keywords, []string{"one"})
	})
}

// TestRebuildBesideOthers: an index is made anew while another program renames
// files; nothing gets another UID.
func TestRebuildBesideOthers(t *testing.T) {
	_, root, s := setup(t)
	for i := range 10 {
		mailboxtest.Add(t, s, "INBOX", msg(i))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	want := mailboxtest.UIDs(b)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			files, _ := filepath.Glob(root + "/cur/*")
			for _, f := range files {
				name, info, _ := strings.Cut(f, ":2,")
				if info == "" {
					info = "F"
				} else {
					info = ""
				}
				os.Rename(f, name+":2,"+info)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	m := newManager(t, nil)
	for range 100 {
		if kept, err := (&maildirAdmin{m, root}).Rebuild("INBOX"); err != nil || !kept {
			t.Errorf("rebuild: %v, %v", kept, err)
			break
		}
	}
	close(stop)
	<-done
	sees(t, b, "all messages", func() bool { return slices.Equal(mailboxtest.UIDs(b), want) })
}
