package lookup

import (
	"regexp"
	"strings"
	"testing"
)

// posixCases are what glibc 2.36's regcomp and regexec do with these
// expressions: whether they compile, and the whole match and groups.
var posixCases = []struct {
	expr, flags, subject string
	ok                   bool
	groups               string // "whole|1|2", if it matches
	bad                  bool   // does not compile
}{
	{"^abc$", "", "ABC", true, "ABC", false},
	{"^abc$", "i", "ABC", false, "", false},
	{"*a", "", "*a", false, "", true},
	{"a|*b", "", "b", false, "", true},
	{"^*a", "", "a", false, "", true},
	{"a**", "", "aa", true, "aa", false},
	{"a+?", "", "aaa", true, "aaa", false},
	{"a{,3}", "", "aaaa", true, "aaa", false},
	{"a{1}{2}", "", "aa", true, "aa", false},
	{"a{x", "", "a{x", false, "", true},
	{"a{2", "", "aa", false, "", true},
	{"a{1,0}", "", "a", false, "", true},
	{"a)", "", "a)", true, "a)", false},
	{"(a", "", "a", false, "", true},
	{"()", "", "x", true, "|", false},
	{"(|a)b", "", "ab", true, "ab|a", false},
	{"a||b", "", "b", true, "b", false},
	{`[a\]b]`, "", `\b]`, true, `\b]`, false},
	{"[]a]", "", "]", true, "]", false},
	{"[^]a]", "", "b", true, "b", false},
	{"[z-a]", "", "b", false, "", true},
	{"[a-", "", "a", false, "", true},
	{"[[:foo:]]", "", "a", false, "", true},
	{"[[:<:]]a", "", "a", false, "", true},
	{"[[:digit:][:alpha:]-]+", "", "a-1", true, "a-1", false},
	{"[[.-.]]", "", "-", true, "-", false},
	{"[[=a=]b]", "", "a", true, "a", false},
	{`a\`, "", "a", false, "", true},
	{`\.`, "", ".", true, ".", false},
	{`\w+\s`, "", "ab ", true, "ab ", false},
	{`\<a\>`, "", "b a", true, "a", false},
	{`(a)\1`, "", "aa", true, "aa|a", false},
	{`\1`, "", "a", false, "", true},
	{"a$b", "", "a$b", false, "", false},
	{"x^a", "", "x^a", false, "", false},
	{"(^a)", "", "a", true, "a|a", false},
	{"(a|ab)(c|bcd)(d*)", "", "abcd", true, "abcd|a|bcd|", false},
	{".", "", "\n", true, "\n", false},
	{".", "m", "\n", false, "", false},
	{"[^a]", "m", "\n", false, "", false},
	{"a$", "m", "a\nb", true, "a", false},
	{"a$", "", "a\nb", false, "", false},
	{"bücher", "", "BÜCHER", true, "BÜCHER", false},
	{"a{1500}", "", strings.Repeat("a", 1500), true, strings.Repeat("a", 1500), false},
	{"a{70000}", "", "a", false, "", true},
	// Basic expressions.
	{"*a", "x", "*a", true, "*a", false},
	{`\(*a\)`, "x", "*a", true, "*a|*a", false},
	{`a\|b`, "x", "b", true, "b", false},
	{`a\+`, "x", "aa", true, "aa", false},
	{`a\{2\}`, "x", "aa", true, "aa", false},
	{"a^b", "x", "a^b", true, "a^b", false},
	{"a$b", "x", "a$b", true, "a$b", false},
	{"^*", "x", "*", true, "*", false},
	{"a{2}", "x", "a{2}", true, "a{2}", false},
	{"(a)", "x", "(a)", true, "(a)", false},
	{"a+", "x", "a+", true, "a+", false},
	{`\(a\)\1`, "x", "aa", true, "aa|a", false},
	{`x\|*y`, "x", "*y", true, "*y", false},
	{"a**", "x", "aa", false, "", true},
}

func TestPOSIX(t *testing.T) {
	for _, c := range posixCases {
		m, err := compilePOSIX(c.expr, c.flags)
		if (err != nil) != c.bad {
			t.Errorf("/%s/%s: error %v, want one: %v", c.expr, c.flags, err, c.bad)
			continue
		}
		if err != nil {
			continue
		}
		ok, sub, err := m.match(c.subject, true)
		if err != nil || ok != c.ok || ok && strings.Join(sub, "|") != c.groups {
			t.Errorf("/%s/%s on %.20q: %v, %.40q, %v, want %v, %.40q", c.expr, c.flags, c.subject, ok, sub, err, c.ok, c.groups)
		}
	}
}

func TestPCRE(t *testing.T) {
	for _, c := range []struct {
		expr, flags, subject string
		ok                   bool
		groups               string
		linear               bool // Go's engine does it
	}{
		{`^(\w+)@(\w+)$`, "", "a@B", true, "a@B|a|B", true},
		{`A`, "i", "a", false, "", true},
		{`a.b`, "", "a\nb", true, "a\nb", true},
		{`a.b`, "s", "a\nb", false, "", true},
		{`^b`, "m", "a\nb", true, "b", true},
		{`a+`, "U", "aaa", true, "a", true},
		{`a b # comment`, "x", "ab", true, "ab", false},
		{`b`, "A", "ab", false, "", false},
		{`^(?!.*@here)`, "", "u@there", true, "", false},
		{`^(?!.*@here)`, "", "u@here", false, "", false},
		{`(?<=a)b`, "", "ab", true, "b", false},
		{`(a)\1`, "", "aa", true, "aa|a", false},
		{`(a)|(b)`, "", "b", true, "b||b", true},
		{`(?|a(x)|b(y))\b(?=)`, "", "by", true, "by|y", false},
		{`x*(?=)`, "", "", true, "", false},
		{`(?=)x`, "", "", false, "", false},
		{`a\x00b(?=)`, "", "a\x00b", true, "a\x00b", false},
		{`.(?=)`, "", "\xff", false, "", false},
		{`a++b`, "", "aab", true, "aab", false},
	} {
		m, err := compilePCRE(c.expr, c.flags)
		if err != nil {
			t.Errorf("/%s/%s: %v", c.expr, c.flags, err)
			continue
		}
		if _, is := m.(linear); is != c.linear {
			t.Errorf("/%s/%s: linear engine: %v", c.expr, c.flags, is)
		}
		ok, sub, err := m.match(c.subject, true)
		if err != nil || ok != c.ok || ok && strings.Join(sub, "|") != c.groups {
			t.Errorf("/%s/%s on %q: %v, %q, %v, want %v, %q", c.expr, c.flags, c.subject, ok, sub, err, c.ok, c.groups)
		}
	}
	for _, bad := range []string{"(", "[a", "(?<=a*)b", "(?", `\C`} {
		if _, err := compilePCRE(bad, ""); err == nil {
			t.Errorf("/%s/ compiles", bad)
		}
	}
	if _, err := compilePCRE("a", "z"); err == nil {
		t.Error("flag z is accepted")
	}
}

