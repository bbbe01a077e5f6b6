package config

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	level  = String{Name: "compatibility_level", Default: "0"}
	myhost = String{Name: "myhostname", MinLen: 1}
	mydom  = String{Name: "mydomain", MinLen: 1}
	mynets = String{Name: "mynetworks"}
	style  = String{Name: "mynetworks_style", Default: "${{$compatibility_level} <level {2} ? {subnet} : {host}}"}
	inet   = String{Name: "inet_interfaces", Default: "all"}
	protos = String{Name: "inet_protocols", Default: "all"}
	flag   = Bool{Name: "flag", Default: "no"}
	count  = Int{Name: "count", Default: "5", Min: 1, Max: 100}
	wait   = Time{Name: "wait", Default: "${stress?{2}:{6}}s", Unit: 's', Min: 1}
	hours  = Time{Name: "hours", Default: "2", Unit: 'h'}
	word   = String{Name: "word", Default: "w", MinLen: 1}
	raw    = Raw{Name: "raw", Default: "$home/.forward"}
	limit  = Int{Name: "transport_limit", Default: "$count"}
	local  = Int{Name: "local_limit", Default: "2"}
)

var known = []Declared{&level, &myhost, &mydom, &mynets, &style, &inet, &protos, &flag, &count, &wait, &hours, &word, &raw, &limit, &local}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("/etc/x/main.cf", text, Options{Known: known, Service: "smtp", Program: "smtpd"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExpand(t *testing.T) {
	const base = "a = 1\nb = two\nempty =\nten = 10\nnine = 9\nref = x$b\ndeep = <$ref>\nv310 = 3.10\nv39 = 3.9\n"
	for _, tc := range []struct{ in, want, err string }{
		{"plain", "plain", ""},
		{"$a", "1", ""},
		{"${a}", "1", ""},
		{"$(a)", "1", ""},
		{"$a$b", "1two", ""},
		{"$a.$b", "1.two", ""},
		{"$a-x", "1-x", ""},
		{"$$a", "$a", ""},
		{"$$$a", "$1", ""},
		{"$undefined.", ".", ""},
		{"$deep", "<xtwo>", ""},
		{"${a?yes}", "yes", ""},
		{"${empty?yes}", "", ""},
		{"${undefined?yes}", "", ""},
		{"${empty:no}", "no", ""},
		{"${a:no}", "", ""},
		{"$(a?yes)", "yes", ""},
		{"${a?{yes}:{no}}", "yes", ""},
		{"${empty?{yes}:{no}}", "no", ""},
		{"${empty?{yes} : {no} }", "no", ""},
		{"${a? {yes} : {no}}", "yes", ""},
		{"${a?${b}}", "two", ""},
		{"${a?{$b}:{$ten}}", "two", ""},
		{"${empty?{$b}:{$ten}}", "10", ""},
		{"${a??foo:{b}ar}", "?foo:{b}ar", ""},
		{"${a?x:y}", "x:y", ""},
		{"${{$a} == {1} ? {t} : {f}}", "t", ""},
		{"${{$a} != {1} ? {t} : {f}}", "f", ""},
		{"${{$a} == {01} ? {t} : {f}}", "t", ""},
		{"${{$ten} > {$nine} ? {t} : {f}}", "t", ""},
		{"${{$ten} < {$nine} ? {t} : {f}}", "f", ""},
		{"${{$ten} <= {10}?{t}:{f}}", "t", ""},
		{"${{$ten}>={11}?{t}:{f}}", "f", ""},
		{"${{10x} < {9x} ? {t} : {f}}", "t", ""},
		{"${{$v310} >level {$v39} ? {t} : {f}}", "t", ""},
		{"${{$v310} > {$v39} ? {t} : {f}}", "f", ""},
		{"${{$v310} <=level {3.10.0} ? {t} : {f}}", "t", ""},
		{"${{$compatibility_level} <level {1} ? {yes} : {no}}", "yes", ""},
		{"${{a} == {a}}", "true", ""},
		{"${{a} == {b}}", "", ""},
		{"${{a} == {b}:{else}}", "else", ""},
		{"${{$b} == {two} ? {${{1} < {2} ? {deep} : {no}}} : {no}}", "deep", ""},
		{"${domain_to_ascii{Example.ORG}}", "Example.ORG", ""},
		{"${domain_to_ascii{m$$}}", "m$", ""},
		{"${domain_to_ascii{bücher.$b}}", "xn--bcher-kva.two", ""},
		{"${domain_to_ascii{ΠΑΡΆΔΕΙΓΜΑ.δοκιμή}}", "xn--hxajbheg2az3al.xn--jxalpdlp", ""},
		{"{{${domain_to_ascii{$b}}=x}}", "{{two=x}}", ""},
		{"${nofunc{x}}", "", "unknown function"},
		{"${domain_to_ascii{\xff}}", "", "not UTF-8"},
		{"$mail_version", Version, ""},
		{"$service_name/$process_name", "smtp/smtpd", ""},
		{"$config_directory", "/etc/x", ""},
		{"$", "", "missing name after $"},
		{"$ a", "", "missing name after $"},
		{"${a", "", "unbalanced"},
		{"$(a", "", "unbalanced"},
		{"${a b}", "", "bad parameter name syntax"},
		{"${}", "", "bad parameter name syntax"},
		{"${{a} = {b} ? {c}}", "", "comparison operator"},
		{"${{a} == b}", "", "{expression}"},
		{"${{a} == {a} x}", "", "\"?\" or \":\""},
		{"${a?{x}y}", "", "\":\" expected"},
		{"${a?{x}:{y}z}", "", "unexpected input"},
		{"${{x} <level {3} ? {t} : {f}}", "", "bad compatibility level"},
	} {
		c := parse(t, base)
		got, err := c.Expand(tc.in)
		switch {
		case tc.err == "" && (err != nil || got != tc.want):
			t.Errorf("%s: got %q, %v, want %q", tc.in, got, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: got %q, %v, want error %q", tc.in, got, err, tc.err)
		}
	}
}

func TestSelfReference(t *testing.T) {
	for _, tc := range []struct{ text, ask, want string }{
		{"a = x$a\n", "a", "/etc/x/main.cf, line 1: parameter refers to itself: a -> a: a = x$a"},
		{"\na = ${b}\nb = $c\nc = $b\n", "a", "/etc/x/main.cf, line 2: parameter refers to itself: b -> c -> b: a = ${b}"},
		{"a = $b$b\nb = $c$c\nc = $d$d\n" + doubling(), "a", "expands to more than"},
	} {
		_, err := parse(t, tc.text).Lookup(tc.ask)
		var ve *ValueError
		if !errors.As(err, &ve) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %s", tc.text, err, tc.want)
		}
	}
	// A conditional that does not take the branch does not refer to itself.
	if v, err := parse(t, "a = ${b?$a}1\n").Lookup("a"); err != nil || v != "1" {
		t.Errorf("untaken branch: %q, %v", v, err)
	}
}

func doubling() string {
	var b strings.Builder
	for c := 'd'; c < 'z'; c++ {
		b.WriteString(string(c) + " = $" + string(c+1) + "$" + string(c+1) + "\n")
	}
	return b.String() + "z = 12345678\n"
}

func TestLines(t *testing.T) {
	for _, tc := range []struct{ name, text, param, want string }{
		{"simple", "a=b\n", "a", "b"},
		{"spaces trimmed", "a  =   b c  \n", "a", "b c"},
		{"continuation", "a = b,\n  c\n\td\n", "a", "b, c d"},
		{"comment in continuation", "a = b\n# no\n  # neither\n\n   \n  c\nb = x\n", "a", "b c"},
		{"comment ends nothing", "a = b\n#c\n", "a", "b"},
		{"value with equals", "a = b=c\n", "a", "b=c"},
		{"value with hash", "a = b #c\n", "a", "b #c"},
		{"no final newline", "a = b", "a", "b"},
		{"crlf", "a = b\r\n  c\r\n\r\nd = e\r\n", "a", "b c"},
		{"empty", "a =\n", "a", ""},
		{"last wins", "a = 1\na = 2\n", "a", "2"},
		{"value on next line", "a =\n  b\n", "a", "b"},
		{"leading continuation skipped", "  x = y\n  z\na = b\n", "a", "b"},
	} {
		c := parse(t, tc.text)
		if got, _, ok := c.Explicit(tc.param); !ok || got != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.name, got, ok, tc.want)
		}
	}
	c := parse(t, "  lead\na = 1\nb = 2\na = 3\n")
	var got []string
	for _, w := range c.Warnings() {
		got = append(got, w.String())
	}
	want := `/etc/x/main.cf, line 1: logical line must not start with whitespace: "lead"|/etc/x/main.cf, line 4: overriding earlier entry: a=1 (of line 2)`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("warnings: got %s, want %s", s, want)
	}
	for text, want := range map[string]string{
		"a = b\nfoo bar\n": "/etc/x/main.cf, line 2: missing '=' after attribute name: \"foo bar\"",
		"\n\n= x\n":        "/etc/x/main.cf, line 3: missing attribute name: \"= x\"",
		"foo\n  bar\n":     "/etc/x/main.cf, line 1: missing '=' after attribute name: \"foo bar\"",
	} {
		if _, err := Parse("/etc/x/main.cf", text, Options{}); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, errs := ParseAll("m", "a\nb\nc=d\n", Options{}); len(errs) != 2 {
		t.Errorf("ParseAll: %d errors, want 2", len(errs))
	}
	if l, _ := NewScanner("\n# c\na\n# d\n b\n\n").Next(); l.First != 3 || l.Last != 5 {
		t.Errorf("lines %d to %d, want 3 to 5", l.First, l.Last)
	}
}

