// Package mastercf reads master.cf: one service on each logical line, in
// eight fields and arguments. It checks every field and says where each
// entry stands. It starts nothing.
package mastercf

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthaste/pkg/config"
)

const blanks = " \t\r\n\v\f"

// Fields are the names of the fields, as postconf -F spells them.
var Fields = [8]string{"service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"}

// Line is one entry as it is written.
type Line struct {
	Field [8]string // without $-expansion; Field[7] is the command's name alone
	Args  []string  // arguments; one in braces keeps them
	Pos   config.Position
	Last  int // number of its last physical line
}

// Entry is one service.
type Entry struct {
	Name         string // "smtp", "127.0.0.1:10025"
	Type         string // inet, unix, unix-dgram, fifo, pass
	Private      bool   // reachable by the mail system alone; always false for inet
	Unpriv       bool
	Chroot       bool
	Wakeup       time.Duration // 0 means never
	WakeupIfUsed bool          // wake it only once somebody has used it
	MaxProc      int           // most sessions at a time; 0 means no limit
	Command      string        // program, relative to daemon_directory
	Args         []string      // all arguments, without braces
	Rest         []string      // arguments after the options
	Overrides    []config.Override
	Verbose      int // number of -v
	Pos          config.Position
}

// File is a checked master.cf.
type File struct {
	Entries  []Entry // without those that master_service_disable names
	Disabled []Entry
	Warnings []config.Warning
}

// Load reads master.cf at path, usually Dir/master.cf, with the defaults and
// $names of c. The error is that of the first mistake.
func Load(path string, c *config.Config) (*File, error) {
	if path == "" {
		path = filepath.Join(c.Dir(), "master.cf")
	}
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, errs := Parse(path, data, c)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return f, nil
}

// Parse reads the text of a master.cf; name is used in positions only. It
// reads on after a mistake and returns all of them, with the entries that
// are right.
func Parse(name, data string, c *config.Config) (*File, []error) {
	lines, warnings, errs := ParseLines(name, data)
	f := &File{Warnings: warnings}
	disable, err := disabled(c)
	if err != nil {
		errs = append(errs, err)
	}
	for _, l := range lines {
		e, problems := l.entry(c)
		if len(problems) > 0 {
			errs = append(errs, problems...)
			continue
		}
		same := func(o Entry) bool { return o.Name == e.Name && o.Type == e.Type }
		if i := slices.IndexFunc(f.Entries, same); i >= 0 {
			f.Warnings = append(f.Warnings, config.Warning{Pos: e.Pos, Text: fmt.Sprintf(
				"duplicate entry for service %s/%s replaces that of line %d", e.Name, e.Type, f.Entries[i].Pos.Line)})
			f.Entries = slices.Delete(f.Entries, i, i+1)
		}
		if disable(e.Name, e.Type) {
			f.Disabled = append(f.Disabled, e)
			continue
		}
		f.Entries = append(f.Entries, e)
	}
	return f, errs
}

// disabled returns the test of master_service_disable: a list of name/type
// (or name.type) and type patterns; the first that matches counts, !pattern
// means that the service stays enabled.
func disabled(c *config.Config) (func(name, typ string) bool, error) {
	v, err := c.Lookup("master_service_disable")
	list := config.SplitList(v)
	return func(name, typ string) bool {
		for _, p := range list {
			p, not := strings.CutPrefix(p, "!")
			if p == typ || p == name+"/"+typ || p == name+"."+typ {
				return !not
			}
		}
		return false
	}, err
}

// Find returns the entry of a service, or nil; an empty type means any.
func (f *File) Find(name, typ string) *Entry {
	for i := range f.Entries {
		if e := &f.Entries[i]; e.Name == name && (typ == "" || typ == e.Type) {
			return e
		}
	}
	return nil
}

