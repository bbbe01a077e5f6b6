package esmtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// decodeSplit decodes in in pieces of n bytes and returns content, the bytes
// taken and whether the end was found.
func decodeSplit(in []byte, n int, lfOnly bool) (out []byte, taken int, done, bare bool) {
	d := DotDecoder{LFOnly: lfOnly}
	for taken < len(in) && !done {
		var k int
		out, k, done = d.Decode(out, in[taken:min(taken+n, len(in))])
		taken += k
	}
	return out, taken, done, d.BareLF
}

func TestDotDecoder(t *testing.T) {
	for _, c := range []struct {
		in     string
		lfOnly bool
		out    string
		rest   string
		done   bool
		bare   bool
	}{
		{".\r\nNEXT", false, "", "NEXT", true, false},
		{"a\r\n.\r\nNEXT", false, "a\r\n", "NEXT", true, false},
		{"..a\r\n.b\r\n.\r\n", false, ".a\r\nb\r\n", "", true, false},
		{"a\n.\nb\r\n.\r\n", false, "a\r\n\r\nb\r\n", "", true, true},
		{"a\n.\r\nb\r\n.\r\n", false, "a\r\n\r\nb\r\n", "", true, true},
		{"a\r\n.\nb\r\n.\r\n", false, "a\r\n\r\nb\r\n", "", true, true},
		{"a\r.\r\nb\r\n.\r\n", false, "a\r.\r\nb\r\n", "", true, false},
		{"a\r\n.\rb\r\n.\r\n", false, "a\r\n\rb\r\n", "", true, false},
		{"a\r\r\n.\r\r\n.\r\n", false, "a\r\r\n\r\r\n", "", true, false},
		{"a\n.\nNEXT", true, "a\r\n", "NEXT", true, true},
		{"a\r\nb\n.\nc\r\n.\r\n", true, "a\r\nb\r\n\r\nc\r\n", "", true, true},
		{"no end", false, "no end", "", false, false},
		{"\x00\xff\r\n.\r\n", false, "\x00\xff\r\n", "", true, false},
	} {
		for n := 1; n <= len(c.in); n++ {
			out, taken, done, bare := decodeSplit([]byte(c.in), n, c.lfOnly)
			if string(out) != c.out || c.in[taken:] != c.rest || done != c.done || bare != c.bare {
				t.Errorf("%q in pieces of %d: %q, rest %q, %v, bare %v", c.in, n, out, c.in[taken:], done, bare)
			}
		}
	}
}

// TestFolding checks how lines above the limit are broken, whatever the pieces
// in which the content comes.
func TestFolding(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"1234567890\r\n", "1234567890\r\n"},
		{"12345678901\r\n", "1234567890\r\n 1\r\n"},
		{"123456789012345678901\r\nx\r\n", "1234567890\r\n 123456789\r\n 01\r\nx\r\n"},
		{".23456789012\r\n", "..234567890\r\n 12\r\n"},
		{"1234567890.2", "1234567890\r\n .2\r\n"},
		{"1234567890", "1234567890\r\n"},
		{"\r\n\r\n.\r\n", "\r\n\r\n..\r\n"},
	} {
		for size := 1; size <= len(c.in); size++ {
			told := 0
			e := DotEncoder{Limit: 10, Folding: func() { told++ }}
			var out []byte
			for s := c.in; s != ""; s = s[min(size, len(s)):] {
				out = e.Encode(out, []byte(s[:min(size, len(s))]))
			}
			out = e.End(out)
			if string(out) != c.want+".\r\n" {
				t.Errorf("%q in pieces of %d: %q, want %q", c.in, size, out, c.want)
			}
			if folds := strings.Contains(c.want, "\r\n "); folds != (told == 1) || told > 1 {
				t.Errorf("%q: told %d times", c.in, told)
			}
		}
	}
	for limit := range 5 {
		e := DotEncoder{Limit: limit}
		if out := e.End(e.Encode(nil, []byte("abcdefgh"))); !strings.HasPrefix(strings.ReplaceAll(string(out), "\r\n ", ""), "abcdefgh\r\n") {
			t.Errorf("limit %d: %q", limit, out)
		}
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "\n.\n", "\r\n.\r\r\n", "..\r\n.\r\n", "a\rb\n.c\r\n.\r\nMAIL"} {
		f.Add([]byte(s), 3, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, n int, lfOnly bool) {
		if n <= 0 || n > 100 {
			n = 7
		}
		a, ta, da, ba := decodeSplit(in, len(in)+1, lfOnly)
		b, tb, db, bb := decodeSplit(in, n, lfOnly)
		if !bytes.Equal(a, b) || ta != tb || da != db || ba != bb {
			t.Fatalf("%q: %q %d %v %v at once, %q %d %v %v in pieces of %d", in, a, ta, da, ba, b, tb, db, bb, n)
		}
		if bytes.Contains(bytes.ReplaceAll(a, []byte("\r\n"), nil), []byte("\n")) {
			t.Fatalf("%q: bare LF in %q", in, a)
		}
		if len(a) > 2*len(in) {
			t.Fatalf("content of %d bytes from %d", len(a), len(in))
		}
		// What was decoded whole goes out and comes back the same.
		if da {
			var e DotEncoder
			wire := e.End(e.Encode(nil, a))
			c, _, done, _ := decodeSplit(wire, n, false)
			if !done || !bytes.Equal(c, a) {
				t.Fatalf("%q does not survive: %q", a, c)
			}
		}
		r := NewReader(iotest.OneByteReader(bytes.NewReader(in)), 16)
		d := DotDecoder{LFOnly: lfOnly}
		got, err := io.ReadAll(d.Reader(r))
		if da && (err != nil || !bytes.Equal(got, a)) || !da && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q through Reader: %q, %v", in, got, err)
		}
	})
}

