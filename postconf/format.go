package main

import (
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/mastercf"
)

// Folded lines are at most this long where a blank allows it, and are
// continued after this indentation.
const (
	lineLimit = 80
	indent    = "    "
)

// print shows a name and a value as the options want it.
func (o *options) print(name, value string) {
	switch {
	case o.namesOnly:
		o.line(name)
	case o.valuesOnly:
		o.line(value)
	default:
		o.line(strings.TrimRight(name+" = "+value, " "))
	}
}

func (o *options) line(s string) {
	if o.fold {
		s = fold(s)
	}
	o.out.WriteString(s)
	o.out.WriteByte('\n')
}

// fold breaks a line at blanks.
func fold(s string) string {
	var b strings.Builder
	n := 0
	for _, w := range strings.Fields(s) {
		switch {
		case n == 0:
		case n+1+len(w) > lineLimit:
			b.WriteString("\n" + indent)
			n = len(indent)
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(w)
		n += len(w)
	}
	return b.String()
}

// normalForm is a setting of -o without the blanks that "{ name = value }"
// may have around its parts.
func normalForm(arg string) string {
	inner, braced := config.Unbrace(arg)
	if name, value, problem := config.SplitSetting(inner); problem == "" && braced {
		return "{" + name + "=" + value + "}"
	}
	return arg
}

// columns are where the fields of a master.cf entry begin.
var columns = [8]int{0, 11, 17, 25, 33, 41, 49, 57}

// formatEntry returns an entry of master.cf in columns. Folded, each -o option
// has a line of its own.
func formatEntry(l *mastercf.Line, folded bool) string {
	var b strings.Builder
	n := 0 // length of the current line
	put := func(s string) { b.WriteString(s); n += len(s) }
	for i, f := range l.Field {
		if i > 0 {
			put(" ")
			for n < columns[i] {
				put(" ")
			}
		}
		put(f)
	}
	return formatCommand(b.String(), l.Args, folded)
}

// formatCommand returns arguments after the text in front of them. Folded, each
// -o option has a line of its own.
func formatCommand(start string, args []string, folded bool) string {
	var b strings.Builder
	n := 0 // length of the current line
	put := func(s string) { b.WriteString(s); n += len(s) }
	put(start)
	newLine := func() { b.WriteString("\n" + indent); n = len(indent) }
	options, broken := true, false
	for i := 0; i < len(args); i++ {
		a := args[i]
		isOption := options && strings.HasPrefix(a, "-") && a != "--"
		options = isOption
		if a == "-o" && isOption && i+1 < len(args) {
			i++
			a += " " + normalForm(args[i])
		}
		switch {
		case !folded:
			put(" ")
		case strings.HasPrefix(a, "-o") && isOption:
			newLine()
			broken = true
		case broken || n+1+len(a) >= lineLimit:
			newLine()
			broken = false
		default:
			put(" ")
		}
		put(a)
	}
	return b.String()
}
