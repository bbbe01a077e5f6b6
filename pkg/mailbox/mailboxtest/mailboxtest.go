// Package mailboxtest holds implementations of package mailbox to what the
// package says.
package mailboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
)

// Fixture is an empty store of one user.
type Fixture struct {
	// Open begins a session.
	Open func(t *testing.T) mailbox.Store
	// Restart makes the sessions that are opened next those of another process.
	// The sessions before it stay usable.
	Restart func(t *testing.T)
	// Deliver puts a message with these bytes, in wire form, into INBOX as another
	// program would.
	Deliver func(t *testing.T, content string)
	// Leaves: a folder, INBOX excepted, has messages or children, not both.
	Leaves bool
}

// Run runs all tests, each on a fixture of its own.
func Run(t *testing.T, fixture func(t *testing.T) *Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Fixture)
	}{
		{"Append", testAppend}, {"Bytes", testBytes}, {"Flags", testFlags}, {"Keywords", testKeywords}, {"Conditional", testConditional},
		{"Expunge", testExpunge}, {"Views", testViews}, {"Copy", testCopy}, {"Move", testMove}, {"Folders", testFolders},
		{"Names", testNames}, {"Rename", testRename}, {"Inbox", testInbox}, {"Subscriptions", testSubscriptions}, {"Restart", testRestart},
		{"Processes", testProcesses}, {"Deliver", testDeliver}, {"Changed", testChanged}, {"Recent", testRecent}, {"Vanished", testVanished}, {"Cache", testCache}, {"ReadOnly", testReadOnly},
		{"Multi", testMulti}, {"Status", testStatus}, {"Deleted", testDeletedFolder},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fixture(t)) })
	}
}

// Add appends messages and returns their UIDs.
func Add(t testing.TB, s mailbox.Store, name string, contents ...string) []mailbox.UID {
	t.Helper()
	a, err := s.Append(name)
	if err != nil {
		t.Fatalf("append to %s: %v", name, err)
	}
	defer a.Abort()
	for _, c := range contents {
		w, err := a.Begin(mailbox.AppendInfo{Size: int64(len(c))})
		if err == nil {
			_, err = io.WriteString(w, c)
		}
		if err != nil {
			t.Fatalf("append to %s: %v", name, err)
		}
	}
	out, err := a.Commit()
	if err != nil {
		t.Fatalf("append to %s: %v", name, err)
	}
	return out.UIDs
}

// Open opens a folder.
func Open(t testing.TB, s mailbox.Store, name string) mailbox.Mailbox {
	t.Helper()
	b, err := s.Open(name, false)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Sync brings a session to the present.
func Sync(t testing.TB, b mailbox.Mailbox) mailbox.Changes {
	t.Helper()
	c, err := b.Sync(context.Background(), true)
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	return c
}

// UIDs lists a View's UIDs.
func UIDs(b mailbox.Mailbox) []mailbox.UID {
	out := []mailbox.UID{}
	for _, m := range b.View().Messages {
		out = append(out, m.UID)
	}
	return out
}

// Body reads a message.
func Body(t testing.TB, b mailbox.Mailbox, m *mailbox.Message) string {
	t.Helper()
	c, err := b.Content(m)
	if err != nil {
		t.Fatalf("content of %d: %v", m.UID, err)
	}
	defer c.Close()
	var buf bytes.Buffer
	if _, err := c.WriteTo(&buf); err != nil {
		t.Fatalf("content of %d: %v", m.UID, err)
	}
	if int64(buf.Len()) != c.Size() {
		t.Errorf("content of %d: %d bytes, size %d", m.UID, buf.Len(), c.Size())
	}
	return buf.String()
}

func message(i int) string { return fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i) }

