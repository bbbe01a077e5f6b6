package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
)

func newSpool(t testing.TB, o Options) *Spool {
	t.Helper()
	dir := t.TempDir()
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func testMessage() *envelope.Message {
	now := time.Now()
	return &envelope.Message{ID: NewID(now), Arrival: time.Unix(0, now.UnixNano()), Sender: "anna@example.test", Body: "8BITMIME",
		Client: envelope.Client{Name: "h.example", Address: "192.0.2.1", Protocol: "ESMTP"}}
}

type spec struct {
	rcpts   []string
	content []byte
	late    []string // recipients found after the content
	attrs   map[string]string
}

func write(t testing.TB, s *Spool, q string, sp spec) string {
	t.Helper()
	m := testMessage()
	w, err := s.Create(q, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range sp.rcpts {
		if err := w.Recipient(&envelope.Recipient{Address: a}); err != nil {
			t.Fatal(err)
		}
	}
	for c := sp.content; len(c) > 0; {
		n := min(len(c), 7001)
		if _, err := w.Write(c[:n]); err != nil {
			t.Fatal(err)
		}
		c = c[n:]
	}
	for _, a := range sp.late {
		if err := w.Recipient(&envelope.Recipient{Address: a}); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range sp.attrs {
		if err := w.Attr(k, v); err != nil {
			t.Fatal(err)
		}
	}
	if w.Size() != int64(len(sp.content)) {
		t.Errorf("Size() = %d, want %d", w.Size(), len(sp.content))
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func everyByte(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func many(prefix string, n int) []string {
	var l []string
	for i := range n {
		l = append(l, fmt.Sprintf("%s%d@example.test", prefix, i))
	}
	return l
}

func readAll(t testing.TB, f *File) []byte {
	t.Helper()
	r, err := f.Content()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addresses(t testing.TB, f *File, page int) []string {
	t.Helper()
	var c Cursor
	var l []string
	for !c.AtEnd() {
		rs, err := f.Recipients(&c, page)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) > page {
			t.Fatalf("%d recipients, asked for %d", len(rs), page)
		}
		for _, r := range rs {
			l = append(l, r.Address)
		}
	}
	return l
}

func TestRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		name  string
		sp    spec
		dots  bool
		eight bool
	}{
		{"small", spec{rcpts: []string{"a@b.test"}, content: []byte("Subject: x\r\n\r\nhello\r\n")}, false, false},
		{"empty content", spec{rcpts: []string{"a@b.test"}}, false, false},
		{"no recipients", spec{content: []byte("x")}, false, false},
		{"first byte is a dot", spec{rcpts: []string{"a@b.test"}, content: []byte(".")}, true, false},
		{"dot line", spec{rcpts: []string{"a@b.test"}, content: []byte("a\r\n.b\r\n")}, true, false},
		{"late recipients", spec{rcpts: []string{"a@b.test"}, content: []byte("x\r\n"), late: []string{"c@d.test"}, attrs: map[string]string{AttrFilter: "smtp:[h]:10"}}, false, false},
		{"every byte", spec{rcpts: many("u", 3), content: everyByte(4096)}, true, true},
		{"spilled content", spec{rcpts: many("u", 3), content: everyByte(300_000), late: many("l", 40)}, true, true},
		{"spilled recipients", spec{rcpts: many("u", 5000), content: everyByte(100), late: many("l", 3000)}, false, true},
		{"one chunk exactly", spec{rcpts: many("u", 1), content: bytes.Repeat([]byte("x"), spillSize)}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSpool(t, Options{})
			id := write(t, s, Incoming, tc.sp)
			f, err := s.Load(Incoming, id)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Verify(); err != nil {
				t.Error(err)
			}
			if got := readAll(t, f); !bytes.Equal(got, tc.sp.content) {
				t.Errorf("content of %d bytes differs from the %d written", len(got), len(tc.sp.content))
			}
			want := append(append([]string(nil), tc.sp.rcpts...), tc.sp.late...)
			for _, page := range []int{1, 7, 100000} {
				if page == 1 && len(want) > 1000 {
					continue
				}
				if got := addresses(t, f, page); !reflect.DeepEqual(got, want) {
					t.Errorf("page %d: %d recipients, want %d: %.200q", page, len(got), len(want), got)
				}
			}
			if f.RecipientCount() != len(want) || f.Pending() != len(want) {
				t.Errorf("count %d, pending %d, want %d", f.RecipientCount(), f.Pending(), len(want))
			}
			if f.EightBit() != tc.eight {
				t.Errorf("EightBit() = %v", f.EightBit())
			}
			dots := bytes.HasPrefix(tc.sp.content, []byte(".")) || bytes.Contains(tc.sp.content, []byte("\n."))
			if f.DotLines() != dots {
				t.Errorf("DotLines() = %v, want %v", f.DotLines(), dots)
			}
			if f.Message().Sender != "anna@example.test" || f.Message().Client.Name != "h.example" || f.Message().Arrival.IsZero() {
				t.Errorf("envelope: %+v", f.Message())
			}
			for k, v := range tc.sp.attrs {
				if f.Attr(k) != v {
					t.Errorf("Attr(%q) = %q", k, f.Attr(k))
				}
			}
		})
	}
}

// TestTruncated cuts a committed file at every byte: what is left is never
// taken for a complete message.
func TestTruncated(t *testing.T) {
	s := newSpool(t, Options{})
	for _, sp := range []spec{
		{rcpts: many("u", 3), content: []byte("Subject: x\r\n\r\nbody\r\n"), late: []string{"l@x.test"}},
		{rcpts: many("u", 40), content: nil},
	} {
		id := write(t, s, Incoming, sp)
		p := s.Path(Incoming, id)
		whole, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(whole); n++ {
			os.WriteFile(p, whole[:n], 0o600)
			if f, err := s.Load(Incoming, id); err == nil {
				f.Close()
				t.Fatalf("cut at %d of %d: taken for complete", n, len(whole))
			} else if !errors.Is(err, ErrIncomplete) {
				t.Fatalf("cut at %d of %d: %v, want ErrIncomplete", n, len(whole), err)
			}
		}
	}
}

// TestBlocksLost replaces each part of a file by zeros, as power loss does when
// some blocks reached the disk and others did not.
func TestBlocksLost(t *testing.T) {
	s := newSpool(t, Options{})
	for _, sp := range []spec{
		{rcpts: many("u", 3), content: []byte("Subject: x\r\n\r\nbody\r\n"), late: []string{"l@x.test"}},
		{rcpts: many("u", 300), content: bytes.Repeat([]byte("0123456789abcde\n"), 20<<10/16), late: many("l", 200)},
	} {
		id := write(t, s, Incoming, sp)
		p := s.Path(Incoming, id)
		whole, _ := os.ReadFile(p)
		for _, bs := range []int{64, 512, 4096} {
			for at := 0; at < len(whole); at += bs {
				b := append([]byte(nil), whole...)
				clear(b[at:min(at+bs, len(b))])
				os.WriteFile(p, b, 0o600)
				f, err := s.Load(Incoming, id)
				if err == nil {
					f.Close()
					t.Fatalf("block of %d at %d lost: taken for complete", bs, at)
				}
				if !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrCorrupt) {
					t.Fatalf("block of %d at %d lost: %v", bs, at, err)
				}
			}
		}
		// Every single changed bit is noticed, too.
		for at := 0; at < len(whole); at += 1 + len(whole)/2000 {
			b := append([]byte(nil), whole...)
			b[at] ^= 0x10
			os.WriteFile(p, b, 0o600)
			if f, err := s.Load(Incoming, id); err == nil {
				f.Close()
				t.Fatalf("changed byte at %d: taken for complete", at)
			}
		}
	}
}

func TestVerifyFindsLostContent(t *testing.T) {
	s := newSpool(t, Options{})
	id := write(t, s, Incoming, spec{rcpts: many("u", 1), content: everyByte(200_000)})
	p := s.Path(Incoming, id)
	b, _ := os.ReadFile(p)
	clear(b[100_000:104_096])
	os.WriteFile(p, b, 0o600)
	f, err := s.Load(Incoming, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify() = %v, want ErrCorrupt", err)
	}
}

func TestOutcomes(t *testing.T) {
	for _, n := range []int{3, 500} {
		s := newSpool(t, Options{})
		id := write(t, s, Active, spec{rcpts: many("u", n), content: []byte("x\r\n")})
		f, err := s.Load(Active, id)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1700000000, 5)
		def := envelope.Outcome{Num: 1, Status: envelope.Deferred, DSN: "4.4.1", Relay: "none", Reason: "connect: refused", When: now}
		if err := f.Append([]envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0", Relay: "local", Reason: "delivered", When: now}, def}); err != nil {
			t.Fatal(err)
		}
		if err := f.Mark(DelayWarned, now); err != nil {
			t.Fatal(err)
		}
		size := f.tail
		if err := f.Append([]envelope.Outcome{def}); err != nil {
			t.Fatal(err)
		}
		if f.tail != size {
			t.Error("the same deferral was recorded twice")
		}
		check := func(f *File) {
			t.Helper()
			if f.Pending() != n-1 || !f.Done(0) || f.Done(1) || !f.Attempted() {
				t.Errorf("pending %d, done(0) %v, done(1) %v", f.Pending(), f.Done(0), f.Done(1))
			}
			if got := addresses(t, f, 2); len(got) != n-1 || got[0] != "u1@example.test" {
				t.Errorf("recipients left: %.100q", got)
			}
			if !f.Marked(DelayWarned).Equal(now) || !f.Marked(Bouncing).IsZero() {
				t.Error("marks differ")
			}
			var got []string
			f.Outcomes(func(o *envelope.Outcome) error {
				got = append(got, fmt.Sprintf("%d %d %s %s %v", o.Num, o.Status, o.DSN, o.Reason, o.When.Equal(now)))
				return nil
			})
			want := []string{"0 1 2.0.0 delivered true", "1 0 4.4.1 connect: refused true"}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("outcomes %q, want %q", got, want)
			}
		}
		check(f)
		f.Close()
		f, err = s.Load(Active, id)
		if err != nil {
			t.Fatal(err)
		}
		check(f)
		if err := f.Append([]envelope.Outcome{{Num: uint32(n)}}); err == nil {
			t.Error("outcome for a recipient that is not there: no error")
		}
		f.Close()
	}
}

