// Package config reads main.cf: logical lines, $-expansion with conditionals,
// typed access by the declarations in package params, and where each setting
// stands. A Config is immutable; a reload makes a new one. Values are expanded
// when they are asked for, once.
//
// The package knows no parameter but the few that are computed from the
// system (myhostname, mynetworks, …): names, types and defaults are handed to
// Load.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// DefaultDir is the configuration directory when neither -c nor MAIL_CONFIG
// names one.
const DefaultDir = "/etc/posthaste"

// MaxFileSize is the most bytes that a main.cf or master.cf may have.
const MaxFileSize = 16 << 20

// Override is one -o name=value, of a command line or a master.cf entry.
type Override struct {
	Name, Value string
	Pos         Position
}

// Options tells Load what to read.
type Options struct {
	Dir       string     // "" means MAIL_CONFIG or DefaultDir
	Overrides []Override // win over main.cf, the last one of a name over the others
	Known     []Declared // params.All: defaults and types, sorted by name
	Service   string     // $service_name
	Program   string     // $process_name
}

// Config is a loaded configuration. It is safe for concurrent use.
type Config struct {
	dir              string
	set              map[string]setting
	known            []Declared
	service, program string
	warnings         []Warning

	mu    sync.Mutex
	cache map[string]string // expanded values of those that have a $, and computed ones
}

type setting struct {
	value string
	pos   Position
}

// Warning is a remark about the configuration that does not keep it from
// working.
type Warning struct {
	Pos  Position
	Text string
}

func (w Warning) String() string { return w.Pos.prefix() + w.Text }

// Dir returns the configuration directory that flag (-c; may be empty) or
// the environment names, as an absolute path.
func Dir(flag string) string {
	dir := flag
	if dir == "" {
		dir = os.Getenv("MAIL_CONFIG")
	}
	if dir == "" {
		dir = DefaultDir
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return dir
}

// Load reads Dir/main.cf and applies the overrides.
func Load(o Options) (*Config, error) {
	o.Dir = Dir(o.Dir)
	name := filepath.Join(o.Dir, "main.cf")
	data, err := ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, data, o)
}

// ReadFile reads a configuration file that may not be larger than
// MaxFileSize.
func ReadFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if st.IsDir() {
		return "", fmt.Errorf("%s: is a directory", name)
	}
	if st.Size() > MaxFileSize {
		return "", fmt.Errorf("%s: larger than %d bytes", name, MaxFileSize)
	}
	var b strings.Builder
	b.Grow(int(st.Size()))
	if _, err := f.WriteTo(&b); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return b.String(), nil
}

// Parse reads the text of a main.cf; name is used in positions only.
func Parse(name, data string, o Options) (*Config, error) {
	if o.Dir == "" {
		o.Dir = filepath.Dir(name)
	}
	c := &Config{dir: o.Dir, set: make(map[string]setting, 64), known: o.Known,
		service: o.Service, program: o.Program}
	problems := c.parse(name, data)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	c.override(o.Overrides)
	return c, nil
}

// ParseAll is Parse for checkers: it reads on after a mistake and returns all
// of them with what could be read.
func ParseAll(name, data string, o Options) (*Config, []error) {
	if o.Dir == "" {
		o.Dir = filepath.Dir(name)
	}
	c := &Config{dir: o.Dir, set: make(map[string]setting, 64), known: o.Known,
		service: o.Service, program: o.Program}
	problems := c.parse(name, data)
	c.override(o.Overrides)
	return c, problems
}

// SyntaxError is a mistake in a configuration file's syntax.
type SyntaxError struct {
	Pos  Position
	Text string
}

func (e *SyntaxError) Error() string { return e.Pos.prefix() + e.Text }

func (c *Config) parse(name, data string) (problems []error) {
	sc := NewScanner(data)
	sc.Warn = func(line int, text string) {
		c.warnings = append(c.warnings, Warning{Position{name, line}, text})
	}
	for {
		l, ok := sc.Next()
		if !ok {
			return problems
		}
		pos := Position{name, l.First}
		k, v, problem := SplitSetting(l.Text)
		if problem != "" {
			problems = append(problems, &SyntaxError{pos, fmt.Sprintf("%s: %q", problem, excerpt(l.Text))})
			continue
		}
		if old, dup := c.set[k]; dup {
			c.warnings = append(c.warnings, Warning{pos,
				fmt.Sprintf("overriding earlier entry: %s=%s (of line %d)", k, old.value, old.pos.Line)})
		}
		c.set[k] = setting{v, pos}
	}
}

func (c *Config) override(o []Override) {
	for _, ov := range o {
		c.set[ov.Name] = setting{strings.Trim(ov.Value, space), ov.Pos}
	}
}

