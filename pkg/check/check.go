// Package check finds every mistake in a configuration directory at once:
// main.cf and master.cf, the values of all parameters that are set, tables,
// transports and services that do not exist, and restrictions that would make
// an open relay. It changes nothing, starts nothing and asks no server.
package check

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
)

// Severity says what a problem does.
type Severity int

const (
	Note    Severity = iota // works as intended, but differently than it may seem
	Warning                 // probably not what was meant
	Error                   // some program will not work
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	}
	return "error"
}

// Problem is one finding.
type Problem struct {
	Pos        config.Position // zero when no line is to blame
	Severity   Severity
	Text       string
	Suggestion string // the name that may have been meant
}

func (p Problem) String() string {
	s := p.Severity.String() + ": "
	if p.Pos.File != "" {
		s += p.Pos.String() + ": "
	}
	s += p.Text
	if p.Suggestion != "" {
		s += fmt.Sprintf(" (did you mean %q?)", p.Suggestion)
	}
	return s
}

// Openers open things that parameters name, and close them again; package lookup
// does that. What is nil is not tried.
type Openers struct {
	// Table returns what is wrong with the table TYPE:NAME.
	Table func(spec string) error
	// List returns what is wrong with elements of a list of hosts and networks or,
	// if they are plain, of other names: those that cannot be used, and those that
	// match nothing.
	List func(param, elements string, plain bool) (bad, idle []string)
}