// TestTornAppend cuts the outcomes at every byte: the intact ones before stay,
// and the next append is read.
func TestTornAppend(t *testing.T) {
	s := newSpool(t, Options{})
	id := write(t, s, Active, spec{rcpts: many("u", 3), content: []byte("x\r\n")})
	p := s.Path(Active, id)
	clean, _ := os.ReadFile(p)
	f, _ := s.Load(Active, id)
	o := []envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0", Reason: "one"}, {Num: 1, Status: envelope.Sent, DSN: "2.0.0", Reason: "two"}}
	if err := f.Append(o[:1]); err != nil {
		t.Fatal(err)
	}
	one := f.tail
	if err := f.Append(o[1:]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	whole, _ := os.ReadFile(p)
	for n := len(clean); n <= len(whole); n++ {
		for _, junk := range []string{"", "\x00\x00\x00", "O\x05abc", "garbage of some length, more than a record"} {
			os.WriteFile(p, append(append([]byte(nil), whole[:n]...), junk...), 0o600)
			f, err := s.Load(Active, id)
			if err != nil {
				t.Fatalf("cut at %d + %q: %v", n, junk, err)
			}
			want := 3
			if int64(n) >= one {
				want = 2
			}
			if n == len(whole) {
				want = 1
			}
			if f.Pending() != want {
				t.Fatalf("cut at %d + %q: %d pending, want %d", n, junk, f.Pending(), want)
			}
			if err := f.Append([]envelope.Outcome{{Num: 2, Status: envelope.Bounced, DSN: "5.0.0", Reason: "x"}}); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if f, err = s.Load(Active, id); err != nil || f.Pending() != want-1 || !f.Done(2) {
				t.Fatalf("cut at %d + %q: after another append: %v", n, junk, err)
			}
			f.Close()
		}
	}
}

func TestCancelRecipients(t *testing.T) {
	s := newSpool(t, Options{})
	m := testMessage()
	w, _ := s.Create(Incoming, m)
	for _, a := range many("u", 3) {
		w.Recipient(&envelope.Recipient{Address: a})
	}
	w.Write([]byte("x\r\n"))
	w.CancelRecipients()
	w.Recipient(&envelope.Recipient{Address: "there@else.test"})
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := s.Load(Incoming, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := addresses(t, f, 10); !reflect.DeepEqual(got, []string{"there@else.test"}) || f.RecipientCount() != 1 {
		t.Errorf("recipients %q, count %d", got, f.RecipientCount())
	}
}

func TestWriteFailures(t *testing.T) {
	big := everyByte(200_000)
	for _, tc := range []struct {
		name    string
		content []byte
		ops     *durable.Ops
		want    error
	}{
		{"no space, small", []byte("x"), &durable.Ops{Write: func(int, []byte) (int, error) { return 0, unix.ENOSPC }}, durable.ErrNoSpace},
		{"no space, big", big, &durable.Ops{Write: func(int, []byte) (int, error) { return 0, unix.EDQUOT }}, durable.ErrNoSpace},
		{"no inode", []byte("x"), &durable.Ops{Open: func(n string, f int, p uint32) (int, error) {
			if f&unix.O_CREAT != 0 {
				return -1, unix.ENOSPC
			}
			return unix.Open(n, f, p)
		}}, durable.ErrNoSpace},
		{"fsync", []byte("x"), &durable.Ops{Fsync: func(int) error { return unix.EIO }}, durable.ErrIO},
		{"fsync, big", big, &durable.Ops{Fsync: func(int) error { return unix.EIO }}, durable.ErrIO},
		{"head of a big file", big, &durable.Ops{Pwrite: func(int, []byte, int64) (int, error) { return 0, unix.ENOSPC }}, durable.ErrNoSpace},
		{"short writes", big, &durable.Ops{Write: func(fd int, p []byte) (int, error) { return unix.Write(fd, p[:(len(p)+1)/2]) }}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSpool(t, Options{Ops: tc.ops})
			m := testMessage()
			w, err := s.Create(Incoming, m)
			if err != nil {
				t.Fatal(err)
			}
			w.Recipient(&envelope.Recipient{Address: "a@b.test"})
			w.Write(tc.content)
			err = w.Commit()
			if tc.want == nil {
				f, lerr := s.Load(Incoming, m.ID)
				if err != nil || lerr != nil {
					t.Fatal(err, lerr)
				}
				f.Close()
				return
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("Commit() = %v, want %v", err, tc.want)
			}
			if left, _ := os.ReadDir(filepath.Join(s.dir, Incoming)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAbortAndReuse(t *testing.T) {
	s := newSpool(t, Options{})
	m := testMessage()
	w, _ := s.Create(Incoming, m)
	w.Write(everyByte(100_000))
	if _, err := s.Load(Incoming, m.ID); !errors.Is(err, ErrIncomplete) {
		t.Errorf("Load of a file being written: %v", err)
	}
	w.Abort()
	if _, err := s.Load(Incoming, m.ID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load after Abort: %v", err)
	}
	w, _ = s.Create(Incoming, m)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w, _ = s.Create(Incoming, m)
	if err := w.Commit(); !errors.Is(err, os.ErrExist) {
		t.Errorf("Commit of an id that is taken: %v", err)
	}
	if f, err := s.Load(Incoming, m.ID); err != nil {
		t.Errorf("the first file is gone: %v", err)
	} else {
		f.Close()
	}
}

func TestSetQueue(t *testing.T) {
	for _, n := range []int{10, 100_000} {
		s := newSpool(t, Options{})
		m := testMessage()
		w, _ := s.Create(Incoming, m)
		w.Write(everyByte(n))
		w.SetQueue(Hold)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if q, err := s.Find(m.ID); q != Hold || err != nil {
			t.Errorf("Find: %q, %v", q, err)
		}
	}
}

func TestHashedQueues(t *testing.T) {
	o := Options{HashNames: []string{"deferred", "hold"}, HashDepth: 2}
	s := newSpool(t, o)
	id := write(t, s, Incoming, spec{rcpts: many("u", 1), content: []byte("x")})
	if err := s.Move(id, Incoming, Active); err != nil {
		t.Fatal(err)
	}
	next := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := s.Defer(id, next); err != nil {
		t.Fatal(err)
	}
	if rel := strings.TrimPrefix(s.Path(Deferred, id), s.dir); strings.Count(rel, "/") != 4 {
		t.Errorf("path %s is not hashed two levels deep", rel)
	}
	var seen []Entry
	s.List(Deferred, func(e Entry) bool { seen = append(seen, e); return true })
	if len(seen) != 1 || seen[0].ID != id || !seen[0].ModTime.Equal(next) || seen[0].Misplaced {
		t.Errorf("List: %+v", seen)
	}
	// Another depth finds it as well, and puts it right.
	s2, err := Open(s.dir, Options{HashNames: []string{"deferred"}, HashDepth: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	s2.List(Deferred, func(e Entry) bool {
		if !e.Misplaced {
			t.Error("not misplaced")
		}
		return true
	})
	// showq may only read: it lists the message where it lies.
	ro, err := Open(s.dir, Options{HashNames: []string{"deferred"}, HashDepth: 1, Ops: &durable.Ops{Rename: func(string, string) error { return unix.EACCES }}})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if f, err := ro.Load(Deferred, id); err != nil {
		t.Errorf("Load without the right to rename: %v", err)
	} else {
		f.Close()
	}
	f, err := s2.Load(Deferred, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Move(Active); err != nil || f.Queue() != Active {
		t.Error(err)
	}
	f.Close()
	if err := s2.Remove(Active, id); err != nil {
		t.Error(err)
	}
	if _, err := s2.Find(id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Find of a removed message: %v", err)
	}
	if err := s2.Remove(Active, id); err != nil {
		t.Errorf("second Remove: %v", err)
	}
}

func TestForceExpire(t *testing.T) {
	s := newSpool(t, Options{})
	id := write(t, s, Hold, spec{rcpts: many("u", 1)})
	if err := s.SetForceExpire(Hold, id); err != nil {
		t.Fatal(err)
	}
	f, err := s.Load(Hold, id)
	if err != nil || !f.ForceExpire() {
		t.Errorf("ForceExpire: %v", err)
	}
	f.Close()
}

// TestForceExpireFollowsNoLink: the queue's owner cannot have root change the
// mode of another file.
func TestForceExpireFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{Syncfs: "no"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	victim, id := filepath.Join(dir, "victim"), NewID(time.Now())
	if err := os.WriteFile(victim, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, s.Path(Deferred, id)); err != nil {
		t.Fatal(err)
	}
	if err := s.SetForceExpire(Deferred, id); err == nil {
		t.Error("no error")
	}
	if st, err := os.Stat(victim); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v: the mode has changed", st.Mode(), err)
	}
	if err := s.SetForceExpire(Hold, id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a message that is not there: %v", err)
	}
}

func TestReleaseAndFD(t *testing.T) {
	s := newSpool(t, Options{})
	id := write(t, s, Incoming, spec{rcpts: many("u", 100), content: []byte("abc")})
	f, err := s.Load(Incoming, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Release()
	if err := f.Move(Active); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, f, 9); len(got) != 100 {
		t.Errorf("%d recipients after Release", len(got))
	}
	fd, err := f.FD()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("x")); err == nil {
		t.Error("the descriptor for agents can be written to")
	}
	if got := string(readAll(t, f)); got != "abc" {
		t.Errorf("content %q", got)
	}
}

func TestIDs(t *testing.T) {
	now := time.Unix(1763900000, 123456000)
	seen := map[string]bool{}
	for range 10000 {
		id := NewID(now)
		if !ValidID(id) || seen[id] {
			t.Fatalf("id %q: valid %v, seen %v", id, ValidID(id), seen[id])
		}
		seen[id] = true
	}
	at, ok := IDTime(NewID(now))
	if !ok || !at.Equal(now) {
		t.Errorf("IDTime = %v, want %v", at, now)
	}
	a, b := NewID(now), NewID(now.Add(time.Microsecond))
	if a[:10] >= b[:10] {
		t.Errorf("ids %s, %s do not sort by time", a, b)
	}
	if len(a) > 16 {
		t.Errorf("id %s is too long for mailq's column", a)
	}
	for _, bad := range []string{"", "../../etc/passw", "4XkP1Q2n3R", "4XkP1Q2n3Rz", "4XkP1Q2n3Rz5A", "4XkP1Q2n3Rz5/", "4XkP1Q2n3Rz5\x00", "ABCDEF012345", strings.Repeat("0", 30) + "z" + strings.Repeat("1", 30), "000000zzzzz1"} {
		if ValidID(bad) {
			t.Errorf("ValidID(%q)", bad)
		}
	}
}

func TestMillionRecipientsInBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 40 MB")
	}
	s := newSpool(t, Options{})
	m := testMessage()
	w, _ := s.Create(Incoming, m)
	const n = 1_000_000
	r := envelope.Recipient{}
	for i := range n {
		r.Address = fmt.Sprintf("user%d@example.test", i)
		if err := w.Recipient(&r); err != nil {
			t.Fatal(err)
		}
	}
	w.Write([]byte("x\r\n"))
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := s.Load(Incoming, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c Cursor
	got := 0
	for !c.AtEnd() {
		rs, err := f.Recipients(&c, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rs {
			if rs[i].Num != uint32(got) {
				t.Fatalf("recipient %d has number %d", got, rs[i].Num)
			}
			got++
		}
	}
	if got != n {
		t.Errorf("%d recipients, want %d", got, n)
	}
}

// FuzzQueueFile loads arbitrary bytes. Whatever Load accepts can be read to the
// end and appended to.
func FuzzQueueFile(f *testing.F) {
	s := newSpool(f, Options{})
	m := testMessage()
	m.ID = "4XkP1Q2n3Rz5C"
	w, _ := s.Create(Incoming, m)
	w.Recipient(&envelope.Recipient{Address: "a@b.test"})
	w.Write([]byte("Subject: x\r\n\r\n.\r\n"))
	w.Recipient(&envelope.Recipient{Address: "c@d.test"})
	w.Commit()
	p := s.Path(Incoming, m.ID)
	b, err := os.ReadFile(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	qf, err := s.Load(Incoming, m.ID)
	if err != nil {
		f.Fatal(err)
	}
	qf.Append([]envelope.Outcome{{Num: 1, Status: envelope.Sent, DSN: "2.0.0"}})
	qf.Close()
	b, _ = os.ReadFile(p)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		qf, err := s.Load(Incoming, m.ID)
		if err != nil {
			return
		}
		defer qf.Close()
		var c Cursor
		n := 0
		for !c.AtEnd() {
			rs, err := qf.Recipients(&c, 3)
			if err != nil {
				t.Fatal(err)
			}
			n += len(rs)
		}
		if n != qf.Pending() {
			t.Fatalf("%d recipients, %d pending", n, qf.Pending())
		}
		qf.Outcomes(func(*envelope.Outcome) error { return nil })
		if err := qf.Mark(DelayWarned, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		again, err := s.Load(Incoming, m.ID)
		if err != nil || again.Marked(DelayWarned).IsZero() {
			t.Fatalf("after Mark: %v", err)
		}
		again.Close()
	})
}

func BenchmarkCommit4KiBNoSync(b *testing.B) {
	s := newSpool(b, Options{Ops: &durable.Ops{Fsync: func(int) error { return nil }}})
	content := bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890\r\n"), 65)
	m := testMessage()
	r := &envelope.Recipient{Address: "anna@example.test"}
	b.ReportAllocs()
	for b.Loop() {
		m.ID = NewID(time.Now())
		w, err := s.Create(Incoming, m)
		if err != nil {
			b.Fatal(err)
		}
		w.Recipient(r)
		w.Write(content)
		if err := w.Commit(); err != nil {
			b.Fatal(err)
		}
		s.Remove(Incoming, m.ID)
	}
}
