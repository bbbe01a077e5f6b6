package mimestate

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"posthaste/pkg/header"
)

type log struct {
	got []string
	raw strings.Builder
}

func (l *log) Field(c Class, f []byte) {
	l.got = append(l.got, fmt.Sprintf("%d %s", c, strings.TrimSpace(string(f))))
	l.raw.Write(f)
}
func (l *log) Body(b []byte) {
	l.got = append(l.got, strings.TrimSpace("b "+string(b)))
	l.raw.Write(b)
}

func run(ct, body string, o Options) *log {
	l := &log{}
	s := New(header.ParseContentType([]byte(ct)), "", o, l)
	for _, line := range strings.SplitAfter(body, "\n") {
		s.Line([]byte(line))
	}
	s.End()
	return l
}

func TestStructure(t *testing.T) {
	nest := "message/rfc822"
	for _, tc := range []struct {
		name, ct, body string
		want           []string
	}{
		{"plain", "text/plain", "a\r\nX: y\r\n", []string{"b a", "b X: y"}},
		{"multipart", "multipart/mixed; boundary=B", "pre\r\n--B\r\nContent-Type: a/b\r\n c\r\n\r\nX: y\r\n--B--\r\nepi\r\n",
			[]string{"b pre", "b --B", "0 Content-Type: a/b\r\n c", "b", "b X: y", "b --B--", "b epi"}},
		{"nested message", nest, "Subject: in\r\n\r\ntext\r\n", []string{"1 Subject: in", "b", "b text"}},
		{"message in part", "multipart/mixed; boundary=B", "--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nX: y\r\n--B--\r\n",
			[]string{"b --B", "0 Content-Type: message/rfc822", "b", "1 Subject: in", "b", "b X: y", "b --B--"}},
		{"inner multipart", "multipart/mixed; boundary=B", "--B\r\nContent-Type: multipart/x; boundary=BB\r\n\r\n--BB\r\nA: 1\r\n\r\n--B\r\nC: 2\r\n\r\n",
			[]string{"b --B", "0 Content-Type: multipart/x; boundary=BB", "b", "b --BB", "0 A: 1", "b", "b --B", "0 C: 2", "b"}},
		{"digest", "multipart/digest; boundary=B", "--B\r\n\r\nSubject: in\r\n\r\nt\r\n", []string{"b --B", "b", "1 Subject: in", "b", "b t"}},
		{"encoded message is opaque", "multipart/mixed; boundary=B", "--B\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nA: b\r\n",
			[]string{"b --B", "0 Content-Type: message/rfc822", "0 Content-Transfer-Encoding: base64", "b", "b A: b"}},
	} {
		if got := run(tc.ct, tc.body, Options{}); !reflect.DeepEqual(got.got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got.got, tc.want)
		}
	}
}

func TestDeepNesting(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	l := run("multipart/mixed; boundary=b0", "--b0\r\n"+b.String(), Options{Nesting: 100})
	if l.raw.String() != "--b0\r\n"+b.String() {
		t.Error("lines got lost")
	}
}

func FuzzMime(f *testing.F) {
	f.Add("multipart/mixed; boundary=B", "--B\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n--B--\r\n")
	f.Add("message/rfc822", "A: b\r\n\r\n")
	f.Fuzz(func(t *testing.T, ct, body string) {
		l := run(ct, body, Options{Nesting: 5, BoundaryLength: 70, HeaderSize: 200})
		if l.raw.String() != body {
			t.Errorf("lines differ: %q, want %q", l.raw.String(), body)
		}
	})
}
