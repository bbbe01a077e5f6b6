package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir/store"
	"posthaste/test/tools/imaptalk"
)

// odd is a message that is not as one would like it.
type odd struct{ name, text string }

// TestOddMessages: what is told of odd messages agrees with what they are.
func TestOddMessages(t *testing.T) { checkOdd(t, oddMessages()) }

// TestOddCorpora is the same for the files below the directories in
// $ODD_CORPORA, separated by colons: collections of odd mail that others have
// made for their tests. "make soak" fetches some.
func TestOddCorpora(t *testing.T) {
	dirs := os.Getenv("ODD_CORPORA")
	if dirs == "" {
		t.Skip("SKIPPED: ODD_CORPORA names no directories; make soak does")
	}
	for _, dir := range filepath.SplitList(dirs) {
		var list []odd
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && len(b) > 0 && len(b) < 5<<20 {
				list = append(list, odd{path, string(b)})
			}
			return err
		})
		if err != nil || len(list) == 0 {
			t.Errorf("%s: %d messages, %v", dir, len(list), err)
			continue
		}
		t.Logf("%d messages in %s", len(list), dir)
		for len(list) > 0 { // a mailbox each, within its quota
			n, size := 0, 0
			for n < len(list) && n < 200 && size < 20<<20 {
				size += len(list[n].text)
				n++
			}
			checkOdd(t, list[:n])
			list = list[n:]
		}
	}
}

// examiner looks at one message by a session.
type examiner struct {
	t    *testing.T
	c    *client
	name string
	seq  int
	text string
	want int // parts looked at
}

func (x *examiner) errorf(format string, a ...any) {
	x.t.Helper()
	text := x.text
	if len(text) > 3000 {
		text = text[:3000]
	}
	x.t.Errorf("%s: %s\n%s", x.name, fmt.Sprintf(format, a...), text)
}

// fetch asks for items and returns the values in their order. The answer is OK
// or, if no is not "", begins with that.
func (x *examiner) fetch(no, items string) []imaptalk.Value {
	x.t.Helper()
	out := x.c.do("FETCH %d (%s)", x.seq, items)
	last := out[len(out)-1]
	if no != "" && strings.HasPrefix(last, no) {
		return nil
	}
	if !strings.HasPrefix(last, "T OK") || !strings.HasPrefix(out[0], "* ") {
		x.t.Fatalf("%s: FETCH %s: %q\n%.3000s", x.name, items, out, x.text)
	}
	v, ok := imaptalk.Parse(out[0])
	if !ok || len(v) != 4 || !v[3].IsList {
		x.t.Fatalf("%s: FETCH %s: %q", x.name, items, out[0])
	}
	var values []imaptalk.Value
	for i := 1; i < len(v[3].List); i += 2 {
		values = append(values, v[3].List[i])
	}
	return values
}

