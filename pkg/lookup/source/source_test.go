package source

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

func lines(t testing.TB, text string) []string {
	t.Helper()
	l := NewLines(strings.NewReader(text))
	var out []string
	for {
		line, n, err := l.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d:%s", n, line))
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"a\nb\n", "1:a|2:b"},
		{"a\nb", "1:a|2:b"},
		{"a\r\nb\r\n", "1:a|2:b"},
		{"# c\n\n  # d\na b\n", "4:a b"},
		{"a\n b\n\tc\nd", "1:a b\tc|4:d"},
		{"a\n# comment\n\n b\nc", "1:a b|5:c"},
		{"a\n  # comment\n b", "1:a b"},
		{" leading\n and more\nb", "3:b"},
		{"a\n   \nb", "1:a|3:b"},
		{strings.Repeat("x", 200000) + "\n y", "1:" + strings.Repeat("x", 200000) + " y"},
	} {
		if got := strings.Join(lines(t, c.text), "|"); got != c.want {
			t.Errorf("%.40q: %.80q, want %.80q", c.text, got, c.want)
		}
	}
	l := NewLines(strings.NewReader(strings.Repeat("x", MaxLine+1)))
	if _, _, err := l.Next(); err != ErrLineTooLong {
		t.Errorf("a line above the limit: %v", err)
	}
}

func TestEntry(t *testing.T) {
	for _, c := range []struct{ line, key, value, err string }{
		{"key value", "key", "value", ""},
		{"key\t value of  words  ", "key", "value of  words", ""},
		{`"a b"@c value`, `"a b"@c`, "value", ""},
		{`a\ b value`, `a\ b`, "value", ""},
		{"key", "", "", "expected format"},
		{"key   ", "", "", "expected format"},
		{" key value", "", "", "expected format"},
		{`"key value`, "", "", "unbalanced"},
		{"key: value", "key:", "value", "note"},
	} {
		k, v, note, err := Entry([]byte(c.line))
		got := ""
		if err != nil {
			got = err.Error()
		} else if note != "" {
			got = "note"
		}
		if string(k) != c.key || string(v) != c.value || !strings.HasPrefix(got, c.err) || (got == "") != (c.err == "") {
			t.Errorf("Entry(%q) = %q, %q, %q, want %q, %q, %q", c.line, k, v, got, c.key, c.value, c.err)
		}
	}
}

var aliasCases = []struct{ line, name, value, err string }{
	{"root: alice", "root", "alice", ""},
	{"list: a, b@c,d", "list", "a, b@c, d", ""},
	{`list : "|/usr/bin/prog -x", /var/mail/y`, "list", `"|/usr/bin/prog -x", /var/mail/y`, ""},
	{`"first last": x`, `first last`, "x", ""},
	{`"a@b": x`, `a@b`, "x", ""},
	{`list: :include:/etc/list`, "list", ":include:/etc/list", ""},
	{`bare: |/bin/prog`, "bare", "|/bin/prog", ""},
	{`c: a (comment)`, "c", "a (comment)", ""},
	{"name", "", "", "need name:value pair"},
	{"name:", "", "", "need name:value pair"},
	{": value", "", "", "need name:value pair"},
	{"a, b: c", "", "", "need name:value pair"},
	{"a@b: c", "", "", "name must be local"},
	{"a%b: c", "", "", "name must be local"},
}

func TestAlias(t *testing.T) {
	for _, c := range aliasCases {
		k, v, err := Alias([]byte(c.line))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if k != c.name || v != c.value || !strings.HasPrefix(got, c.err) || (got == "") != (c.err == "") {
			t.Errorf("Alias(%q) = %q, %q, %q, want %q, %q, %q", c.line, k, v, got, c.name, c.value, c.err)
		}
	}
}

// FuzzAliasSource checks that what Alias makes of a line is a line that means
// the same to it.
func FuzzAliasSource(f *testing.F) {
	for _, c := range aliasCases {
		f.Add(c.line)
	}
	f.Add("a: b\n c\n# d\ne: f")
	f.Fuzz(func(t *testing.T, text string) {
		l := NewLines(strings.NewReader(text))
		for {
			line, _, err := l.Next()
			if err != nil {
				return
			}
			Entry(line)
			k, v, err := Alias(line)
			if err != nil {
				continue
			}
			if strings.ContainsAny(k, "\r\t") {
				continue // from a comment, which keeps them; in quotes white space is one space
			}
			quoted := `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(k) + `": `
			k2, v2, err := Alias([]byte(quoted + v))
			if err != nil || k2 != k || v2 != v {
				t.Fatalf("%q gives %q: %q, which gives %q: %q, %v", line, k, v, k2, v2, err)
			}
		}
	})
}
