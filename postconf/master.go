package main

import (
	"slices"
	"strings"

	"posthaste/pkg/check"
	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
)

// A pattern is service[/type[/item]] with "*" for anything.
type pattern struct {
	text                string
	service, typ, items string
}

// patterns reads the arguments of -M, -F and -P; the names of services have
// no "/".
func (o *options) patterns() []pattern {
	most := 3
	if o.master == 'M' {
		most = 2
	}
	var out []pattern
	for _, a := range o.args {
		out = append(out, readPattern(a, most))
	}
	if len(out) == 0 {
		out = []pattern{{service: "*", typ: "*", items: "*"}}
	}
	return out
}

func readPattern(a string, most int) pattern {
	p := pattern{text: a, service: "*", typ: "*", items: "*"}
	f := strings.SplitN(a, "/", 4)
	if len(f) > most {
		tool.Fatalf("bad service pattern: %q", a)
	}
	for i, s := range f {
		if s == "" {
			tool.Fatalf("bad service pattern: %q", a)
		}
		*[]*string{&p.service, &p.typ, &p.items}[i] = s
	}
	return p
}

func matches(pattern, s string) bool { return pattern == "*" || pattern == s }

func (p *pattern) entry(l *mastercf.Line) bool {
	return matches(p.service, l.Field[0]) && matches(p.typ, l.Field[1])
}

// showMaster shows entries, fields or settings of master.cf.
func (o *options) showMaster() {
	c := o.load()
	lines, file := o.readMaster(c)
	entries := append(slices.Clone(file.Entries), file.Disabled...)
	for _, p := range o.patterns() {
		found := false
		for i := range lines {
			l := &lines[i]
			if !p.entry(l) {
				continue
			}
			// The view of an entry that has a mistake is main.cf's.
			view := c
			if j := slices.IndexFunc(entries, func(e mastercf.Entry) bool { return e.Pos == l.Pos }); j >= 0 {
				view = entries[j].Config(c)
			}
			switch o.master {
			case 'M':
				found = true
				o.out.WriteString(formatEntry(o.expanded(view, l), o.fold) + "\n")
			case 'F':
				found = o.fields(view, l, p.items) || found
			case 'P':
				found = o.settings(view, l, p.items) || found
			}
		}
		if !found && p.text != "" {
			o.warn("unmatched request: \"%s\"", p.text)
		}
	}
	o.masterRemarks(c, check.NewNames(c, lines, entries), entries)
}

// expanded returns an entry with $names in its fields and in its settings
// replaced when -x asks for it. The other arguments belong to the program.
func (o *options) expanded(c *config.Config, l *mastercf.Line) *mastercf.Line {
	if !o.expand {
		return l
	}
	n := *l
	for i := range n.Field {
		n.Field[i] = o.value(c, l.Field[i])
	}
	n.Args = slices.Clone(l.Args)
	list, _ := optionSettings(l.Args)
	for _, s := range slices.Backward(list) {
		text := s.name + "=" + o.value(c, s.value)
		if strings.ContainsAny(text, " \t{}") {
			text = "{" + text + "}"
		}
		n.Args = slices.Replace(n.Args, s.at, s.at+s.n, "-o", text)
	}
	return &n
}

func (o *options) value(c *config.Config, s string) string {
	if !o.expand {
		return s
	}
	v, err := c.Expand(s)
	if err != nil {
		tool.Fatalf("%v: %q", err, s)
	}
	return v
}

func (o *options) fields(c *config.Config, l *mastercf.Line, item string) (found bool) {
	if item != "*" && !slices.Contains(mastercf.Fields[:], item) {
		tool.Fatalf("unknown field name: %q", item)
	}
	x := o.expanded(c, l)
	for i, name := range mastercf.Fields {
		if !matches(item, name) {
			continue
		}
		v := x.Field[i]
		if i == 7 {
			if o.fold && !o.namesOnly {
				start := l.Field[0] + "/" + l.Field[1] + "/" + name + " = "
				if o.valuesOnly {
					start = ""
				}
				o.out.WriteString(formatCommand(start+v, x.Args, true) + "\n")
				found = true
				continue
			}
			v = formatCommand(v, x.Args, false)
		}
		o.print(l.Field[0]+"/"+l.Field[1]+"/"+name, v)
		found = true
	}
	return found
}

// setting is a -o option at args[at:at+n].
type setting struct {
	name, value string
	at, n       int
}

// optionSettings returns the -o options of an entry, in order, and the index
// of the first argument that is no option.
func optionSettings(args []string) (out []setting, rest int) {
	i := 0
	for i < len(args) && len(args[i]) > 1 && args[i][0] == '-' && args[i] != "--" {
		a := args[i]
		s := setting{at: i, n: 1}
		i++
		text := ""
		switch {
		case a == "-o" && i < len(args):
			text, s.n = args[i], 2
			i++
		case strings.HasPrefix(a, "-o"):
			text = a[2:]
		case len(a) == 2 && strings.IndexByte("imnrst", a[1]) >= 0 && i < len(args):
			i++
			continue
		default:
			continue
		}
		inner, _ := config.Unbrace(text)
		if name, value, problem := config.SplitSetting(inner); problem == "" {
			s.name, s.value = name, value
			out = append(out, s)
		}
	}
	return out, i
}

func (o *options) settings(c *config.Config, l *mastercf.Line, item string) (found bool) {
	list, _ := optionSettings(l.Args)
	slices.SortStableFunc(list, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	for i, s := range list {
		if !matches(item, s.name) || i+1 < len(list) && list[i+1].name == s.name { // the last one counts
			continue
		}
		o.print(l.Field[0]+"/"+l.Field[1]+"/"+s.name, o.value(c, s.value))
		found = true
	}
	return found
}
