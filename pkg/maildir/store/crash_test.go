package store

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

func section(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

// history makes a folder with a past, and returns all that was ever told to a
// client: which file each UID was.
func history(t *testing.T, root string) (told map[mailbox.UID]string, validity uint32) {
	s := openStore(t, newManager(t, []mailbox.Folder{}), root)
	b := mailboxtest.Open(t, s, "INBOX")
	told = map[mailbox.UID]string{}
	note := func() {
		mailboxtest.Sync(t, b)
		for _, m := range b.View().Messages {
			base, _ := splitName(m.File)
			told[m.UID] = base
		}
	}
	for i := range 4 {
		uids := mailboxtest.Add(t, s, "INBOX", msg(i), msg(i+10))
		drop(t, root, msg(i+20))
		note()
		b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted, Keywords: []string{fmt.Sprint("k", i)}})
		b.Store(uids[1:], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged, Keywords: []string{"all"}})
		b.Expunge(nil)
		note()
	}
	// Most files are there, some UIDs only in the past.
	b.Close()
	return told, b.View().UIDValidity
}

// TestTruncate cuts the index at every byte, and flips bytes: what is opened
// then is a past state or a new one, and no UID ever means another message.
func TestTruncate(t *testing.T) {
	dir := t.TempDir()
	// Thousands of syncs: in memory if possible.
	if d, err := os.MkdirTemp("/dev/shm", "posthaste-test"); err == nil {
		t.Cleanup(func() { os.RemoveAll(d) })
		dir = d
	}
	root := dir + "/Maildir"
	told, validity := history(t, root)
	whole, err := os.ReadFile(root + "/" + index.Name)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(root + "/dovecot-uidlist")
	check := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(root+"/"+index.Name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := NewManager(Options{Host: "mx.test", Create: []mailbox.Folder{}})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		box, err := openStore(t, m, root).Open("INBOX", false)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer box.Close()
		v := box.View()
		files, _ := filepath.Glob(root + "/[cn]*/*")
		if len(files) != len(v.Messages) {
			t.Fatalf("%s: %d messages of %d files", what, len(v.Messages), len(files))
		}
		last := mailbox.UID(0)
		for _, x := range v.Messages {
			base, _ := splitName(x.File)
			if old, ok := told[x.UID]; v.UIDValidity == validity && ok && old != base {
				t.Fatalf("%s: UID %d was %s and is %s", what, x.UID, old, base)
			}
			if x.UID <= last || x.UID >= v.UIDNext || x.ModSeq > v.HighestModSeq {
				t.Fatalf("%s: UID %d after %d, next %d, mod-sequence %d of %d", what, x.UID, last, v.UIDNext, x.ModSeq, v.HighestModSeq)
			}
			last = x.UID
		}
	}
	for n := len(whole); n >= 0; n-- {
		if n > 1100 && n < index.HeaderSize-2 && n%97 != 0 {
			continue // the padding of the header
		}
		check(fmt.Sprintf("cut at %d of %d", n, len(whole)), whole[:n])
	}
	for n := 0; n < len(whole); n += 7 {
		if n > 700 && n < index.HeaderSize {
			continue
		}
		b := append([]byte(nil), whole...)
		b[n] ^= 0x55
		check(fmt.Sprintf("flipped at %d", n), b)
		// A tail of what was on the disk before.
		check(fmt.Sprintf("zeros from %d", n), append(append([]byte(nil), whole[:n]...), make([]byte, len(whole)-n)...))
	}
}

// TestOtherBoot: after a crash of the system the index may be an old one
// without any sign; UIDs and mod-sequences go on above all that were given out.
func TestOtherBoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	s := openStore(t, newManager(t, []mailbox.Folder{}), root)
	mailboxtest.Add(t, s, "INBOX", msg(1))
	old, _ := os.ReadFile(root + "/" + index.Name)
	b := mailboxtest.Open(t, s, "INBOX")
	uids := mailboxtest.Add(t, s, "INBOX", msg(2), msg(3))
	b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	mailboxtest.Sync(t, b)
	past := b.View()
	p, err := index.Parse(old, index.Clock{Boot: 12345, Now: time.Now()})
	if err != nil || !p.Lost || p.State.UIDNext < past.UIDNext || p.State.HighestModSeq < past.HighestModSeq {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = index.Parse(old, index.Present())
	if err != nil || p.Lost {
		t.Errorf("in the same boot: %+v, %v", p, err)
	}
}