func TestPCREGivesUpOnExplosion(t *testing.T) {
	m, err := compilePCRE(`^(a+)+(?=$)b`, "")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := m.match(strings.Repeat("a", 5000), false); ok || err == nil {
		t.Errorf("match = %v, %v", ok, err)
	}
	if ok, _, err := m.match("x", false); ok || err != nil {
		t.Errorf("the pattern is unusable afterwards: %v, %v", ok, err)
	}
}

func TestPatternTable(t *testing.T) {
	const text = `# Rules in order, the first that matches wins.
/^plain$/               plain text $$1
!/@/                    no at sign
if /@example\.com$/
/^(.*)-(.*)@/i!/^secret/  user $1 ext ${2} $(2)
if !/^a/
/^b(x)?@/               b${1?{ has x}:{ has none}}
endif
/^(z)?q@/               q${1:none}
ENDIF
|^path/x@|              slashes
/two/
	lines
`
	for _, typ := range []string{"regexp", "pcre"} {
		env, log := testEnv()
		tab := mustOpen(t, typ+":"+write(t, t.TempDir()+"/t", text), env)
		for key, want := range map[string]string{
			"plain": "plain text $1", "PLAIN": "plain text $1", "nothing": "no at sign", "b@example.com": "b has none", "bx@example.com": "b has x",
			"a@example.com": "", "b@example.org": "", "q@example.com": "qnone", "zq@example.com": "q", "path/x@y": "slashes", "two@y": "lines", "": "no at sign",
		} {
			v, ok, err := tab.Get(key)
			if v != want || ok != (want != "") || err != nil {
				t.Errorf("%s: %q = %q, %v, %v, want %q", typ, key, v, ok, err, want)
			}
		}
		if len(log.lines) > 0 {
			t.Errorf("%s: warnings %q", typ, log.lines)
		}
	}
	env, _ := testEnv()
	tab := mustOpen(t, "regexp:{{/^(.*)-(.*)@/!/^secret/ user $1 ext ${2}}}", env)
	for key, want := range map[string]string{"a-b@c": "user a ext b", "secret-b@c": ""} {
		if v, _, _ := tab.Get(key); v != want {
			t.Errorf("%q = %q, want %q", key, v, want)
		}
	}
}

