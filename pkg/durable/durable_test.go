package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk counts syncs; a syncfs waits for release if that is set.
type disk struct {
	fsyncs, syncfss atomic.Int32
	hold            chan struct{} // fsync waits for it to close
	err             error
}

func (d *disk) ops() *Ops {
	return &Ops{
		Fsync: func(int) error {
			d.fsyncs.Add(1)
			if d.hold != nil {
				<-d.hold
			}
			return nil
		},
		Syncfs: func(int) error { d.syncfss.Add(1); return d.err },
	}
}

func open(t *testing.T, mode string, ops *Ops) *Committer {
	t.Helper()
	c, err := New(t.TempDir(), Options{Syncfs: mode, Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAlone(t *testing.T) {
	d := &disk{}
	c := open(t, "yes", d.ops())
	for range 5 {
		if err := c.CommitFD(1, -1, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if d.fsyncs.Load() != 5 || d.syncfss.Load() != 0 {
		t.Errorf("one caller at a time: %d fsync, %d syncfs", d.fsyncs.Load(), d.syncfss.Load())
	}
	c.syncDir = true
	c.CommitFD(1, 2, "x")
	if d.fsyncs.Load() != 7 {
		t.Errorf("the directory was not synced")
	}
	f, _ := os.CreateTemp(t.TempDir(), "")
	defer f.Close()
	if err := c.Commit(f, nil); err != nil || d.fsyncs.Load() != 8 {
		t.Errorf("Commit: %v, %d fsync", err, d.fsyncs.Load())
	}
}

// TestPace: who comes soon after another waits until the crowd is there, or until
// no more come.
func TestPace(t *testing.T) {
	d := &disk{}
	c, err := New(t.TempDir(), Options{Syncfs: "yes", Ops: d.ops(), Pace: Pace{Interval: time.Hour, Quiet: time.Hour, Crowd: 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.CommitFD(1, -1, "x")
	if d.fsyncs.Load() != 1 {
		t.Error("the first one waited for others")
	}
	for round := range 3 {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { c.CommitFD(1, -1, "x") })
		}
		wg.Wait()
		if n := d.syncfss.Load(); n != int32(round+1) || d.fsyncs.Load() != 1 {
			t.Errorf("round %d: %d syncfs, %d fsync", round, n, d.fsyncs.Load())
		}
	}
	c.pace.Quiet = time.Millisecond
	c.CommitFD(1, -1, "x")
	if n := d.syncfss.Load(); n != 4 {
		t.Errorf("after a quiet while: %d syncfs", n)
	}
	c.pace = Pace{Interval: time.Millisecond, Quiet: time.Hour, Crowd: 10}
	c.CommitFD(1, -1, "x") // soon after or not, it comes back
}

// crowd starts callers until FsyncWaiters of them are inside fsync, then n more,
// and returns the errors of those.
func crowd(t *testing.T, c *Committer, d *disk, n int) []error {
	t.Helper()
	d.hold = make(chan struct{})
	var few, many sync.WaitGroup
	for range FsyncWaiters {
		few.Go(func() {
			if err := c.CommitFD(1, -1, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	for c.inFlight.Load() < FsyncWaiters {
		// They only have to get scheduled.
		runtime.Gosched()
	}
	errs := make([]error, n)
	for i := range n {
		many.Go(func() { errs[i] = c.CommitFD(1, -1, "x") })
	}
	many.Wait()
	close(d.hold)
	few.Wait()
	return errs
}

func TestShared(t *testing.T) {
	d := &disk{}
	c := open(t, "yes", d.ops())
	for _, err := range crowd(t, c, d, 100) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := d.fsyncs.Load(); n != FsyncWaiters {
		t.Errorf("%d fsync", n)
	}
	if n := d.syncfss.Load(); n < 1 || n > 100 {
		t.Errorf("%d syncfs for 100 waiters", n)
	}
	if a, s := c.Stats(); a != FsyncWaiters || s != int64(d.syncfss.Load()) {
		t.Errorf("Stats: %d, %d", a, s)
	}
}

func TestSharedError(t *testing.T) {
	d := &disk{err: unix.EIO}
	c := open(t, "yes", d.ops())
	failed := 0
	for _, err := range crowd(t, c, d, 1) {
		if !errors.Is(err, ErrIO) || !errors.Is(err, unix.EIO) {
			t.Errorf("waiter got %v", err)
		}
		failed++
	}
	if failed != 1 {
		t.Errorf("%d waiters failed", failed)
	}
	// From now on everybody asks for his own file.
	before := d.syncfss.Load()
	d.hold = nil
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { c.CommitFD(1, -1, "x") })
	}
	wg.Wait()
	if d.syncfss.Load() != before {
		t.Error("syncfs is still used after it failed")
	}
}

// TestBatchError: every member of a batch gets its error.
func TestBatchError(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	c := open(t, "yes", &Ops{Syncfs: func(int) error {
		if n.Add(1) == 1 {
			close(started)
			<-release
			return nil
		}
		return unix.ENOSPC
	}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.shared(1); err != nil {
			t.Errorf("first batch: %v", err)
		}
	})
	<-started
	var in atomic.Int32
	for range 10 {
		wg.Go(func() {
			in.Add(1)
			if err := c.shared(1); !errors.Is(err, ErrNoSpace) {
				t.Errorf("member of the second batch: %v", err)
			}
		})
	}
	for in.Load() < 10 {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
}

// TestDeadJournal: a sync that found nothing to do, on a file system that has
// given up, has failed.
func TestDeadJournal(t *testing.T) {
	d := &disk{}
	ops := d.ops()
	ops.Alive = func(int) error { return unix.EROFS }
	c := open(t, "yes", ops)
	for fs, dead := range map[string]bool{"ext4": true, "xfs": true, "nfs4": false} {
		c.fs.Type = fs
		if err := c.CommitFD(1, -1, "x"); errors.Is(err, ErrIO) != dead {
			t.Errorf("alone on %s: %v", fs, err)
		}
	}
	c.fs.Type = "ext4"
	if err := c.shared(1); !errors.Is(err, ErrIO) {
		t.Errorf("for many: %v", err)
	}
	if c.group.Load() {
		t.Error("syncfs is still used")
	}
	// Here it is alive, whatever it is.
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Real().Alive(int(f.Fd())); err != nil {
		t.Errorf("this disk is dead: %v", err)
	}
}

// TestLostInAnothersSync: pages that a failing syncfs could not write belong to a
// file whose owner waits for the next one, which would say nothing of them.
func TestLostInAnothersSync(t *testing.T) {
	const lost = 7 // descriptor
	started, release := make(chan struct{}), make(chan struct{})
	var syncfss, fsyncs atomic.Int32
	c := open(t, "yes", &Ops{
		Syncfs: func(int) error {
			if syncfss.Add(1) > 1 {
				return nil
			}
			close(started)
			<-release
			return unix.EIO
		},
		Fsync: func(fd int) error {
			fsyncs.Add(1)
			if fd == lost {
				return unix.EIO
			}
			return nil
		},
	})
	c.inFlight.Add(1) // nobody is alone
	var wg sync.WaitGroup
	commit := func(fd int, bad bool) {
		wg.Go(func() {
			if err := c.CommitFD(fd, -1, "x"); (err != nil) != bad || bad && !errors.Is(err, ErrIO) {
				t.Errorf("file %d: %v", fd, err)
			}
		})
	}
	commit(1, true)
	<-started
	for fd := 2; fd < 12; fd++ {
		commit(fd, fd == lost)
	}
	for members := 0; members < 10; runtime.Gosched() {
		c.mu.Lock()
		if c.next != nil {
			members = len(c.next.fds)
		}
		c.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if s, f := syncfss.Load(), fsyncs.Load(); s != 1 || f != 10 {
		t.Errorf("%d syncfs and %d fsync, want 1 and 10", s, f)
	}
}

func TestModes(t *testing.T) {
	d := &disk{}
	c := open(t, "no", d.ops())
	crowd := func() {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { c.CommitFD(1, -1, "x") })
		}
		wg.Wait()
	}
	crowd()
	if d.syncfss.Load() != 0 {
		t.Error("syncfs is used although forbidden")
	}
	if _, err := New(t.TempDir(), Options{Syncfs: "maybe"}); err == nil {
		t.Error("mode \"maybe\": no error")
	}
	if _, err := New(filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

// ordered is a Committer as on ext4 with a journal, whose file operations are noted
// as "begin 3", "out 3", "touch 3", "fsync 3"; fails has those that fail.
func ordered(t *testing.T, fails map[string]error) (c *Committer, done func() []string) {
	t.Helper()
	var mu sync.Mutex
	var l []string
	note := func(op string) func(int) error {
		return func(fd int) error {
			mu.Lock()
			defer mu.Unlock()
			s := fmt.Sprint(op, " ", fd)
			l = append(l, s)
			return fails[s]
		}
	}
	begin, out := note("begin"), note("out")
	c = open(t, "no", &Ops{Fsync: note("fsync"), Touch: note("touch"), Alive: note("alive"),
		WriteOut: func(fd int, wait bool) error {
			if wait {
				return out(fd)
			}
			return begin(fd)
		}})
	c.fs = FileSystem{Type: "ext4", EntryWithFile: true}
	c.together = c.writeOut
	c.group.Store(true)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return l
	}
}

// TestWriteOut: the files of a batch are written out, all of them before one is
// touched and synced; and each caller learns what is true of his file.
func TestWriteOut(t *testing.T) {
	eio := fmt.Errorf("x: %w", unix.EIO)
	for what, tc := range map[string]struct {
		fails map[string]error
		ops   string
		bad   []bool // files 3, 4, 5
	}{
		"all is well": {nil, "begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 5, fsync 5, alive 5", []bool{false, false, false}},
		"one file is lost": {map[string]error{"out 4": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 5, fsync 5, alive 5", []bool{false, true, false}},
		"the last file is lost": {map[string]error{"out 5": eio, "begin 3": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 4, fsync 4, alive 4", []bool{false, false, true}},
		"all are lost": {map[string]error{"out 3": eio, "out 4": eio, "out 5": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5", []bool{true, true, true}},
		"no commit": {map[string]error{"fsync 5": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 5, fsync 5", []bool{true, true, true}},
		"the file system is dead": {map[string]error{"alive 5": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 5, fsync 5, alive 5", []bool{true, true, true}},
		"another's file": {map[string]error{"touch 5": unix.EPERM, "fsync 4": eio},
			"begin 3, begin 4, begin 5, out 3, out 4, out 5, touch 5, fsync 3, alive 3, fsync 4, fsync 5, alive 5", []bool{false, true, false}},
	} {
		c, ops := ordered(t, tc.fails)
		b := &batch{fds: []int{3, 4, 5}}
		c.writeOut(b)
		if got := strings.Join(ops(), ", "); got != tc.ops {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, tc.ops)
		}
		for i, bad := range tc.bad {
			if err := b.result(i); (err != nil) != bad {
				t.Errorf("%s: file %d: %v", what, b.fds[i], err)
			}
		}
	}
}

// TestSharedWriteOut: each of many callers gets the result of his own file.
func TestSharedWriteOut(t *testing.T) {
	fails := map[string]error{}
	for fd := range 100 {
		if fd%7 == 0 {
			fails[fmt.Sprint("out ", fd)] = unix.EIO
		}
	}
	c, ops := ordered(t, fails)
	c.inFlight.Add(1) // nobody is alone
	var wg sync.WaitGroup
	for fd := range 100 {
		wg.Go(func() {
			if err := c.CommitFD(fd, -1, "x"); (err != nil) != (fd%7 == 0) {
				t.Errorf("file %d: %v", fd, err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, o := range ops() {
		if strings.HasPrefix(o, "out ") {
			n++
		}
	}
	if n != 100 {
		t.Errorf("%d files were written out", n)
	}
}

// TestRealWriteOut: the real operations work on a file.
func TestRealWriteOut(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "x"), os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("x")
	ops := Real()
	for _, wait := range []bool{false, true} {
		if err := ops.WriteOut(int(f.Fd()), wait); err != nil {
			t.Error(err)
		}
	}
	before, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := ops.Touch(int(f.Fd())); err != nil {
		t.Error(err)
	}
	if after, err := f.Stat(); err != nil || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("before %v %v, after %v %v, %v", before.Mode(), before.ModTime(), after.Mode(), after.ModTime(), err)
	}
}

// TestSyncAll: it is told of errors, and not used after one.
func TestSyncAll(t *testing.T) {
	var err error
	c := open(t, "yes", &Ops{Syncfs: func(int) error { return err }})
	f, e := os.CreateTemp(t.TempDir(), "")
	if e != nil {
		t.Fatal(e)
	}
	defer f.Close()
	if e := c.SyncAll(int(f.Fd())); e != nil || !c.Whole() {
		t.Errorf("SyncAll: %v", e)
	}
	err = unix.EIO
	if e := c.SyncAll(int(f.Fd())); !errors.Is(e, ErrIO) || c.Whole() {
		t.Errorf("SyncAll of a dead disk: %v", e)
	}
}

const mounts = `22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 7:0 / /var/spool/post\040haste rw,noatime shared:1 - ext4 /dev/loop0 rw
41 27 7:1 / /xfs rw - xfs /dev/loop1 rw
42 27 7:0 /sub /bind rw - ext4 /dev/loop0 rw
43 27 0:50 / /net rw - nfs4 srv:/x rw
`

func TestJudge(t *testing.T) {
	journal := func(name string) ([]byte, error) {
		switch {
		case strings.Contains(name, "loop0"):
			return []byte("rw\ndata=ordered\n"), nil
		case strings.Contains(name, "/options"):
			return []byte("rw\nbsddf\n"), nil
		}
		return nil, os.ErrNotExist
	}
	for _, tc := range []struct {
		dev, path       string
		fs              string
		own, entry, bad bool
	}{
		{"254:0", "/var/spool/x", "ext4", false, false, true},
		{"7:0", "/var/spool/post haste", "ext4", true, true, false},
		{"7:0", "/var/spool/post haste/sub", "ext4", true, true, false},
		{"7:0", "/bind", "ext4", false, true, false},
		{"7:1", "/xfs", "xfs", true, true, false},
		{"0:50", "/net/x", "nfs4", false, false, true},
	} {
		m, ok := parseMountinfo(strings.NewReader(mounts), tc.dev, tc.path)
		if !ok {
			t.Errorf("%s: not found", tc.path)
			continue
		}
		m.common = tc.dev == "254:0"
		f := judge(&m, tc.path, journal)
		if f.Type != tc.fs || f.Own != tc.own || f.EntryWithFile != tc.entry || (f.Warning != "") != tc.bad {
			t.Errorf("%s: %+v", tc.path, f)
		}
	}
	m := mount{fs: "ext4", source: "/dev/loop0", point: "/q", root: "/", options: []string{"rw", "nobarrier"}}
	if f := judge(&m, "/q", journal); f.Warning == "" || !f.Own {
		t.Errorf("nobarrier: %+v", f)
	}
	m.common = true
	if f := judge(&m, "/q", journal); f.Own {
		t.Error("a shared file system is taken for the mail system's own")
	}
}

func TestInspectHere(t *testing.T) {
	if f := Inspect(t.TempDir()); f.Type == "" {
		t.Errorf("Inspect found nothing: %+v", f)
	}
	if f := Inspect("/nonexistent"); f.EntryWithFile || f.Own {
		t.Errorf("Inspect of nothing: %+v", f)
	}
}

func TestErrors(t *testing.T) {
	err := Wrap("write", "x", unix.EDQUOT)
	if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrIO) || err.Error() != "write x: disk quota exceeded" {
		t.Errorf("%v", err)
	}
	if Wrap("write", "x", nil) != nil {
		t.Error("Wrap(nil)")
	}
}

func TestLocal(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		if !(FileSystem{Type: kind}).Local() {
			t.Errorf("%s is not taken for local", kind)
		}
	}
	for _, kind := range []string{"nfs4", "cifs", "fuse.glusterfs", "ceph", ""} {
		if (FileSystem{Type: kind}).Local() {
			t.Errorf("%q is taken for local", kind)
		}
	}
}
