package queue

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/journal"
	"posthaste/pkg/journal/journaltest"
)

// journalOps are real operations, but that syncs are counted and do nothing.
func journalOps(syncs *atomic.Int32) *durable.Ops {
	sync := func(int) error { syncs.Add(1); return nil }
	return &durable.Ops{Fsync: sync, Syncfs: sync}
}

// journalSpool is a spool that may have a journal, whatever its file system.
func journalSpool(t *testing.T, syncfs string, ops *durable.Ops, failed func(error)) *Spool {
	t.Helper()
	s := newSpool(t, Options{Syncfs: syncfs, Ops: ops})
	s.jrnl.rate, s.jrnl.failed = 1, failed
	s.jrnl.wanted.Store(true)
	return s
}

// journal files, without those of messages.
func journals(t *testing.T, s *Spool) (l []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, JournalDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		l = append(l, e.Name())
	}
	return l
}

// begin writes messages until there is a journal.
func begin(t *testing.T, s *Spool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.jrnl.current.Load() == nil; time.Sleep(time.Millisecond) {
		write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}})
		if time.Now().After(end) {
			t.Fatal("no journal")
		}
	}
}

// taken returns the bytes of a new message's file.
func taken(t *testing.T, s *Spool, body string) (id string, content []byte) {
	t.Helper()
	id = write(t, s, Incoming, spec{rcpts: []string{"a@b.test", "c@d.test"}, content: []byte(body)})
	content, err := os.ReadFile(s.Path(Incoming, id))
	if err != nil {
		t.Fatal(err)
	}
	return id, content
}

// refit gives a changed queue file the right checksums.
func refit(t *testing.T, b []byte) {
	t.Helper()
	h, _, reason := parseHead(b[:headSize])
	if reason != "" {
		t.Fatal(reason)
	}
	recs := crcAdd(crcAdd(0, b[headSize:h.content]), b[h.content+h.length:h.end])
	end := appendEnd(nil, h.id, crcAdd(recs, b[:headSize]), crcAdd(0, b[h.content:h.content+h.length]))
	copy(b[h.end:], end)
}

func replayed(t *testing.T, s *Spool) (ids []string, err error) {
	t.Helper()
	err = s.Replay(func(id string) { ids = append(ids, id) })
	return ids, err
}

// isThere checks that a message is complete in incoming, and nowhere else.
func isThere(t *testing.T, s *Spool, id, body string) {
	t.Helper()
	f, err := s.Load(Incoming, id)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if err := f.Verify(); err != nil || string(readAll(t, f)) != body {
		t.Errorf("%s: %v", id, err)
	}
	for _, q := range Names {
		if _, err := os.Lstat(s.Path(q, id)); q != Incoming && err == nil {
			t.Errorf("%s is also in %s", id, q)
		}
	}
}

// TestJournaled: with a journal no message waits for a sync, and all are in it; the
// end of the spool ends it.
func TestJournaled(t *testing.T) {
	for _, syncfs := range []string{"yes", "no"} {
		t.Run("syncfs "+syncfs, func(t *testing.T) { testJournaled(t, syncfs) })
	}
}

func testJournaled(t *testing.T, syncfs string) {
	var syncs atomic.Int32
	s := journalSpool(t, syncfs, journalOps(&syncs), func(err error) { t.Error(err) })
	begin(t, s)
	var mu sync.Mutex
	want := map[string]bool{}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 20 {
				id := write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}, content: everyByte(3000)})
				mu.Lock()
				want[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// These have files of their own: they are not in incoming, or too long.
	before := syncs.Load()
	write(t, s, Hold, spec{rcpts: []string{"a@b.test"}})
	write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}, content: everyByte(spillSize + 1)})
	if n := syncs.Load() - before; n < 2 {
		t.Errorf("%d syncs for a message to hold and a long one", n)
	}
	// Another finds them, if it is left.
	dir := filepath.Join(s.dir, JournalDir)
	if old, err := journal.Abandoned(dir, nil); err != nil || len(old) > 0 {
		t.Errorf("in use, and found: %v %v", old, err)
	}
	for _, n := range journals(t, s) {
		if strings.HasSuffix(n, ".mark") {
			os.Remove(filepath.Join(dir, n)) // with its lock
		}
	}
	old, err := journal.Abandoned(dir, nil)
	if err != nil || len(old) != 1 {
		t.Fatal(old, err)
	}
	err = old[0].Each(func(p []byte, _ bool) error {
		h, _, reason := parseHead(p)
		f, err := os.ReadFile(s.Path(Incoming, h.id))
		if reason != "" || err != nil || !bytes.Equal(f, p) {
			t.Errorf("in the journal: %s %v", reason, err)
		}
		delete(want, h.id)
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%d messages are not in the journal: %v", len(want), err)
	}
	old[0].Close()
	s.Close()
	if l := journals(t, s); len(l) > 0 {
		t.Errorf("left after the end: %v", l)
	}
}

