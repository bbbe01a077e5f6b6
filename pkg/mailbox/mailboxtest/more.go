package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
)

func find(t *testing.T, s mailbox.Store, name string) *mailbox.Folder {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Name == name {
			return &f
		}
	}
	return nil
}

func testFolders(t *testing.T, f *Fixture) {
	s := f.Open(t)
	if b := find(t, s, "INBOX"); b == nil || !b.Selectable {
		t.Fatalf("%+v", b)
	}
	names := []string{"A/B/C", "A.b", "日本語/メール", "Ä & ö", "A/B"}
	if f.Leaves {
		names = names[:4]
		testLeaves(t, s)
	}
	for _, n := range names {
		if err := s.Create(n, mailbox.UseNone); err != nil {
			t.Errorf("create %s: %v", n, err)
		}
		if e := find(t, s, n); e == nil || !e.Exists || !e.Selectable {
			t.Errorf("%s: %+v", n, e)
		}
		if err := s.Create(n, mailbox.UseNone); !errors.Is(err, mailbox.ErrExists) {
			t.Errorf("create %s again: %v", n, err)
		}
	}
	if e := find(t, s, "A"); e == nil || e.Selectable || !e.HasChildren {
		t.Errorf("the parent: %+v", e)
	}
	if e := find(t, s, "A/B"); e == nil || !e.HasChildren || find(t, s, "A/B/C").HasChildren {
		t.Errorf("children: %+v", e)
	}
	if err := s.Create("INBOX/sub", mailbox.UseNone); err != nil || !find(t, s, "INBOX").HasChildren {
		t.Errorf("below INBOX: %v", err)
	}
	if err := s.Create("inBox", mailbox.UseNone); !errors.Is(err, mailbox.ErrExists) {
		t.Errorf("create inBox: %v", err)
	}
	if err := s.Delete("A/B"); !f.Leaves && err != nil || f.Leaves && !errors.Is(err, mailbox.ErrNoSelect) || find(t, s, "A/B/C") == nil {
		t.Errorf("delete: %v", err)
	}
	if e := find(t, s, "A/B"); e == nil || e.Exists {
		t.Errorf("a parent that was deleted: %+v", e)
	}
	if err := s.Delete("A/B"); !errors.Is(err, mailbox.ErrNoSelect) {
		t.Errorf("delete again: %v", err)
	}
	if err := s.Delete("none"); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("delete what is not there: %v", err)
	}
	if err := s.Delete("INBOX"); !errors.Is(err, mailbox.ErrInbox) {
		t.Errorf("delete INBOX: %v", err)
	}
	for _, n := range []string{"A", "none"} {
		if _, err := s.Open(n, false); !errors.Is(err, mailbox.ErrNotFound) {
			t.Errorf("open %s: %v", n, err)
		}
	}
	if err := s.Create("MySent", `\Important`); err != nil || find(t, s, "MySent").Use != `\Important` {
		t.Errorf("create with use: %v", err)
	}
	if err := s.Create("Other", `\Important`); !errors.Is(err, mailbox.ErrHasUse) {
		t.Errorf("create with the same use: %v", err)
	}
}

// testLeaves: where a folder has messages or children, the other is refused and
// nothing is lost.
func testLeaves(t *testing.T, s mailbox.Store) {
	if err := s.Create("L", mailbox.UseNone); err != nil {
		t.Fatal(err)
	}
	Add(t, s, "L", message(1))
	if err := s.Create("L/M", mailbox.UseNone); !errors.Is(err, mailbox.ErrName) {
		t.Errorf("create below a folder with messages: %v", err)
	}
	s.Create("K/M", mailbox.UseNone)
	if err := s.Create("K", mailbox.UseNone); !errors.Is(err, mailbox.ErrName) {
		t.Errorf("create above a folder: %v", err)
	}
	if err := s.Rename("K/M", "L/M"); !errors.Is(err, mailbox.ErrName) {
		t.Errorf("rename below a folder with messages: %v", err)
	}
	if n := len(Open(t, s, "L").View().Messages); n != 1 {
		t.Errorf("%d messages", n)
	}
	// A directory that has no folder any more is no obstacle.
	if err := s.Delete("K/M"); err != nil {
		t.Error(err)
	}
	if err := s.Create("K", mailbox.UseNone); err != nil {
		t.Errorf("create where a parent was: %v", err)
	}
}

