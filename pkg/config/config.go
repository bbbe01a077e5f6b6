// Package config reads main.cf: logical lines, $-expansion with conditionals,
// typed access by the declarations in package params, and where each setting
// stands. A Config is immutable; a reload makes a new one.
package config

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultDir is the configuration directory when neither -c nor MAIL_CONFIG
// names one.
const DefaultDir = "/etc/posthaste"

// Override is one -o name=value, of a command line or a master.cf entry.
type Override struct {
	Name, Value string
	Pos         Position
}

// Options tells Load what to read.
type Options struct {
	Dir       string     // "" means MAIL_CONFIG or DefaultDir
	Overrides []Override // win over main.cf
	Known     []Declared // params.All: defaults and types
	Service   string     // $service_name
	Program   string     // $process_name
}

// Config is a loaded configuration.
type Config struct {
	dir   string
	set   map[string]setting
	known map[string]Declared
}

type setting struct {
	value string
	pos   Position
}

// Load reads Dir/main.cf and applies the overrides.
func Load(o Options) (*Config, error) {
	dir := o.Dir
	if dir == "" {
		dir = os.Getenv("MAIL_CONFIG")
	}
	if dir == "" {
		dir = DefaultDir
	}
	c := &Config{dir: dir, set: map[string]setting{}, known: map[string]Declared{}}
	for _, d := range o.Known {
		c.known[d.Decl().Name] = d
	}
	name := filepath.Join(dir, "main.cf")
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	var cur string
	n, at := 0, 0
	flush := func() {
		if k, v, ok := strings.Cut(cur, "="); ok {
			c.set[strings.TrimSpace(k)] = setting{strings.TrimSpace(v), Position{name, at}}
		}
		cur = ""
	}
	for sc.Scan() {
		n++
		l := sc.Text()
		if t := strings.TrimSpace(l); t == "" || t[0] == '#' {
			continue
		}
		if l[0] == ' ' || l[0] == '\t' {
			cur += " " + strings.TrimSpace(l)
			continue
		}
		flush()
		cur, at = l, n
	}
	flush()
	for _, ov := range o.Overrides {
		c.set[ov.Name] = setting{ov.Value, ov.Pos}
	}
	return c, sc.Err()
}

// Dir is the configuration directory.
func (c *Config) Dir() string { return c.dir }

// Explicit returns a parameter's unexpanded setting and where it stands.
func (c *Config) Explicit(name string) (value string, pos Position, ok bool) {
	s, ok := c.set[name]
	return s.value, s.pos, ok
}

// Pos is where the value of a parameter comes from; zero for a default.
func (c *Config) Pos(name string) Position { return c.set[name].pos }

// Get returns the expanded value of any parameter by name, also of those that
// are not declared (transport-specific ones, the administrator's own). The
// result is "" for a name that is neither set nor declared.
func (c *Config) Get(name string) string { return c.value(name) }

// Expand replaces $name, ${name}, $(name), ${name?text}, ${name:text} and the
// comparisons in text by values of c.
func (c *Config) Expand(text string) (string, error) {
	return os.Expand(text, c.value), nil
}

func (c *Config) rawValue(name string) string {
	if s, ok := c.set[name]; ok {
		return s.value
	}
	if d, ok := c.known[name]; ok {
		return d.Decl().Default
	}
	return ""
}

func (c *Config) value(name string) string {
	v, err := c.Expand(c.rawValue(name))
	if err != nil {
		panic(err)
	}
	return v
}

func (c *Config) bad(name, value, reason string) {
	panic(&ValueError{c.Pos(name), name, value, reason})
}

// SplitList splits at commas and white space; {braced text} stays together and
// loses its braces.
func SplitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

var _ = fmt.Sprint