func messages(n int) (list []string) {
	for i := range n {
		list = append(list, message(i+1))
	}
	return list
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func testAppend(t *testing.T, f *Fixture) {
	s := f.Open(t)
	at := time.Unix(1700000000, 0)
	a, err := s.Append("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Begin(mailbox.AppendInfo{Flags: mailbox.Seen | mailbox.Draft, Keywords: []string{"work", "$Forwarded"}, Date: at})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, message(1))
	out, err := a.Commit()
	if err != nil || len(out.UIDs) != 1 || out.UIDs[0] == 0 || out.UIDValidity == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	b := Open(t, s, "inbox")
	m := b.View().Get(out.UIDs[0])
	if m == nil || m.Flags != mailbox.Seen|mailbox.Draft || !m.HasKeyword("WORK") || !m.HasKeyword("$forwarded") || Date(t, b, m) != at.Unix() || m.SaveDate < time.Now().Unix()-60 {
		t.Fatalf("%+v", m)
	}
	if n, err := b.Size(m); n != int64(len(message(1))) || err != nil {
		t.Errorf("size %d, %v", n, err)
	}
	if v := b.View(); v.UIDValidity != out.UIDValidity || v.UIDNext <= m.UID || v.HighestModSeq < m.ModSeq || m.ModSeq == 0 {
		t.Errorf("%+v", v)
	}
	if _, err := s.Append("nowhere"); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("append to nowhere: %v", err)
	}
	// Aborted: nothing.
	a, _ = s.Append("INBOX")
	if w, err = a.Begin(mailbox.AppendInfo{}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "x")
	a.Abort()
	if c := Sync(t, b); c.Any() {
		t.Errorf("after abort: %+v", c)
	}
}

// testBytes: what is appended comes back, whatever its line ends.
func testBytes(t *testing.T, f *Fixture) {
	s := f.Open(t)
	long := strings.Repeat("0123456789abcdef\r\n", 100000)
	cases := []string{"", "x", "a\r\nb\r\n", "a\nb\r\n", "a\n", "\n", "\r\n", "\r\r\n", "a\r", "a\rb\r\n", "\r\n\r\n", "nul\x00\xff\r\n", "a\r\n\nb", "no end\r\nline",
		long, long + "bare\n", long + "\r\r\n", "\n" + long, long[:len(long)-1], strings.Repeat("x", 3<<20)}
	for i, c := range cases {
		u := Add(t, s, "INBOX", c)[0]
		b := Open(t, s, "INBOX")
		m := b.View().Get(u)
		if got := Body(t, b, m); got != c {
			t.Errorf("case %d: %d bytes, want %d: %.40q", i, len(got), len(c), got)
		}
		if n, err := b.Size(m); n != int64(len(c)) || err != nil {
			t.Errorf("case %d: size %d, %v, want %d", i, n, err, len(c))
		}
		ct, err := b.Content(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range []int{0, 1, len(c) / 3, len(c) / 2, len(c) - 1} {
			if off < 0 || off >= len(c) {
				continue
			}
			p := make([]byte, min(70000, len(c)-off))
			if n, err := ct.ReadAt(p, int64(off)); n != len(p) || err != nil && err != io.EOF || string(p) != c[off:off+len(p)] {
				t.Errorf("case %d: at %d: %d bytes, %v", i, off, n, err)
			}
		}
		if n, err := ct.ReadAt(make([]byte, 1), int64(len(c))); n != 0 || err != io.EOF {
			t.Errorf("case %d: at the end: %d, %v", i, n, err)
		}
		ct.Close()
		b.Close()
	}
	// Written in odd pieces.
	for step := 1; step < 8; step++ {
		a, _ := s.Append("INBOX")
		w, err := a.Begin(mailbox.AppendInfo{})
		if err != nil {
			t.Fatal(err)
		}
		in := "a\r\nbc\r\n\r\ndef\r\n"
		for i := 0; i < len(in); i += step {
			io.WriteString(w, in[i:min(len(in), i+step)])
		}
		out, err := a.Commit()
		if err != nil {
			t.Fatal(err)
		}
		b := Open(t, s, "INBOX")
		if got := Body(t, b, b.View().Get(out.UIDs[0])); got != in {
			t.Errorf("pieces of %d: %q", step, got)
		}
		b.Close()
	}
}

func testFlags(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(3)...)
	b, other := Open(t, s, "INBOX"), Open(t, f.Open(t), "INBOX")
	before := b.View().HighestModSeq
	for _, c := range []struct {
		change mailbox.StoreChange
		want   mailbox.Flags
	}{
		{mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen | mailbox.Flagged}, mailbox.Seen | mailbox.Flagged},
		{mailbox.StoreChange{Op: mailbox.Remove, Flags: mailbox.Flagged | mailbox.Draft}, mailbox.Seen},
		{mailbox.StoreChange{Op: mailbox.Replace, Flags: mailbox.Answered | mailbox.Deleted}, mailbox.Answered | mailbox.Deleted},
		{mailbox.StoreChange{Op: mailbox.Replace, Flags: 31}, 31},
		{mailbox.StoreChange{Op: mailbox.Replace}, 0},
	} {
		out, err := b.Store(uids[1:2], c.change)
		if err != nil || len(out.Changed) != 1 || out.Changed[0].Flags != c.want || out.Seqs[0] != 2 || b.View().Messages[1] != out.Changed[0] {
			t.Fatalf("%+v: %+v, %v", c, out, err)
		}
		if out.Changed[0].ModSeq <= before {
			t.Errorf("mod-sequence %d after %d", out.Changed[0].ModSeq, before)
		}
		before = out.Changed[0].ModSeq
		if c := Sync(t, b); c.Any() {
			t.Errorf("a session is told of its own change: %+v", c)
		}
		ch := Sync(t, other)
		equal(t, "others are told", ch.Changed, []uint32{2})
		if got := other.View().Messages[1].Flags; got != c.want {
			t.Errorf("others see %b", got)
		}
	}
	// No change, no mod-sequence.
	out, err := b.Store(uids, mailbox.StoreChange{Op: mailbox.Remove, Flags: mailbox.Seen})
	if err != nil || len(out.Changed) != 3 || b.View().HighestModSeq < before {
		t.Errorf("%+v, %v", out, err)
	}
	if out.Changed[1].ModSeq != before {
		t.Errorf("mod-sequence %d, want %d", out.Changed[1].ModSeq, before)
	}
	if out, err = b.Store([]mailbox.UID{4000000}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err != nil || len(out.Changed)+len(out.Gone) > 0 {
		t.Errorf("unknown UID: %+v, %v", out, err)
	}
}

func testKeywords(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(2)...)
	b := Open(t, s, "INBOX")
	// More than a Maildir's file names have letters for.
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf("kw%02d", i))
	}
	for i := 0; i < 40; i += 8 {
		if _, err := b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Keywords: all[i : i+8]}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "keywords", b.View().Messages[0].Keywords, all)
	if _, err := b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Keywords: []string{"KW03"}}); err != nil || len(b.View().Messages[0].Keywords) != 40 {
		t.Errorf("another case is another keyword: %v, %v", b.View().Messages[0].Keywords, err)
	}
	if _, err := b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Remove, Keywords: append(all[:10:10], "KW39")}); err != nil {
		t.Fatal(err)
	}
	equal(t, "after removal", b.View().Messages[0].Keywords, all[10:39])
	for _, bad := range []string{"", "a b", "\\Seen", "(", "é", "]", strings.Repeat("x", 1000)} {
		if _, err := b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Keywords: []string{bad}}); err == nil {
			t.Errorf("keyword %.20q is taken", bad)
		}
	}
	f.Restart(t)
	c := Open(t, f.Open(t), "INBOX")
	equal(t, "after a restart", c.View().Messages[0].Keywords, all[10:39])
}