// testNames: nothing leads out of the store.
func testNames(t *testing.T, f *Fixture) {
	s := f.Open(t)
	for _, n := range []string{"", "/", "..", ".", "../x", "a/../b", "a/..", "/etc/passwd", "a//b", "a/", "a\x00b", "a\nb", "a\x7fb", "\xff", "a*", "a%b",
		strings.Repeat("x", 5000), strings.Repeat("a/", 50) + "a"} {
		if err := s.Create(n, mailbox.UseNone); !errors.Is(err, mailbox.ErrName) {
			t.Errorf("create %.30q: %v", n, err)
		}
		if _, err := s.Open(n, false); err == nil {
			t.Errorf("open %.30q is possible", n)
		}
		if err := s.Rename("INBOX", n); !errors.Is(err, mailbox.ErrName) {
			t.Errorf("rename to %.30q: %v", n, err)
		}
		if err := s.Subscribe(n, true); !errors.Is(err, mailbox.ErrName) {
			t.Errorf("subscribe to %.30q: %v", n, err)
		}
	}
}

func testRename(t *testing.T, f *Fixture) {
	s := f.Open(t)
	names := []string{"a", "a/b", "a/b/c", "ab", "x"}
	moved := []string{"n/m", "n/m/b", "n/m/b/c", "ab"}
	if f.Leaves {
		names = []string{"a/b", "a/c/d", "ab", "x"}
		moved = []string{"n/m/b", "n/m/c/d", "ab"}
	}
	for _, n := range names {
		if err := s.Create(n, mailbox.UseNone); err != nil {
			t.Fatal(err)
		}
	}
	uids := Add(t, s, "a/b", messages(3)...)
	b := Open(t, s, "a/b")
	if err := s.Rename("a", "n/m"); err != nil {
		t.Fatal(err)
	}
	for _, n := range moved {
		if e := find(t, s, n); e == nil || !e.Exists {
			t.Errorf("%s: %+v", n, e)
		}
	}
	if find(t, s, "a/b") != nil {
		t.Error("the old name is still there")
	}
	c := Open(t, s, "n/m/b")
	SameView(t, c.View(), b.View())
	// The session that has it open goes on.
	if _, err := b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err != nil {
		t.Errorf("after the rename: %v", err)
	}
	if Body(t, b, b.View().Messages[0]) != message(1) {
		t.Error("another body")
	}
	if err := s.Rename("x", "n/m"); !errors.Is(err, mailbox.ErrExists) {
		t.Errorf("rename to what exists: %v", err)
	}
	if err := s.Rename("none", "y"); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("rename of nothing: %v", err)
	}
	if err := s.Rename("n", "n/z"); !errors.Is(err, mailbox.ErrName) {
		t.Errorf("rename below itself: %v", err)
	}
	// The name again is another folder.
	if err := s.Create("a/b", mailbox.UseNone); err != nil {
		t.Fatal(err)
	}
	if d := Open(t, s, "a/b"); d.View().UIDValidity == b.View().UIDValidity || len(d.View().Messages) != 0 || d.ID() == b.ID() {
		t.Errorf("%+v", d.View())
	}
}

func testInbox(t *testing.T, f *Fixture) {
	s := f.Open(t)
	Add(t, s, "INBOX", messages(3)...)
	if err := s.Rename("INBOX", "old"); err != nil {
		t.Fatal(err)
	}
	if n := len(Open(t, s, "INBOX").View().Messages); n != 0 {
		t.Errorf("%d messages in INBOX", n)
	}
	if n := len(Open(t, s, "old").View().Messages); n != 3 {
		t.Errorf("%d messages in the new folder", n)
	}
}