func TestEncoders(t *testing.T) {
	for _, c := range []struct{ in, dot, line string }{
		{"", ".\r\n", ""},
		{"a", "a\r\n.\r\n", "a\r\n"},
		{"a\r", "a\r\n.\r\n", "a\r\n"},
		{".a\r\n..\n", "..a\r\n...\r\n.\r\n", ".a\r\n..\r\n"},
	} {
		for n := 1; n <= len(c.in)+1; n++ {
			var d DotEncoder
			var l LineEncoder
			var a, b []byte
			for in := c.in; in != ""; {
				k := min(n, len(in))
				a, b = d.Encode(a, []byte(in[:k])), l.Encode(b, []byte(in[:k]))
				in = in[k:]
			}
			a, b = d.End(a), l.End(b)
			if string(a) != c.dot || string(b) != c.line {
				t.Errorf("%q in pieces of %d: %q and %q", c.in, n, a, b)
			}
		}
	}
	var buf bytes.Buffer
	w := NewDotWriter(&buf)
	io.WriteString(w, ".x")
	w.Close()
	if buf.String() != "..x\r\n.\r\n" {
		t.Errorf("%q", buf.String())
	}
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", 100)
	r := NewReader(iotest.HalfReader(strings.NewReader("one\r\ntwo\n"+long+"\r\n"+long+long+"\r\nfour\r\nlost")), 16)
	for _, c := range []struct {
		want string
		bare bool
		err  error
	}{{"one", false, nil}, {"two", true, nil}, {long, false, nil}, {"", false, ErrLineTooLong}, {"four", false, nil}, {"", false, io.EOF}} {
		l, bare, err := r.ReadLine(100)
		if string(l) != c.want || err == nil && bare != c.bare || err != c.err {
			t.Errorf("got %q, %v, %v; want %+v", l, bare, err, c)
		}
	}
	r = NewReader(strings.NewReader("abc\r\nrest of it"), 8)
	r.Fill()
	r.Borrow(make([]byte, 64))
	r.Fill()
	if l, _, err := r.ReadLine(50); string(l) != "abc" || err != nil {
		t.Errorf("%q %v", l, err)
	}
	r.Return()
	if string(r.Buffered()) != "rest of it" {
		t.Errorf("%q", r.Buffered())
	}
	r.Reset(strings.NewReader(""))
	if len(r.Buffered()) != 0 {
		t.Error("Reset kept input")
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		in, addr, domain, rest string
		err                    error
	}{
		{"<>", "", "", "", nil},
		{"<a@b.c>", "a@b.c", "b.c", "", nil},
		{"<a@b.c> SIZE=1", "a@b.c", "b.c", " SIZE=1", nil},
		{"  <a@b.c>", "a@b.c", "b.c", "", nil},
		{"a@b.c X=Y", "a@b.c", "b.c", " X=Y", nil},
		{"<postmaster>", "postmaster", "", "", nil},
		{"<@x,@y:a@b.c>", "a@b.c", "b.c", "", nil},
		{`<"a b"@c>`, "a b@c", "c", "", nil},
		{`<"a\"b"@c>`, `a"b@c`, "c", "", nil},
		{`<"a@b"@c>`, "a@b@c", "c", "", nil},
		{`<"a>b"@c>`, "a>b@c", "c", "", nil},
		{"<a..b@c>", "a..b@c", "c", "", nil},
		{"<a@b.c.>", "a@b.c", "b.c", "", nil},
		{"<a@[192.0.2.1]>", "a@[192.0.2.1]", "[192.0.2.1]", "", nil},
		{"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]", "", nil},
		{"<a%b@c>", "a%b@c", "c", "", nil},
		{"<a@b@c>", "a@b@c", "c", "", nil},
		{"<\u00fc@b.c>", "\u00fc@b.c", "b.c", "", nil},
		{"<a@b.c", "", "", "", ErrBadPath},
		{"<a@b.c>x", "", "", "", ErrBadPath},
		{"<a b@c>", "", "", "", ErrBadPath},
		{"<a@b..c>", "", "", "", ErrBadPath},
		{"<a@>", "", "", "", ErrBadPath},
		{"<@b>", "", "", "", ErrBadPath},
		{"<a@b\x00c>", "", "", "", ErrBadPath},
		{"<a\x7f@b>", "", "", "", ErrBadPath},
		{"<a@[1.2.3.4>", "", "", "", ErrBadPath},
		{`<"a@b>`, "", "", "", ErrBadPath},
		{"<a@\xff.c>", "", "", "", ErrBadPath},
		{"<" + strings.Repeat("a", 300) + "@b>", "", "", "", ErrLongPath},
		{"<a@" + strings.Repeat("b", 64) + ".c>", "", "", "", ErrLongPath},
		{"", "", "", "", ErrNoPath},
	} {
		p, rest, err := ParsePath(c.in, false)
		if err != c.err || err == nil && (p.Addr != c.addr || p.Domain != c.domain || rest != c.rest) {
			t.Errorf("%q: %+v, rest %q, %v", c.in, p, rest, err)
		}
	}
	for _, in := range []string{"a@b.c", " <a@b.c>"} {
		if _, _, err := ParsePath(in, true); err == nil {
			t.Errorf("%q passes as strict", in)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b>", `<"a\"@b"@c> X=Y`, "<@a:b@c>", "a@b", "<a@[::1]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, rest, err := ParsePath(s, false)
		if err != nil {
			return
		}
		if strings.ContainsAny(p.Addr, "\r\n\x00") || len(p.Local) > MaxLocal || len(p.Domain) > MaxDomain {
			t.Fatalf("%q: %+v", s, p)
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("%q: rest %q", s, rest)
		}
		ParseParams(nil, rest)
		// The external form parses to the same address.
		q, _, err := ParsePath("<"+p.Raw+">", true)
		if err != nil || q.Addr != p.Addr {
			t.Fatalf("%q: raw form %q gives %+v, %v", s, p.Raw, q, err)
		}
	})
}

func TestParams(t *testing.T) {
	l, err := ParseParams(nil, " size=10  SMTPUTF8 AUTH=<>")
	if err != nil || len(l) != 3 || l[0] != (Param{"SIZE", "10", true}) || l[1] != (Param{"SMTPUTF8", "", false}) {
		t.Errorf("%+v %v", l, err)
	}
	for _, s := range []string{"=1", "a b!c", "-x"} {
		if _, err := ParseParams(nil, s); err == nil {
			t.Errorf("%q passes", s)
		}
	}
	for in, want := range map[string]string{"a+2Bb": "a+b", "abc": "abc", "+C3+BC": "\u00fc"} {
		if got, err := DecodeXtext(in); got != want || err != nil {
			t.Errorf("%q: %q %v", in, got, err)
		}
		if back, err := DecodeXtext(EncodeXtext(want)); back != want || err != nil {
			t.Errorf("%q: %q %v", want, back, err)
		}
	}
	for _, s := range []string{"a+0Ab", "+00", "+2", "+", "+GG", "a=b", "a b"} {
		if got, err := DecodeXtext(s); err == nil {
			t.Errorf("%q gives %q", s, got)
		}
	}
	if v, err := ParseOrcpt("rfc822;a+2Bb@c"); v != "rfc822;a+b@c" || err != nil {
		t.Error(v, err)
	}
	for _, s := range []string{"a@b", ";x", "rfc822;", "rf c;x", "rfc822;a+0D"} {
		if v, err := ParseOrcpt(s); err == nil {
			t.Errorf("%q gives %q", s, v)
		}
	}
}

func TestReply(t *testing.T) {
	r := Reply{550, "5.7.1", "one\ntw\x07o\tx"}
	if got := string(r.Append(nil)); got != "550-5.7.1 one\r\n550 5.7.1 tw?o x\r\n" {
		t.Errorf("%q", got)
	}
	if r.String() != "550 5.7.1 one; tw\x07o\tx" || r.Soft().Code != 450 || r.Soft().Enh != "4.7.1" {
		t.Error(r.String(), r.Soft())
	}
	if got := (Reply{550, "4.7.25", ""}).Aligned().Enh; got != "5.7.25" {
		t.Error(got)
	}
	if got := (Reply{221, "2.0.0", "x"}).Soft().Code; got != 221 {
		t.Error(got)
	}
	long := string(Reply{250, "", strings.Repeat("\u00fc", 400)}.Append(nil))
	if len(long) > 512 || !strings.HasSuffix(long, "\r\n") || strings.ContainsRune(long, '\ufffd') {
		t.Errorf("%d bytes", len(long))
	}
	for in, want := range map[string]Reply{"550 5.1.1 no": {550, "5.1.1", "no"}, "450 x": {450, "", "x"}, "5.7.1 y": {0, "5.7.1", "y"}, "554": {554, "", ""}, "5555 x": {0, "", "5555 x"}} {
		if got, _ := Parse(in); got != want {
			t.Errorf("%q: %+v", in, got)
		}
	}
}