func testConditional(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(3)...)
	b := Open(t, s, "INBOX")
	since := b.View().HighestModSeq
	if _, err := b.Store(uids[:1], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen}); err != nil {
		t.Fatal(err)
	}
	out, err := b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Flagged, Conditional: true, UnchangedSince: since})
	if err != nil || len(out.Changed) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	equal(t, "modified", out.Modified, uids[:1])
	if b.View().Messages[0].Flags != mailbox.Seen {
		t.Error("a protected message was changed")
	}
}

func testExpunge(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(5)...)
	b, other := Open(t, s, "INBOX"), Open(t, f.Open(t), "INBOX")
	if _, err := b.Store([]mailbox.UID{uids[1], uids[3]}, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted}); err != nil {
		t.Fatal(err)
	}
	Sync(t, other)
	if err := b.Expunge([]mailbox.UID{uids[0], uids[1]}); err != nil {
		t.Fatal(err)
	}
	if len(b.View().Messages) != 5 {
		t.Error("the View changed without Sync")
	}
	c := Sync(t, b)
	equal(t, "expunged", c.Expunged, []uint32{2})
	// The other session first may not be told.
	c, err := other.Sync(context.Background(), false)
	if err != nil || c.Any() || len(other.View().Messages) != 5 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := other.Content(other.View().Messages[1]); !errors.Is(err, mailbox.ErrExpunged) {
		t.Errorf("content of a message that is gone: %v", err)
	}
	out, err := other.Store(uids[:2], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen})
	if err != nil || len(out.Changed) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	equal(t, "gone", out.Gone, uids[1:2])
	Add(t, s, "INBOX", message(6))
	if c, err = other.Sync(context.Background(), false); err != nil || c.New != 1 || len(other.View().Messages) != 6 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := b.Expunge(nil); err != nil {
		t.Fatal(err)
	}
	c = Sync(t, other)
	equal(t, "expunged, later", c.Expunged, []uint32{4, 2})
	equal(t, "UIDs", c.ExpungedUIDs, []mailbox.UID{uids[3], uids[1]})
	if got := UIDs(other); len(got) != 4 {
		t.Errorf("left: %v", got)
	}
}

