package check

import (
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
)

// Class says what a parameter's name is, in the words of postconf -C.
type Class int

const (
	Unused  Class = iota // nobody knows it: usually a spelling mistake
	BuiltIn              // declared in package params
	Service              // made of a service's name: relay_destination_concurrency_limit
	User                 // the administrator's own, used in some value or by a table
)

// Names knows which names mean something in a configuration.
type Names struct {
	cfg     *config.Config
	lines   []mastercf.Line
	mention map[string]bool // names that some value refers to
}

// NewNames reads which names the values of c and of the entries of master.cf
// refer to.
func NewNames(c *config.Config, lines []mastercf.Line, entries []mastercf.Entry) *Names {
	n := &Names{cfg: c, lines: lines, mention: map[string]bool{}}
	note := func(text string) {
		for _, name := range config.References(text) {
			n.mention[name] = true
		}
	}
	for _, name := range c.ExplicitNames() {
		v, _, _ := c.Explicit(name)
		note(v)
	}
	for _, l := range lines {
		for _, f := range l.Field {
			note(f)
		}
	}
	for _, e := range entries {
		for _, o := range e.Overrides {
			note(o.Value)
		}
	}
	if v, err := c.Lookup("smtpd_restriction_classes"); err == nil {
		for _, class := range config.SplitList(v) {
			n.mention[class] = true
		}
	}
	return n
}

// Class returns the class of a name, and the declaration that its value must
// keep to, if there is one.
func (n *Names) Class(name string) (Class, config.Declared) {
	service := n.service(name)
	if d, ok := n.cfg.Declared(name); ok {
		if service != nil {
			return Service, d // with a default of its own
		}
		return BuiltIn, d
	}
	if service != nil {
		return Service, service
	}
	if n.mention[name] || n.tableParameter(name) {
		return User, nil
	}
	return Unused, nil
}

// UserNames returns the names that some value refers to and that are set but
// not declared, sorted.
func (n *Names) UserNames() []string {
	var out []string
	for _, name := range n.cfg.ExplicitNames() {
		if c, _ := n.Class(name); c == User {
			out = append(out, name)
		}
	}
	return out
}

// ServiceNames returns the names of all parameters that are made of the names
// of services that deliver mail, sorted.
func (n *Names) ServiceNames() []string {
	var out []string
	for _, l := range n.lines {
		if l.Field[1] != "unix" {
			continue
		}
		switch l.Field[7] {
		case "local", "virtual", "smtp", "lmtp", "pipe", "error", "discard":
			for _, d := range params.All {
				if suffix, ok := serviceSuffix(d); ok && (suffix != "time_limit" || l.Field[7] == "pipe") {
					out = append(out, l.Field[0]+"_"+suffix)
				}
			}
		case "spawn":
			out = append(out, l.Field[0]+"_time_limit")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// serviceSuffix returns the part of a parameter's name that follows the name
// of a transport.
func serviceSuffix(d config.Declared) (string, bool) {
	suffix, ok := strings.CutPrefix(d.Decl().Name, "transport_")
	return suffix, ok && suffix != "maps" && suffix != "retry_time"
}

// service returns the declaration of a parameter that is made of a
// transport's or service's name: that of transport_destination_concurrency_limit
// for relay_destination_concurrency_limit.
func (n *Names) service(name string) config.Declared {
	for _, d := range params.All {
		suffix, ok := serviceSuffix(d)
		if !ok {
			continue
		}
		service, ok := strings.CutSuffix(name, "_"+suffix)
		if ok && slices.ContainsFunc(n.lines, func(l mastercf.Line) bool { return l.Field[0] == service }) {
			return d
		}
	}
	return nil
}

// tableSources are types of tables that may be described by parameters of
// main.cf: with ldap:accounts, accounts_server_host.
var tableSources = []string{"ldap", "mysql", "pgsql", "sqlite", "memcache", "mongodb"}

func (n *Names) tableParameter(name string) bool {
	for _, other := range n.cfg.ExplicitNames() {
		v, _, _ := n.cfg.Explicit(other)
		for _, w := range config.SplitList(v) {
			typ, source, ok := strings.Cut(strings.TrimPrefix(w, "proxy:"), ":")
			if ok && source != "" && source[0] != '/' && slices.Contains(tableSources, typ) && strings.HasPrefix(name, source+"_") {
				return true
			}
		}
	}
	return false
}

// Undefined returns the names that a value refers to and that are neither
// set in c nor known.
func Undefined(c *config.Config, value string) []string {
	return slices.DeleteFunc(config.References(value), func(name string) bool {
		_, ok := c.Raw(name)
		return ok || name == "stress"
	})
}
