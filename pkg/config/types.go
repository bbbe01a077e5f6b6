package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Declared is one parameter's declaration, whatever its type.
type Declared interface {
	// Decl returns what all types have in common.
	Decl() Decl
	// Check says what is wrong with an expanded value, or nil.
	Check(value string) error
}

// Decl is what every declaration states.
type Decl struct {
	Name     string
	Default  string // unexpanded
	Type     string // bool, int, time, string, raw
	Handling string // "" (implemented when some program reads it), "accept-ignore", "alias", "computed", "removed"
	Note     string
}

// Bool is a yes/no parameter.
type Bool struct {
	Name, Default  string
	Handling, Note string
}

// Int is a whole number with inclusive bounds; a zero Max means no upper bound.
type Int struct {
	Name, Default  string
	Min, Max       int64
	Handling, Note string
}

// Time is a duration, written as a number with one of the units s m h d w
// (several may be joined: 1h30m). Unit is the unit of a bare number.
// Min and Max are in seconds; a zero Max means no upper bound.
type Time struct {
	Name, Default  string
	Unit           byte
	Min, Max       int64
	Handling, Note string
}

// String is text, $-expanded when read. MinLen 1 refuses an empty value.
type String struct {
	Name, Default  string
	MinLen         int
	Handling, Note string
}

// Raw is text that is not expanded when the configuration is read, since it
// holds names that only the reader knows ($home, $rbl_domain).
type Raw struct {
	Name, Default  string
	MinLen         int
	Handling, Note string
}

// ValueError is the error of a parameter whose value is not of its type or
// out of bounds. In methods panic with it; the skeletons of daemons and
// commands turn it into a fatal error.
type ValueError struct {
	Pos    Position
	Name   string
	Value  string
	Reason string // "bad boolean configuration", "bad numerical configuration", …
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("%s%s: %s = %s", e.Pos.prefix(), e.Reason, e.Name, e.Value)
}

// Position is where a setting stands. The zero value is a built-in default.
type Position struct {
	File string
	Line int
}

func (p Position) prefix() string {
	if p.File == "" {
		return ""
	}
	return p.String() + ": "
}

func (p Position) String() string {
	if p.File == "" {
		return "default"
	}
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s, line %d", p.File, p.Line)
}

func (p *Bool) Decl() Decl { return Decl{p.Name, p.Default, "bool", p.Handling, p.Note} }
func (p *Int) Decl() Decl  { return Decl{p.Name, p.Default, "int", p.Handling, p.Note} }
func (p *Time) Decl() Decl { return Decl{p.Name, p.Default, "time", p.Handling, p.Note} }
func (p *String) Decl() Decl {
	return Decl{p.Name, p.Default, "string", p.Handling, p.Note}
}
func (p *Raw) Decl() Decl { return Decl{p.Name, p.Default, "raw", p.Handling, p.Note} }

// parseBool accepts what Postfix does: yes and no in any case.
func parseBool(s string) (bool, bool) {
	switch {
	case strings.EqualFold(s, "yes"):
		return true, true
	case strings.EqualFold(s, "no"):
		return false, true
	}
	return false, false
}

// ParseTime reads a duration in Postfix's notation; unit is the unit of a
// bare number (0 means seconds).
func ParseTime(s string, unit byte) (time.Duration, error) {
	if s == "" {
		return 0, fmt.Errorf("empty time value")
	}
	if unit == 0 {
		unit = 's'
	}
	var total int64
	for s != "" {
		i := 0
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		if i == 0 {
			return 0, fmt.Errorf("bad time value %q", s)
		}
		n, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("time value out of range")
		}
		u := unit
		if s = s[i:]; s != "" {
			u, s = s[0], s[1:]
		}
		var mult int64
		switch u {
		case 's', 'S':
			mult = 1
		case 'm', 'M':
			mult = 60
		case 'h', 'H':
			mult = 3600
		case 'd', 'D':
			mult = 86400
		case 'w', 'W':
			mult = 7 * 86400
		default:
			return 0, fmt.Errorf("bad time unit %q", string(u))
		}
		const most = int64(1<<63-1) / int64(time.Second)
		if n > most/mult || total > most-n*mult {
			return 0, fmt.Errorf("time value out of range")
		}
		total += n * mult
	}
	return time.Duration(total) * time.Second, nil
}

func (p *Bool) Check(v string) error {
	if _, ok := parseBool(v); !ok {
		return fmt.Errorf("bad boolean configuration")
	}
	return nil
}

func (p *Int) Check(v string) error {
	_, err := p.parse(v)
	return err
}

