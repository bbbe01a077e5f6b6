package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/mailboxtest"
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/mbox"
	"posthaste/pkg/mbox/mboxio"
)

// mboxHome is a user with mbox files.
type mboxHome struct {
	MboxLocation
	lock filelock.Options
}

func newMboxHome(t testing.TB) *mboxHome {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/spool", 0o700); err != nil {
		t.Fatal(err)
	}
	return &mboxHome{MboxLocation{Root: dir + "/mail", Inbox: dir + "/spool/anna"},
		filelock.Options{Methods: filelock.Fcntl | filelock.Dotlock, Attempts: 5000, Delay: 2 * time.Millisecond, Sign: true}}
}

func (h *mboxHome) open(t testing.TB, m *Manager) mailbox.Store {
	t.Helper()
	s, err := m.OpenMbox(h.MboxLocation, UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver is local's delivery.
func (h *mboxHome) deliver(t testing.TB, content string) {
	t.Helper()
	err := mbox.Append(context.Background(), mbox.NewTarget(h.Inbox, h.lock),
		&mbox.Message{Envelope: mailcopy.Envelope{Sender: "a@b", When: time.Now()}, Flags: mailcopy.Mbox &^ mailcopy.ReturnPath, Content: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMboxConformance(t *testing.T) {
	mailboxtest.Run(t, func(t *testing.T) *mailboxtest.Fixture {
		h := newMboxHome(t)
		m := newManager(t, []mailbox.Folder{})
		h.open(t, m)
		return &mailboxtest.Fixture{
			Open:    func(t *testing.T) mailbox.Store { return h.open(t, m) },
			Restart: func(t *testing.T) { m = newManager(t, []mailbox.Folder{}) },
			Deliver: func(t *testing.T, content string) { h.deliver(t, content) },
			Leaves:  true,
		}
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// muttEdit changes the file as mutt does: with the locks, in place, all of it written
// anew, Status at the end of the header.
func (h *mboxHome) muttEdit(t testing.TB, edit func(text string) string) {
	t.Helper()
	unlock, err := filelock.Dot(context.Background(), h.Inbox, &h.lock)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	f, err := os.OpenFile(h.Inbox, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := filelock.Handle(context.Background(), f, &h.lock, false); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	text := edit(string(b))
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		t.Fatal(err)
	}
}

// TestMboxForeign: what another program does beside a session is seen, and UIDs stay.
func TestMboxForeign(t *testing.T) {
	h := newMboxHome(t)
	m := newManager(t, []mailbox.Folder{})
	s := h.open(t, m)
	for i := range 4 {
		h.deliver(t, msg(i))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	uids := mailboxtest.UIDs(b)
	// Flags, as mutt writes them.
	h.muttEdit(t, func(text string) string {
		return strings.Replace(text, "Subject: 1\n", "Subject: 1\nStatus: RO\nX-Status: F\nContent-Length: 7\nLines: 1\n", 1)
	})
	if c := mailboxtest.Sync(t, b); fmt.Sprint(c.Changed) != "[2]" || c.New != 0 || len(c.Expunged) != 0 || b.View().Messages[1].Flags != mailbox.Seen|mailbox.Flagged {
		t.Fatalf("%+v, %+v", c, b.View().Messages[1])
	}
	for i, x := range b.View().Messages {
		if got := mailboxtest.Body(t, b, x); got != msg(i) {
			t.Errorf("message %d: %q", i, got)
		}
	}
	// Of the same length, beside ours.
	if _, err := b.Store(uids[3:], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Answered, Keywords: []string{"red"}}); err != nil {
		t.Fatal(err)
	}
	h.muttEdit(t, func(text string) string { return strings.Replace(text, "X-Status: F\n", "X-Status: A\n", 1) })
	if c := mailboxtest.Sync(t, b); fmt.Sprint(c.Changed) != "[2]" || b.View().Messages[1].Flags != mailbox.Seen|mailbox.Answered || b.View().Messages[3].Flags != mailbox.Answered {
		t.Fatalf("%+v, %+v", c, b.View().Messages[3])
	}
	// A message goes, another comes.
	h.muttEdit(t, func(text string) string {
		i, j := strings.Index(text, "From a@b"), strings.Index(text[1:], "From a@b")+1
		return text[:i] + text[j:] + "From x@y Thu Jan  1 00:00:10 1970\nSubject: new\n\n>From there\n"
	})
	if c := mailboxtest.Sync(t, b); fmt.Sprint(c.Expunged) != "[1]" || c.New != 1 || fmt.Sprint(mailboxtest.UIDs(b)) != fmt.Sprint(append(uids[1:], uids[3]+1)) {
		t.Fatalf("%+v, %v", c, mailboxtest.UIDs(b))
	}
	if got := mailboxtest.Body(t, b, b.View().Messages[3]); got != "Subject: new\r\n\r\n>From there\r\n" {
		t.Errorf("%q", got)
	}
	view := b.View()
	b.Close()
	// What a session leaves in the file is all that another program, or a new index, needs.
	text := read(t, h.Inbox)
	for _, want := range []string{fmt.Sprintf("X-IMAPbase: %010d %010d red", view.UIDValidity, view.UIDNext-1), fmt.Sprintf("X-UID: %d\n", uids[3]), "X-Keywords: red", "Status: RO\nX-Status: A\n", "Status: O\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the file lacks %q:\n%s", want, text)
		}
	}
	os.RemoveAll(h.Root)
	c := mailboxtest.Open(t, h.open(t, newManager(t, []mailbox.Folder{})), "INBOX")
	if c.View().UIDValidity != view.UIDValidity || c.View().UIDNext != view.UIDNext || len(c.View().Messages) != 4 {
		t.Errorf("%+v, want %+v", c.View(), view)
	}
	for i, x := range c.View().Messages {
		if w := view.Messages[i]; x.UID != w.UID || x.Flags != w.Flags || fmt.Sprint(x.Keywords) != fmt.Sprint(w.Keywords) || x.Size != w.Size {
			t.Errorf("%+v, want %+v", x, w)
		}
	}
}

// TestMboxSender: header fields that a sender puts into his message give it no UID
// that another had.
func TestMboxSender(t *testing.T) {
	h := newMboxHome(t)
	s := h.open(t, newManager(t, []mailbox.Folder{}))
	uids := mailboxtest.Add(t, s, "INBOX", msg(1), msg(2), msg(3))
	b := mailboxtest.Open(t, s, "INBOX")
	b.Store(uids[2:], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	b.Expunge(nil)
	for _, u := range []mailbox.UID{uids[0], uids[2], uids[2] + 1, 4000000000} {
		h.deliver(t, fmt.Sprintf("X-UID: %d\r\nX-IMAPbase: 7 4000000000\r\nSubject: x\r\n\r\n%d\r\n", u, u))
	}
	mailboxtest.Sync(t, b)
	want := []mailbox.UID{uids[0], uids[1], uids[2] + 1, uids[2] + 2, uids[2] + 3, uids[2] + 4}
	if got := mailboxtest.UIDs(b); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	// A message that goes and one that claims its UID, seen together.
	h.muttEdit(t, func(text string) string {
		i, j := strings.Index(text[1:], "From MAILER")+1, strings.Index(text, "From a@b")
		return text[:i] + text[j:] + fmt.Sprintf("From a@b Thu Jan  1 00:00:10 1970\nX-UID: %d\nSubject: forged\n\nx\n\n", uids[1])
	})
	c := mailboxtest.Sync(t, b)
	if m := b.View().Get(uids[1]); m != nil || fmt.Sprint(c.ExpungedUIDs) != fmt.Sprint(uids[1:2]) || c.New != 1 {
		t.Errorf("%+v, %+v", m, c)
	}
}

// TestMboxSenderFirst: a mailbox that no session has seen takes UIDs from its file, but
// no numbers that leave none for others, and no keywords that no program has listed.
func TestMboxSenderFirst(t *testing.T) {
	for _, base := range []string{"4294967295 1", "7 4294967290"} {
		h := newMboxHome(t)
		h.deliver(t, "X-IMAPbase: "+base+" listed\r\nX-UID: 1\r\nX-Keywords: listed spam\r\n\r\nx\r\n")
		s := h.open(t, newManager(t, []mailbox.Folder{}))
		b := mailboxtest.Open(t, s, "INBOX")
		if v := b.View(); v.UIDValidity == 7 || v.UIDValidity > 1<<32-1000 || v.UIDNext != 2 || len(v.Messages[0].Keywords) != 0 {
			t.Errorf("%s: %+v, %+v", base, v, v.Messages[0])
		}
		if err := s.Create("Box", mailbox.UseNone); err != nil {
			t.Error(err)
		}
		mailboxtest.Add(t, s, "Box", msg(1))
		h.deliver(t, "X-Keywords: other\r\n\r\nx\r\n")
		mailboxtest.Sync(t, b)
		if m := b.View().Messages[1]; len(m.Keywords) != 0 || len(b.View().Keywords) != 0 {
			t.Errorf("%+v", m)
		}
		b.Store([]mailbox.UID{1}, mailbox.StoreChange{Op: mailbox.Add, Keywords: []string{"mine"}})
		b.Close()
		text := read(t, h.Inbox)
		if strings.Contains(text, "spam") || strings.Contains(text, "X-Keywords: other") || !strings.Contains(text, "X-Keywords: mine") {
			t.Errorf("%s", text)
		}
	}
}

// TestMboxIdle: other programs see UIDs and flags while a session waits for news.
func TestMboxIdle(t *testing.T) {
	h := newMboxHome(t)
	m, err := NewManager(Options{Host: "mx.test", Create: []mailbox.Folder{}, Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := mailboxtest.Open(t, h.open(t, m), "INBOX")
	b.Changed()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(h.Inbox)); err != nil {
		t.Fatal(err)
	}
	h.deliver(t, msg(1))
	late := time.After(20 * time.Second)
	for !strings.Contains(read(t, h.Inbox), "X-UID: 1\n") {
		select {
		case <-w.Events:
		case <-late:
			t.Fatalf("%s", read(t, h.Inbox))
		}
	}
	if c := mailboxtest.Sync(t, b); c.New != 1 || mailboxtest.Body(t, b, b.View().Messages[0]) != msg(1) {
		t.Errorf("%+v", c)
	}
	b.Close()
}

// TestMboxPseudo: c-client's own message is none, and its numbers count.
func TestMboxPseudo(t *testing.T) {
	h := newMboxHome(t)
	pseudo := "From MAILER-DAEMON Thu Jan  1 00:00:10 1970\nDate: x\nFrom: Mail System Internal Data <MAILER-DAEMON@h>\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 0000001234 0000000007\nStatus: RO\n\nThis text is part of the internal format.\n\n"
	os.WriteFile(h.Inbox, []byte(pseudo+"From a@b Thu Jan  1 00:00:10 1970\nX-UID: 7\nStatus: RO\n\nbody\n\n"), 0o600)
	s := h.open(t, newManager(t, []mailbox.Folder{}))
	b := mailboxtest.Open(t, s, "INBOX")
	if v := b.View(); v.UIDValidity != 1234 || v.UIDNext != 8 || len(v.Messages) != 1 || v.Messages[0].UID != 7 || v.Messages[0].Flags != mailbox.Seen {
		t.Fatalf("%+v", v)
	}
	mailboxtest.Add(t, s, "INBOX", msg(1))
	b.Close()
	text := read(t, h.Inbox)
	if !strings.HasPrefix(text, strings.Replace(pseudo, "0000000007", "0000000008", 1)) || strings.Contains(text, "X-IMAPbase") {
		t.Errorf("%s", text)
	}
}

// TestMboxWarm: an index that is up to date is not checked by reading the file again.
func TestMboxWarm(t *testing.T) {
	h := newMboxHome(t)
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&text, "From a@b Thu Jan  1 00:00:10 1970\nSubject: %d\n\nbody\n\n", i)
	}
	os.WriteFile(h.Inbox, []byte(text.String()), 0o600)
	b := mailboxtest.Open(t, h.open(t, newManager(t, []mailbox.Folder{})), "INBOX")
	b.Close()
	// Other bytes under the same stamp: who reads the file would notice.
	st, err := os.Stat(h.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	now := []byte(read(t, h.Inbox))
	f, _ := os.OpenFile(h.Inbox, os.O_WRONLY, 0)
	f.WriteAt(make([]byte, len(now)), 0)
	f.Close()
	os.Chtimes(h.Inbox, st.ModTime(), st.ModTime())
	s := h.open(t, newManager(t, []mailbox.Folder{}))
	c, err := s.Open("INBOX", true)
	if err != nil || len(c.View().Messages) != 10000 {
		t.Fatalf("%v", err)
	}
	if st, err := s.Status("INBOX", true); err != nil || st.Messages != 10000 {
		t.Errorf("%+v, %v", st, err)
	}
	c.Close()
}

// TestMboxLimits: nothing is appended beyond mailbox_size_limit and the user's quota.
func TestMboxLimits(t *testing.T) {
	h := newMboxHome(t)
	m := newManager(t, []mailbox.Folder{})
	try := func(s mailbox.Store) error {
		a, err := s.Append("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Abort()
		w, _ := a.Begin(mailbox.AppendInfo{})
		io.WriteString(w, strings.Repeat("0123456789\r\n", 1000))
		_, err = a.Commit()
		return err
	}
	m.o.MboxLimit = 20000
	if err := try(h.open(t, m)); err != nil {
		t.Error(err)
	}
	before := read(t, h.Inbox)
	if err := try(h.open(t, newManagerLike(t, m))); !errors.Is(err, mailbox.ErrQuota) {
		t.Errorf("beyond mailbox_size_limit: %v", err)
	}
	for _, o := range []UserOptions{{QuotaBytes: 15000}, {QuotaMessages: 1}} {
		s, err := newManager(t, []mailbox.Folder{}).OpenMbox(h.MboxLocation, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := try(s); !errors.Is(err, mailbox.ErrQuota) {
			t.Errorf("%+v: %v", o, err)
		}
		if q, err := s.Quota(); err != nil || q.BytesLimit != o.QuotaBytes || q.Bytes != int64(len(before)) || q.MessagesLimit == 1 && q.Messages != 1 {
			t.Errorf("%+v: %+v, %v", o, q, err)
		}
	}
	if read(t, h.Inbox) != before {
		t.Error("the file changed")
	}
	s, err := newManager(t, []mailbox.Folder{}).OpenMbox(h.MboxLocation, UserOptions{QuotaMessages: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.Create("Kept", mailbox.UseNone)
	if done, err := mailboxtest.Open(t, s, "INBOX").Move([]mailbox.UID{1}, "Kept"); err != nil || len(done.UIDs) != 1 {
		t.Errorf("a move when the mailbox is full: %+v, %v", done, err)
	}
}

func newManagerLike(t *testing.T, old *Manager) *Manager {
	m := newManager(t, []mailbox.Folder{})
	m.o.MboxLimit = old.o.MboxLimit
	return m
}

// TestMboxReadOnly: a file that the user may only read.
func TestMboxReadOnly(t *testing.T) {
	h := newMboxHome(t)
	s := h.open(t, newManager(t, []mailbox.Folder{}))
	os.WriteFile(h.Root+"/notes.txt", []byte("no mail\n"), 0o600)
	if _, err := s.Open("notes.txt", false); !errors.Is(err, mboxio.ErrNotMbox) {
		t.Errorf("a file that is no mbox: %v", err)
	}
	if read(t, h.Root+"/notes.txt") != "no mail\n" {
		t.Error("it changed")
	}
}

// TestMboxKill: processes that are killed at any moment, beside deliveries and another
// mail program, lose nothing: see TestKill.
func TestMboxKill(t *testing.T) {
	if dir := os.Getenv("POSTHASTE_MBOX_WORKER"); dir != "" {
		workMbox(dir)
		return
	}
	h := newMboxHome(t)
	// Thousands of syncs: in memory if possible.
	if d, err := os.MkdirTemp("/dev/shm", "posthaste-test"); err == nil {
		t.Cleanup(func() { os.RemoveAll(d) })
		os.Mkdir(d+"/spool", 0o700)
		h.MboxLocation = MboxLocation{Root: d + "/mail", Inbox: d + "/spool/anna"}
	}
	dir := filepath.Dir(h.Root)
	s := h.open(t, newManager(t, []mailbox.Folder{}))
	s.Create("Box", mailbox.UseNone)
	seen := map[mailbox.UID]string{}
	next, delivered := mailbox.UID(0), 0
	for round := range 16 {
		var workers []*exec.Cmd
		var gone sync.WaitGroup // a process that nobody has waited for still has its number
		for range 2 {
			c := exec.Command(os.Args[0], "-test.run", "^TestMboxKill$")
			c.Env = append(os.Environ(), "POSTHASTE_MBOX_WORKER="+dir)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			gone.Go(func() { c.Wait() })
			workers = append(workers, c)
		}
		for i := range 4 {
			h.deliver(t, fmt.Sprintf("Subject: delivered %d.%d\r\n\r\n%s", round, i, strings.Repeat("x\r\n", 2000)))
			delivered++
			b := mailboxtest.Open(t, s, "INBOX")
			v := b.View()
			if v.UIDNext < next {
				t.Fatalf("UIDNEXT went from %d to %d", next, v.UIDNext)
			}
			next = v.UIDNext
			for _, m := range v.Messages {
				c, err := b.Content(m)
				if errors.Is(err, mailbox.ErrExpunged) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				p := make([]byte, 60)
				n, _ := c.ReadAt(p, 0)
				c.Close()
				if old, ok := seen[m.UID]; ok && old != string(p[:n]) {
					t.Fatalf("UID %d was %q and is %q", m.UID, old, p[:n])
				}
				seen[m.UID] = string(p[:n])
			}
			b.Close()
		}
		for _, c := range workers {
			c.Process.Kill()
		}
		gone.Wait()
	}
	// All that was delivered is there, once, and whole: workers move it, but never delete.
	count := map[string]int{}
	for _, name := range []string{"INBOX", "Box"} {
		b := mailboxtest.Open(t, s, name)
		for _, m := range b.View().Messages {
			body := mailboxtest.Body(t, b, m)
			subject, rest, _ := strings.Cut(body, "\r\n\r\n")
			if strings.HasPrefix(subject, "Subject: delivered") {
				count[subject]++
				if rest != strings.Repeat("x\r\n", 2000) {
					t.Errorf("%s: %d bytes", subject, len(rest))
				}
			}
		}
	}
	if len(count) != delivered {
		t.Errorf("%d of %d messages", len(count), delivered)
	}
	if bad, err := (&mboxAdmin{s.(*mboxStore)}).Verify("INBOX"); err != nil || len(bad) > 0 {
		t.Errorf("%q, %v", bad, err)
	}
}

// workMbox is what a session does, until it is killed.
func workMbox(dir string) {
	m, err := NewManager(Options{Host: "mx.test", Create: []mailbox.Folder{}})
	if err != nil {
		panic(err)
	}
	// Killed while it changes a file, sooner or later.
	mboxio.Step = func(string) error {
		if rand.IntN(60) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	s, err := m.OpenMbox(MboxLocation{Root: dir + "/mail", Inbox: dir + "/spool/anna"}, UserOptions{})
	if err != nil {
		panic(err)
	}
	parent := os.Getppid()
	for i := 0; os.Getppid() == parent; i++ { // not beyond a test that failed
		b, err := s.Open("INBOX", false)
		if err != nil {
			continue // locked by one that was killed
		}
		a, err := s.Append("INBOX")
		if err == nil {
			for k := range i % 3 {
				w, _ := a.Begin(mailbox.AppendInfo{Keywords: []string{fmt.Sprint("k", k)}})
				fmt.Fprintf(w, "Subject: %d\r\n\r\nmine\r\nFrom %d\r\n", i, k)
			}
			a.Commit()
			a.Abort()
		}
		b.Sync(context.Background(), true)
		for n, x := range b.View().Messages {
			c, err := b.Content(x)
			if err != nil {
				continue
			}
			p := make([]byte, 18)
			k, _ := c.ReadAt(p, 0)
			c.Close()
			switch {
			case strings.HasPrefix(string(p[:k]), "Subject: delivered"):
				b.Store([]mailbox.UID{x.UID}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
				if (n+i)%5 == 0 {
					b.Move([]mailbox.UID{x.UID}, "Box")
				}
			case (n+i)%3 == 0:
				b.Store([]mailbox.UID{x.UID}, mailbox.StoreChange{Op: mailbox.Replace, Flags: mailbox.Deleted})
			}
		}
		b.Expunge(nil)
		b.Close()
	}
}

// TestMboxFull: on a full disk nothing is lost or half done, and messages can be removed.
func TestMboxFull(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=512k,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	h := newMboxHome(t)
	h.Inbox = mnt + "/anna" // a spool that is full; the index is elsewhere
	m := newManager(t, []mailbox.Folder{})
	s := h.open(t, m)
	for i := range 3 {
		h.deliver(t, fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x\r\n", 30000)))
	}
	b := mailboxtest.Open(t, s, "INBOX")
	filler, _ := os.Create(mnt + "/filler")
	for err := error(nil); err == nil; {
		_, err = filler.Write(make([]byte, 512))
	}
	filler.Close()
	before := read(t, h.Inbox)
	a, err := s.Append("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	w, _ := a.Begin(mailbox.AppendInfo{})
	io.WriteString(w, strings.Repeat("y\r\n", 100000))
	if _, err := a.Commit(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("append: %v", err)
	}
	a.Abort()
	if read(t, h.Inbox) != before {
		t.Fatal("a failed append changed the file")
	}
	if c := mailboxtest.Sync(t, b); c.Any() {
		t.Errorf("%+v", c)
	}
	uids := mailboxtest.UIDs(b)
	if _, err := b.Store(uids[1:2], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted}); err != nil {
		t.Errorf("store: %v", err)
	}
	if err := b.Expunge(nil); err != nil {
		t.Errorf("expunge: %v", err)
	}
	mailboxtest.Sync(t, b)
	if got := mailboxtest.UIDs(b); fmt.Sprint(got) != fmt.Sprint([]mailbox.UID{uids[0], uids[2]}) {
		t.Errorf("%v of %v", got, uids)
	}
	for _, x := range b.View().Messages {
		if n := len(mailboxtest.Body(t, b, x)); n < 90000 {
			t.Errorf("UID %d: %d bytes", x.UID, n)
		}
	}
}

// BenchmarkMboxOpen opens 10,000 messages with a warm index in a process that has not seen them.
func BenchmarkMboxOpen(b *testing.B) {
	h := newMboxHome(b)
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&text, "From a@b Thu Jan  1 00:00:10 1970\nFrom: a@b\nTo: c@d\nSubject: %d\nDate: Thu, 1 Jan 1970 00:00:10 +0000\nMessage-ID: <%d@b>\n\n%s\n", i, i, strings.Repeat("a line of text, as there are many of them in mail\n", 80))
	}
	os.WriteFile(h.Inbox, []byte(text.String()), 0o600)
	b.SetBytes(int64(text.Len()))
	for _, c := range []struct {
		name string
		cold bool
	}{{"cold", true}, {"warm", false}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if c.cold {
					os.RemoveAll(h.Root)
				}
				m := newManager(b, []mailbox.Folder{})
				box, err := h.open(b, m).Open("INBOX", true)
				if err != nil || len(box.View().Messages) != 10000 {
					b.Fatal(err)
				}
				box.Close()
				m.Close()
			}
		})
	}
}

// TestMboxTick: a change of the same length in the same tick of the clock as our look is seen.
func TestMboxTick(t *testing.T) {
	h := newMboxHome(t)
	m := newManager(t, []mailbox.Folder{})
	m.settle = time.Hour // no second look
	h.deliver(t, "X-Status: F\r\n"+msg(1))
	// However slow this machine is, the change is not older than the look.
	tick := time.Now().Add(time.Hour)
	os.Chtimes(h.Inbox, time.Time{}, tick)
	b := mailboxtest.Open(t, h.open(t, m), "INBOX")
	h.muttEdit(t, func(text string) string { return strings.Replace(text, "X-Status: F\n", "X-Status: A\n", 1) })
	os.Chtimes(h.Inbox, time.Time{}, tick) // the kernel's clock stood still
	if c := mailboxtest.Sync(t, b); len(c.Changed) != 1 || b.View().Messages[0].Flags != mailbox.Answered {
		t.Errorf("%+v, %+v", c, b.View().Messages[0])
	}
}