// checkOdd appends messages and holds all that FETCH tells of them to the
// rules: the same octets, parts that agree with the structure, an envelope that
// agrees with the header, and the same again from the cache and after the index
// was made anew.
func checkOdd(t *testing.T, list []odd) {
	t.Helper()
	ts := newTestStore(t)
	c := ts.client()
	for _, m := range list {
		if out := c.do("APPEND INBOX {%d+}\r\n%s", len(m.text), m.text); !strings.HasPrefix(out[len(out)-1], "T OK") {
			t.Fatalf("%s: APPEND: %q", m.name, out)
		}
	}
	c.ok("SELECT INBOX")
	const derived = "ENVELOPE BODYSTRUCTURE BODY"
	first := map[string]string{} // by text
	parts := 0
	for i, m := range list {
		x := &examiner{t: t, c: c, name: m.name, seq: i + 1, text: m.text}
		first[m.text] = c.ok("FETCH %d (%s)", i+1, derived)[0]
		x.whole()
		v := x.fetch("", derived)
		x.envelope("", v[0])
		x.short(v[1], v[2])
		x.structure(v[1], "", true)
		parts += x.want
	}
	if parts < len(list) {
		t.Errorf("%d parts in %d messages", parts, len(list))
	}
	again := func(what string, c *client) {
		c.ok("SELECT INBOX")
		for i := range list {
			x := &examiner{t: t, c: c, name: "message " + strconv.Itoa(i+1), seq: i + 1}
			x.text = x.fetch("", "BODY.PEEK[]")[0].S
			want, ok := first[x.text]
			if !ok {
				x.errorf("%s, the message is none that was appended", what)
				continue
			}
			_, want, _ = strings.Cut(want, " FETCH ")
			got := c.ok("FETCH %d (%s)", i+1, derived)[0]
			if _, got, _ = strings.Cut(got, " FETCH "); got != want {
				x.errorf("%s:\n%s\nbefore:\n%s", what, got, want)
			}
		}
	}
	again("from the cache", ts.client())
	c.ok("UNSELECT")
	m, err := store.NewManager(store.Options{Host: "other.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	admin, err := m.Admin(location.Location{Root: ts.root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Rebuild("INBOX"); err != nil {
		t.Fatal(err)
	}
	ts.m = m
	again("after a rebuild", ts.client())
}

// whole checks what does not need the structure.
func (x *examiner) whole() {
	v := x.fetch("", "RFC822.SIZE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] PREVIEW")
	if v[1].S != x.text {
		x.errorf("other octets: %.300q", v[1].S)
	}
	if v[0].S != strconv.Itoa(len(x.text)) {
		x.errorf("RFC822.SIZE %s of %d octets", v[0].S, len(x.text))
	}
	if v[2].S+v[3].S != x.text {
		x.errorf("header %.300q and text %.300q", v[2].S, v[3].S)
	}
	from, n := len(x.text)/3, len(x.text)/2+1
	v = x.fetch("", fmt.Sprintf("BODY.PEEK[]<%d.%d>", from, n))
	if want := x.text[from:min(from+n, len(x.text))]; v[0].S != want {
		x.errorf("octets from %d on: %.300q, want %.300q", from, v[0].S, want)
	}
}

// structure looks at a part and what is in it. bare tells that path is not the
// part's own number but that of the message that it is all of; "" for the outermost.
func (x *examiner) structure(v imaptalk.Value, path string, bare bool) {
	x.t.Helper()
	if !v.IsList || len(v.List) < 2 {
		x.errorf("part %q has structure %v", path, v)
		return
	}
	join := func(n int) string {
		if path == "" {
			return strconv.Itoa(n)
		}
		return path + "." + strconv.Itoa(n)
	}
	if v.List[0].IsList { // several parts
		where := 0
		var outer string
		if !bare {
			b := x.fetch("", fmt.Sprintf("BODY.PEEK[%s.MIME] BODY.PEEK[%s]", path, path))
			outer = b[1].S
			x.contiguous(path, b[0].S, outer)
		}
		n := 0
		for ; n < len(v.List) && v.List[n].IsList; n++ {
			p := join(n + 1)
			b := x.fetch("", fmt.Sprintf("BODY.PEEK[%s.MIME] BODY.PEEK[%s]", p, p))
			if !bare { // one after another within this one
				at := strings.Index(outer[where:], b[0].S+b[1].S)
				if at < 0 {
					x.errorf("part %s is not in part %s behind the one before it", p, path)
				} else {
					where += at + len(b[0].S) + len(b[1].S)
				}
			}
			x.structure(v.List[n], p, false)
		}
		if b := x.fetch("", fmt.Sprintf("BODY.PEEK[%s]", join(n+1))); !b[0].IsNil() && b[0].S != "" {
			x.errorf("part %s is told of in no structure, and is %.200q", join(n+1), b[0].S)
		}
		return
	}
	if bare {
		path = join(1)
	}
	x.leaf(v, path)
}

func (x *examiner) contiguous(path, mime, body string) {
	x.t.Helper()
	if !strings.Contains(x.text, mime+body) {
		x.errorf("part %s: the message has no %.300q followed by %.300q", path, mime, body)
	}
}

// leaf looks at a part that is not multipart.
func (x *examiner) leaf(v imaptalk.Value, path string) {
	x.t.Helper()
	x.want++
	if len(v.List) < 7 {
		x.errorf("part %s has structure %v", path, v)
		return
	}
	typ, sub, enc := strings.ToLower(v.List[0].S), strings.ToLower(v.List[1].S), strings.ToLower(v.List[5].S)
	b := x.fetch("", fmt.Sprintf("BODY.PEEK[%s.MIME] BODY.PEEK[%s] BODY.PEEK[%s]<1.7>", path, path, path))
	body := b[1].S
	x.contiguous(path, b[0].S, body)
	if v.List[6].S != strconv.Itoa(len(body)) {
		x.errorf("part %s has %d octets, and %s by BODYSTRUCTURE", path, len(body), v.List[6].S)
	}
	if want := body[min(1, len(body)):min(8, len(body))]; b[2].S != want {
		x.errorf("part %s from octet 1 on: %q, want %q", path, b[2].S, want)
	}
	lines := ""
	switch {
	case typ == "text":
		lines = v.List[7].S
	case typ == "message" && len(v.List) > 9 && v.List[7].IsList && v.List[8].IsList:
		lines = v.List[9].S
		h := x.fetch("", fmt.Sprintf("BODY.PEEK[%s.HEADER] BODY.PEEK[%s.TEXT]", path, path))
		if h[0].S+h[1].S != body {
			x.errorf("part %s: header %.300q and text %.300q are not %.300q", path, h[0].S, h[1].S, body)
		}
		x.envelope(path+".", v.List[7])
		x.structure(v.List[8], path, true)
	case typ == "message" && (sub == "rfc822" || sub == "global") && (enc == "7bit" || enc == "8bit" || enc == "binary") && strings.Count(path, ".") < 50:
		x.errorf("part %s is a message without envelope: %v", path, v)
	}
	if lines != "" && lines != strconv.Itoa(strings.Count(body, "\n")) {
		x.errorf("part %s has %d line ends, and %s lines by BODYSTRUCTURE: %q", path, strings.Count(body, "\n"), lines, body)
	}
	x.binary(path, enc, body, typ == "message")
}

// binary looks at a part without its transfer encoding.
func (x *examiner) binary(path, enc, body string, message bool) {
	x.t.Helper()
	v := x.fetch("T NO [UNKNOWN-CTE]", fmt.Sprintf("BINARY.SIZE[%s] BINARY.PEEK[%s]", path, path))
	known := map[string]bool{"7bit": true, "8bit": true, "binary": true, "base64": true, "quoted-printable": true}[enc]
	if v == nil {
		if known {
			x.errorf("part %s: BINARY does not know the encoding %s", path, enc)
		}
		return
	}
	got := v[1].S
	if v[0].S != strconv.Itoa(len(got)) {
		x.errorf("part %s: BINARY.SIZE %s of %d octets", path, v[0].S, len(got))
	}
	if message || enc == "7bit" || enc == "8bit" || enc == "binary" {
		if got != body {
			x.errorf("part %s: BINARY %.300q of BODY %.300q", path, got, body)
		}
		return
	}
	var want []byte
	var err error
	if enc == "base64" {
		want, err = base64.StdEncoding.Strict().DecodeString(body)
	} else {
		want, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
		if strings.Contains(body, " \r\n") || strings.Contains(body, "\t\r\n") || !strings.Contains(body, "\r\n") {
			return // blanks at the end of lines: readings differ
		}
	}
	if err == nil && known && got != string(want) {
		x.errorf("part %s in %s: BINARY %.300q, want %.300q", path, enc, got, want)
	}
}

// short holds BODY to BODYSTRUCTURE: the same without the extension data.
func (x *examiner) short(full, short imaptalk.Value) {
	x.t.Helper()
	if len(short.List) > len(full.List) {
		x.errorf("BODY has more than BODYSTRUCTURE: %v and %v", short, full)
		return
	}
	for i, s := range short.List {
		f := full.List[i]
		switch {
		case s.IsList && f.IsList && (i == 8 || short.List[0].IsList):
			x.short(f, s)
		case fmt.Sprint(s) != fmt.Sprint(f):
			x.errorf("BODY has %v where BODYSTRUCTURE has %v", s, f)
		}
	}
}

// fieldsOf returns the values of a header's fields of that name, unfolded.
func fieldsOf(header, name string) (values []string) {
	header = strings.NewReplacer("\r\n ", " ", "\r\n\t", "\t", "\n ", " ", "\n\t", "\t").Replace(header)
	for line := range strings.Lines(header) {
		n, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimRight(n, " \t"), name) {
			values = append(values, v)
		}
	}
	return values
}