// With returns a copy of c that has further overrides and, if they are not
// empty, another service and program name: a master.cf entry's view.
func (c *Config) With(overrides []Override, service, program string) *Config {
	n := &Config{dir: c.dir, set: make(map[string]setting, len(c.set)+len(overrides)), known: c.known,
		service: c.service, program: c.program, warnings: c.warnings}
	for k, v := range c.set {
		n.set[k] = v
	}
	if service != "" {
		n.service = service
	}
	if program != "" {
		n.program = program
	}
	n.override(overrides)
	return n
}

// Dir is the configuration directory.
func (c *Config) Dir() string { return c.dir }

// Warnings returns what was odd in main.cf, in the order of its lines.
func (c *Config) Warnings() []Warning { return c.warnings }

// Explicit returns a parameter's unexpanded setting and where it stands.
func (c *Config) Explicit(name string) (value string, pos Position, ok bool) {
	s, ok := c.set[name]
	return s.value, s.pos, ok
}

// ExplicitNames returns the names of all parameters that are set, sorted.
func (c *Config) ExplicitNames() []string {
	names := make([]string, 0, len(c.set))
	for k := range c.set {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// Pos is where the value of a parameter comes from; zero for a default.
func (c *Config) Pos(name string) Position { return c.set[name].pos }

// Declared returns the declaration of a parameter.
func (c *Config) Declared(name string) (Declared, bool) {
	if i, ok := slices.BinarySearchFunc(c.known, name, func(d Declared, name string) int {
		return strings.Compare(d.Decl().Name, name)
	}); ok {
		return c.known[i], true
	}
	// A list out of order (a test's own) still works, only more slowly.
	for _, d := range c.known {
		if d.Decl().Name == name {
			return d, true
		}
	}
	return nil, false
}

// Get returns the expanded value of any parameter by name, also of those that
// are not declared (transport-specific ones, the administrator's own). The
// result is "" for a name that is neither set nor declared. It panics with a
// *ValueError when the value cannot be expanded.
func (c *Config) Get(name string) string { return c.value(name) }

// Lookup is Get for callers that want the error.
func (c *Config) Lookup(name string) (string, error) {
	v, err := c.lookup(name, nil)
	if err != nil {
		var ve *ValueError
		if !errors.As(err, &ve) {
			raw, _ := c.Raw(name)
			err = &ValueError{c.Pos(name), name, raw, err.Error()}
		}
		return "", err
	}
	return v, nil
}

// Expand replaces $name and its other forms in text by values of c; see
// the function Expand.
func (c *Config) Expand(text string) (string, error) {
	return Expand(text, func(name string) (string, error) { return c.lookup(name, nil) })
}

// Raw returns the unexpanded value of a parameter: set, computed or default.
// ok is false if it is neither set nor declared nor computed.
func (c *Config) Raw(name string) (value string, ok bool) {
	return c.raw(name, nil)
}

func (c *Config) raw(name string, stack []string) (string, bool) {
	if s, ok := c.set[name]; ok && name != "config_directory" {
		return s.value, true
	}
	return c.deflt(name, stack)
}

// Default returns the unexpanded default of a parameter, computed if need be.
func (c *Config) Default(name string) (value string, ok bool) {
	return c.deflt(name, nil)
}

func (c *Config) deflt(name string, stack []string) (string, bool) {
	if v, ok := c.computed(name, stack); ok {
		return v, true
	}
	if d, ok := c.Declared(name); ok {
		return d.Decl().Default, true
	}
	return "", false
}

// lookup returns the expanded value of a name; stack holds the names whose
// expansion asked for it.
func (c *Config) lookup(name string, stack []string) (string, error) {
	if s, ok := c.set[name]; ok && name != "config_directory" && strings.IndexByte(s.value, '$') < 0 {
		return s.value, nil
	}
	c.mu.Lock()
	v, ok := c.cache[name]
	c.mu.Unlock()
	if ok {
		return v, nil
	}
	if slices.Contains(stack, name) {
		return "", fmt.Errorf("parameter refers to itself: %s -> %s", strings.Join(stack[slices.Index(stack, name):], " -> "), name)
	}
	if len(stack) >= maxDepth {
		return "", fmt.Errorf("unreasonable nesting of %s", name)
	}
	raw, _ := c.raw(name, stack)
	stack = push(stack, name)
	v, err := Expand(raw, func(n string) (string, error) { return c.lookup(n, stack) })
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	if c.cache == nil {
		c.cache = make(map[string]string, 64)
	}
	c.cache[name] = v
	c.mu.Unlock()
	return v, nil
}

func push(stack []string, name string) []string {
	return append(stack[:len(stack):len(stack)], name)
}

func (c *Config) rawValue(name string) string {
	v, _ := c.Raw(name)
	return v
}

func (c *Config) value(name string) string {
	v, err := c.Lookup(name)
	if err != nil {
		panic(err)
	}
	return v
}

func (c *Config) bad(name, value, reason string) {
	panic(&ValueError{c.Pos(name), name, value, reason})
}
