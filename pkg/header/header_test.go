package header

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

// split runs a Scanner over chunks of n bytes.
func split(msg string, n, limit int) (fields []string, body string) {
	s := Scanner{Limit: limit}
	var b bytes.Buffer
	add := func(f []byte) { fields = append(fields, string(f)) }
	over := false
	for p := []byte(msg); len(p) > 0; {
		k := min(n, len(p))
		c := append([]byte(nil), p[:k]...)
		p = p[k:]
		if over {
			b.Write(c)
			continue
		}
		end, rest, done := s.Feed(c, add)
		if done {
			over = true
			b.Write(end)
			b.Write(rest)
		}
	}
	if !over {
		b.Write(s.End(add))
	}
	return fields, b.String()
}

func TestScanner(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		fields   []string
		body     string
	}{
		{"plain", "A: 1\r\nB: 2\r\n\r\nbody\r\n", []string{"A: 1\r\n", "B: 2\r\n"}, "\r\nbody\r\n"},
		{"folded", "A: 1\r\n 2\r\n\t3\r\nB:\r\n\r\n", []string{"A: 1\r\n 2\r\n\t3\r\n", "B:\r\n"}, "\r\n"},
		{"continuation of blanks", "A: 1\r\n \r\nB: 2\r\n\r\n", []string{"A: 1\r\n \r\n", "B: 2\r\n"}, "\r\n"},
		{"LF only", "A: 1\nB: 2\n\nx\n", []string{"A: 1\n", "B: 2\n"}, "\nx\n"},
		{"no empty line", "A: 1\r\nhello there\r\nB: 2\r\n", []string{"A: 1\r\n"}, "hello there\r\nB: 2\r\n"},
		{"no header", "\r\nx", nil, "\r\nx"},
		{"body only", " x: y\r\n", nil, " x: y\r\n"},
		{"no body", "A: 1\r\nB: 2", []string{"A: 1\r\n", "B: 2"}, ""},
		{"no end", "A: 1\r\nrest", []string{"A: 1\r\n"}, "rest"},
		{"blank before colon", "A : 1\r\n\r\n", []string{"A : 1\r\n"}, "\r\n"},
		{"every byte", "A: \x00\x01\xff\r\r\n\r\n\x00", []string{"A: \x00\x01\xff\r\r\n"}, "\r\n\x00"},
		{"empty", "", nil, ""},
	} {
		for _, n := range []int{1, 2, 3, 1000} {
			fields, body := split(tc.in, n, 0)
			if !reflect.DeepEqual(fields, tc.fields) || body != tc.body {
				t.Errorf("%s, chunks of %d: %q, %q; want %q, %q", tc.name, n, fields, body, tc.fields, tc.body)
			}
		}
	}
}

func TestScannerLimit(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, n := range []int{1, 7, 64, 5000} {
		fields, body := split("A: "+long+"\r\nB: 1\r\n "+long+"\r\n y\r\nC: 2\r\n\r\n"+long, n, 100)
		if len(fields) != 3 || fields[2] != "C: 2\r\n" || body != "\r\n"+long {
			t.Fatalf("chunks of %d: %d fields, body of %d", n, len(fields), len(body))
		}
		for _, f := range fields {
			if len(f) > 102 || !strings.HasSuffix(f, "\r\n") {
				t.Errorf("chunks of %d: field of %d bytes", n, len(f))
			}
		}
		// Text that is no field loses nothing.
		if fields, body := split(long+"\r\n", n, 100); len(fields) != 0 || body != long+"\r\n" {
			t.Errorf("chunks of %d: long first line: %q, %d bytes", n, fields, len(body))
		}
	}
}

func TestValues(t *testing.T) {
	f := []byte("Subject:  hello\r\n there\r\n")
	if got := string(Value(f)); got != "hello\r\n there" {
		t.Errorf("Value = %q", got)
	}
	if got := string(Unfold(Value(f))); got != "hello there" {
		t.Errorf("Unfold = %q", got)
	}
	if got := string(Text(f)); got != "Subject:  hello\n there" {
		t.Errorf("Text = %q", got)
	}
	if !Is(f, "subject") || Is(f, "subjec") {
		t.Error("Is")
	}
	if got := Date(time.Unix(1763900000, 0).UTC()); got != "Sun, 23 Nov 2025 12:13:20 +0000 (UTC)" {
		t.Errorf("Date = %q", got)
	}
}

func TestContentType(t *testing.T) {
	for in, want := range map[string]ContentType{
		"text/html; charset=utf-8":                                {Type: "text", Subtype: "html"},
		"Multipart/Mixed; boundary=\"a b;c\"":                     {"multipart", "mixed", "a b;c"},
		"multipart/mixed;\r\n\tboundary=simple":                   {"multipart", "mixed", "simple"},
		"multipart/mixed; x=y; boundary=a=b/c; z":                 {"multipart", "mixed", "a=b/c"},
		"multipart (c;c) / mixed (x) ; boundary (=) = \"q\\\"q\"": {"multipart", "mixed", "q\"q"},
		"multipart/mixed":                                         {Type: "multipart", Subtype: "mixed"},
		"":                                                        {Type: "text", Subtype: "plain"},
		"nonsense":                                                {Type: "text", Subtype: "plain"},
		"message/rfc822 ":                                         {Type: "message", Subtype: "rfc822"},
		"multipart/x; \"b":                                        {Type: "multipart", Subtype: "x"},
	} {
		if got := ParseContentType([]byte(in)); got != want {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
}

// FuzzHeader: fields and body together are the message, whatever the chunks.
func FuzzHeader(f *testing.F) {
	f.Add("A: 1\r\n b\r\nB: 2\r\n\r\nbody", 3)
	f.Add("x\r\n", 1)
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", 7)
	f.Fuzz(func(t *testing.T, msg string, n int) {
		if n < 1 || n > 10000 {
			n = 1
		}
		fields, body := split(msg, n, 0)
		if strings.Join(fields, "")+body != msg {
			t.Errorf("chunks of %d: %q + %q is not the message %q", n, fields, body, msg)
		}
		f2, b2 := split(msg, len(msg)+1, 0)
		if !reflect.DeepEqual(fields, f2) || body != b2 {
			t.Errorf("chunks of %d give %q, %q; at once %q, %q", n, fields, body, f2, b2)
		}
		for _, fd := range fields {
			ParseContentType(Value([]byte(fd)))
			Unfold([]byte(fd))
			Text([]byte(fd))
		}
		split(msg, n, 20)
	})
}