func testSubscriptions(t *testing.T, f *Fixture) {
	s := f.Open(t)
	for _, n := range []string{"not there", "日本語/x.y", "INBOX"} {
		if err := s.Subscribe(n, true); err != nil {
			t.Errorf("%s: %v", n, err)
		}
		if e := find(t, s, n); e == nil || !e.Subscribed || e.Exists != (n == "INBOX") {
			t.Errorf("%s: %+v", n, e)
		}
	}
	f.Restart(t)
	s = f.Open(t)
	if e := find(t, s, "日本語/x.y"); e == nil || !e.Subscribed {
		t.Errorf("after a restart: %+v", e)
	}
	s.Subscribe("not there", false)
	if e := find(t, s, "not there"); e != nil {
		t.Errorf("%+v", e)
	}
}

// testProcesses: two processes on one folder see each other's work.
func testProcesses(t *testing.T, f *Fixture) {
	a := Open(t, f.Open(t), "INBOX")
	sa := f.Open(t)
	f.Restart(t)
	sb := f.Open(t)
	b := Open(t, sb, "INBOX")
	last := mailbox.UID(0)
	for i := range 10 {
		for _, s := range []mailbox.Store{sa, sb} {
			if u := Add(t, s, "INBOX", message(i))[0]; u <= last {
				t.Fatalf("UID %d after %d", u, last)
			} else {
				last = u
			}
		}
		Sync(t, a)
		Sync(t, b)
		SameView(t, a.View(), b.View())
		x, y := a, b
		if i%2 == 0 {
			x, y = b, a
		}
		if _, err := x.Store([]mailbox.UID{last}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen, Keywords: []string{fmt.Sprint("k", i)}}); err != nil {
			t.Fatal(err)
		}
		if c := Sync(t, y); len(c.Changed) != 1 || !y.View().Get(last).HasKeyword(fmt.Sprint("k", i)) {
			t.Errorf("round %d: %+v", i, c)
		}
		if i%3 == 0 {
			y.Store([]mailbox.UID{last}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
			if err := y.Expunge([]mailbox.UID{last}); err != nil {
				t.Fatal(err)
			}
			if c := Sync(t, x); len(c.Expunged) != 1 {
				t.Errorf("round %d: %+v", i, c)
			}
		}
	}
	Sync(t, a)
	Sync(t, b)
	SameView(t, a.View(), b.View())
}

func testDeliver(t *testing.T, f *Fixture) {
	f.Deliver(t, message(1))
	s := f.Open(t)
	b := Open(t, s, "INBOX")
	if n := len(b.View().Messages); n != 1 {
		t.Fatalf("%d messages", n)
	}
	f.Deliver(t, message(2))
	f.Deliver(t, message(3))
	if c := Sync(t, b); c.New != 2 {
		t.Fatalf("%+v", c)
	}
	for i, m := range b.View().Messages {
		if got := Body(t, b, m); got != message(i+1) {
			t.Errorf("%q", got)
		}
		if n, err := b.Size(m); err != nil || n != int64(len(message(i+1))) {
			t.Errorf("size %d, %v", n, err)
		}
	}
}

// wait waits for a wake-up that a test is sure of.
func wait(t *testing.T, b mailbox.Mailbox, what string) {
	t.Helper()
	select {
	case <-b.Changed():
	case <-time.After(20 * time.Second):
		t.Fatalf("not woken: %s", what)
	}
}

