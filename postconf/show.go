package main

import (
	"os"
	"slices"

	"posthaste/pkg/check"
	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
	"posthaste/pkg/params"
)

// readMaster reads master.cf as far as it can be read; a missing file is
// empty unless it is what is asked for.
func (o *options) readMaster(c *config.Config) (lines []mastercf.Line, file *mastercf.File) {
	text, err := config.ReadFile(o.masterName)
	if err != nil {
		if o.master != 0 || !os.IsNotExist(err) {
			tool.Fatalf("%v", err)
		}
		return nil, &mastercf.File{}
	}
	file, errs := mastercf.Parse(o.masterName, text, c)
	lines, _, _ = mastercf.ParseLines(o.masterName, text)
	for _, err := range errs {
		o.warn("%v", err)
	}
	for _, w := range file.Warnings {
		o.warn("%s", w)
	}
	return lines, file
}

// showMain shows parameters of main.cf.
func (o *options) showMain() {
	c := o.load()
	lines, file := o.readMaster(c)
	entries := append(slices.Clone(file.Entries), file.Disabled...)
	names := check.NewNames(c, lines, entries)
	if !o.defaults {
		for _, w := range c.Warnings() {
			o.warn("%s", w)
		}
	}
	if len(o.args) > 0 {
		for _, name := range o.args {
			o.parameter(c, names, name, true)
		}
	} else {
		for _, name := range o.list(c, names) {
			o.parameter(c, names, name, false)
		}
	}
	if !o.defaults {
		o.remarks(c, names)
		o.masterRemarks(c, names, entries)
	}
}

// list returns the names to be shown when none are given.
func (o *options) list(c *config.Config, names *check.Names) []string {
	var out []string
	if o.explicit {
		out = slices.DeleteFunc(c.ExplicitNames(), func(n string) bool {
			class, _ := names.Class(n)
			return !o.wants(class)
		})
		return out
	}
	if o.builtin {
		for _, d := range params.All {
			if class, _ := names.Class(d.Decl().Name); class == check.BuiltIn {
				out = append(out, d.Decl().Name)
			}
		}
	}
	if o.service {
		out = append(out, names.ServiceNames()...)
	}
	if o.user && !o.defaults {
		out = append(out, names.UserNames()...)
	}
	slices.Sort(out)
	return out
}

func (o *options) wants(class check.Class) bool {
	switch class {
	case check.BuiltIn:
		return o.builtin
	case check.Service:
		return o.service
	case check.User:
		return o.user
	}
	return false
}

// parameter shows one parameter; asked says that its name was given.
func (o *options) parameter(c *config.Config, names *check.Names, name string, asked bool) {
	class, d := names.Class(name)
	value, _, set := c.Explicit(name)
	if name == "config_directory" {
		value, set = o.dir, false
	}
	switch {
	case class == check.Unused && !(asked && set && !o.defaults), o.defaults && class == check.User:
		o.warn("%s: unknown parameter", name)
		return
	case o.explicit && !set:
		return
	case set && !o.defaults:
	case class == check.Service:
		value = d.Decl().Default
	default:
		value, _ = c.Default(name)
	}
	if o.expand && (d == nil || d.Decl().Type != "raw") {
		value = o.expansion(c, name, value, set && !o.defaults)
	}
	o.print(name, value)
}

// expansion returns the expanded value of a parameter; own says that value is
// the one that c has.
func (o *options) expansion(c *config.Config, name, value string, own bool) string {
	if own {
		v, err := c.Lookup(name)
		if err != nil {
			tool.Fatalf("%v", err)
		}
		return v
	}
	v, err := c.Expand(value)
	if err != nil {
		tool.Fatalf("%v", &config.ValueError{Pos: c.Pos(name), Name: name, Value: value, Reason: err.Error()})
	}
	return v
}

// remarks mentions what main.cf sets in vain, and what it uses and nobody sets.
func (o *options) remarks(c *config.Config, names *check.Names) {
	for _, n := range c.ExplicitNames() {
		v, _, _ := c.Explicit(n)
		o.remark(c, names, o.mainName, n, v)
	}
}

// masterRemarks is remarks for the settings in master.cf.
func (o *options) masterRemarks(c *config.Config, names *check.Names, entries []mastercf.Entry) {
	for i := range entries {
		view := entries[i].Config(c)
		for _, s := range entries[i].Overrides {
			o.remark(view, names, o.masterName, s.Name, s.Value)
		}
	}
}

func (o *options) remark(c *config.Config, names *check.Names, file, name, value string) {
	class, d := names.Class(name)
	if class == check.Unused {
		o.warn("%s: unused parameter: %s=%s", file, name, value)
	}
	if d == nil || d.Decl().Type != "raw" {
		o.undefined(c, file, value)
	}
}

func (o *options) undefined(c *config.Config, file, value string) {
	for _, n := range check.Undefined(c, value) {
		if key := file + " " + n; !o.warned[key] {
			o.warned[key] = true
			o.warn("%s: undefined parameter: %s", file, n)
		}
	}
}
