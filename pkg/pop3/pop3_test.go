package pop3

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Command
		bad  bool
	}{
		{in: "quit", want: Command{Verb: "QUIT"}},
		{in: "PASS  two  spaces ", want: Command{"PASS", " two  spaces "}},
		{in: "USER \xe4\xbc\x9a", want: Command{"USER", "会"}},
		{in: "RETR 1", want: Command{"RETR", "1"}},
		{in: "", bad: true},
		{in: " RETR", bad: true},
		{in: "RETR\x001", bad: true},
		{in: "US\xffER x", bad: true},
		{in: "PASS a\tb", bad: true},
		{in: strings.Repeat("A", 17), bad: true},
	} {
		got, err := Parse([]byte(tt.in))
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
	for in, want := range map[string]int{"0": 0, "17": 17, "999999999": 999999999, "-1": -1, "+1": -1, "1x": -1, "": -1, "9999999999": -1, "007": 7} {
		got, ok := Number(in)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d %v", in, got, ok)
		}
	}
}

func TestCapa(t *testing.T) {
	got := string(AppendCapa(nil, Offer{STLS: true, User: true, Mechs: []string{"PLAIN", "LOGIN"}}))
	for _, l := range []string{"+OK\r\n", "\r\nSTLS\r\n", "\r\nUSER\r\n", "\r\nSASL PLAIN LOGIN\r\n", "\r\nUIDL\r\n", "\r\n.\r\n"} {
		if !strings.Contains(got, l) {
			t.Errorf("no %q in %q", l, got)
		}
	}
	if got := string(AppendCapa(nil, Offer{})); strings.Contains(got, "STLS") || strings.Contains(got, "USER\r\nI") != true || strings.Contains(got, "\nUSER") || strings.Contains(got, "SASL") {
		t.Errorf("%q", got)
	}
}

// pieces writes s to w, whole or a byte at a time.
func pieces(t *testing.T, w io.Writer, s string, one bool) {
	t.Helper()
	r := io.Reader(strings.NewReader(s))
	if one {
		r = iotest.OneByteReader(r)
	}
	if _, err := io.Copy(w, struct{ io.Reader }{r}); err != nil && !errors.Is(err, ErrEnough) {
		t.Error(err)
	}
}

var stuffing = []struct{ in, want string }{
	{"", ".\r\n"},
	{"a\r\n", "a\r\n.\r\n"},
	{"a", "a\r\n.\r\n"},
	{"a\r", "a\r\n.\r\n"},
	{"a\n", "a\n\r\n.\r\n"},
	{".", "..\r\n.\r\n"},
	{".\r\n.\r\n", "..\r\n..\r\n.\r\n"},
	{"a\r\n.b\r\n..\r\nc.d\r\n", "a\r\n..b\r\n...\r\nc.d\r\n.\r\n"},
}

func TestStuffer(t *testing.T) {
	for _, tt := range stuffing {
		for _, one := range []bool{false, true} {
			var b bytes.Buffer
			s := NewStuffer(&b)
			pieces(t, s, tt.in, one)
			if err := s.Close(); err != nil || b.String() != tt.want {
				t.Errorf("%q: got %q, %v; want %q", tt.in, b.String(), err, tt.want)
			}
		}
	}
}

func TestTop(t *testing.T) {
	msg := "A: b\r\n c\r\n\r\none\r\n\r\nthree\r\n"
	for _, tt := range []struct {
		in    string
		lines int
		want  string
	}{
		{msg, 0, "A: b\r\n c\r\n\r\n"},
		{msg, 1, "A: b\r\n c\r\n\r\none\r\n"},
		{msg, 2, "A: b\r\n c\r\n\r\none\r\n\r\n"},
		{msg, 100, msg},
		{"\r\nbody\r\n", 0, "\r\n"},
		{"A: b\r\n", 0, "A: b\r\n"},
		{"A: b", 5, "A: b"},
		{"", 5, ""},
		{"A\r\n \r\n\r\nx", 1, "A\r\n \r\n\r\nx"},
	} {
		for _, one := range []bool{false, true} {
			var b bytes.Buffer
			pieces(t, NewTop(&b, tt.lines), tt.in, one)
			if b.String() != tt.want {
				t.Errorf("%q, %d: got %q, want %q", tt.in, tt.lines, b.String(), tt.want)
			}
		}
	}
}

// unstuff is a client's view of a multi-line answer.
func unstuff(b []byte) (content, rest []byte, ok bool) {
	for {
		i := bytes.Index(b, []byte("\n"))
		if i < 0 {
			return nil, nil, false
		}
		line := b[:i+1]
		b = b[i+1:]
		if string(line) == ".\r\n" {
			return content, b, true
		}
		content = append(content, bytes.TrimPrefix(line, []byte{'.'})...)
	}
}

// FuzzStuffer: content comes through, nothing in it ends the answer, and the
// pieces do not matter.
func FuzzStuffer(f *testing.F) {
	for _, tt := range stuffing {
		f.Add(tt.in, 3)
	}
	f.Fuzz(func(t *testing.T, in string, k int) {
		if k < 1 || k > len(in) {
			k = 1
		}
		var b bytes.Buffer
		s := NewStuffer(&b)
		for r := in; r != ""; {
			n := min(k, len(r))
			s.Write([]byte(r[:n]))
			r = r[n:]
		}
		s.Close()
		got, rest, ok := unstuff(b.Bytes())
		if !ok || len(rest) > 0 || !strings.HasPrefix(string(got), in) || len(got) > len(in)+2 {
			t.Fatalf("%q becomes %q", in, b.Bytes())
		}
		for _, lines := range []int{0, 1, 3} {
			var whole, split bytes.Buffer
			NewTop(&whole, lines).Write([]byte(in))
			pieces(t, NewTop(&split, lines), in, true)
			if whole.String() != split.String() || !strings.HasPrefix(in, whole.String()) {
				t.Fatalf("TOP %d of %q: %q, split %q", lines, in, whole.String(), split.String())
			}
		}
	})
}