// catch returns the ValueError that fn panics with.
func catch(fn func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(*ValueError)
		}
	}()
	fn()
	return nil
}

func TestTypes(t *testing.T) {
	for _, tc := range []struct {
		text string
		read func(c *Config) any
		want any
		err  string
	}{
		{"", func(c *Config) any { return flag.In(c) }, false, ""},
		{"flag = YES", func(c *Config) any { return flag.In(c) }, true, ""},
		{"flag = true", func(c *Config) any { return flag.In(c) }, nil, "/etc/x/main.cf, line 1: bad boolean configuration: flag = true"},
		{"flag =", func(c *Config) any { return flag.In(c) }, nil, "bad boolean configuration: flag = "},
		{"count = 7", func(c *Config) any { return count.In(c) }, 7, ""},
		{"count = 7x", func(c *Config) any { return count.In(c) }, nil, "bad numerical configuration"},
		{"count = 0", func(c *Config) any { return count.In(c) }, nil, "below the minimum 1"},
		{"count = 101", func(c *Config) any { return count.In(c) }, nil, "above the maximum 100"},
		{"", func(c *Config) any { return wait.In(c) }, 6 * time.Second, ""},
		{"stress = yes", func(c *Config) any { return wait.In(c) }, 2 * time.Second, ""},
		{"wait = 1h30m", func(c *Config) any { return wait.In(c) }, 90 * time.Minute, ""},
		{"wait = 0", func(c *Config) any { return wait.In(c) }, nil, "below the minimum"},
		{"wait = 1 h", func(c *Config) any { return wait.In(c) }, nil, "bad time"},
		{"wait = 3q", func(c *Config) any { return wait.In(c) }, nil, "bad time unit \"q\""},
		{"", func(c *Config) any { return hours.In(c) }, 2 * time.Hour, ""},
		{"hours = 1w2d3h4m5s", func(c *Config) any { return hours.In(c) }, 219*time.Hour + 4*time.Minute + 5*time.Second, ""},
		{"word =", func(c *Config) any { return word.In(c) }, nil, "bad string length 0 < 1"},
		{"word = $other\nother = x", func(c *Config) any { return word.In(c) }, "x", ""},
		{"word = $word", func(c *Config) any { return word.In(c) }, nil, "refers to itself"},
		{"raw = $home/x", func(c *Config) any { return raw.In(c) }, "$home/x", ""},
		{"", func(c *Config) any { return limit.For(c, "relay") }, 5, ""},
		{"relay_limit = 9", func(c *Config) any { return limit.For(c, "relay") }, 9, ""},
		{"", func(c *Config) any { return limit.For(c, "local") }, 2, ""},
	} {
		c := parse(t, tc.text)
		var got any
		err := catch(func() { got = tc.read(c) })
		switch {
		case tc.err == "" && (err != nil || got != tc.want):
			t.Errorf("%q: got %v, %v, want %v", tc.text, got, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%q: got %v, %v, want error %s", tc.text, got, err, tc.err)
		}
	}
}

func TestComputed(t *testing.T) {
	t.Setenv(InterfacesVariable, "127.0.0.1/8 192.0.2.5/24 ::1/128 2001:db8::7/64")
	host, _ := os.Hostname()
	short, tail, dotted := strings.Cut(host, ".")
	if !dotted {
		tail = "localdomain"
	}
	_ = short
	for _, tc := range []struct{ text, ask, want string }{
		{"", "mydomain", tail},
		{"myhostname = mx.example.org", "mydomain", "example.org"},
		{"myhostname = mx", "mydomain", "localdomain"},
		{"mydomain = example.net\nmyhostname = mx.$mydomain", "myhostname", "mx.example.net"},
		{"", "mynetworks", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::]/64"},
		{"compatibility_level = 3.6", "mynetworks", "127.0.0.1/32 192.0.2.5/32 [::1]/128 [2001:db8::7]/128"},
		{"mynetworks_style = class", "mynetworks", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::]/64"},
		{"inet_interfaces = loopback-only", "mynetworks", "127.0.0.0/8 [::1]/128"},
		{"inet_interfaces = 192.0.2.5\nmynetworks_style=host", "mynetworks", "192.0.2.5/32"},
		{"inet_protocols = ipv4", "mynetworks", "127.0.0.0/8 192.0.2.0/24"},
		{"mynetworks =", "mynetworks", ""},
		{"config_directory = /elsewhere", "config_directory", "/etc/x"},
	} {
		if got := parse(t, tc.text).Get(tc.ask); got != tc.want {
			t.Errorf("%q: %s = %q, want %q", tc.text, tc.ask, got, tc.want)
		}
	}
	// Mutual references through computed defaults end.
	for _, text := range []string{"myhostname = mx.$mydomain", "x = $mydomain\nmyhostname = mx.$x", "inet_interfaces = $mynetworks"} {
		c := parse(t, text)
		c.Lookup("myhostname")
		c.Lookup("mydomain")
		c.Lookup("mynetworks")
	}
}

func TestSplitList(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		" , ,":                            "",
		"a,b c\td\ne":                     "a|b|c|d|e",
		"a {b c, d} e":                    "a|b c, d|e",
		"inline:{a=b, c=d} x":             "inline:{a=b, c=d}|x",
		"{ unix:private/p, timeout=10s }": "unix:private/p, timeout=10s",
		"{a}{b}":                          "{a}{b}",
		"{a {b} c}":                       "a {b} c",
		"{unbalanced, x":                  "{unbalanced, x",
		"a } b":                           "a|}|b",
	} {
		if got := strings.Join(SplitList(in), "|"); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestOverrides(t *testing.T) {
	c, err := Parse("main.cf", "a = 1\nb = $a\n", Options{Overrides: []Override{{Name: "a", Value: " 2 "}, {Name: "a", Value: "3"}}})
	if err != nil || c.Get("b") != "3" {
		t.Errorf("b = %s, %v, want 3", c.Get("b"), err)
	}
	d := c.With([]Override{{Name: "a", Value: "4"}}, "svc", "prog")
	if d.Get("b") != "4" || c.Get("b") != "3" || d.Get("service_name") != "svc" {
		t.Errorf("With: b = %s, original %s, service %s", d.Get("b"), c.Get("b"), d.Get("service_name"))
	}
}

func FuzzMainCF(f *testing.F) {
	for _, s := range []string{"a = b\n", "a = b\n  c\n# x\n d\n", " x\n", "a\n", "a = $b\nb = $a\n", "a=1\na=2", "\r\n a = {\n", "a = ${{$b} <level {3} ? {x} : {y}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, errs := ParseAll("main.cf", text, Options{Dir: "/x", Known: known})
		for _, e := range errs {
			if !strings.HasPrefix(e.Error(), "main.cf, line ") {
				t.Errorf("error without a place: %v", e)
			}
		}
		for _, n := range c.ExplicitNames() {
			v, pos, _ := c.Explicit(n)
			if n == "" || strings.ContainsAny(n, " \t\n=") || strings.ContainsAny(v, "\n") || pos.Line == 0 {
				t.Errorf("bad setting %q = %q at %v", n, v, pos)
			}
			// What was read reads the same when written back.
			d, err := Parse("main.cf", n+" = "+v+"\n", Options{Dir: "/x"})
			if n[0] == '#' {
				continue
			}
			if err != nil {
				t.Errorf("%q = %q: %v", n, v, err)
			} else if w, _, _ := d.Explicit(n); w != v {
				t.Errorf("%s: %q became %q", n, v, w)
			}
			c.Lookup(n)
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$a", "${a?b:c}", "${{$a} == {b} ? {c} : {d}}", "$$", "${", "$(a", "${{a} <=level {3.6} ? {x}}", "${a?{${a?{$b}}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		look := func(name string) (string, error) {
			if name == "a" {
				return "$x", nil
			}
			return "", nil
		}
		out, err := Expand(text, look)
		if err == nil && !strings.Contains(text, "$") && out != text {
			t.Errorf("%q became %q", text, out)
		}
		References(text)
	})
}
