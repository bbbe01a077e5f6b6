package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

// fixture is a journal and what it tells.
type fixture struct {
	t   *testing.T
	dir string
	j   *Journal
	ops *durable.Ops

	checkpoints atomic.Int32
	checkpoint  atomic.Pointer[func() error]
	failed      chan error
}

func create(t *testing.T, idle time.Duration) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), ops: &durable.Ops{}, failed: make(chan error, 10)}
	f.open(idle)
	return f
}

func (f *fixture) open(idle time.Duration) {
	f.t.Helper()
	var err error
	f.j, err = Create(f.dir, Options{Interval: time.Millisecond, Idle: idle, Ops: f.ops, Failed: func(err error) { f.failed <- err },
		Checkpoint: func([]int) error {
			f.checkpoints.Add(1)
			if c := f.checkpoint.Load(); c != nil {
				return (*c)()
			}
			return nil
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(f.j.Close)
}

func (f *fixture) add(content string) {
	f.t.Helper()
	if err := f.j.Add([]byte(content), -1); err != nil {
		f.t.Fatal(err)
	}
}

// copied is what a power failure would leave now.
func (f *fixture) copied() string {
	f.t.Helper()
	to := f.t.TempDir()
	for _, path := range []string{f.j.data, f.j.mark} {
		st, err := os.Stat(path)
		if err != nil {
			f.t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			f.t.Fatal(err)
		}
		name := filepath.Join(to, filepath.Base(path))
		if err := os.WriteFile(name, b, 0600); err != nil {
			f.t.Fatal(err)
		}
		if err := os.Chtimes(name, st.ModTime(), st.ModTime()); err != nil {
			f.t.Fatal(err)
		}
	}
	return to
}

// found returns the contents in the journals that are in dir, and whether the
// creation of their files is known.
func found(t *testing.T, dir string) map[string]bool {
	t.Helper()
	old, err := Abandoned(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, o := range old {
		err := o.Each(func(p []byte, created bool) error {
			if _, twice := all[string(p)]; twice {
				t.Errorf("%.20q is there twice", p)
			}
			all[string(p)] = created
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		o.Close()
	}
	return all
}

func names(t *testing.T, dir string) (l []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		l = append(l, e.Name())
	}
	return l
}

// TestAdd: what Add has taken is in the journal, whole, and nothing else is.
func TestAdd(t *testing.T) {
	f := create(t, time.Hour)
	if got := found(t, f.copied()); len(got) != 0 {
		t.Errorf("a new journal has %d contents", len(got))
	}
	want := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for k := range 5 {
				c := fmt.Sprintf("%d/%d ", i, k) + strings.Repeat("x", (i*k*331)%20000)
				f.add(c)
				mu.Lock()
				want[c] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	f.add("")
	want[""] = true
	largest := strings.Repeat("y", MaxContent)
	f.add(largest)
	want[largest] = true
	if got := found(t, f.copied()); !maps.Equal(got, want) {
		t.Errorf("%d contents, want %d", len(got), len(want))
	}
	if err := f.j.Add(make([]byte, MaxContent+1), -1); err != ErrTooLong {
		t.Errorf("too long: %v", err)
	}
}

// TestMark: the mark tells the files that the file system knows of from those that
// it has lost. A mark that tells nothing makes them all lost.
func TestMark(t *testing.T) {
	f := create(t, time.Hour)
	for i := range 5 {
		f.add(fmt.Sprint(i))
	}
	dir := f.copied()
	mark := filepath.Join(dir, filepath.Base(f.j.mark))
	for seq := range uint32(6) {
		at := marked(f.j.epoch, seq)
		if err := os.Chtimes(mark, time.Time{}, time.Unix(at.Unix())); err != nil {
			t.Fatal(err)
		}
		for c, created := range found(t, dir) {
			if created != (c < fmt.Sprint(seq)) {
				t.Errorf("mark %d: %s: %v", seq, c, created)
			}
		}
	}
	for what, spoil := range map[string]func() error{
		"another time":   func() error { return os.Chtimes(mark, time.Time{}, time.Unix(1e9, 0)) },
		"an early time":  func() error { return os.Chtimes(mark, time.Time{}, time.Unix(-5, 0)) },
		"no mark at all": func() error { return os.Remove(mark) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		got := found(t, dir)
		if len(got) != 5 {
			t.Errorf("%s: %d contents", what, len(got))
		}
		for c, created := range got {
			if created {
				t.Errorf("%s: %s is taken for created", what, c)
			}
		}
		os.WriteFile(mark, nil, 0600)
	}
}

// TestTorn: a batch that is not whole is none, and does not hide the others.
func TestTorn(t *testing.T) {
	f := create(t, time.Hour)
	for i := range 3 {
		f.add(fmt.Sprint(i) + strings.Repeat("z", 3*block))
	}
	dir := f.copied()
	data := filepath.Join(dir, filepath.Base(f.j.data))
	whole, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	for b := 1; b <= 12; b++ {
		torn := bytes.Clone(whole)
		clear(torn[b*block : b*block+block])
		if err := os.WriteFile(data, torn, 0600); err != nil {
			t.Fatal(err)
		}
		got := found(t, dir)
		if len(got) != 2 {
			t.Errorf("without block %d: %d contents", b, len(got))
		}
		for c := range got {
			if c[0] == byte('0'+(b-1)/4) {
				t.Errorf("without block %d: %c is still there", b, c[0])
			}
		}
	}
	// Nor is what another journal left in the blocks.
	alien := bytes.Clone(whole)
	putHead(alien[5*block:5*block+headSize+4+1+3*block], [16]byte{1}, 2)
	os.WriteFile(data, alien, 0600)
	if got := found(t, dir); len(got) != 2 {
		t.Errorf("with another epoch: %d contents", len(got))
	}
	os.WriteFile(data, append(make([]byte, block), whole[block:]...), 0600)
	if got := found(t, dir); len(got) != 0 {
		t.Errorf("without the first block: %d contents", len(got))
	}
	os.WriteFile(data, whole[:7*block+100], 0600)
	if got := found(t, dir); len(got) != 1 {
		t.Errorf("cut short: %d contents", len(got))
	}
}

// TestRound: what no checkpoint has covered is not overwritten.
func TestRound(t *testing.T) {
	f := create(t, time.Hour)
	gate, begun := make(chan struct{}), make(chan struct{}, 1)
	stuck := func() error {
		signal(begun)
		<-gate
		return nil
	}
	f.checkpoint.Store(&stuck)
	big := strings.Repeat("q", 100<<10)
	f.add("0" + big)
	<-begun // a checkpoint that covers the first alone
	want := map[string]bool{}
	n := 0
	for {
		n++
		c := fmt.Sprint(n) + big
		err := f.j.Add([]byte(c), -1)
		if err == ErrFull {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want[c] = true
	}
	if n < 60 {
		t.Errorf("full after %d contents", n)
	}
	want["0"+big] = true
	if got := found(t, f.copied()); !maps.Equal(got, want) {
		t.Errorf("full: %d contents, want %d", len(got), len(want))
	}
	delete(want, "0"+big)
	gate <- struct{}{}
	<-begun // the next one has not ended: there is room for one more, or little more
	for {
		n++
		c := fmt.Sprint(n) + big
		if err := f.j.Add([]byte(c), -1); err == ErrFull {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		want[c] = true
	}
	got := found(t, f.copied())
	delete(got, "0"+big)
	if !maps.Equal(got, want) {
		t.Errorf("full again: %d contents, want %d", len(got), len(want))
	}
	close(gate)
	// Several times round, while checkpoints come as they like.
	for i := range 300 {
		c := fmt.Sprint("r", i) + big
		for f.j.Add([]byte(c), -1) == ErrFull {
			time.Sleep(time.Millisecond)
		}
	}
	if _, ok := found(t, f.copied())["r299"+big]; !ok {
		t.Error("the last one is not there")
	}
}

// TestFailures: after a failure nothing more is taken, it is told once, and what is
// in the journal stays for others.
func TestFailures(t *testing.T) {
	real := durable.Real()
	for what, broken := range map[string]func(f *fixture, fails *atomic.Bool){
		"write": func(f *fixture, fails *atomic.Bool) {
			f.ops.Pwrite = func(fd int, p []byte, off int64) (int, error) {
				if fails.Load() {
					return 0, unix.EIO
				}
				return real.Pwrite(fd, p, off)
			}
		},
		"checkpoint": func(f *fixture, fails *atomic.Bool) {
			c := func() error {
				if fails.Load() {
					return unix.EIO
				}
				return nil
			}
			f.checkpoint.Store(&c)
		},
		"mark": func(f *fixture, fails *atomic.Bool) {},
	} {
		t.Run(what, func(t *testing.T) {
			var fails atomic.Bool
			f := &fixture{t: t, dir: t.TempDir(), ops: &durable.Ops{}, failed: make(chan error, 10)}
			broken(f, &fails)
			f.open(time.Hour)
			f.add("before")
			fails.Store(true)
			if what == "mark" {
				os.Remove(f.j.mark)
			}
			err := f.j.Add([]byte("then"), -1)
			if err == nil && what != "checkpoint" {
				t.Error("the next one was taken")
			}
			told := <-f.failed
			if !errors.Is(told, unix.EIO) && !errors.Is(told, unix.ENOENT) {
				t.Errorf("told: %v", told)
			}
			if err := f.j.Add([]byte("after"), -1); err == nil {
				t.Error("it is still used")
			}
			f.j.Close()
			got := found(t, f.dir)
			if _, ok := got["before"]; !ok || len(got) > 2 {
				t.Errorf("what is left: %v", got)
			}
			select {
			case err := <-f.failed:
				t.Errorf("told again: %v", err)
			default:
			}
		})
	}
}

// TestCreateFails: a journal that cannot be made leaves nothing.
func TestCreateFails(t *testing.T) {
	for step := range 6 {
		dir := t.TempDir()
		o, real := &durable.Ops{}, durable.Real()
		n := 0
		count := func() bool { n++; return n > step }
		o.Open = func(name string, flag int, perm uint32) (int, error) {
			if count() {
				return -1, unix.EMFILE
			}
			return real.Open(name, flag, perm)
		}
		wrote := false
		o.Pwrite = func(fd int, p []byte, off int64) (int, error) {
			if !wrote && count() {
				return 0, unix.ENOSPC
			}
			wrote = true
			return real.Pwrite(fd, p, off)
		}
		o.Fsync = func(int) error {
			if count() {
				return unix.EIO
			}
			return nil
		}
		j, err := Create(dir, Options{Checkpoint: func([]int) error { return nil }, Interval: time.Second, Idle: time.Hour, Ops: o})
		if (err != nil) != (step < 6) {
			t.Errorf("step %d: %v", step, err)
		}
		if j != nil {
			j.Close()
		}
		if l := names(t, dir); len(l) > 0 {
			t.Errorf("step %d: left: %v", step, l)
		}
	}
}

// TestKeep: a checkpoint gets the files since the last one, and each is closed then.
func TestKeep(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint64]int{}
	gate := make(chan struct{})
	j, err := Create(t.TempDir(), Options{Interval: time.Millisecond, Idle: time.Hour, Keep: true, Checkpoint: func(files []int) error {
		<-gate
		mu.Lock()
		defer mu.Unlock()
		for _, fd := range files {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Error(err)
			}
			seen[st.Ino]++
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	open := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	start := open()
	dir := t.TempDir()
	var files []*os.File
	for i := range 20 {
		f, err := os.Create(fmt.Sprint(dir, "/", i))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		if err := j.Add([]byte("x"), int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; ; i++ {
		err := j.Add([]byte("x"), int(files[0].Fd()))
		if err == ErrFull {
			break
		}
		if err != nil || i > 3000 {
			t.Fatalf("after %d: %v", i, err)
		}
	}
	close(gate)
	j.Close()
	for _, f := range files[1:] {
		var st unix.Stat_t
		unix.Fstat(int(f.Fd()), &st)
		if seen[st.Ino] != 1 {
			t.Errorf("%s was in %d checkpoints", f.Name(), seen[st.Ino])
		}
	}
	for _, f := range files {
		f.Close()
	}
	if n := open(); n > start {
		t.Errorf("%d files are open, %d before", n, start)
	}
}

// TestEnds: a journal that is closed, or not used any more, is gone after a checkpoint.
func TestEnds(t *testing.T) {
	f := create(t, time.Hour)
	f.add("x")
	if l := names(t, f.dir); len(l) != 2 {
		t.Errorf("files: %v", l)
	}
	n := f.checkpoints.Load()
	f.j.Close()
	if f.checkpoints.Load() == n {
		t.Error("no checkpoint before the end")
	}
	f.j.Close()
	if l := names(t, f.dir); len(l) > 0 {
		t.Errorf("left after Close: %v", l)
	}
	if err := f.j.Add([]byte("x"), -1); err != ErrClosed {
		t.Errorf("Add after Close: %v", err)
	}
	f = create(t, time.Millisecond)
	<-f.j.gone
	if l := names(t, f.dir); len(l) > 0 {
		t.Errorf("left after a while without use: %v", l)
	}
	if err := f.j.Add([]byte("x"), -1); err != ErrClosed {
		t.Errorf("Add then: %v", err)
	}
	if len(f.failed) > 0 {
		t.Errorf("told: %v", <-f.failed)
	}
}

// TestAbandoned: a journal belongs to its process, and to one who takes it over.
func TestAbandoned(t *testing.T) {
	f := create(t, time.Hour)
	f.add("mine")
	if old, err := Abandoned(f.dir, nil); err != nil || len(old) > 0 {
		t.Errorf("in use, and found: %v, %v", old, err)
	}
	fails := func() error { return unix.EIO }
	f.checkpoint.Store(&fails)
	f.j.Close()
	os.WriteFile(filepath.Join(f.dir, "0123456789abcdef.message"), nil, 0600)
	os.WriteFile(filepath.Join(f.dir, "readme"), nil, 0600)
	old, err := Abandoned(f.dir, nil)
	if err != nil || len(old) != 1 {
		t.Fatalf("left: %v, %v", old, err)
	}
	if l, err := Abandoned(f.dir, nil); err != nil || len(l) > 0 {
		t.Errorf("taken over, and found once more: %v, %v", l, err)
	}
	stop := errors.New("stop")
	if err := old[0].Each(func([]byte, bool) error { return stop }); err != stop {
		t.Errorf("Each: %v", err)
	}
	if err := old[0].Remove(); err != nil {
		t.Error(err)
	}
	if l := names(t, f.dir); len(l) != 2 {
		t.Errorf("left: %v", l)
	}
	if _, err := Abandoned(filepath.Join(f.dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	var epoch [16]byte
	batch := func(content []byte) []byte {
		b := append(make([]byte, headSize), content...)
		putHead(b, epoch, 1)
		return b
	}
	f.Add(batch(nil), batch([]byte("\x00\x00\x00\x02ab")))
	f.Add(batch(nil), batch([]byte("\x00\x00\x00\x09ab")))
	f.Add([]byte(magic), []byte{})
	dir := f.TempDir()
	path := filepath.Join(dir, "0000000000000000")
	f.Fuzz(func(t *testing.T, first, second []byte) {
		data := append(first[:len(first):len(first)], make([]byte, max(0, block-len(first)))...)
		if err := os.WriteFile(path, append(data, second...), 0600); err != nil {
			t.Fatal(err)
		}
		old, err := Abandoned(dir, nil)
		if err != nil || len(old) != 1 {
			t.Fatalf("%v, %v", old, err)
		}
		defer old[0].Close()
		n := 0
		old[0].Each(func(p []byte, created bool) error { n += len(p) + 4; return nil })
		if n > len(data)+len(second) {
			t.Errorf("%d bytes of %d", n, len(data)+len(second))
		}
	})
}
