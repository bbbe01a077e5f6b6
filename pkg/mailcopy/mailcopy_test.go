package mailcopy

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestCopy(t *testing.T) {
	for _, c := range []struct {
		name, in string
		flags    Flags
		eol      string
		want     string
	}{
		{"lf", "a\r\nb\r\n", 0, "\n", "a\nb\n"},
		{"crlf", "a\r\nb\r\n", 0, "\r\n", "a\r\nb\r\n"},
		{"no final newline", "a\r\nb", 0, "\n", "a\nb\n"},
		{"bare cr", "a\rb\r\r\nc\r", 0, "\n", "a\rb\r\nc\r\n"},
		{"bare lf", "a\nb\r\n", 0, "\n", "a\nb\n"},
		{"bare lf to crlf", "a\nb\r\n", 0, "\r\n", "a\r\nb\r\n"},
		{"quote", "From x\r\n>From y\r\nFromage\r\n From\r\nFrom \r\nFrom", Quote, "\n", ">From x\n>From y\nFromage\n From\n>From \nFrom\n"},
		{"dot", ".\r\n..a\r\nb.\r\n", Dot, "\n", "..\n...a\nb.\n"},
		{"dot and quote", ".From \r\nFrom .\r\n", Dot | Quote, "\n", "..From \n>From .\n"},
		{"blank", "a\r\n", Blank, "\n", "a\n\n"},
		{"empty", "", 0, "\n", ""},
		{"empty lines", "\r\n\r\n", Quote, "\n", "\n\n"},
	} {
		var b bytes.Buffer
		if _, err := Copy(&b, strings.NewReader(c.in), nil, c.flags, c.eol); err != nil || b.String() != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, b.String(), err, c.want)
		}
	}
}

// FuzzConverter: the result does not depend on how the input is split, and
// plain conversion only replaces CRLF.
func FuzzConverter(f *testing.F) {
	f.Add([]byte("From a\r\n.b\r\r\nFro\r\n"), uint8(Quote|Dot), uint8(3))
	f.Add([]byte("\r\n\r"), uint8(0), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, flags uint8, step uint8) {
		fl := Flags(flags) & (Quote | Dot | Blank)
		whole := NewConverter(fl, "\n")
		want := whole.Finish(whole.Append(nil, in))
		parts := NewConverter(fl, "\n")
		var got []byte
		n := int(step)%7 + 1
		for p := in; len(p) > 0; p = p[min(n, len(p)):] {
			got = parts.Append(got, p[:min(n, len(p))])
		}
		if got = parts.Finish(got); !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d: %q, want %q", n, got, want)
		}
		if fl == 0 {
			plain := strings.ReplaceAll(string(in), "\r\n", "\n")
			if s := string(want); s != plain && s != plain+"\n" {
				t.Fatalf("%q became %q", in, s)
			}
		}
	})
}

func TestHeader(t *testing.T) {
	e := &Envelope{Sender: "a@b", OrigTo: "x\r\nEvil: y", DeliveredTo: "d@e", When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)}
	want := "From a@b  Fri Jan  2 03:04:05 2026\nReturn-Path: <a@b>\nX-Original-To: x??Evil: y\nDelivered-To: d@e\n"
	if got := string(AppendHeader(nil, e, Mbox, "\n")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(AppendHeader(nil, &Envelope{When: e.When}, Mbox, "\n")); got != "From MAILER-DAEMON  Fri Jan  2 03:04:05 2026\nReturn-Path: <>\n" {
		t.Errorf("null sender: %q", got)
	}
}

func TestDelivered(t *testing.T) {
	msg := "A: b\r\nDelivered-To: x@y\r\nDELIVERED-to :\r\n  q@z\r\n" + strings.Repeat("L", 9000) + ": Delivered-To: no\r\n\r\nDelivered-To: body@no\r\n"
	got, err := Delivered(strings.NewReader(msg))
	if err != nil || len(got) != 2 || got[0] != "x@y" || got[1] != "q@z" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, _ := Delivered(strings.NewReader(strings.Repeat("\r", 5000) + "Delivered-To: a\r\n")); len(got) != 0 {
		t.Errorf("carriage returns: %q", got)
	}
	if got, _ := Delivered(strings.NewReader(strings.Repeat("Delivered-To: a\r\n", 5000))); len(got) != maxDeliveredTo {
		t.Errorf("%d addresses kept, want %d", len(got), maxDeliveredTo)
	}
}
