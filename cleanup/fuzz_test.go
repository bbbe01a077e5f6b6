package main

import (
	"strings"
	"testing"

	"posthaste/pkg/proto/cleanup"
)

// FuzzContent: a body passes unchanged through all checks, whatever it is and
// however it is cut into chunks.
func FuzzContent(f *testing.F) {
	f.Add("--B\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n c\r\n--B--\r\n.", 3)
	f.Add("x\ry\nz\x00\xff", 1)
	f.Add(strings.Repeat("long", 1000), 100)
	w := newWorld(f, "line_length_limit = 512\nheader_size_limit = 100\nbody_checks_size_limit = 2000\ncleanup_replace_stray_cr_lf = no\n", func(s *settings) {
		s.headerMaps, s.mimeMaps, s.nestedMaps, s.bodyMaps = starting(nil), starting(nil), starting(nil), starting(nil)
	})
	f.Fuzz(func(t *testing.T, body string, chunk int) {
		w.t = t
		head := "X: y\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
		id, r := w.send(mail{begin: func(b *cleanup.Begin) { b.Message.Local = false }, to: []string{"u@x.test"}, content: head + body, chunk: max(chunk, 1)})
		if r.Status != cleanup.OK {
			t.Fatalf("%+v", r)
		}
		st := w.load("incoming", id)
		if got := after(st.content); got != head+body {
			t.Errorf("%q became %q", head+body, got)
		}
		w.set.spool.Remove("incoming", id)
	})
}
