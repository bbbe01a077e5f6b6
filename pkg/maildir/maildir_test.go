package maildir

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/dsncode"
	"posthaste/pkg/durable"
)

func message(dir, content string, num uint32) *Message {
	at := time.Now()
	return &Message{Dir: dir, Name: UniqueName(at, "4abcDEFghijz1", num, "mx.test"), Header: []byte("Delivered-To: x\n"),
		Content: io.NewSectionReader(strings.NewReader(content), 0, int64(len(content))), Arrival: at}
}

func TestUniqueName(t *testing.T) {
	at := time.Unix(1700000000, 5)
	if got := UniqueName(at, "4abcz1", 7, "a/b:c,d"); got != `1700000000.Q4abcz1R7.a\057b\072c\054d` {
		t.Error(got)
	}
	if UniqueName(at, "4abcz1", 1, "h") == UniqueName(at, "4abcz1", 11, "h") {
		t.Error("recipients share a name")
	}
}

func TestDeliver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "Maildir")
	var s Store
	m := message(dir, "Subject: x\r\n\r\nbody\r\n", 0)
	r, err := s.Deliver(m)
	if err != nil || r.Repeated {
		t.Fatal(r, err)
	}
	want := "Delivered-To: x\nSubject: x\n\nbody\n"
	if b, _ := os.ReadFile(r.Path); string(b) != want || r.Size != int64(len(want)) || !strings.HasSuffix(r.Path, fmt.Sprintf(",S=%d,W=%d", len(want), len(want)+4)) {
		t.Errorf("%s: %q", r.Path, b)
	}
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if st, err := os.Stat(filepath.Join(dir, sub)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", sub, st.Mode(), err)
		}
	}
	if r2, err := s.Deliver(m); err != nil || !r2.Repeated || r2.Path != r.Path {
		t.Errorf("again: %+v, %v", r2, err)
	}
}

// TestBare: a Maildir of which is known that it has no quota gets one, and loses it.
func TestBare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := Make(dir); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
	var s Store
	num := uint32(0)
	deliver := func() error {
		num++
		_, err := s.Deliver(message(dir, "Subject: x\r\n\r\nbody\r\n", num))
		return err
	}
	for range 2 {
		if err := deliver(); err != nil {
			t.Fatal(err)
		}
	}
	if v, ok := versionOf(dir); !ok || !s.isBare(dir, v) {
		t.Fatal("the Maildir is not known to be bare")
	}
	if err := os.WriteFile(filepath.Join(dir, quotaFile), []byte("10S\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // at once, and when the change is old
		if err := deliver(); err == nil || !strings.Contains(err.Error(), "quota") {
			t.Errorf("beyond the quota: %v", err)
		}
		if err := os.Chtimes(dir, old.Add(time.Minute), old.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, quotaFile)); err != nil {
		t.Fatal(err)
	}
	if err := deliver(); err != nil {
		t.Errorf("without quota: %v", err)
	}
}