// testViews: a View that was handed out never changes.
func testViews(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(10)...)
	b := Open(t, s, "INBOX")
	v := b.View()
	copies := make([]mailbox.Message, 10)
	for i, m := range v.Messages {
		copies[i] = *m
	}
	b.Store(uids, mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted, Keywords: []string{"k"}})
	b.Expunge(uids[:5])
	Add(t, s, "INBOX", messages(20)...)
	Sync(t, b)
	if len(v.Messages) != 10 {
		t.Fatalf("%d messages", len(v.Messages))
	}
	for i, m := range v.Messages {
		if m.UID != copies[i].UID || m.Flags != copies[i].Flags || m.ModSeq != copies[i].ModSeq || len(m.Keywords) != 0 {
			t.Errorf("message %d changed: %+v", i+1, m)
		}
	}
}

func testCopy(t *testing.T, f *Fixture) {
	s := f.Open(t)
	if err := s.Create("Archive/2024", mailbox.UseNone); err != nil {
		t.Fatal(err)
	}
	Add(t, s, "Archive/2024", message(100))
	uids := Add(t, s, "INBOX", messages(4)...)
	b := Open(t, s, "INBOX")
	b.Store(uids[1:3], mailbox.StoreChange{Op: mailbox.Replace, Flags: mailbox.Flagged, Keywords: []string{"red"}})
	out, err := b.Copy([]mailbox.UID{uids[2], uids[1], 99999}, "Archive/2024")
	if err != nil || len(out.UIDs) != 2 || out.UIDs[0] >= out.UIDs[1] {
		t.Fatalf("%+v, %v", out, err)
	}
	equal(t, "sources", out.Sources, uids[1:3])
	d := Open(t, s, "Archive/2024")
	if d.View().UIDValidity != out.UIDValidity || len(d.View().Messages) != 3 {
		t.Errorf("%+v", d.View())
	}
	for i, u := range out.UIDs {
		m := d.View().Get(u)
		src := b.View().Get(out.Sources[i])
		if m == nil || m.Flags != mailbox.Flagged || !m.HasKeyword("red") || Date(t, d, m) != Date(t, b, src) || m.EmailID != src.EmailID {
			t.Fatalf("%+v of %+v", m, src)
		}
		if Body(t, d, m) != Body(t, b, src) {
			t.Error("another body")
		}
	}
	if c := Sync(t, b); len(c.Expunged) > 0 || len(b.View().Messages) != 4 {
		t.Errorf("the source changed: %+v", c)
	}
	if _, err := b.Copy(uids, "nowhere"); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("copy to nowhere: %v", err)
	}
	if out, err := b.Copy(uids, "INBOX"); err != nil || len(out.UIDs) != 4 {
		t.Errorf("copy into itself: %+v, %v", out, err)
	}
	if c := Sync(t, b); c.New != 4 {
		t.Errorf("copy into itself: %+v", c)
	}
	if out, err := b.Copy([]mailbox.UID{77777}, "Archive/2024"); err != nil || len(out.UIDs) != 0 {
		t.Errorf("copy of nothing: %+v, %v", out, err)
	}
}

