package cdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

type kv struct{ k, v string }

func build(t testing.TB, path string, d Duplicate, entries ...kv) {
	t.Helper()
	w, err := Create(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := w.Put([]byte(e.k), []byte(e.v), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func check(t testing.TB, r *Reader, key, want string, has bool) {
	t.Helper()
	if got, ok, err := r.Get(key); got != want || ok != has || err != nil {
		t.Errorf("Get(%q) = %q, %v, %v, want %q, %v", key, got, ok, err, want, has)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 10, 1000, 20000} { // in memory, and read piece by piece
		path := filepath.Join(t.TempDir(), "x.cdb")
		var all []kv
		for i := range n {
			all = append(all, kv{fmt.Sprintf("key%d", i), fmt.Sprintf("value of %d", i)})
		}
		build(t, path, KeepFirst, all...)
		r := open(t, path)
		for _, e := range all {
			check(t, r, e.k, e.v, true)
		}
		check(t, r, "nothing", "", false)
		check(t, r, "", "", false)
		i := 0
		err := r.Each(func(k, v []byte) error {
			if i >= n || string(k) != all[i].k || string(v) != all[i].v {
				return fmt.Errorf("entry %d is %q=%q", i, k, v)
			}
			i++
			return nil
		})
		if err != nil || i != n {
			t.Errorf("%d entries: Each saw %d: %v", n, i, err)
		}
	}
}

func TestLargeValuesInLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cdb")
	big := string(bytes.Repeat([]byte("x"), 300<<10))
	build(t, path, KeepFirst, kv{"a", big}, kv{"b", "small"}, kv{big[:2000], "long key"}, kv{"empty", ""})
	r := open(t, path)
	check(t, r, "a", big, true)
	check(t, r, "b", "small", true)
	check(t, r, big[:2000], "long key", true)
	check(t, r, "empty", "", true)
}

func TestDuplicates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cdb")
	build(t, path, KeepFirst, kv{"k", "1"}, kv{"l", "2"}, kv{"k", "3"})
	check(t, open(t, path), "k", "1", true)
	build(t, path, Replace, kv{"k", "1"}, kv{"l", "2"}, kv{"k", "3"}, kv{"k", "4"})
	r := open(t, path)
	check(t, r, "k", "4", true)
	check(t, r, "l", "2", true)
	n := 0
	if err := r.Each(func(k, v []byte) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("after replacing, %d entries: %v", n, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	w, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		if dup, err := w.Put([]byte("k"), []byte("v"), KeepFirst); dup != want || err != nil {
			t.Errorf("Put %d: duplicate = %v, %v", i, dup, err)
		}
	}
	w.Abort()
}

func TestAbortLeavesOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.cdb")
	build(t, path, KeepFirst, kv{"k", "old"})
	w, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w.Put([]byte("k"), []byte("new"), KeepFirst)
	w.Abort()
	check(t, open(t, path), "k", "old", true)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOpenFileSurvivesReplacement(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cdb")
	var first, second []kv
	for i := range 20000 {
		first = append(first, kv{fmt.Sprint("k", i), "first"})
		second = append(second, kv{fmt.Sprint("k", i), "second"})
	}
	build(t, path, Allow, first...)
	r := open(t, path)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if v, ok, err := r.Get(fmt.Sprint("k", i%20000)); v != "first" || !ok || err != nil {
					t.Errorf("Get = %q, %v, %v", v, ok, err)
					return
				}
			}
		}()
	}
	for range 3 {
		build(t, path, Allow, second...)
	}
	close(stop)
	wg.Wait()
	check(t, open(t, path), "k7", "second", true)
}

func TestCutFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cdb")
	var all []kv
	for i := range 20000 {
		all = append(all, kv{fmt.Sprint("k", i), "value"})
	}
	build(t, path, Allow, all...)
	r := open(t, path)
	m, err := r.Mapped(1 << 20)
	if err != nil || m == nil {
		t.Fatalf("Mapped: %v, %v", m, err)
	}
	check(t, m, "k19999", "value", true)
	check(t, m, "none", "", false)
	if x, err := r.Mapped(100); x != nil || err != nil {
		t.Errorf("Mapped beyond its limit: %v, %v", x, err)
	}
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := m.Get("k19999"); ok || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get in a mapped file cut short: %v, %v", ok, err)
	}
	if _, ok, err := r.Get("k19999"); ok || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get in a file cut short: %v, %v", ok, err)
	}
	if _, err := NewReader(make([]byte, 100)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short file: %v", err)
	}
}

func FuzzCDB(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.cdb")
	build(f, path, Allow, kv{"a", "1"}, kv{"b", "2"}, kv{"", ""})
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, "a")
	f.Add(seed[:headerSize], "")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		r, err := NewReader(data)
		if err != nil {
			return
		}
		if v, ok, err := r.Get(key); err == nil && ok && len(v) > len(data) {
			t.Fatalf("value of %d bytes from %d", len(v), len(data))
		}
		total := 0
		r.Each(func(k, v []byte) error { total += 8 + len(k) + len(v); return nil })
		if total > len(data) {
			t.Fatalf("%d bytes of records in %d", total, len(data))
		}
		if _, err := r.First(); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// FuzzRoundTrip builds a database of arbitrary records and finds each again.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a=1\nb=2\na=3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.cdb")
		w, err := Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, line := range bytes.Split(data, []byte("\n")) {
			k, v, _ := bytes.Cut(line, []byte("="))
			_, had := want[string(k)]
			if dup, err := w.Put(k, v, Replace); err != nil || dup != had {
				t.Fatalf("Put(%q): %v, %v, want %v", k, dup, err, had)
			}
			want[string(k)] = string(v)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for k, v := range want {
			if got, ok, err := r.Get(k); got != v || !ok || err != nil {
				t.Fatalf("Get(%q) = %q, %v, %v, want %q", k, got, ok, err, v)
			}
		}
		n := 0
		if err := r.Each(func(k, v []byte) error { n++; return nil }); err != nil || n != len(want) {
			t.Fatalf("%d entries, want %d: %v", n, len(want), err)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 200000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "x.cdb")
			var all []kv
			for i := range n {
				all = append(all, kv{fmt.Sprint("user", i, "@example.com"), "value"})
			}
			build(b, path, Allow, all...)
			r := open(b, path)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok, err := r.Get(all[i%n].k); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