func (p *Int) parse(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bad numerical configuration")
	}
	if n < p.Min {
		return 0, fmt.Errorf("invalid value (below the minimum %d)", p.Min)
	}
	if p.Max != 0 && n > p.Max {
		return 0, fmt.Errorf("invalid value (above the maximum %d)", p.Max)
	}
	return n, nil
}

func (p *Time) Check(v string) error {
	_, err := p.parse(v)
	return err
}

func (p *Time) parse(v string) (time.Duration, error) {
	d, err := ParseTime(v, p.Unit)
	if err != nil {
		return 0, fmt.Errorf("bad time configuration (%v)", err)
	}
	if s := int64(d / time.Second); s < p.Min {
		return 0, fmt.Errorf("invalid time value (below the minimum %ds)", p.Min)
	} else if p.Max != 0 && s > p.Max {
		return 0, fmt.Errorf("invalid time value (above the maximum %ds)", p.Max)
	}
	return d, nil
}

func checkLen(v string, min int) error {
	if len(v) < min {
		return fmt.Errorf("bad string length %d < %d", len(v), min)
	}
	return nil
}

func (p *String) Check(v string) error { return checkLen(v, p.MinLen) }
func (p *Raw) Check(v string) error    { return checkLen(v, p.MinLen) }

// In returns the parameter's value in c. It panics with a *ValueError when the
// configured value is not a boolean. A parameter without a default that is
// not set is no.
func (p *Bool) In(c *Config) bool {
	v := c.value(p.Name)
	if v == "" && p.Default == "" {
		return false
	}
	b, ok := parseBool(v)
	if !ok {
		c.bad(p.Name, v, "bad boolean configuration")
	}
	return b
}

// In returns the parameter's value in c. It panics with a *ValueError when the
// configured value is not a number or out of bounds.
func (p *Int) In(c *Config) int { return int(p.In64(c)) }

// In64 is In for values that count bytes.
func (p *Int) In64(c *Config) int64 { return p.named(c, p.Name) }

// For is In for the parameter of a transport: with p named
// transport_destination_concurrency_limit and transport "relay" it reads
// relay_destination_concurrency_limit, and p's own value when that is neither
// set nor declared.
func (p *Int) For(c *Config, transport string) int {
	return int(p.named(c, c.transportName(p.Name, transport)))
}

// transportName replaces the leading "transport" of a parameter's name by
// that of a transport, if there is such a parameter.
func (c *Config) transportName(name, transport string) string {
	n := transport + strings.TrimPrefix(name, "transport")
	if _, ok := c.set[n]; ok {
		return n
	}
	if _, ok := c.Declared(n); ok {
		return n
	}
	return name
}

func (p *Int) named(c *Config, name string) int64 {
	v := c.value(name)
	if v == "" && p.Default == "" {
		return 0
	}
	n, err := p.parse(v)
	if err != nil {
		c.bad(name, v, err.Error())
	}
	return n
}

// In returns the parameter's value in c. It panics with a *ValueError when the
// configured value is not a duration or out of bounds.
func (p *Time) In(c *Config) time.Duration { return p.named(c, p.Name) }

// For is In for the parameter of a transport; see Int.For.
func (p *Time) For(c *Config, transport string) time.Duration {
	return p.named(c, c.transportName(p.Name, transport))
}

func (p *Time) named(c *Config, name string) time.Duration {
	v := c.value(name)
	if v == "" && p.Default == "" {
		return 0
	}
	d, err := p.parse(v)
	if err != nil {
		c.bad(name, v, err.Error())
	}
	return d
}

// In returns the parameter's expanded value in c. It panics with a
// *ValueError when the value is shorter than the declaration allows.
func (p *String) In(c *Config) string {
	v := c.value(p.Name)
	if err := p.Check(v); err != nil {
		c.bad(p.Name, v, err.Error())
	}
	return v
}

// For is In for the parameter of a transport; see Int.For.
func (p *String) For(c *Config, transport string) string {
	name := c.transportName(p.Name, transport)
	v := c.value(name)
	if err := p.Check(v); err != nil {
		c.bad(name, v, err.Error())
	}
	return v
}

// List returns the value as a list, split at commas and white space; text in
// braces stays together, without its outer braces.
func (p *String) List(c *Config) []string { return SplitList(p.In(c)) }

// In returns the parameter's value in c as it stands, unexpanded.
func (p *Raw) In(c *Config) string {
	v := c.rawValue(p.Name)
	if err := p.Check(v); err != nil {
		c.bad(p.Name, v, err.Error())
	}
	return v
}