func TestPatternTableMistakes(t *testing.T) {
	for _, c := range []struct{ line, warning string }{
		{"/a", "no closing regexp delimiter"},
		{"/a/q x", "unknown regexp option"},
		{"/(/ x", "line 2"},
		{"word x", "unrecognized request"},
		{"/a/ $2", "out of range replacement index"},
		{"/a/ $x", "non-numeric replacement index"},
		{"!/(a)/ $1", "negative match"},
		{"/a/ ${1", "truncated macro"},
		{"/a/ x$", "missing name"},
		{"endif", "ENDIF without"},
		{"if /x/", "IF has no matching ENDIF"},
		{"/a/", "no replacement text"},
		{"!", "no regexp"},
	} {
		for _, typ := range []string{"regexp", "pcre"} {
			env, log := testEnv()
			tab := mustOpen(t, typ+":"+write(t, t.TempDir()+"/t", "/first/ 1\n"+c.line+"\n"), env)
			if !log.has(c.warning) || !log.has("line 2") {
				t.Errorf("%s: %q: logged %q, want %q", typ, c.line, log.lines, c.warning)
			}
			if v, ok, err := tab.Get("first"); v != "1" || !ok || err != nil {
				t.Errorf("%s: %q: the good rule before it: %q, %v, %v", typ, c.line, v, ok, err)
			}
		}
	}
}

func TestCIDR(t *testing.T) {
	const text = `# networks
192.0.2.1      one
192.0.2.0/24   net
[2001:db8::1]  six
2001:db8::/32  net six
if 10.0.0.0/8
!10.1.0.0/16   not 10.1
10.1.2.3       in 10.1
endif
!0.0.0.0/0     no v6 address
IF !172.16.0.0/12
172.16.0.0/13  never
0.0.0.0/0      the rest
endif
`
	env, log := testEnv()
	tab := mustOpen(t, "cidr:"+write(t, t.TempDir()+"/t", text), env)
	for key, want := range map[string]string{
		"192.0.2.1": "one", "192.0.2.2": "net", "2001:db8::1": "six", "2001:DB8:0:0::2": "net six", "10.2.0.0": "not 10.1", "10.1.2.3": "in 10.1",
		"10.1.2.4": "the rest", "172.16.0.1": "", "8.8.8.8": "the rest", "host.example": "", "": "", "::1": "", "192.0.2.1/32": "", "fe80::1%eth0": "",
	} {
		if v, ok, err := tab.Get(key); v != want || ok != (want != "") || err != nil {
			t.Errorf("%q = %q, %v, %v, want %q", key, v, ok, err, want)
		}
	}
	if len(log.lines) > 0 {
		t.Errorf("warnings %q", log.lines)
	}
	for line, warning := range map[string]string{"192.0.2.1/24 x": `"192.0.2.0/24"`, "192.0.2.0/33 x": "bad net/mask", "host x": "bad address pattern", "192.0.2.1": "no lookup result",
		"endif x": "garbage", "endif": "ENDIF", "[::1 x": "missing ']'", "! x": "bad address", "if": "no address pattern"} {
		env, log := testEnv()
		mustOpen(t, "cidr:"+write(t, t.TempDir()+"/t", line+"\n"), env)
		if !log.has(warning) || !log.has("line 1") {
			t.Errorf("%q: logged %q, want %q", line, log.lines, warning)
		}
	}
}

