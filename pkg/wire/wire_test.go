package wire

import (
	"bytes"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	now := time.Unix(1700000000, 123456789)
	var e Encoder
	e.Uint(0)
	e.Uint(1<<64 - 1)
	e.Int(-5)
	e.Bool(true)
	e.String("héllo")
	e.Bytes([]byte{0, 1, 2})
	e.Strings([]string{"a", "", "c"})
	e.Time(now)
	e.Time(time.Time{})
	d := NewDecoder(e.B)
	if a, b, c := d.Uint(), d.Uint(), d.Int(); a != 0 || b != 1<<64-1 || c != -5 {
		t.Errorf("got %d %d %d, want 0 2^64-1 -5", a, b, c)
	}
	if !d.Bool() {
		t.Error("got false, want true")
	}
	if s := d.String(); s != "héllo" {
		t.Errorf("got %q", s)
	}
	if b := d.Bytes(); !bytes.Equal(b, []byte{0, 1, 2}) {
		t.Errorf("got %v", b)
	}
	if l := d.Strings(); len(l) != 3 || l[0] != "a" || l[1] != "" || l[2] != "c" {
		t.Errorf("got %q", l)
	}
	if x := d.Time(); !x.Equal(now) {
		t.Errorf("got %v, want %v", x, now)
	}
	if x := d.Time(); !x.IsZero() {
		t.Errorf("got %v, want the zero time", x)
	}
	if err := d.Done(); err != nil {
		t.Error(err)
	}
}

func TestTruncated(t *testing.T) {
	var e Encoder
	e.String("hello")
	e.Uint(300)
	for n := range e.B {
		d := NewDecoder(e.B[:n])
		_ = d.String()
		d.Uint()
		if d.Done() == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(e.B))
		}
	}
	d := NewDecoder(append(e.B, 0))
	_ = d.String()
	d.Uint()
	if d.Done() == nil {
		t.Error("trailing bytes were accepted")
	}
}

func FuzzDecoder(f *testing.F) {
	var e Encoder
	e.Strings([]string{"a", "bc"})
	e.Uint(7)
	f.Add(e.B)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b)
		total := 0
		for _, s := range d.Strings() {
			total += len(s)
		}
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
		d.Uint()
		d.Int()
		d.Bool()
		d.Time()
		_ = d.Done()
	})
}
