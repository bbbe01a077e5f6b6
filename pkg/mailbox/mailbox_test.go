package mailbox

import (
	"slices"
	"testing"
)

func view(msgs ...*Message) *View { return &View{UIDNext: 1000, Messages: msgs} }

func TestAdvance(t *testing.T) {
	m := func(u UID, s ModSeq) *Message { return &Message{UID: u, ModSeq: s} }
	a, b, c, d := m(1, 1), m(2, 1), m(3, 1), m(4, 1)
	b2 := &Message{UID: 2, ModSeq: 5, Flags: Seen}
	old, now := view(a, b, c), view(b2, d)
	v, ch := old.Advance(now, true)
	if v != now || !slices.Equal(ch.Expunged, []uint32{3, 1}) || !slices.Equal(ch.Changed, []uint32{1}) || ch.New != 1 {
		t.Errorf("%+v", ch)
	}
	v, ch = old.Advance(now, false)
	if len(ch.Expunged) != 0 || !slices.Equal(ch.Changed, []uint32{2}) || ch.New != 1 || !slices.Equal(v.Messages, []*Message{a, b2, c, d}) {
		t.Errorf("%+v, %+v", v.Messages, ch)
	}
	v, ch = v.Advance(now, true)
	if v != now || !slices.Equal(ch.Expunged, []uint32{3, 1}) || len(ch.Changed) != 0 || ch.New != 0 {
		t.Errorf("%+v", ch)
	}
}

func TestFind(t *testing.T) {
	v := view(&Message{UID: 3}, &Message{UID: 4}, &Message{UID: 9})
	for u, want := range map[UID]bool{1: false, 3: true, 4: true, 5: false, 9: true, 10: false} {
		if got := v.Get(u) != nil; got != want {
			t.Errorf("%d: %v", u, got)
		}
	}
}

func TestUTF7(t *testing.T) {
	for plain, coded := range map[string]string{"a&b": "a&-b", "日本語": "&ZeVnLIqe-", "Entwürfe": "Entw&APw-rfe", "~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "😀": "&2D3eAA-"} {
		if got := EncodeUTF7(plain, ""); got != coded {
			t.Errorf("encode %s: %s", plain, got)
		}
		if got, err := DecodeUTF7(coded); err != nil || got != plain {
			t.Errorf("decode %s: %s, %v", coded, got, err)
		}
	}
	if got := EncodeUTF7("a.b", "."); got != "a&AC4-b" {
		t.Error(got)
	}
	for _, bad := range []string{"&", "&abc", "é", "&2D0-", "&3gA-", "a\x01", "&A-"} {
		if got, err := DecodeUTF7(bad); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	f.Add("&ZeVnLIqe-")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := DecodeUTF7(s)
		if err != nil {
			return
		}
		if again, err := DecodeUTF7(EncodeUTF7(d, ".")); err != nil || again != d {
			t.Fatalf("%q, %q, %v", d, again, err)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	f.Add("inbox/Ä b")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := CheckName(s)
		if err != nil {
			return
		}
		if again, err := CheckName(n); err != nil || again != n {
			t.Fatalf("%q, %q, %v", n, again, err)
		}
	})
}