// TestReplay: what the file system has lost is made anew, what was removed is not,
// and what is there gets its content.
func TestReplay(t *testing.T) {
	s := newSpool(t, Options{Syncfs: "no"})
	var contents [][]byte
	var ids []string
	for _, body := range []string{"gone\r\n", "empty\r\n", "zero\r\n", "later\r\n", "damaged\r\n", "held\r\n", "other\r\n"} {
		id, c := taken(t, s, body)
		ids, contents = append(ids, id), append(contents, c)
	}
	journaltest.Lost(t, filepath.Join(s.dir, JournalDir), contents...)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Remove(s.Path(Incoming, ids[0])))
	check(os.Truncate(s.Path(Incoming, ids[1]), 0))
	check(os.WriteFile(s.Path(Incoming, ids[2]), make([]byte, len(contents[2])), 0o600))
	f, err := s.Load(Incoming, ids[3])
	check(err)
	check(f.Append([]envelope.Outcome{{Num: 1, Status: envelope.Sent, DSN: "2.0.0", Reason: "ok"}}))
	f.Close()
	check(s.Move(ids[3], Incoming, Active))
	due := time.Now().Add(time.Hour).Truncate(time.Second)
	check(s.Defer(ids[3], due))
	check(os.WriteFile(s.Path(Incoming, ids[4]), contents[4][:100], 0o600))
	check(s.Corrupt(Incoming, ids[4]))
	check(s.Move(ids[5], Incoming, Hold))
	// A message that is whole, and that its journal says something else of.
	other := bytes.Replace(contents[6], []byte("a@b.test"), []byte("x@y.test"), 1)
	refit(t, other)
	check(os.WriteFile(s.Path(Incoming, ids[6]), other, 0o600))

	got, err := replayed(t, s)
	if err != nil || !slices.Equal(got, ids[:1]) {
		t.Errorf("restored %v, %v", got, err)
	}
	for i, body := range []string{"gone\r\n", "empty\r\n", "zero\r\n", "", "damaged\r\n"} {
		if body != "" {
			isThere(t, s, ids[i], body)
		}
	}
	if b, err := os.ReadFile(s.Path(Incoming, ids[6])); err != nil || !bytes.Equal(b, other) {
		t.Errorf("a whole message was overwritten (%v)", err)
	}
	f, err = s.Load(Deferred, ids[3])
	check(err)
	if !f.ModTime().Equal(due) || !f.Done(1) || f.Done(0) {
		t.Errorf("the deferred one is due at %v (%v), done: %v %v", f.ModTime(), due, f.Done(0), f.Done(1))
	}
	f.Close()
	if q, err := s.Find(ids[5]); q != Hold {
		t.Errorf("the held one is in %q, %v", q, err)
	}
	if l := journals(t, s); len(l) > 0 {
		t.Errorf("left: %v", l)
	}
	// Now with the mark: what is not there has been removed.
	mark := journaltest.Lost(t, filepath.Join(s.dir, JournalDir), contents...)
	journaltest.Knows(t, mark, 2)
	for i := range ids[:4] {
		q, err := s.Find(ids[i])
		check(err)
		check(s.Remove(q, ids[i]))
	}
	got, err = replayed(t, s)
	if err != nil || !slices.Equal(got, ids[2:4]) {
		t.Errorf("restored %v, %v; want %v, which were lost after the mark", got, err, ids[2:4])
	}
}

// TestReplayFails: where a message cannot be written, all of its journal waits for
// the next time; and then each comes once, also if the last steps fail.
func TestReplayFails(t *testing.T) {
	real := durable.Real()
	for step := 0; ; step++ {
		n, failing := 0, true
		fails := func() error {
			if n++; failing && n > step {
				return unix.ENOSPC
			}
			return nil
		}
		ops := &durable.Ops{
			Pwrite: func(fd int, p []byte, off int64) (int, error) {
				if err := fails(); err != nil {
					return 0, err
				}
				return real.Pwrite(fd, p, off)
			},
			Fsync: func(int) error { return fails() },
			Rename: func(a, b string) error {
				if err := fails(); err != nil {
					return err
				}
				return real.Rename(a, b)
			},
			Unlink: func(name string) error {
				if err := fails(); err != nil {
					return err
				}
				return real.Unlink(name)
			},
		}
		s := newSpool(t, Options{Syncfs: "no"})
		var contents [][]byte
		var ids []string
		for _, body := range []string{"one\r\n", "two\r\n", "three\r\n"} {
			id, c := taken(t, s, body)
			ids, contents = append(ids, id), append(contents, c)
			os.Remove(s.Path(Incoming, id))
		}
		journaltest.Lost(t, filepath.Join(s.dir, JournalDir), contents...)
		s, err := Open(s.dir, Options{Syncfs: "no", Ops: ops})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got, err := replayed(t, s)
		if err == nil {
			if step < 8 {
				t.Errorf("only %d steps", step)
			}
			break
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("step %d: %v", step, err)
		}
		// Those that it had got to are delivered before it is tried again.
		for _, id := range got {
			if err := real.Unlink(s.Path(Incoming, id)); err != nil {
				t.Errorf("step %d: %v", step, err)
			}
		}
		failing = false
		again, err := replayed(t, s)
		if all := append(got, again...); err != nil || len(all) != 3 {
			t.Errorf("step %d: restored %v, %v, in two attempts; want %v", step, all, err, ids)
		}
		if l := journals(t, s); len(l) > 0 {
			t.Errorf("step %d: left %v", step, l)
		}
	}
}

