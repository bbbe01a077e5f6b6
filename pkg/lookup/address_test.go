package lookup

import (
	"slices"
	"strings"
	"testing"
)

// recorder is a table that notes which keys it is asked.
type recorder struct {
	keys    []string
	answer  map[string]string
	partial bool
}

func (r *recorder) Get(k string) (string, bool, error) {
	r.keys = append(r.keys, k)
	v, ok := r.answer[k]
	return v, ok, nil
}
func (r *recorder) Name() string  { return "test:recorder" }
func (r *recorder) Partial() bool { return r.partial }
func (r *recorder) Close() error  { return nil }

func TestAddressKeys(t *testing.T) {
	local := func(d string) (bool, error) { return d == "here.example", nil }
	for _, c := range []struct {
		name, addr, delims string
		keys               Find
		pattern            bool
		want               string
	}{
		{"default", "u+x@a.b.example", "+", 0, false, "u+x@a.b.example u@a.b.example @a.b.example"},
		{"default local", "u+x@here.example", "+", 0, false, "u+x@here.example u@here.example u+x u @here.example"},
		{"no delimiter", "u+x@here.example", "", 0, false, "u+x@here.example u+x @here.example"},
		{"pattern", "u+x@here.example", "+", 0, true, "u+x@here.example"},
		{"mailbox", "u+x@here.example", "+", FindMailbox, false, "u+x@here.example u@here.example @here.example"},
		{"access subdomains", "u+x@a.b.example", "+", FindAccess | FindSubdomains, false, "u+x@a.b.example u@a.b.example a.b.example b.example example u+x@ u@"},
		{"access dots", "u@a.b.example", "+", FindAccess | FindDotParents, false, "u@a.b.example a.b.example .b.example .example u@"},
		{"transport", "u+x@a.b.example", "+", FindTransport | FindDotParents, false, "u+x@a.b.example u@a.b.example a.b.example .b.example .example"},
		{"literal", "u@[192.0.2.1]", "+", FindTransport | FindDotParents, false, "u@[192.0.2.1] [192.0.2.1]"},
		{"local part only", "u+x", "+", 0, false, "u+x u"},
		{"quoted", "a b@here.example", "+", 0, false, `"a b"@here.example a b@here.example "a b" a b @here.example`},
		{"never split", "owner-x@here.example", "-", 0, false, "owner-x@here.example owner-x @here.example"},
		{"empty", "", "+", 0, false, ""},
	} {
		r := &recorder{partial: !c.pattern}
		if _, _, ok, err := Single(r).Address(c.addr, c.delims, AddressOptions{Keys: c.keys, Local: local}); ok || err != nil {
			t.Errorf("%s: %v, %v", c.name, ok, err)
		}
		if got := strings.Join(r.keys, " "); got != c.want {
			t.Errorf("%s: keys\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestEachKeyGoesToEveryTable(t *testing.T) {
	a := &recorder{partial: true, answer: map[string]string{"@x.example": "domain"}}
	b := &recorder{partial: true, answer: map[string]string{"u@x.example": "user"}}
	m := &Maps{tables: []Table{a, b}}
	v, key, ext, ok, err := m.AddressExt("u+e@x.example", "+", AddressOptions{})
	if v != "user" || key != "u@x.example" || ext != "+e" || !ok || err != nil {
		t.Errorf("got %q, %q, %q, %v, %v", v, key, ext, ok, err)
	}
}

func TestHostAndNetworkKeys(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  func(m *Maps)
		want string
	}{
		{"host", func(m *Maps) { m.Host("a.b.example", true) }, "a.b.example b.example example"},
		{"host dots", func(m *Maps) { m.Host("a.b.example", false) }, "a.b.example .b.example .example"},
		{"IPv4", func(m *Maps) { m.Network("1.2.3.4") }, "1.2.3.4 1.2.3 1.2 1"},
		{"IPv6", func(m *Maps) { m.Network("2001:db8::1") }, "2001:db8::1 2001:db8: 2001:db8 2001"},
	} {
		r := &recorder{partial: true}
		c.ask(Single(r))
		// The full name is asked of all tables first, then of those with parts.
		got := slices.Compact(r.keys)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestMapAddress(t *testing.T) {
	env, _ := testEnv()
	m, err := OpenMaps("virtual_alias_maps", `inline:{{a@x=b@y, c}, {@dom=@other}, {q@x="odd name"@y}, {bad@x=<>}}`, env)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(a string) string {
		if !strings.Contains(a, "@") {
			a += "@here"
		}
		return a
	}
	for _, c := range []struct {
		in        string
		propagate bool
		want      []string
	}{
		{"a@x", true, []string{"b@y", "c@here"}},
		{"a+e@x", true, []string{"b+e@y", "c+e@here"}},
		{"a+e@x", false, []string{"b@y", "c@here"}},
		{"u+e@dom", true, []string{"u+e@other"}},
		{"q@x", true, []string{"odd name@y"}},
		{"none@x", true, nil},
	} {
		got, ok, err := m.MapAddress(c.in, "+", c.propagate, AddressOptions{}, rewrite)
		if !slices.Equal(got, c.want) || ok != (c.want != nil) || err != nil {
			t.Errorf("%s: %q, %v, %v, want %q", c.in, got, ok, err, c.want)
		}
	}
	if _, _, err := m.MapAddress("bad@x", "+", true, AddressOptions{}, nil); err == nil {
		t.Error("a value without an address is no error")
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/names", "# domains\nfrom.file,\n  more.file\n!not.file\n")
	for _, c := range []struct {
		value string
		subs  bool
		plain bool
		yes   string
		no    string
	}{
		{"a.example, b.example", false, true, "a.example A.EXAMPLE b.example", "x.a.example c.example"},
		{"a.example", true, false, "a.example x.a.example", "xa.example example"},
		{"a.example .b.example", false, false, "a.example x.b.example x.y.b.example", "x.a.example b.example"},
		{"!x.a.example a.example", true, false, "a.example y.a.example", "x.a.example z.x.a.example"},
		{"!!a.example", false, true, "a.example", ""},
		{dir + "/names", false, true, "from.file more.file", "not.file"},
		{"!" + dir + "/names, static:all", false, true, "other not.file", "from.file more.file"},
		{"inline:{a.example=x}", true, false, "a.example s.a.example", "b.example"},
		{"inline:{.a.example=x}", false, false, "s.a.example", "a.example"},
		{"inline:{a.example=x}", false, true, "a.example", "s.a.example"},
		{"127.0.0.0/8 [::1]/128 [2001:db8::]/32 192.0.2.1 host.example", false, false, "127.1.2.3 ::1 2001:db8:1::5 192.0.2.1 host.example", "128.0.0.1 ::2 192.0.2.2 2001:db9::1"},
		{"!10.1.0.0/16, 10.0.0.0/8", false, false, "10.2.0.1", "10.1.0.1"},
		{"cidr:{{192.0.2.0/24 x}}", false, false, "192.0.2.9", "192.0.3.9"},
		{"", false, true, "", "a.example"},
	} {
		env, _ := testEnv()
		l, err := openList("test_list", c.value, env, c.subs, c.plain).ready(env)
		if err != nil {
			t.Errorf("%s: %v", c.value, err)
			continue
		}
		ask := func(s string) (bool, error) {
			if strings.Trim(strings.ToLower(s), "0123456789abcdef.:") == "" && strings.ContainsAny(s, "0123456789") {
				return l.MatchHost("", s)
			}
			return l.Match(s)
		}
		for _, s := range strings.Fields(c.yes) {
			if ok, err := ask(s); !ok || err != nil {
				t.Errorf("%q does not match %s: %v", c.value, s, err)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if ok, err := ask(s); ok || err != nil {
				t.Errorf("%q matches %s: %v", c.value, s, err)
			}
		}
		l.Close()
	}
}

func TestListTrouble(t *testing.T) {
	env, log := testEnv()
	for _, value := range []string{"/does/not/exist", "fail:x", "nosuch:x", "10.0.0.1/8", "127.0.0.0/99"} {
		l, err := OpenList("mynetworks", "first.example "+value, env, false)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if ok, err := l.MatchHost("first.example", ""); !ok || err != nil {
			t.Errorf("%s: an element before it: %v, %v", value, ok, err)
		}
		if ok, err := l.MatchHost("other.example", "10.0.0.1"); ok || err == nil || !strings.Contains(err.Error(), "mynetworks") {
			t.Errorf("%s: %v, %v", value, ok, err)
		}
	}
	if !log.has(`perhaps you should use "10.0.0.0/8"`) {
		t.Errorf("no hint about host bits: %q", log.lines)
	}
	if _, err := OpenList("mynetworks", "!", env, false); err == nil {
		t.Error("a lone ! is accepted")
	}
	var none *List
	if ok, err := none.Match("x"); ok || err != nil || none.Close() != nil {
		t.Error("a nil List is not empty")
	}
}