func testChanged(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", message(1))
	a, b := Open(t, s, "INBOX"), Open(t, f.Open(t), "INBOX")
	a.Changed()
	Sync(t, a)
	b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	for len(Sync(t, a).Changed) == 0 {
		wait(t, a, "another session's flags")
	}
	f.Deliver(t, message(2))
	for Sync(t, a).New == 0 {
		wait(t, a, "a delivery")
	}
	f.Restart(t)
	Add(t, f.Open(t), "INBOX", message(3))
	for Sync(t, a).New == 0 {
		wait(t, a, "another process")
	}
}

func testRecent(t *testing.T, f *Fixture) {
	s := f.Open(t)
	f.Deliver(t, message(1))
	ro, err := s.Open("INBOX", true)
	if err != nil || ro.RecentCount() != 1 {
		t.Fatalf("examine: %d, %v", ro.RecentCount(), err)
	}
	ro.Close()
	a := Open(t, s, "INBOX")
	b := Open(t, f.Open(t), "INBOX")
	if a.RecentCount() != 1 || b.RecentCount() != 0 || !a.Recent(a.View().Messages[0].UID) {
		t.Errorf("recent: %d, %d", a.RecentCount(), b.RecentCount())
	}
	f.Deliver(t, message(2))
	Sync(t, b)
	Sync(t, a)
	if a.RecentCount() != 1 || b.RecentCount() != 1 {
		t.Errorf("later: %d, %d", a.RecentCount(), b.RecentCount())
	}
	f.Restart(t)
	if c := Open(t, f.Open(t), "INBOX"); c.RecentCount() != 0 {
		t.Errorf("after a restart: %d", c.RecentCount())
	}
}

func testVanished(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(10)...)
	b := Open(t, s, "INBOX")
	del := func(list ...mailbox.UID) mailbox.ModSeq {
		b.Store(list, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
		if err := b.Expunge(list); err != nil {
			t.Fatal(err)
		}
		Sync(t, b)
		return b.View().HighestModSeq
	}
	before := b.View().HighestModSeq
	first := del(uids[2], uids[3])
	del(uids[4], uids[9])
	covers := func(b mailbox.Mailbox, since mailbox.ModSeq, want ...mailbox.UID) {
		t.Helper()
		r := b.Vanished(since)
		for _, u := range want {
			found := false
			for _, x := range r {
				found = found || u >= x.First && u <= x.Last
			}
			if !found {
				t.Errorf("since %d: %v lacks %d", since, r, u)
			}
		}
		for _, m := range b.View().Messages {
			for _, x := range r {
				if m.UID >= x.First && m.UID <= x.Last {
					t.Errorf("since %d: %v has %d, which exists", since, r, m.UID)
				}
			}
		}
	}
	covers(b, before, uids[2], uids[3], uids[4], uids[9])
	covers(b, first, uids[4], uids[9])
	covers(b, 0, uids[2], uids[9])
	if r := b.Vanished(b.View().HighestModSeq); len(r) != 0 {
		t.Errorf("since now: %v", r)
	}
	f.Restart(t)
	c := Open(t, f.Open(t), "INBOX")
	covers(c, before, uids[2], uids[3], uids[4], uids[9])
	covers(c, first, uids[4], uids[9])
}

func testCache(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(50)...)
	b := Open(t, s, "INBOX")
	blob := func(u mailbox.UID, k mailbox.CacheKind) string { return strings.Repeat(fmt.Sprint(u, k, "."), int(u)) }
	for _, u := range uids {
		var values []mailbox.CacheValue
		for _, k := range []mailbox.CacheKind{mailbox.CacheDerived, 3} {
			values = append(values, mailbox.CacheValue{UID: u, Kind: k, Value: []byte(blob(u, k))})
		}
		b.SetCached(values...)
	}
	check := func(b mailbox.Mailbox) {
		t.Helper()
		for _, u := range uids {
			for _, k := range []mailbox.CacheKind{3, mailbox.CacheDerived} {
				if got, ok := b.Cached(u, k); ok && string(got) != blob(u, k) {
					t.Fatalf("%d, %d: %q", u, k, got)
				}
			}
			if _, ok := b.Cached(u, mailbox.CachePreview); ok {
				t.Fatal("cached what was not")
			}
		}
	}
	check(b)
	b.Close()
	f.Restart(t)
	c := Open(t, f.Open(t), "INBOX")
	if _, ok := c.Cached(uids[0], mailbox.CacheDerived); !ok {
		t.Error("a cache on disk should have kept it")
	}
	check(c)
	if _, ok := c.Cached(999999, mailbox.CacheDerived); ok {
		t.Error("cached an unknown message")
	}
}