// ParseLines reads the entries of a master.cf as they are written. Lines with
// too few fields or bad braces are among the errors.
func ParseLines(name, data string) (lines []Line, warnings []config.Warning, errs []error) {
	sc := config.NewScanner(data)
	sc.Warn = func(line int, text string) {
		warnings = append(warnings, config.Warning{Pos: config.Position{File: name, Line: line}, Text: text})
	}
	for {
		l, ok := sc.Next()
		if !ok {
			return lines, warnings, errs
		}
		line, err := ParseLine(l.Text, config.Position{File: name, Line: l.First})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		line.Last = l.Last
		lines = append(lines, line)
	}
}

// ParseLine reads one entry from a logical line.
func ParseLine(text string, pos config.Position) (Line, error) {
	l := Line{Pos: pos, Last: pos.Line}
	rest := text
	for i := range l.Field {
		rest = strings.TrimLeft(rest, blanks)
		if rest == "" {
			return l, &config.SyntaxError{Pos: pos, Text: fmt.Sprintf("missing \"%s\" field: %q", Fields[i], text)}
		}
		n := strings.IndexAny(rest, blanks)
		if n < 0 {
			n = len(rest)
		}
		l.Field[i], rest = rest[:n], rest[n:]
	}
	l.Args = config.SplitWords(rest, blanks)
	for _, a := range l.Args {
		if a[0] != '{' {
			continue
		}
		if _, ok := config.Unbrace(a); !ok {
			return l, &config.SyntaxError{Pos: pos, Text: fmt.Sprintf("bad braces in argument: %q", a)}
		}
	}
	return l, nil
}

// entry checks a line and fills in the defaults.
func (l *Line) entry(c *config.Config) (e Entry, problems []error) {
	bad := func(field int, format string, a ...any) {
		problems = append(problems, &config.SyntaxError{Pos: l.Pos,
			Text: fmt.Sprintf("field \"%s\": %s", Fields[field], fmt.Sprintf(format, a...))})
	}
	var f [8]string
	for i, v := range l.Field {
		x, err := c.Expand(v)
		if err != nil {
			bad(i, "%v", err)
		}
		f[i] = x
	}
	if problems != nil {
		return e, problems
	}
	flag := func(i int, def bool) bool {
		switch f[i] {
		case "-":
			return def
		case "y", "n":
			return f[i] == "y"
		}
		bad(i, "bad value %q: y, n or - expected", f[i])
		return def
	}
	number := func(i int, s string) int {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || s[0] == '+' {
			bad(i, "bad number %q", f[i])
		}
		return n
	}
	e = Entry{Name: f[0], Type: f[1], Pos: l.Pos, Command: f[7]}
	l.checkName(&e, c, bad)
	e.Private = flag(2, true) && e.Type != "inet"
	e.Unpriv = flag(3, true)
	old, err := c.Expand("${{$compatibility_level} <level {1} ? {y} : {n}}")
	if err != nil {
		bad(4, "%v", err)
	}
	e.Chroot = flag(4, old == "y")
	if w := f[5]; w != "-" {
		w, e.WakeupIfUsed = strings.CutSuffix(w, "?")
		n := number(5, w)
		if n > 1<<31 {
			bad(5, "bad number %q", f[5])
		}
		e.Wakeup = time.Duration(n) * time.Second
	}
	if f[6] != "-" {
		e.MaxProc = number(6, f[6])
	} else {
		limit, err := c.Lookup("default_process_limit")
		if limit == "" {
			limit = "100"
		}
		if err != nil {
			bad(6, "%v", err)
		} else if e.MaxProc, err = strconv.Atoi(limit); err != nil || e.MaxProc < 1 {
			bad(6, "bad default_process_limit %q", limit)
		}
	}
	if e.Command == "" || e.Command == "-" || strings.HasPrefix(e.Command, "/") || slices.Contains(strings.Split(e.Command, "/"), "..") {
		bad(7, "bad command %q: the name of a program in daemon_directory expected", e.Command)
	}
	for _, a := range l.Args {
		a, _ = config.Unbrace(a)
		e.Args = append(e.Args, a)
	}
	if err := e.options(); err != nil {
		bad(7, "%v", err)
	}
	return e, problems
}