func testMove(t *testing.T, f *Fixture) {
	s := f.Open(t)
	s.Create("Box", mailbox.UseNone)
	uids := Add(t, s, "INBOX", messages(4)...)
	b := Open(t, s, "INBOX")
	out, err := b.Move(uids[1:3], "Box")
	if err != nil || len(out.UIDs) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	c := Sync(t, b)
	equal(t, "expunged", c.Expunged, []uint32{3, 2})
	d := Open(t, s, "Box")
	for i, u := range out.UIDs {
		if got := Body(t, d, d.View().Get(u)); got != message(i+2) {
			t.Errorf("%q", got)
		}
	}
}

func testRestart(t *testing.T, f *Fixture) {
	s := f.Open(t)
	uids := Add(t, s, "INBOX", messages(20)...)
	b := Open(t, s, "INBOX")
	b.Store(uids[:7], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Seen, Keywords: []string{"a", "b"}})
	b.Store(uids[5:9], mailbox.StoreChange{Op: mailbox.Add, Flags: mailbox.Deleted})
	b.Expunge(nil)
	Sync(t, b)
	want := b.View()
	f.Restart(t)
	c := Open(t, f.Open(t), "INBOX")
	SameView(t, c.View(), want)
	if c.ID() != b.ID() || c.ID() == "" {
		t.Errorf("object id %q, was %q", c.ID(), b.ID())
	}
	u := Add(t, f.Open(t), "INBOX", message(21))[0]
	if u < want.UIDNext {
		t.Errorf("UID %d is below %d", u, want.UIDNext)
	}
}

// Date returns the internal date of a message.
func Date(t testing.TB, b mailbox.Mailbox, m *mailbox.Message) int64 {
	t.Helper()
	n, err := b.Date(m)
	if err != nil {
		t.Fatalf("date of UID %d: %v", m.UID, err)
	}
	return n
}

// SameView reports differences that a client would see.
func SameView(t testing.TB, got, want *mailbox.View) {
	t.Helper()
	if got.UIDValidity != want.UIDValidity || got.UIDNext < want.UIDNext || got.HighestModSeq < want.HighestModSeq || len(got.Messages) != len(want.Messages) {
		t.Errorf("validity %d, next %d, modseq %d, %d messages; want %d, %d, %d, %d", got.UIDValidity, got.UIDNext, got.HighestModSeq, len(got.Messages),
			want.UIDValidity, want.UIDNext, want.HighestModSeq, len(want.Messages))
		return
	}
	for i, m := range got.Messages {
		w := want.Messages[i]
		if m.UID != w.UID || m.Flags != w.Flags || m.ModSeq != w.ModSeq || !slices.Equal(m.Keywords, w.Keywords) || m.Date != w.Date && m.Date != mailbox.NoDate && w.Date != mailbox.NoDate || m.SaveDate != w.SaveDate || m.EmailID != w.EmailID {
			t.Errorf("message %d: %+v, want %+v", i+1, m, w)
		}
	}
}