// Run checks the configuration in dir ("" means MAIL_CONFIG or the default). The
// problems come in the order of files and lines, those without a place last.
func Run(dir string, open Openers) []Problem {
	dir = config.Dir(dir)
	k := &checker{open: open, seen: map[string]bool{}}
	mainName, masterName := filepath.Join(dir, "main.cf"), filepath.Join(dir, "master.cf")
	text, err := config.ReadFile(mainName)
	if err != nil {
		k.add(config.Position{}, Error, "%v", err)
		return k.problems
	}
	c, errs := config.ParseAll(mainName, text, config.Options{Dir: dir, Known: params.All})
	k.cfg = c
	k.errors(errs)
	k.warnings(c.Warnings())

	k.master = &mastercf.File{}
	if text, err = config.ReadFile(masterName); err != nil {
		k.add(config.Position{}, Error, "%v", err)
	} else {
		f, errs := mastercf.Parse(masterName, text, c)
		k.master = f
		k.errors(errs)
		k.warnings(f.Warnings)
		k.lines, _, _ = mastercf.ParseLines(masterName, text)
	}
	k.level()
	k.names = NewNames(c, k.lines, append(slices.Clone(k.master.Entries), k.master.Disabled...))
	for _, name := range c.ExplicitNames() {
		k.parameter(c, name, c.Pos(name))
	}
	k.defaults()
	for i := range k.master.Entries {
		k.entry(&k.master.Entries[i])
	}
	k.directories()
	k.domains()
	k.sizes()
	k.mailLocation()
	k.services()

	slices.SortStableFunc(k.problems, func(a, b Problem) int {
		if (a.Pos.File == "") != (b.Pos.File == "") {
			return cmp.Compare(b.Pos.File, a.Pos.File)
		}
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
	return k.problems
}

// checker is one run.
type checker struct {
	cfg      *config.Config
	master   *mastercf.File
	lines    []mastercf.Line
	open     Openers
	names    *Names
	seen     map[string]bool // problems and tables that need no second word
	problems []Problem
}

func (k *checker) add(pos config.Position, s Severity, format string, a ...any) {
	k.suggest("", pos, s, format, a...)
}

func (k *checker) suggest(suggestion string, pos config.Position, s Severity, format string, a ...any) {
	p := Problem{pos, s, fmt.Sprintf(format, a...), suggestion}
	if key := p.String(); !k.seen[key] {
		k.seen[key] = true
		k.problems = append(k.problems, p)
	}
}

// errors adds errors that name their own place.
func (k *checker) errors(errs []error) {
	for _, err := range errs {
		k.trouble(config.Position{}, err)
	}
}

func (k *checker) trouble(pos config.Position, err error) {
	switch e := err.(type) {
	case *config.SyntaxError:
		k.add(e.Pos, Error, "%s", e.Text)
	case *config.ValueError:
		if e.Pos.File != "" {
			pos = e.Pos
		}
		k.add(pos, Error, "%s: %s = %s", e.Reason, e.Name, e.Value)
	default:
		k.add(pos, Error, "%v", err)
	}
}

func (k *checker) warnings(ws []config.Warning) {
	for _, w := range ws {
		k.add(w.Pos, Warning, "%s", w.Text)
	}
}

// level remarks on a missing compatibility level, since the defaults are then
// those of ten years ago.
func (k *checker) level() {
	v, pos, ok := k.cfg.Explicit("compatibility_level")
	if !ok {
		k.add(config.Position{}, Warning, "compatibility_level is not set: the defaults are those of Postfix before 3.0 (chroot y, append_dot_mydomain yes, smtpd_relay_restrictions empty, ...)")
		return
	}
	if x, err := k.cfg.Lookup("compatibility_level"); err == nil {
		if _, err := config.ParseLevel(x); err != nil {
			k.add(pos, Error, "%v: compatibility_level = %s", err, v)
		}
	}
}

// get is the value of a parameter, or "" if it cannot be had; the mistake is
// reported where the parameter itself is checked.
func (k *checker) get(c *config.Config, name string) string {
	v, err := c.Lookup(name)
	if err != nil {
		return ""
	}
	return v
}

// parameter checks one parameter that c sets at pos.
func (k *checker) parameter(c *config.Config, name string, pos config.Position) {
	raw, _, _ := c.Explicit(name)
	class, d := k.names.Class(name)
	switch class {
	case Unused:
		k.suggest(closest(name, parameterNames()), pos, Warning, "unused parameter: %s=%s", name, raw)
		return
	case User:
		if _, err := c.Lookup(name); err != nil {
			k.trouble(pos, err)
		}
		k.undefined(c, name, raw, pos)
		k.restrictionLists(c, name, k.get(c, name), pos)
		return
	}
	decl := d.Decl()
	value := raw
	if decl.Type != "raw" {
		var err error
		if value, err = c.Lookup(name); err != nil {
			k.trouble(pos, err)
			return
		}
		k.undefined(c, name, raw, pos)
	}
	if err := d.Check(value); err != nil && !(value == "" && decl.Default == "" && decl.Type != "string" && decl.Type != "raw") {
		k.trouble(pos, &config.ValueError{Name: name, Value: value, Reason: err.Error()})
	}
	k.unsupported(c, name, value, pos)
	k.vocabulary(name, value, pos)
	k.restrictionLists(c, name, value, pos)
	k.effect(decl, name, pos)
	k.transports(name, value, pos)
	k.tables(c, name, value, pos)
	k.list(name, value, pos)
}

// effect remarks on a parameter that does nothing here.
func (k *checker) effect(d config.Decl, name string, pos config.Position) {
	why := d.Note
	switch d.Handling {
	case "accept-ignore", "accept-mostly-ignore":
		if why == "" {
			why = "nothing here needs it"
		}
	case "removed":
		if why == "" {
			why = "Postfix removed it"
		}
	case "alias":
		k.add(pos, Note, "%s is an old name: it %s", name, why)
		return
	case "computed":
		switch name {
		case "myhostname", "mydomain", "mynetworks", "inet_protocols":
			return
		}
		why = "its value is computed"
	case "accept-approximate":
		k.add(pos, Note, "%s is approximated (%s)", name, why)
		return
	default:
		if params.IsUsed(d.Name) {
			return
		}
		why = "no program of this system reads it"
	}
	k.add(pos, Note, "%s has no effect here: %s", name, why)
}

// undefined remarks on references to names that are neither set nor known.
func (k *checker) undefined(c *config.Config, name, raw string, pos config.Position) {
	for _, n := range Undefined(c, raw) {
		k.suggest(closest(n, append(parameterNames(), c.ExplicitNames()...)), pos, Warning, "undefined parameter: %s in the value of %s", n, name)
	}
}

// defaults checks what matters although nobody set it.
func (k *checker) defaults() {
	for _, name := range []string{"alias_maps", "default_transport", "local_transport", "relay_transport", "virtual_transport"} {
		if _, _, ok := k.cfg.Explicit(name); ok {
			continue
		}
		v, err := k.cfg.Lookup(name)
		if err != nil {
			k.trouble(config.Position{}, err)
			continue
		}
		k.transports(name, v, config.Position{})
		k.tables(k.cfg, name, v, config.Position{})
	}
}

// directories checks that the directories exist that programs are started
// from and in.
func (k *checker) directories() {
	for _, name := range []string{"queue_directory", "data_directory", "daemon_directory", "command_directory"} {
		v := k.get(k.cfg, name)
		if v == "" {
			continue
		}
		st, err := os.Stat(v)
		switch {
		case os.IsNotExist(err) && (name == "queue_directory" || name == "data_directory"):
			// The first start makes them.
		case err != nil:
			k.add(k.cfg.Pos(name), Error, "%s: %v", name, err)
		case !st.IsDir():
			k.add(k.cfg.Pos(name), Error, "%s: %s is not a directory", name, v)
		}
	}
}

// sizes reports a mailbox that could not hold the largest message: local and
// virtual refuse to start then.
func (k *checker) sizes() {
	most, err := strconv.ParseInt(k.get(k.cfg, "message_size_limit"), 10, 64)
	if err != nil {
		return // reported already
	}
	for _, name := range []string{"mailbox_size_limit", "virtual_mailbox_limit"} {
		limit, err := strconv.ParseInt(k.get(k.cfg, name), 10, 64)
		if err != nil || limit == 0 || most > 0 && most <= limit {
			continue
		}
		pos := k.cfg.Pos(name)
		if pos.File == "" {
			pos = k.cfg.Pos("message_size_limit")
		}
		k.add(pos, Error, "%s (%d) is smaller than message_size_limit (%d): such a message could never be delivered", name, limit, most)
	}
}

// mailLocation reports a location that no session could use.
func (k *checker) mailLocation() {
	v := k.get(k.cfg, "mail_location")
	if v == "" {
		return
	}
	if _, err := location.Parse(v, "user@domain.example", "/home/user"); err != nil {
		k.add(k.cfg.Pos("mail_location"), Error, "mail_location: %v", err)
	}
}

// domains remarks on a domain in two address classes: the first one wins.
func (k *checker) domains() {
	first := map[string]string{}
	for _, name := range []string{"mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"} {
		if _, _, ok := k.cfg.Explicit(name); !ok && name != "mydestination" {
			continue
		}
		for _, d := range config.SplitList(k.get(k.cfg, name)) {
			if strings.ContainsAny(d, ":/!") {
				continue
			}
			d = strings.ToLower(d)
			if other, ok := first[d]; ok && other != name {
				k.add(k.cfg.Pos(name), Warning, "do not list domain %s in both %s and %s: the first counts", d, other, name)
			} else {
				first[d] = name
			}
		}
	}
}
