package store

import (
	"slices"
	"strings"
	"testing"

	"posthaste/pkg/mailbox"
)

// FuzzUidlist: no bytes make the parser crash, UIDs are unique and below
// UIDNext, and what we write reads the same.
func FuzzUidlist(f *testing.F) {
	f.Add([]byte("3 V1234567 N40 Gabcdef\n7 W6 :name,S=3:2,S\n9 :gone.host\n"))
	f.Add([]byte("1 12 40\n7 name\n9 other\n"))
	f.Add([]byte("3 V1 N1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseUIDList(b)
		if err != nil {
			return
		}
		v := &mailbox.View{UIDValidity: l.UIDValidity, UIDNext: l.UIDNext}
		have := map[mailbox.UID]bool{}
		for name, u := range l.UIDs {
			if u == 0 || u >= l.UIDNext || have[u] || strings.ContainsAny(name, "/\n:") {
				t.Fatalf("UID %d of %q, next %d", u, name, l.UIDNext)
			}
			have[u] = true
			if name != "" {
				v.Messages = append(v.Messages, &mailbox.Message{UID: u, File: name})
			}
		}
		slices.SortFunc(v.Messages, func(a, b *mailbox.Message) int { return int(int64(a.UID) - int64(b.UID)) })
		again, err := parseUIDList(formatUIDList(v, 7))
		if err != nil || again.UIDValidity != l.UIDValidity || again.UIDNext != l.UIDNext || len(again.UIDs) != len(v.Messages) {
			t.Fatalf("%v: %+v, was %+v", err, again, l)
		}
	})
}

// FuzzKeywords: what is read can be written and read again, and every name
// made from it says the same flags.
func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 $Label1\n2 work\n25 z\n"), "2,FSac")
	f.Add([]byte("x\n0 a\n1 A\n"), "2,PZz,x")
	f.Fuzz(func(t *testing.T, b []byte, info string) {
		l := parseKeywords(b)
		if again := parseKeywords(l.format()); again != l {
			t.Fatalf("%v, was %v", again, l)
		}
		if strings.ContainsAny(info, ":/") {
			return
		}
		fl, kw, other := l.parseInfo(info)
		name, _ := l.fileName("base", fl, kw, other)
		_, out := splitName(name)
		fl2, kw2, _ := l.parseInfo(out)
		if fl2 != fl || !slices.Equal(kw, kw2) {
			t.Fatalf("%q -> %q: %v %v, %v %v", info, name, fl, kw, fl2, kw2)
		}
	})
}

func FuzzScanCache(f *testing.F) {
	f.Add(putRecord(putRecord(nil, 5, 1, []byte("abc")), 6, 2, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := scanCache(b, func(k cacheKey, off, n int) { _ = b[off : off+n] }); n > len(b) {
			t.Fatal(n)
		}
	})
}

func TestCompareNames(t *testing.T) {
	want := []string{"100.M9P1.h", "100.M10P1.h", "100.Q1", "200.x", "1000.a"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNames)
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