// TestFound: a file system is told of once, with its kind.
func TestFound(t *testing.T) {
	var kinds []string
	s := Store{Found: func(fs durable.FileSystem) { kinds = append(kinds, fs.Type) }}
	for i, dir := range []string{t.TempDir(), t.TempDir()} {
		if _, err := s.Deliver(message(dir, "x\r\n", uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(kinds) != 1 || kinds[0] == "" {
		t.Errorf("found %q", kinds)
	}
}

// TestMoved: a copy is recognised in cur/ whatever flags the reader gave it;
// one of another recipient with a longer number is not taken for it.
func TestMoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	var s Store
	one, eleven := message(dir, "one\r\n", 1), message(dir, "eleven\r\n", 11)
	for _, m := range []*Message{one, eleven} {
		r, err := s.Deliver(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.Path, filepath.Join(dir, "cur", filepath.Base(r.Path)+":2,FRS")); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*Message{one, eleven} {
		if r, err := s.Deliver(m); err != nil || !r.Repeated {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if l, _ := filepath.Glob(dir + "/*/*"); len(l) != 2 {
		t.Errorf("files: %v", l)
	}
}

// TestRepeatIsWritten: an earlier copy may be in the page cache alone, after a sync
// that failed; it counts when it has been written once more, where it is by now.
func TestRepeatIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	var s Store
	for i, body := range []string{"one\r\n", strings.Repeat("0123456789\r\n", 50000)} {
		m := message(dir, body, uint32(i))
		r, err := s.Deliver(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{r.Path, filepath.Join(dir, "cur", filepath.Base(r.Path)+":2,S")} {
			if path != r.Path {
				if err := os.Rename(r.Path, path); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(path)
			watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
			if err != nil {
				t.Skipf("SKIPPED: no inotify: %v", err)
			}
			if _, err := unix.InotifyAddWatch(watch, path, unix.IN_MODIFY); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Deliver(m); err != nil || !r.Repeated || r.Path != path || r.Size != int64(len(want)) {
				t.Errorf("again: %+v, %v", r, err)
			}
			if n, _ := unix.Read(watch, make([]byte, 4096)); n <= 0 {
				t.Errorf("%s was not written", path)
			}
			unix.Close(watch)
			if got, _ := os.ReadFile(path); string(got) != string(want) {
				t.Errorf("%s has %d bytes, want the same %d", path, len(got), len(want))
			}
			if after, err := os.Stat(path); err != nil || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("%s: the time of arrival changed: %v", path, err)
			}
		}
	}
}

// TestConcurrent: the same message delivered by two agents at the same time
// (one of them outlived its qmgr) is there once and whole.
func TestConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	body := strings.Repeat("0123456789\r\n", 50000)
	m := message(dir, body, 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s := &Store{}
			if _, err := s.Deliver(m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l, _ := filepath.Glob(dir + "/new/*")
	if len(l) != 1 {
		t.Fatalf("%d copies", len(l))
	}
	b, _ := os.ReadFile(l[0])
	if string(b) != "Delivered-To: x\n"+strings.ReplaceAll(body, "\r\n", "\n") {
		t.Errorf("%d bytes", len(b))
	}
	if l, _ := filepath.Glob(dir + "/tmp/*"); len(l) != 0 {
		t.Errorf("left in tmp/: %v", l)
	}
}

func TestLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	m := message(dir, strings.Repeat("x\r\n", 100), 0)
	m.Limit = int64(len(m.Header)) + 200
	var s Store
	if _, err := s.Deliver(m); err != nil {
		t.Errorf("a message of just the limit: %v", err)
	}
	m = message(dir, strings.Repeat("x\r\n", 100)+"y\r\n", 1)
	m.Limit = int64(len(m.Header)) + 200
	_, err := s.Deliver(m)
	if e := dsncode.As(err, ""); e == nil || e.DSN != "5.2.2" {
		t.Errorf("%v", err)
	}
}

// TestReadError: a queue file that is shorter than it should be leaves nothing.
func TestReadError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	for _, size := range []int64{100, 300 << 10} {
		m := message(dir, "", 0)
		m.Content = io.NewSectionReader(strings.NewReader("short"), 0, size)
		m.Header = nil
		var s Store
		r, err := s.Deliver(m)
		if size < 256<<10 {
			if e := dsncode.As(err, ""); e == nil || e.DSN != "4.3.0" {
				t.Errorf("%+v, %v", r, err)
			}
		} else if err == nil {
			t.Errorf("%+v: a short queue file was delivered", r)
		}
		if l, _ := filepath.Glob(dir + "/*/*"); len(l) != 0 {
			t.Errorf("left: %v", l)
		}
	}
}

func TestParseSize(t *testing.T) {
	l, used, ok := parseSize([]byte("1000S,5C\n 100 1\n-40 -1\n7 1 junk\n9"))
	if !ok || l != (limits{1000, 5}) || used != (limits{60, 0}) {
		t.Errorf("%v %v %v", l, used, ok)
	}
	for _, bad := range []string{"", "1000S", "xS\n", "-1S\n"} {
		if _, _, ok := parseSize([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add([]byte("1000S,5C\n 100 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) { parseSize(b) })
}

func BenchmarkDeliver(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "m")
	content := "Subject: x\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789\r\n", 97)
	var s Store
	at := time.Now().Add(-time.Hour)
	for i := range b.N {
		m := message(dir, content, uint32(i))
		m.Arrival = at
		if _, err := s.Deliver(m); err != nil {
			b.Fatal(err)
		}
	}
}
