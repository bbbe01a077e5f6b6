package address

import (
	"slices"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for _, c := range []struct{ internal, external string }{
		{"", ""},
		{"user@example.com", "user@example.com"},
		{"user", "user"},
		{"first last@example.com", `"first last"@example.com`},
		{"a..b@example.com", `"a..b"@example.com`},
		{".a@example.com", `".a"@example.com`},
		{"a.@example.com", `"a."@example.com`},
		{"@example.com", `""@example.com`},
		{"a@b@example.com", `"a@b"@example.com`},
		{`a"b\c@example.com`, `"a\"b\\c"@example.com`},
		{"bücher@example.com", "bücher@example.com"},
		{"user%x!y@example.com", "user%x!y@example.com"},
		{"u+ext@[192.0.2.1]", "u+ext@[192.0.2.1]"},
		{"two words", `"two words"`},
	} {
		if got := Quote(c.internal); got != c.external {
			t.Errorf("Quote(%q) = %q, want %q", c.internal, got, c.external)
		}
		if got, err := Unquote(c.external); err != nil || got != c.internal {
			t.Errorf("Unquote(%q) = %q, %v, want %q", c.external, got, err, c.internal)
		}
	}
}

func TestUnquote(t *testing.T) {
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{`a\@b@c`, "a@b@c", nil},
		{`"a".b@c`, "a.b@c", nil},
		{`"open@c`, "", ErrQuote},
		{`a@"b`, `a@"b`, nil},
		{`a\`, "", ErrBackslash},
		{`"a\"`, "", ErrQuote},
	} {
		if got, err := Unquote(c.in); got != c.want || err != c.err {
			t.Errorf("Unquote(%q) = %q, %v, want %q, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "ABC": "abc", "User@EXAMPLE.com": "user@example.com", "BÜCHER": "bücher", "A\xffB": "a\xffb", "": ""} {
		if got := Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitExtension(t *testing.T) {
	for _, c := range []struct{ local, delims, base, ext string }{
		{"user+ext", "+", "user", "ext"},
		{"user+a+b", "+", "user", "a+b"},
		{"user-a+b", "+-", "user", "a+b"},
		{"user", "+", "user", ""},
		{"user+", "+", "user", ""},
		{"+user", "+", "+user", ""},
		{"user+ext", "", "user+ext", ""},
		{"Postmaster", "t", "Postmaster", ""},
		{"mailer-daemon", "-", "mailer-daemon", ""},
		{"double-bounce", "-", "double-bounce", ""},
		{"owner-list", "-", "owner-list", ""},
		{"list-request", "-", "list-request", ""},
		{"-request", "-", "-request", ""},
		{"owner+x", "+", "owner", "x"},
		{"owner-list+x", "+", "owner-list", "x"},
	} {
		base, ext := SplitExtension(c.local, c.delims)
		if base != c.base || ext != c.ext {
			t.Errorf("SplitExtension(%q, %q) = %q, %q, want %q, %q", c.local, c.delims, base, ext, c.base, c.ext)
		}
	}
	if base, ext := (Extension{Delims: "-", SplitOwner: true}).Split("owner-list"); base != "owner" || ext != "list" {
		t.Errorf("owner_request_special=no: %q, %q", base, ext)
	}
}

var listCases = []struct {
	value string
	addrs []string
	want  string // with every address x replaced by x.new
}{
	{"user@dom", []string{"user@dom"}, "user@dom.new"},
	{"Full Name <user@dom>", []string{"user@dom"}, "Full Name <user@dom.new>"},
	{`"Last, First" <user@dom> (x, y)`, []string{"user@dom"}, `"Last, First" <user@dom.new> (x, y)`},
	{"John Q. Public <u@d>", []string{"u@d"}, "John Q. Public <u@d.new>"},
	{"u@d (comment)", []string{"u@d"}, "u@d.new (comment)"},
	{"u (one) @ (two) d", []string{"u@d"}, "u@d.new (one) (two)"},
	{"a@b, c@d", []string{"a@b", "c@d"}, "a@b.new, c@d.new"},
	{"a@b c@d", []string{"a@b", "c@d"}, "a@b.new, c@d.new"},
	{"one two", []string{"one", "two"}, "one.new, two.new"},
	{"<a@b> c@d", []string{"a@b", "c@d"}, "<a@b.new>, c@d.new"},
	{"group: a@b, c@d;", []string{"a@b", "c@d"}, "group: a@b.new, c@d.new;"},
	{"undisclosed-recipients:;", nil, "undisclosed-recipients:;"},
	{"g: a@b;, x@y", []string{"a@b", "x@y"}, "g: a@b.new;, x@y.new"},
	{"<@r1,@r2:u@d>", []string{"@r1,@r2:u@d"}, `<"@r1,@r2:u"@d.new>`},
	{"<>", nil, "<>"},
	{"", nil, ""},
	{`"quoted local"@d`, []string{"quoted local@d"}, `"quoted local"@d.new`},
	{"first.last@[192.0.2.1]", []string{"first.last@[192.0.2.1]"}, "first.last@[192.0.2.1].new"},
	{"a@b,\r\n\tc@d", []string{"a@b", "c@d"}, "a@b.new,\r\n\tc@d.new"},
	{"=?utf-8?q?x?= <a@b>", []string{"a@b"}, "=?utf-8?q?x?= <a@b.new>"},
	{"a@b,,c@d,", []string{"a@b", "c@d"}, "a@b.new,,c@d.new,"},
	{`"never closed <a@b>`, []string{"never closed <a@b>"}, `"never closed <a"@b>.new`},
	{"site!user%x@d", []string{"site!user%x@d"}, "site!user%x@d.new"},
}

func TestExtractAndRewriteList(t *testing.T) {
	for _, c := range listCases {
		if got := ExtractList([]byte(c.value)); !slices.Equal(got, c.addrs) && len(got)+len(c.addrs) > 0 {
			t.Errorf("ExtractList(%q) = %q, want %q", c.value, got, c.addrs)
		}
		if out, changed := RewriteList([]byte(c.value), func(a string) string { return a }); changed || string(out) != c.value {
			t.Errorf("RewriteList(%q) without change = %q", c.value, out)
		}
		out, changed := RewriteList([]byte(c.value), func(a string) string { return a + ".new" })
		if string(out) != c.want || changed != (len(c.addrs) > 0) {
			t.Errorf("RewriteList(%q) = %q, %v, want %q", c.value, out, changed, c.want)
		}
	}
}

func TestRewriteListLeavesOthersAlone(t *testing.T) {
	in := "  \"A  B\" <a@b> (x) ,\r\n  c@d  , E\t<e@f>"
	out, _ := RewriteList([]byte(in), func(a string) string {
		if a == "c@d" {
			return "cc@dd"
		}
		return a
	})
	if want := strings.Replace(in, "c@d", "cc@dd", 1); string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestFoldList(t *testing.T) {
	long := strings.Repeat("user@example.test, ", 60)
	for _, in := range []string{"To: a@b, c@d\r\n", "To: " + long + "last@example.test\r\n", "Cc: \"a, b\" <x@y>, (c, (d, ) " + strings.Repeat("e ", 50) + ") f@g,\r\n " + long + "h@i\r\n",
		"To: " + strings.Repeat("x", 100) + "@y.test\r\n", "To: " + strings.Repeat("x", 100) + "@y.test, \r\n\tz@y.test,\r\n", "To: undisclosed: " + long + ";\r\n"} {
		out := string(FoldList([]byte(in)))
		if a, b := ExtractList([]byte(in[4:])), ExtractList([]byte(out[4:])); !slices.Equal(a, b) {
			t.Errorf("%q has %q, folded %q", in, a, b)
		}
		if got := strings.ReplaceAll(strings.ReplaceAll(out, "\r\n\t", ""), " ", ""); got != strings.ReplaceAll(strings.ReplaceAll(in, "\r\n\t", ""), " ", "") {
			t.Errorf("%q became %q", in, out)
		}
		for _, l := range strings.Split(out, "\r\n") {
			if len(l) > 78 && strings.Count(l, ",") > 1 && !strings.Contains(l, "(") {
				t.Errorf("a line of %d bytes: %q", len(l), l)
			}
		}
		if len(in) < 78 && out != in {
			t.Errorf("%q was folded: %q", in, out)
		}
	}
}

func FuzzRewriteList(f *testing.F) {
	for _, c := range listCases {
		f.Add([]byte(c.value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if out, changed := RewriteList(value, func(a string) string { return a }); changed || string(out) != string(value) {
			t.Fatalf("identity changes %q into %q", value, out)
		}
		n := 0
		out, _ := RewriteList(value, func(string) string { n++; return "user@example.com" })
		got := ExtractList(out)
		if len(got) != n && n < ListTokens/8 {
			t.Fatalf("%q has %d addresses, its rewritten form %q has %d: %q", value, n, out, len(got), got)
		}
		for _, a := range got {
			if a != "user@example.com" && n < ListTokens/8 {
				t.Fatalf("%q became %q, in which there is %q", value, out, a)
			}
		}
	})
}

func FuzzUnquote(f *testing.F) {
	for _, s := range []string{"", "a@b", `"a b"@c`, `a\@b@c`, `"x`, `\`, "a@b@c", "ü@ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Unquote(Quote(s)); err != nil || got != s {
			t.Fatalf("Unquote(Quote(%q)) = %q, %v", s, got, err)
		}
		if in, err := Unquote(s); err == nil {
			if back, err := Unquote(Quote(in)); err != nil || back != in {
				t.Fatalf("%q: %q is not stable: %q, %v", s, in, back, err)
			}
		}
	})
}