func TestPrefixSparesOnlyWhatCannotMatch(t *testing.T) {
	for _, c := range []struct{ expr, flags, prefix string }{
		{"^Subject: x", "", "subject: x"}, {"^Subject: .*", "i", "Subject: "}, {"^sub|x", "", ""}, {"sub", "", ""}, {"^", "", ""}, {"^ü", "", ""}, {"^a*b", "", ""},
	} {
		for name, compile := range map[string]compiler{"regexp": compilePOSIX, "pcre": compilePCRE} {
			m, err := compile(c.expr, c.flags)
			if err != nil {
				t.Fatal(err)
			}
			l := m.(linear)
			if l.prefix != c.prefix {
				t.Errorf("%s /%s/%s: prefix %q, want %q", name, c.expr, c.flags, l.prefix, c.prefix)
			}
			for _, s := range []string{"", "S", "SUBJECT: X", "subject: x", "Subject: x", "\u017fubject: x", "subj", "xsubject: x", "ü", "b", "aab", "\xff"} {
				if got, _, _ := l.match(s, false); got != l.re.MatchString(s) {
					t.Errorf("%s /%s/%s on %q: %v", name, c.expr, c.flags, s, got)
				}
			}
		}
	}
}

func BenchmarkHeaderChecks(b *testing.B) {
	var text strings.Builder
	for i := range 50 {
		text.WriteString("/^X-Header-" + strings.Repeat("a", i) + ": .*spam/ REJECT\n")
	}
	env, _ := testEnv()
	tab := mustOpen(b, "regexp:"+write(b, b.TempDir()+"/t", text.String()), env)
	b.ReportAllocs()
	for b.Loop() {
		tab.Get("Received: from mail.example.com (mail.example.com [192.0.2.1]) by mx.example.org with ESMTP id 12345")
	}
}

func FuzzRegexpTable(f *testing.F) {
	for _, c := range posixCases {
		f.Add("/"+c.expr+"/"+c.flags+" x", c.subject)
	}
	f.Add("if /a/\n/(b)/ $1${1?x}\nendif", "ab")
	f.Fuzz(func(t *testing.T, text, key string) {
		t1 := &patterns{name: "regexp:fuzz"}
		b := nesting{rules: &t1.rules}
		for i, line := range strings.Split(text, "\n") {
			r, err := parsePatternRule(line, i+1, Options{}, compilePOSIX, func(string, ...any) {})
			if err == nil {
				b.add(r)
			}
		}
		b.finish(func(int) {})
		t1.Get(key)
	})
}

// FuzzPOSIX checks that a literal, quoted for POSIX, matches itself alone.
func FuzzPOSIX(f *testing.F) {
	f.Add("a.b*c[d]")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		var b strings.Builder
		for _, r := range s {
			if strings.ContainsRune(`.[]*^$+?(){}|\`, r) {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
		out, _, err := posixToGo("^"+b.String()+"$", true, false)
		if err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		re, err := regexp.Compile(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", b.String(), out, err)
		}
		if !re.MatchString(s) || re.MatchString(s+"x") {
			t.Fatalf("%q became %q, which does not match %q alone", b.String(), out, s)
		}
	})
}

func FuzzCIDR(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24 x", "!10.0.0.0/8 x", "[::1]/128 x", "if 1.2.3.4", "endif", "0.0.0.0/0 y", "::/0 z"} {
		f.Add(s, "192.0.2.1")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		tab := &cidr{name: "cidr:fuzz"}
		b := nesting{rules: &tab.rules}
		for i, line := range strings.Split(text, "\n") {
			if r, err := parseCIDRRule(line, i+1, Options{}); err == nil {
				b.add(r)
			}
		}
		b.finish(func(int) {})
		if v, ok, err := tab.Get(key); err != nil || ok && v == "" {
			t.Fatalf("%q: %q = %q, %v, %v", text, key, v, ok, err)
		}
		if p, err := parseNetwork(key); err == nil && !p.Contains(p.Addr()) {
			t.Fatalf("%q does not contain its own address", key)
		}
	})
}