// TestJournalFails: when a journal cannot be written, its messages are synced
// without, and it is told once.
func TestJournalFails(t *testing.T) {
	var syncs atomic.Int32
	var dead atomic.Bool
	real := durable.Real()
	ops := journalOps(&syncs)
	ops.Pwrite = func(fd int, p []byte, off int64) (int, error) {
		if dead.Load() {
			return 0, unix.EIO
		}
		return real.Pwrite(fd, p, off)
	}
	told := make(chan error, 10)
	s := journalSpool(t, "yes", ops, func(err error) { told <- err })
	begin(t, s)
	dead.Store(true)
	before := syncs.Load()
	id := write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}, content: []byte("x\r\n")})
	if syncs.Load() == before {
		t.Error("a message was taken that is neither in the journal nor synced")
	}
	isThere(t, s, id, "x\r\n")
	if err := <-told; !errors.Is(err, unix.EIO) {
		t.Errorf("told: %v", err)
	}
	for range 50 {
		write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}})
	}
	if len(told) > 0 || s.jrnl.making {
		t.Error("it is tried again at once")
	}
}

// TestEndWhileMade: a journal that is being made at the end is gone after it.
func TestEndWhileMade(t *testing.T) {
	real := durable.Real()
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ops := journalOps(new(atomic.Int32))
	ops.Pwrite = func(fd int, p []byte, off int64) (int, error) {
		once.Do(func() { close(begun); <-goOn })
		return real.Pwrite(fd, p, off)
	}
	s := journalSpool(t, "yes", ops, func(err error) { t.Error(err) })
	write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}})
	<-begun
	time.AfterFunc(20*time.Millisecond, func() { close(goOn) })
	s.Close()
	if l := journals(t, s); len(l) > 0 {
		t.Errorf("left after the end: %v", l)
	}
}

// TestUseJournal: a journal is made while many messages come, and where it is sound.
func TestUseJournal(t *testing.T) {
	var syncs atomic.Int32
	s := newSpool(t, Options{Syncfs: "yes", Ops: journalOps(&syncs)})
	if err := s.UseJournal("no", nil); err != nil || s.jrnl.wanted.Load() {
		t.Errorf("no: %v", err)
	}
	if err := s.UseJournal("perhaps", nil); err == nil {
		t.Error("perhaps: no error")
	}
	err := s.UseJournal("yes", nil)
	fs := s.commit.FileSystem()
	if suits := fs.Ordered(); suits != (err == nil) || suits != s.jrnl.wanted.Load() {
		t.Errorf("yes on %+v: %v", fs, err)
	}
	if err := s.UseJournal("auto", nil); err != nil {
		t.Errorf("auto: %v", err)
	}
	s.jrnl.wanted.Store(true)
	for range journalRate - 1 {
		s.wantJournal()
		if s.jrnl.making {
			t.Error("a journal for a few messages")
		}
	}
	s.jrnl.since = time.Now().Add(-2 * time.Second) // and for none in a short time
	s.wantJournal()
	if s.jrnl.making {
		t.Error("a journal for messages that come slowly")
	}
	begin(t, s)
}

// TestCheckpoints: without syncfs each message that is still there is synced before
// its place in the journal is used again, and one that has left is not.
func TestCheckpoints(t *testing.T) {
	var mu sync.Mutex
	synced := map[uint64]bool{} // inodes
	ops := &durable.Ops{Fsync: func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		mu.Lock()
		synced[st.Ino] = true
		mu.Unlock()
		return nil
	}}
	s := journalSpool(t, "no", ops, func(err error) { t.Error(err) })
	begin(t, s)
	var stay, leave []uint64
	for i := range 100 {
		id := write(t, s, Incoming, spec{rcpts: []string{"a@b.test"}})
		var st unix.Stat_t
		if err := unix.Stat(s.Path(Incoming, id), &st); err != nil {
			t.Fatal(err)
		}
		var err error
		if i%3 == 0 {
			stay = append(stay, st.Ino)
			err = s.Move(id, Incoming, Active)
		} else {
			// Its inode must not be another's before the end of the test.
			leave = append(leave, st.Ino)
			var fd int
			if fd, err = unix.Open(s.Path(Incoming, id), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				defer unix.Close(fd)
				err = s.Remove(Incoming, id)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	before := openFiles(t)
	s.Close()
	for _, ino := range stay {
		if !synced[ino] {
			t.Error("a message that is still there was not synced")
		}
	}
	missed := 0
	for _, ino := range leave {
		if synced[ino] {
			missed++
		}
	}
	if missed > len(leave)/2 {
		t.Errorf("%d of %d messages that had left were synced", missed, len(leave))
	}
	if n := openFiles(t); n > before-2 {
		t.Errorf("%d files are open after the end, %d before", n, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}