// TestForward: several messages that were committed but not yet renamed when
// their writer was killed come whole.
func TestForward(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	m := newManager(t, []mailbox.Folder{})
	s := openStore(t, m, root)
	mailboxtest.Add(t, s, "INBOX", msg(0))
	f := m.get(root, root, nil)
	f.mu.Lock()
	var adds []*addition
	for i := range 3 {
		a := &addition{base: m.uniqueName(), m: mailbox.Message{Size: int64(len(msg(i)))}}
		a.tmp = root + "/tmp/" + a.base
		os.WriteFile(a.tmp, []byte(strings.ReplaceAll(msg(i), "\r\n", "\n")), 0o600)
		adds = append(adds, a)
	}
	if err := f.locked(func() error {
		_, err := f.place(adds)
		if err == nil {
			err = os.Rename(adds[0].tmp, root+"/cur/"+filepath.Base(adds[0].tmp)) // killed after the first
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.mu.Unlock()
	b := mailboxtest.Open(t, openStore(t, newManager(t, []mailbox.Folder{}), root), "INBOX")
	if len(b.View().Messages) != 4 {
		t.Fatalf("%+v", b.View())
	}
	for i, x := range b.View().Messages[1:] {
		if x.UID != adds[i].m.UID || x.Place != index.Cur || mailboxtest.Body(t, b, x) != msg(i) {
			t.Errorf("%+v", x)
		}
	}
	if l, _ := filepath.Glob(root + "/tmp/*"); len(l) != 0 {
		t.Errorf("left in tmp/: %v", l)
	}
}

// TestKill: processes that are killed at any moment, beside deliveries and
// a foreign program, leave nothing impossible behind.
func TestKill(t *testing.T) {
	if root := os.Getenv("POSTHASTE_STORE_WORKER"); root != "" {
		work(root)
		return
	}
	root := filepath.Join(t.TempDir(), "Maildir")
	s := openStore(t, newManager(t, []mailbox.Folder{}), root)
	s.Create("Box", mailbox.UseNone)
	b := mailboxtest.Open(t, s, "INBOX")
	seen := map[mailbox.UID]string{}
	uidOf := map[string]mailbox.UID{}
	next := mailbox.UID(0)
	for round := range 12 {
		var workers []*exec.Cmd
		for range 2 {
			c := exec.Command(os.Args[0], "-test.run", "^TestKill$")
			c.Env = append(os.Environ(), "POSTHASTE_STORE_WORKER="+root)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			workers = append(workers, c)
		}
		var d maildir.Store
		for i := range 20 + round*5 {
			c := fmt.Sprintf("Subject: delivered %d.%d\r\n\r\nx\r\n", round, i)
			if _, err := d.Deliver(&maildir.Message{Dir: root, Name: maildir.UniqueName(time.Now(), fmt.Sprintf("4r%dz", round), uint32(i), "h"), Content: section(c), Arrival: time.Now()}); err != nil {
				t.Fatal(err)
			}
			mailboxtest.Sync(t, b)
			v := b.View()
			if v.UIDNext < next {
				t.Fatalf("UIDNEXT went from %d to %d", next, v.UIDNext)
			}
			next = v.UIDNext
			for _, m := range v.Messages {
				base, _ := splitName(m.File)
				if old, ok := seen[m.UID]; ok && old != base {
					t.Fatalf("UID %d was %s and is %s", m.UID, old, base)
				}
				seen[m.UID] = base
				if old, ok := uidOf[base]; ok && old != m.UID {
					t.Fatalf("%s was UID %d and is %d: a UID was lost", base, old, m.UID)
				}
				uidOf[base] = m.UID
			}
		}
		for _, c := range workers {
			c.Process.Kill()
			c.Wait()
		}
	}
	// What another process makes of the index is the same.
	mailboxtest.Sync(t, b)
	c := mailboxtest.Open(t, openStore(t, newManager(t, []mailbox.Folder{}), root), "INBOX")
	mailboxtest.SameView(t, c.View(), b.View())
	files, _ := filepath.Glob(root + "/[cn]*/*")
	if len(files) != len(b.View().Messages) {
		t.Errorf("%d files, %d messages", len(files), len(b.View().Messages))
	}
}

// work is what a session does, until it is killed.
func work(root string) {
	m, err := NewManager(Options{Host: "mx.test", Create: []mailbox.Folder{}})
	if err != nil {
		panic(err)
	}
	s, err := m.Open(root, UserOptions{})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		b, err := s.Open("INBOX", false)
		if err != nil {
			panic(err)
		}
		a, err := s.Append("INBOX")
		if err != nil {
			panic(err)
		}
		for k := range i % 3 {
			w, _ := a.Begin(mailbox.AppendInfo{Keywords: []string{fmt.Sprint("k", k)}})
			fmt.Fprintf(w, "Subject: %d\r\n\r\n%d\r\n", i, k)
		}
		a.Commit()
		a.Abort()
		for n, x := range b.View().Messages {
			switch (n + i) % 7 {
			case 0:
				b.Store([]mailbox.UID{x.UID}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
			case 1:
				b.Store([]mailbox.UID{x.UID}, mailbox.StoreChange{Op: mailbox.Replace, Flags: mailbox.Deleted})
			case 2: // as mutt does
				base, _ := splitName(x.File)
				os.Rename(root+"/cur/"+x.File, root+"/cur/"+base+":2,FS")
			}
		}
		if i%2 == 0 {
			b.Expunge(nil)
		} else if v := b.View(); len(v.Messages) > 2 {
			b.Move([]mailbox.UID{v.Messages[0].UID, v.Messages[1].UID}, "Box")
		}
		b.Close()
	}
}
