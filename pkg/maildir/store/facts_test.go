package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/maildir/index"
)

// found puts a message into cur/ as another program would, with a time.
func found(t *testing.T, root, name string, mtime int64) string {
	t.Helper()
	path := root + "/cur/" + name
	if err := os.WriteFile(path, []byte("Subject: x\n\nbody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, path, mtime)
	return path
}

func touch(t *testing.T, path string, mtime int64) {
	t.Helper()
	if err := os.Chtimes(path, time.Unix(mtime, 0), time.Unix(mtime, 0)); err != nil {
		t.Fatal(err)
	}
}

// reopened is the folder as another process sees it.
func reopened(t *testing.T, root, name string) mailbox.Mailbox {
	return mailboxtest.Open(t, openStore(t, newManager(t, nil), root), name)
}

// TestDates: the internal date of a message that was found is its file's time
// when it was first told, whatever is done to the file then. SAVEDATE is
// the time in the name, and so survives all of that, too.
func TestDates(t *testing.T) {
	_, root, s := setup(t)
	const first, saved = 1500000000, 1600000000
	var uids []mailbox.UID
	for i := range 40 {
		found(t, root, fmt.Sprintf("%d.M%dP1.host:2,", saved+i, i), first+int64(i))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	uids = mailboxtest.UIDs(b)
	check := func(what string, b mailbox.Mailbox, i int) {
		t.Helper()
		m := b.View().Messages[i]
		if d := mailboxtest.Date(t, b, m); d != first+int64(i) {
			t.Errorf("%s: date of message %d: %d", what, i, d)
		}
		if m.SaveDate != saved+int64(i) {
			t.Errorf("%s: save date of message %d: %d", what, i, m.SaveDate)
		}
	}
	for i := range uids {
		if i%3 == 0 {
			check("at first", b, i)
		}
	}
	// Told, and at once as good as written: nothing was closed.
	for i := range uids {
		if i%3 == 0 {
			touch(t, root+"/cur/"+b.View().Messages[i].File, 5)
			check("after a touch", b, i)
			check("after a touch, elsewhere", reopened(t, root, "INBOX"), i)
		}
	}
	// A STORE changes names and times of change, before the others are told.
	if _, err := b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged | mailbox.Seen}); err != nil {
		t.Fatal(err)
	}
	c := reopened(t, root, "INBOX")
	for i := range uids {
		check("after STORE", b, i)
		check("after STORE and restart", c, i)
	}
	// COPY keeps the date and gives another save date.
	if err := s.Create("Other", mailbox.UseNone); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	if _, err := b.Copy(uids, "Other"); err != nil {
		t.Fatal(err)
	}
	d := mailboxtest.Open(t, s, "Other")
	for i, m := range d.View().Messages {
		if at := mailboxtest.Date(t, d, m); at != first+int64(i) || m.SaveDate < now {
			t.Errorf("copy of message %d: date %d, save date %d", i, at, m.SaveDate)
		}
	}
	// Without the index, only the files tell.
	os.Remove(root + "/" + index.Name)
	e := reopened(t, root, "INBOX")
	for i := range uids {
		if i%3 != 0 {
			check("after the index was lost", e, i)
		}
	}
}

// TestDatesInOrder: what is found out ahead for messages asked for in order is
// theirs, also when files are renamed or removed meanwhile.
func TestDatesInOrder(t *testing.T) {
	_, root, s := setup(t)
	const n = 700
	var paths []string
	for i := range n {
		paths = append(paths, found(t, root, fmt.Sprintf("%d.x.host:2,", 1600000000+i), int64(1000+i)))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	for i, m := range b.View().Messages {
		switch i % 100 {
		case 7:
			if err := os.Rename(paths[i], paths[i]+"S"); err != nil {
				t.Fatal(err)
			}
		case 8:
			os.Remove(paths[i])
			if _, err := b.Date(m); !errors.Is(err, mailbox.ErrExpunged) && err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			continue
		}
		if d := mailboxtest.Date(t, b, m); d != int64(1000+i) {
			t.Errorf("message %d: %d", i, d)
		}
	}
	b.Close()
	c := reopened(t, root, "INBOX")
	for _, m := range c.View().Messages {
		var i int64
		fmt.Sscanf(m.File, "%d.", &i)
		if d := mailboxtest.Date(t, c, m); d != i-1600000000+1000 {
			t.Errorf("%s: %d", m.File, d)
		}
	}
}

// TestNoTimeInName: a name that does not begin with a time that has been gives
// no save date; then the file does, once.
func TestNoTimeInName(t *testing.T) {
	_, root, s := setup(t)
	start := time.Now().Unix()
	for _, n := range []string{"mail1:2,", "99999999999.x.h:2,", "12.x.h:2,", "1600000000:2,"} {
		found(t, root, n, 1234567890)
	}
	b := mailboxtest.Open(t, s, "INBOX")
	want := map[mailbox.UID]int64{}
	for _, m := range b.View().Messages {
		if want[m.UID] = m.SaveDate; m.SaveDate < start || m.SaveDate > time.Now().Unix() {
			t.Errorf("%s: %d", m.File, m.SaveDate)
		}
		if d := mailboxtest.Date(t, b, m); d != 1234567890 {
			t.Errorf("%s: date %d", m.File, d)
		}
	}
	if len(want) != 4 {
		t.Fatalf("%v", want)
	}
	if _, err := b.Store(mailboxtest.UIDs(b), mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err != nil {
		t.Fatal(err)
	}
	for _, m := range reopened(t, root, "INBOX").View().Messages {
		if m.SaveDate != want[m.UID] {
			t.Errorf("%s: %d, was %d", m.File, m.SaveDate, want[m.UID])
		}
	}
}

// TestSizesInNames: a right size in a name is taken, also for many, and a wrong one is not.
func TestSizesInNames(t *testing.T) {
	_, root, s := setup(t)
	const physical, wire = 17, 20
	for i := range 50 {
		// Every tenth says something else.
		found(t, root, fmt.Sprintf("%d.x.host,S=%d,W=%d:2,", 1600000000+i, physical+i%10/9, wire), 77)
	}
	b := mailboxtest.Open(t, s, "INBOX")
	for _, m := range b.View().Messages {
		if n, err := b.Size(m); err != nil || n != wire {
			t.Errorf("%s: %d, %v", m.File, n, err)
		}
	}
	if st, err := s.Status("INBOX", true); err != nil || st.Size != 50*wire {
		t.Errorf("%+v, %v", st, err)
	}
}

// dirent is an entry as getdents64 gives it.
func dirent(name string, typ byte) []byte {
	b := make([]byte, (direntName+len(name)+1+7)/8*8)
	binary.NativeEndian.PutUint16(b[direntLen:], uint16(len(b)))
	b[direntType] = typ
	copy(b[direntName:], name)
	return b
}

// TestDirents: a directory's entries tell what can be a message; where the
// file system does not say what an entry is, the file does.
func TestDirents(t *testing.T) {
	m, root, _ := setup(t)
	const name = "1600000000.x.host:2,S"
	found(t, root, name, 5)
	os.Mkdir(root+"/cur/1600000001.dir.host", 0o700)
	os.Symlink(name, root+"/cur/1600000002.link.host")
	b := slices.Concat(dirent(".", unix.DT_DIR), dirent("plain", unix.DT_REG), dirent("dir", unix.DT_DIR), dirent("link", unix.DT_LNK), dirent(".hidden", unix.DT_REG),
		dirent(":2,", unix.DT_REG), dirent("pipe", unix.DT_FIFO), dirent(name, unix.DT_UNKNOWN), dirent("1600000001.dir.host", unix.DT_UNKNOWN),
		dirent("1600000002.link.host", unix.DT_UNKNOWN), dirent("1600000003.gone.host", unix.DT_UNKNOWN))
	list := appendDirents(nil, b, index.Cur)
	var names []string
	for _, s := range list {
		names = append(names, s.file)
	}
	if want := []string{"plain", name, "1600000001.dir.host", "1600000002.link.host", "1600000003.gone.host"}; !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	f := m.get(root, root, nil)
	defer m.release(f)
	msgs, gone, err := f.messages(inOrder(list[1:], nil))
	if err != nil || !gone || len(msgs) != 4 || msgs[0] == nil || msgs[0].File != name || msgs[1] != nil || msgs[2] != nil || msgs[3] != nil {
		t.Errorf("%v, %t, %v", msgs, gone, err)
	}
	// A torn buffer, which no kernel gives, is no more than its whole entries.
	for i := range b {
		appendDirents(nil, b[:i], index.Cur)
	}
}

// TestInOrder: of two files with the same unique part the one in cur/ counts.
func TestInOrder(t *testing.T) {
	files := []seen{{file: "2.b", place: index.New}, {file: "1.a,S=3:2,", place: index.Cur}, {file: "1.a:2,S", place: index.Cur}, {file: "9.z", place: index.New}, {file: "1.a", place: index.New},
		{file: "01.a", place: index.New}, {file: "3.c:2,", place: index.Cur}, {file: "3.c", place: index.New}}
	for range len(files) {
		var got []string
		for _, a := range inOrder(files, map[string]mailbox.UID{"9.z": 4}) {
			got = append(got, a.file)
		}
		if want := []string{"9.z", "01.a", "1.a:2,S", "1.a,S=3:2,", "2.b", "3.c:2,"}; !slices.Equal(got, want) {
			t.Fatalf("%q of %v, want %q", got, files, want)
		}
		files = append(files[1:], files[0])
	}
}

// TestTidy: what many changes leave in the index goes when the last session does.
func TestTidy(t *testing.T) {
	m, root, s := setup(t)
	for i := range 600 {
		found(t, root, fmt.Sprintf("%d.x.host:2,", 1600000000+i), 5)
	}
	b := mailboxtest.Open(t, s, "INBOX")
	for i := range 5 {
		if _, err := b.Store(mailboxtest.UIDs(b), mailbox.StoreChange{Op: mailbox.StoreOp(1 + i%2), Flags: mailbox.Seen}); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		t.Helper()
		st, err := os.Stat(filepath.Join(root, index.Name))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	before, view := size(), b.View()
	b.Close()
	m.Close()
	if after := size(); after > before/2 {
		t.Errorf("%d bytes, were %d", after, before)
	}
	mailboxtest.SameView(t, reopened(t, root, "INBOX").View(), view)
}
