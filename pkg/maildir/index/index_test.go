package index

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
)

func sample(t testing.TB, dir string) *File {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(dir+"/"+sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := TryLock(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	f, err := l.Create(dir, Header{UIDValidity: 77}, NewState(5))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if !Known(dir) {
		t.Error("not known")
	}
	return f
}

func add(t testing.TB, f *File, n int, kw ...string) {
	t.Helper()
	var l Log
	next := f.State.UIDNext
	seq := f.State.HighestModSeq + 1
	for range n {
		l.Add(f.State, &mailbox.Message{UID: next, ModSeq: seq, Size: -1, Date: 5, SaveDate: -6, EmailID: 9, Flags: 3, Keywords: kw, File: fmt.Sprint("file", next), Place: New})
		next++
	}
	if err := f.Commit(&l, next, seq); err != nil {
		t.Fatal(err)
	}
}

func expunge(t testing.TB, f *File, uids ...mailbox.UID) {
	t.Helper()
	var l Log
	seq := f.State.HighestModSeq + 1
	for _, u := range uids {
		l.Expunge(u, seq)
	}
	if err := f.Commit(&l, f.State.UIDNext, seq); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, a, b *State) {
	t.Helper()
	if a.UIDNext != b.UIDNext || a.HighestModSeq != b.HighestModSeq || !slices.Equal(a.Keywords, b.Keywords) || len(a.Messages) != len(b.Messages) ||
		!slices.Equal(a.History, b.History) || a.Floor != b.Floor {
		t.Fatalf("%+v\n%+v", a, b)
	}
	for i, m := range a.Messages {
		if fmt.Sprint(*m) != fmt.Sprint(*b.Messages[i]) {
			t.Errorf("%+v\n%+v", m, b.Messages[i])
		}
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	f := sample(t, dir)
	add(t, f, 3, "a", "b")
	reader, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	same(t, reader.State, f.State)
	if stale, gone := reader.Stale(); stale || gone {
		t.Error("stale at once")
	}
	view := reader.State.View(77)
	add(t, f, 600, "c")
	expunge(t, f, 5, 600)
	if stale, _ := reader.Stale(); !stale {
		t.Error("not stale")
	}
	if err := reader.Refresh(); err != nil {
		t.Fatal(err)
	}
	same(t, reader.State, f.State)
	if len(view.Messages) != 3 || view.Messages[0].UID != 5 {
		t.Errorf("a view changed: %+v", view)
	}
	if got, ok := f.State.Vanished(2); !ok || !slices.Equal(got, []mailbox.UID{5, 600}) {
		t.Errorf("vanished: %v, %v", got, ok)
	}
	if h := f.Header; h.UIDReserve < h.UIDNext || h.ModSeqReserve < h.HighestModSeq {
		t.Errorf("%+v", h)
	}
	old := *f.State
	n, err := f.Compact()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	same(t, again.State, &old)
	if err := reader.Refresh(); err == nil {
		t.Error("a replaced file is not noticed")
	}
	// Adding by header alone.
	h, err := LoadHeader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var l Log
	l.Add(nil, &mailbox.Message{UID: h.Header.UIDNext, ModSeq: h.Header.HighestModSeq + 1, File: "x"})
	if err := h.Commit(&l, h.Header.UIDNext+1, h.Header.HighestModSeq+1); err != nil {
		t.Fatal(err)
	}
	if err := again.Refresh(); err != nil || again.State.Messages[len(again.State.Messages)-1].File != "x" {
		t.Errorf("%v", err)
	}
}

func TestHistory(t *testing.T) {
	st := NewState(1)
	for i := range 3 * maxHistory {
		st.expunge(mailbox.UID(i+1), mailbox.ModSeq(i+2))
		if i%1000 == 0 {
			st.flush()
		}
	}
	st.flush()
	if len(st.History) > maxHistory+maxHistory/4+1000 {
		t.Errorf("%d remembered", len(st.History))
	}
	if _, ok := st.Vanished(5); ok {
		t.Error("a history that was forgotten is told")
	}
	if got, ok := st.Vanished(st.Floor); !ok || len(got) != len(st.History) {
		t.Errorf("%d of %d, %v", len(got), len(st.History), ok)
	}
}

func TestUIDsEnd(t *testing.T) {
	f := sample(t, t.TempDir())
	if err := f.Prepare(1<<32-2, 1); err != ErrUIDs {
		t.Errorf("%v", err)
	}
}

// FuzzIndex: no bytes make Parse crash, what it accepts is in order, and
// written again it is the same.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	file := sample(f, dir)
	add(f, file, 3, "a", "b")
	expunge(f, file, 6)
	var l Log
	m := *file.State.Messages[0]
	m.ModSeq, m.Keywords, m.Place, m.File = 9, []string{"$new"}, Cur, "file5:2,S"
	l.Change(file.State, &m)
	l.Facts(&mailbox.Message{UID: 7, Size: 100, Date: mailbox.NoDate})
	l.Rename(&mailbox.Message{UID: 7, File: "y"})
	if err := file.Commit(&l, file.State.UIDNext, 9); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/" + Name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:slotUsed], b[HeaderSize:])
	f.Add(b[slotSize:slotSize+slotUsed], b[HeaderSize:len(b)-3])
	clock := Clock{Boot: 1, Now: time.Unix(1e9, 0)}
	f.Fuzz(func(t *testing.T, head, log []byte) {
		// The checksums are made right, so that what is behind them is reached.
		h := Header{Gen: 5, UIDValidity: 1, UIDNext: 5, UIDReserve: 300, HighestModSeq: 1, ModSeqReserve: 70000, Length: HeaderSize, Boot: 1}
		var bad Header
		if len(head) >= slotUsed && bad.parse(head) {
			h = bad
		}
		buf := make([]byte, HeaderSize)
		h.append(buf[:0])
		h.append(buf[slotSize:slotSize])
		data := append(buf, log...)
		data = append(data, (&Log{b: log}).appendFrame(nil, h.Gen)...)
		p, err := Parse(data, clock)
		if err != nil {
			// The log alone as a transaction.
			data = append(buf[:HeaderSize:HeaderSize], (&Log{b: log}).appendFrame(nil, h.Gen)...)
			if p, err = Parse(data, clock); err != nil {
				return
			}
		}
		last := mailbox.UID(0)
		for _, m := range p.State.Messages {
			if m.UID <= last || m.UID >= p.State.UIDNext || m.ModSeq > p.State.HighestModSeq || m.File == "" || m.Place > Tmp {
				t.Fatalf("%+v after %d in %+v", m, last, p.State)
			}
			last = m.UID
		}
		q := &Parsed{State: newState(), Header: Header{UIDNext: p.State.UIDNext, HighestModSeq: p.State.HighestModSeq}}
		snap := p.State.snapshot(nil, 1)
		for len(snap) > 0 {
			payload, n, ok := nextFrame(snap, 1)
			if !ok {
				t.Fatal("a frame of our own is damaged")
			}
			if err := q.State.apply(payload); err != nil {
				t.Fatal(err)
			}
			snap = snap[n:]
		}
		q.settle(true)
		same(t, q.State, p.State)
	})
}

// TestFacts: what became known of a message is in the index, also where an
// earlier version wrote it as a size alone.
func TestFacts(t *testing.T) {
	dir := t.TempDir()
	f := sample(t, dir)
	var l Log
	for u := mailbox.UID(5); u < 8; u++ {
		l.Add(f.State, &mailbox.Message{UID: u, ModSeq: 2, Size: -1, Date: mailbox.NoDate, File: fmt.Sprint("file", u)})
	}
	if err := f.Commit(&l, 8, 2); err != nil {
		t.Fatal(err)
	}
	var facts Log
	facts.Facts(&mailbox.Message{UID: 5, Size: 100, Date: -7})
	facts.Facts(&mailbox.Message{UID: 6, Size: -1, Date: 1 << 40})
	facts.b = append(facts.b, opSize, 7, 51)
	if err := f.Commit(&facts, 8, 2); err != nil {
		t.Fatal(err)
	}
	check := func(st *State) {
		t.Helper()
		for i, want := range []mailbox.Message{{Size: 100, Date: -7}, {Size: -1, Date: 1 << 40}, {Size: 50, Date: mailbox.NoDate}} {
			if m := st.Messages[i]; m.Size != want.Size || m.Date != want.Date || m.ModSeq != 2 {
				t.Errorf("UID %d: %+v", m.UID, m)
			}
		}
	}
	check(f.State)
	n, err := f.Compact()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	check(again.State)
}