func testReadOnly(t *testing.T, f *Fixture) {
	s := f.Open(t)
	s.Create("Box", mailbox.UseNone)
	uids := Add(t, s, "INBOX", message(1))
	b, err := s.Open("INBOX", true)
	if err != nil || !b.ReadOnly() {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); !errors.Is(err, mailbox.ErrReadOnly) {
		t.Errorf("store: %v", err)
	}
	if err := b.Expunge(nil); !errors.Is(err, mailbox.ErrReadOnly) {
		t.Errorf("expunge: %v", err)
	}
	if _, err := b.Move(uids, "Box"); !errors.Is(err, mailbox.ErrReadOnly) {
		t.Errorf("move: %v", err)
	}
	if _, err := b.Copy(uids, "Box"); err != nil {
		t.Errorf("copy: %v", err)
	}
}

// testMulti: several messages in one append come together.
func testMulti(t *testing.T, f *Fixture) {
	s := f.Open(t)
	b := Open(t, s, "INBOX")
	uids := Add(t, s, "INBOX", messages(5)...)
	if c := Sync(t, b); c.New != 5 {
		t.Errorf("%+v", c)
	}
	for i, u := range uids {
		if got := Body(t, b, b.View().Get(u)); got != message(i+1) {
			t.Errorf("%q", got)
		}
	}
	f.Restart(t)
	c := Open(t, f.Open(t), "INBOX")
	SameView(t, c.View(), b.View())
}

func testStatus(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(5)...)
	b := Open(t, s, "INBOX")
	b.Store(uids[:2], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	b.Store(uids[4:], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	f.Deliver(t, message(6))
	st, err := s.Status("INBOX", true)
	n := int64(len(message(1)))
	if err != nil || st.Messages != 6 || st.Unseen != 4 || st.Deleted != 1 || st.Recent != 1 || st.Size != 6*n || st.DeletedSize != n ||
		st.UIDValidity != b.View().UIDValidity || st.ID != b.ID() {
		t.Errorf("%+v, %v", st, err)
	}
	Sync(t, b)
	if st.UIDNext != b.View().UIDNext || st.HighestModSeq != b.View().HighestModSeq {
		t.Errorf("%+v, %+v", st, b.View())
	}
	if _, err := s.Status("none", false); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}

// testDeletedFolder: a session on a folder that another deletes gets errors,
// also when the name is there again.
func testDeletedFolder(t *testing.T, f *Fixture) {
	s := f.Open(t)
	s.Create("Box", mailbox.UseNone)
	uids := Add(t, s, "Box", messages(2)...)
	b := Open(t, s, "Box")
	f.Restart(t)
	far := Open(t, f.Open(t), "Box")
	if err := s.Delete("Box"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i, x := range []mailbox.Mailbox{b, far} {
			if _, err := x.Sync(context.Background(), true); !errors.Is(err, mailbox.ErrOtherView) {
				t.Errorf("session %d: sync: %v", i, err)
			}
			if _, err := x.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err == nil {
				t.Errorf("session %d: store is possible", i)
			}
			if _, err := x.Content(x.View().Messages[0]); err == nil {
				t.Errorf("session %d: the message is still there", i)
			}
		}
		if find(t, s, "Box") == nil {
			s.Create("Box", mailbox.UseNone)
			Add(t, s, "Box", messages(3)...)
		}
	}
}
