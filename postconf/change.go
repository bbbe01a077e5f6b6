package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/config/edit"
	"posthaste/pkg/mastercf"
)

// argument checks an argument of -e, -# and -X.
func argument(a string) {
	if strings.ContainsAny(a, "\n\r\x00") {
		tool.Fatalf("-e, -X, or -# accepts no multi-line input")
	}
	if t := strings.TrimSpace(a); t == "" || t[0] == '#' {
		tool.Fatalf("-e, -X, or -# accepts no comment input")
	}
}

// changeMain sets, comments out or removes parameters of main.cf.
func (o *options) changeMain() {
	var list []edit.Setting
	var earlier []string // the arguments behind list
	for _, a := range o.args {
		argument(a)
		s := edit.Setting{Name: strings.TrimSpace(a)}
		switch o.change {
		case 'e':
			var problem string
			if s.Name, s.Value, problem = config.SplitSetting(a); problem != "" {
				tool.Fatalf("%s: \"%s\"", problem, a)
			}
		case '#':
			s.Op = edit.Comment
		case 'X':
			s.Op = edit.Remove
		}
		if o.change != 'e' && strings.ContainsAny(s.Name, "= \t") {
			tool.Fatalf("-X or -# requires names without value: \"%s\"", a)
		}
		if i := slices.IndexFunc(list, func(e edit.Setting) bool { return e.Name == s.Name }); i >= 0 {
			if list[i] != s {
				tool.Warningf("ignoring earlier request: %s", earlier[i])
			}
			list[i] = s
			earlier[i] = a
			continue
		}
		list, earlier = append(list, s), append(earlier, a)
	}
	err := edit.File(o.mainName, o.change == 'e', func(text string) (string, error) { return edit.Main(text, list), nil })
	if err != nil {
		tool.Fatalf("%v", err)
	}
}

// changeMaster changes entries, fields or settings of master.cf.
func (o *options) changeMaster() {
	for _, a := range o.args {
		argument(a)
	}
	c := o.load()
	err := edit.File(o.masterName, false, func(text string) (string, error) {
		for _, a := range o.args {
			lines, _, _ := mastercf.ParseLines(o.masterName, text)
			changes, err := o.masterChanges(c, lines, a)
			if err != nil {
				return "", err
			}
			text = edit.Master(text, changes)
		}
		return text, nil
	})
	if err != nil {
		tool.Fatalf("%v", err)
	}
}

// masterChanges turns one argument into changes of entries.
func (o *options) masterChanges(c *config.Config, lines []mastercf.Line, a string) ([]edit.Service, error) {
	name, value := strings.TrimSpace(a), ""
	if o.change == 'e' {
		var ok bool
		if name, value, ok = strings.Cut(a, "="); !ok {
			return nil, fmt.Errorf("missing '=' after attribute name: \"%s\"", a)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	}
	parts := strings.Count(name, "/") + 1
	want := 3
	if o.master == 'M' {
		want = 2
	}
	if parts != want {
		return nil, fmt.Errorf("-%c%c needs the name of a %s: \"%s\"", o.master, o.change,
			map[byte]string{'M': "service/type", 'F': "service/type/field", 'P': "service/type/parameter"}[o.master], a)
	}
	p := readPattern(name, want)
	if o.master == 'M' && o.change == 'e' {
		return setEntry(c, &p, value)
	}
	var out []edit.Service
	for i := range lines {
		l := &lines[i]
		if !p.entry(l) {
			continue
		}
		s := edit.Service{Name: l.Field[0], Type: l.Field[1]}
		var err error
		switch {
		case o.master == 'M' && o.change == '#':
			s.Op = edit.Comment
		case o.master == 'M':
			s.Op = edit.Remove
		case o.change == '#':
			return nil, fmt.Errorf("-# goes with -M or with main.cf")
		case o.master == 'F' && o.change == 'X':
			return nil, fmt.Errorf("-X goes with -M, with -P or with main.cf")
		case o.master == 'F':
			err = setField(c, l, p.items, value)
		case o.change == 'e' && p.items == "*":
			return nil, fmt.Errorf("-Pe needs the name of one parameter: \"%s\"", a)
		case o.change == 'e':
			setOption(l, p.items, value)
		default:
			removeOption(l, p.items)
		}
		if err != nil {
			return nil, err
		}
		if s.Op == edit.Set {
			s.Line = formatEntry(l, true)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		o.warn("unmatched request: \"%s\"", name)
	}
	return out, nil
}

// setEntry makes the change of -Me service/type=line.
func setEntry(c *config.Config, p *pattern, line string) ([]edit.Service, error) {
	if p.service == "*" || p.typ == "*" {
		return nil, fmt.Errorf("-Me needs the name of one service: \"%s\"", p.text)
	}
	l, err := mastercf.ParseLine(line, config.Position{})
	if err != nil {
		return nil, err
	}
	if l.Field[0] != p.service || l.Field[1] != p.typ {
		return nil, fmt.Errorf("mismatched service: \"%s\" and \"%s/%s\"", p.text, l.Field[0], l.Field[1])
	}
	if err := acceptable(c, &l); err != nil {
		return nil, fmt.Errorf("%w: \"%s\"", err, line)
	}
	return []edit.Service{{Name: p.service, Type: p.typ, Line: formatEntry(&l, true)}}, nil
}

// acceptable says why master would refuse an entry.
func acceptable(c *config.Config, l *mastercf.Line) error {
	_, errs := mastercf.Parse("", strings.Join(append(l.Field[:], l.Args...), " ")+"\n", c)
	for _, err := range errs {
		var se *config.SyntaxError
		if errors.As(err, &se) {
			return errors.New(se.Text) // the position is none of a file
		}
		return err
	}
	return nil
}

// setField changes one field of an entry; the command's has its arguments.
func setField(c *config.Config, l *mastercf.Line, field, value string) error {
	i := slices.Index(mastercf.Fields[:], field)
	if i < 0 && field != "*" {
		return fmt.Errorf("unknown field name: \"%s\"", field)
	}
	if i < 0 {
		return fmt.Errorf("-Fe needs the name of one field")
	}
	if i < 7 {
		if value == "" || len(strings.Fields(value)) != 1 {
			return fmt.Errorf("field \"%s\" needs one word: \"%s\"", field, value)
		}
		l.Field[i] = value
		return acceptable(c, l)
	}
	// Read it as the end of an entry.
	n, err := mastercf.ParseLine(strings.Join(l.Field[:7], " ")+" "+value, config.Position{})
	if err != nil {
		return err
	}
	l.Field[7], l.Args = n.Field[7], n.Args
	return acceptable(c, l)
}

// setOption sets -o name=value, in place of the last one of that name or
// after the last option.
func setOption(l *mastercf.Line, name, value string) {
	text := name + "=" + value
	if strings.ContainsAny(text, " \t{}") {
		text = "{ " + name + " = " + value + " }"
	}
	list, rest := optionSettings(l.Args)
	for _, s := range slices.Backward(list) {
		if s.name == name {
			l.Args = slices.Replace(l.Args, s.at, s.at+s.n, "-o", text)
			return
		}
	}
	l.Args = slices.Insert(l.Args, rest, "-o", text)
}

// removeOption removes all -o options of a name.
func removeOption(l *mastercf.Line, name string) {
	list, _ := optionSettings(l.Args)
	for _, s := range slices.Backward(list) {
		if matches(name, s.name) {
			l.Args = slices.Delete(l.Args, s.at, s.at+s.n)
		}
	}
}