// checkName checks the name of a service against its type.
func (l *Line) checkName(e *Entry, c *config.Config, bad func(int, string, ...any)) {
	switch e.Type {
	case "inet":
		_, port, err := SplitAddress(e.Name)
		if err == nil {
			_, err = Port(port, c)
		}
		if err != nil {
			bad(0, "%v", err)
		}
	case "unix", "unix-dgram", "fifo", "pass":
		if e.Name == "" || e.Name[0] == '.' || strings.ContainsAny(e.Name, "/\x00") {
			bad(0, "bad name %q of a local socket", e.Name)
		}
	default:
		bad(1, "bad type %q: inet, unix, unix-dgram, fifo or pass expected", e.Type)
	}
}

// options reads the options before the first argument that is none.
func (e *Entry) options() error {
	for i := 0; ; i++ {
		if i == len(e.Args) || len(e.Args[i]) < 2 || e.Args[i][0] != '-' {
			e.Rest = e.Args[i:]
			return nil
		}
		a := e.Args[i]
		if a == "--" {
			e.Rest = e.Args[i+1:]
			return nil
		}
		for j := 1; j < len(a); j++ {
			switch a[j] {
			case 'v':
				e.Verbose++
			case 'c', 'd', 'D', 'l', 'S', 'u', 'V', 'z':
			case 'i', 'm', 'n', 'o', 'r', 's', 't':
				value := a[j+1:]
				if value == "" {
					if i++; i == len(e.Args) {
						return fmt.Errorf("option -%c needs an argument", a[j])
					}
					value = e.Args[i]
				}
				if a[j] == 'o' {
					name, v, problem := config.SplitSetting(value)
					if problem != "" {
						return fmt.Errorf("option -o %s: %s", value, problem)
					}
					e.Overrides = append(e.Overrides, config.Override{Name: name, Value: v, Pos: e.Pos})
				}
				j = len(a)
			default:
				return fmt.Errorf("unknown option -%c", a[j])
			}
		}
	}
}

// Path is the socket of a local service, relative to the queue directory.
func (e *Entry) Path() string {
	if e.Private {
		return "private/" + e.Name
	}
	return "public/" + e.Name
}

// Config is the service's own view of main.cf: its -o settings win.
func (e *Entry) Config(c *config.Config) *config.Config {
	return c.With(e.Overrides, e.Name, filepath.Base(e.Command))
}

// SplitAddress splits the name of an inet service, [host:]port; a host with
// colons stands in brackets, which are removed.
func SplitAddress(name string) (host, port string, err error) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		host, port = "", name
	} else {
		host, port = name[:i], name[i+1:]
	}
	if h, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(h, "]"); !ok || host == "" {
			return "", "", fmt.Errorf("bad address %q", name)
		}
	} else if strings.Contains(host, ":") {
		return "", "", fmt.Errorf("bad address %q: an IPv6 address needs brackets", name)
	}
	if port == "" || strings.ContainsAny(name, "/ \x00") {
		return "", "", fmt.Errorf("bad address %q", name)
	}
	return host, port, nil
}

// Port returns the number of a port that is given by number, or by a name of
// known_tcp_ports or of the system's list of services.
func Port(port string, c *config.Config) (int, error) {
	if n, err := strconv.Atoi(port); err == nil {
		if n < 1 || n > 65535 {
			return 0, fmt.Errorf("bad port number %q", port)
		}
		return n, nil
	}
	if c != nil {
		known, err := c.Lookup("known_tcp_ports")
		if err != nil {
			return 0, err
		}
		// name=name=number, name=number: all names of a group share the number.
		for _, group := range strings.Split(known, ",") {
			names := strings.Split(strings.Join(strings.Fields(group), ""), "=")
			if slices.Contains(names[:len(names)-1], port) {
				return Port(names[len(names)-1], nil)
			}
		}
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("unknown port name %q", port)
	}
	return n, nil
}