// plain is a text without controls and with single blanks.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

// uncommented is a field without what is in parentheses.
func uncommented(s string) string {
	var b strings.Builder
	depth := 0
	for _, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			depth = max(depth-1, 0)
		default:
			if depth == 0 {
				b.WriteRune(c)
			}
		}
	}
	return b.String()
}

// squashed is what of an address must be in its field: letters and digits.
func squashed(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

// envelope holds ENVELOPE to the fields that FETCH gives; section is that of the
// message, with a dot.
func (x *examiner) envelope(section string, v imaptalk.Value) {
	x.t.Helper()
	if len(v.List) != 10 {
		x.errorf("envelope of %q: %v", section, v)
		return
	}
	h := x.fetch("", fmt.Sprintf("BODY.PEEK[%sHEADER.FIELDS (DATE SUBJECT FROM SENDER REPLY-TO TO CC BCC IN-REPLY-TO MESSAGE-ID)]", section))[0].S
	for i, name := range map[int]string{0: "Date", 1: "Subject", 8: "In-Reply-To", 9: "Message-ID"} {
		values := fieldsOf(h, name)
		got := v.List[i]
		found := false
		for _, f := range values {
			found = found || plain(f) == plain(got.S) || len(got.S) > 60000 && strings.HasPrefix(plain(f), plain(got.S)) // as much as is kept
		}
		if got.IsNil() && len(values) > 0 && plain(values[0]) != "" || !got.IsNil() && !found {
			x.errorf("envelope of %q: %s is %q, the fields are %q", section, name, got.S, values)
		}
	}
	names := []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc"}
	for i, name := range names {
		values := fieldsOf(h, name)
		got := v.List[2+i]
		if (name == "Sender" || name == "Reply-To") && plain(strings.Join(values, "")) == "" {
			if fmt.Sprint(got) != fmt.Sprint(v.List[2]) {
				x.errorf("envelope of %q: %s is %v, and not as From, %v", section, name, got, v.List[2])
			}
			continue
		}
		if got.IsNil() {
			continue
		}
		raw := squashed(strings.Join(values, " ")) + " " + squashed(uncommented(strings.Join(values, " ")))
		for _, a := range got.List {
			if len(a.List) != 4 {
				x.errorf("envelope of %q: %s has the address %v", section, name, a)
				continue
			}
			for _, k := range []int{2, 3} {
				if s := squashed(a.List[k].S); !a.List[k].IsNil() && !strings.Contains(raw, s) {
					x.errorf("envelope of %q: %s has %q, which is not in %q", section, name, a.List[k].S, values)
				}
			}
		}
	}
}
