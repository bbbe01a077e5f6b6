// Postconf shows and edits the configuration.
//
// Usage:
//
//	postconf [-dfhHnopqvx] [-c dir] [-C class,...] [-o name=value] [name ...]
//	postconf [-ev] [-c dir] name=value ...
//	postconf -# [-v] [-c dir] name ...
//	postconf -X [-v] [-c dir] name ...
//	postconf -M [-fovx] [-c dir] [service[/type] ...]
//	postconf -M [-e#Xv] [-c dir] service/type[=line] ...
//	postconf -F [-fhHovx] [-c dir] [service[/type[/field]] ...]
//	postconf -F -e [-v] [-c dir] service/type/field=value ...
//	postconf -P [-fhHovx] [-c dir] [service[/type[/name]] ...]
//	postconf -P [-eXv] [-c dir] service/type/name[=value] ...
//	postconf -a | -A | -l | -m | -T what
//	postconf -t [-c dir] [file]
//	postconf -b [-c dir] [file]
//
// Without options, postconf shows the values of the parameters that are named,
// or of all of them, as "name = value", in the order of their names. Names that
// main.cf or master.cf set but nothing uses are mentioned on standard error,
// since they are usually spelling mistakes; "posthaste check" has more to say.
//
// Options that choose what to show:
//
//	-C class  parameters of a class only: builtin (known to the mail system),
//	          service (made of the name of a service in master.cf:
//	          relay_destination_concurrency_limit), user (defined in main.cf and
//	          used in the value of another) or all, which is the default
//	-d        defaults, in place of what main.cf says
//	-n        parameters that main.cf sets, and no others
//	-o n=v    as if main.cf said so
//	-p        parameters of main.cf (the default)
//	-x        replace $name by its value, except in parameters that programs
//	          expand when they use them
//
// How:
//
//	-f        fold long lines
//	-h        values without names
//	-H        names without values
//	-q        no warnings
//
// Options that change main.cf, or master.cf with -M, -F and -P:
//
//	-e        set; also without -e when an argument has an "="
//	-#        put "#" before the lines of an entry: its default is back
//	-X        remove the lines of an entry
//
// The file is replaced as a whole, so that no program sees half of it; comments
// stay. A change comes into force with "posthaste reload".
//
// Master.cf; the names of services and types may be "*":
//
//	-M        entries
//	-F        single fields: service, type, private, unprivileged, chroot,
//	          wakeup, process_limit, command
//	-P        "-o name=value" settings
//
// Information:
//
//	-a, -A    kinds of SASL implementations for the server and for the client
//	-b, -t    the texts of bounce messages, with or without $names replaced
//	-l        methods of locking mailboxes
//	-m        types of lookup tables
//	-T what   compile-version or run-version of the TLS library,
//	          public-key-algorithms
//
// Other options: -c dir names the configuration directory, in place of
// $MAIL_CONFIG and the default; -v is accepted.
//
// # Security
//
// Postconf needs no privilege to show values. It writes where its caller may,
// and keeps owner and permissions of a file.
//
// # Diagnostics
//
// Problems are reported on standard error. The exit status is 0, or 1 after a
// fatal error; an unknown name is no error.
//
// # Files
//
//	/etc/posthaste/main.cf    parameters
//	/etc/posthaste/master.cf  services
package main

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

var tool = &command.Tool{Name: "postconf"}

// options is the command line.
type options struct {
	dir                    string
	what                   byte // 0, or one of a A b l m t T
	library                string
	master                 byte // 0, or one of M F P
	change                 byte // 0, or one of e # X
	defaults, explicit     bool
	expand, fold           bool
	valuesOnly, namesOnly  bool
	quiet                  bool
	builtin, service, user bool
	overrides              []config.Override
	args                   []string
	out                    *bufio.Writer
	warned                 map[string]bool
	mainName, masterName   string
}

func main() {
	defer tool.Recover()
	o := parse(os.Args[1:])
	o.out = bufio.NewWriter(os.Stdout)
	o.dir = config.Dir(o.dir)
	o.mainName, o.masterName = filepath.Join(o.dir, "main.cf"), filepath.Join(o.dir, "master.cf")
	switch {
	case o.what != 0:
		o.information()
	case o.master != 0 && o.change != 0:
		o.changeMaster()
	case o.master != 0:
		o.showMaster()
	case o.change != 0:
		o.changeMain()
	default:
		o.showMain()
	}
	if err := o.out.Flush(); err != nil {
		tool.Fatalf("write: %v", err)
	}
}

const usage = "usage: postconf [-a|-A|-b|-l|-m|-t|-T what] [-M|-F|-P] [-d|-n|-e|-#|-X] [-fhHpqvx] [-c dir] [-C class] [-o name=value] [name...]"

func parse(args []string) *options {
	o := &options{warned: map[string]bool{}}
	change := func(c byte) {
		if o.change != 0 && o.change != c {
			tool.Fatalf("specify one of -e, -# and -X")
		}
		o.change = c
	}
	what := func(c byte) {
		if o.what != 0 && o.what != c {
			tool.Fatalf("specify one of -a, -A, -b, -l, -m, -t and -T")
		}
		o.what = c
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		for i := 1; i < len(a); i++ {
			value := ""
			if strings.IndexByte("cCoT", a[i]) >= 0 {
				if value = a[i+1:]; value == "" {
					if len(args) == 0 {
						tool.Fatalf("option -%c needs an argument; %s", a[i], usage)
					}
					value, args = args[0], args[1:]
				}
			}
			c := a[i]
			switch c {
			case 'a', 'A', 'b', 'l', 'm', 't':
				what(c)
			case 'T':
				what(c)
				o.library = value
			case 'M', 'F', 'P':
				if o.master != 0 && o.master != c {
					tool.Fatalf("specify one of -M, -F and -P")
				}
				o.master = c
			case 'e', '#', 'X':
				change(c)
			case 'c':
				o.dir = value
			case 'C':
				o.classes(value)
			case 'd':
				o.defaults = true
			case 'n':
				o.explicit = true
			case 'x':
				o.expand = true
			case 'f':
				o.fold = true
			case 'h':
				o.valuesOnly = true
			case 'H':
				o.namesOnly = true
			case 'q':
				o.quiet = true
			case 'o':
				o.overrides = append(o.overrides, override(value))
			case 'p', 'v', 'E':
			default:
				tool.Fatalf("unknown option -%c; %s", c, usage)
			}
			if value != "" {
				break
			}
		}
	}
	o.args = args
	o.verify()
	return o
}

// verify refuses combinations that make no sense.
func (o *options) verify() {
	if o.change == 0 && o.what == 0 && slices.ContainsFunc(o.args, func(a string) bool { return strings.Contains(a, "=") }) {
		o.change = 'e'
	}
	if o.defaults && o.explicit {
		tool.Fatalf("specify one of -d and -n")
	}
	if o.change != 0 && (o.defaults || o.explicit || o.expand || o.valuesOnly || o.namesOnly) {
		tool.Fatalf("-e, -# and -X do not go with -d, -n, -x, -h and -H")
	}
	if o.master != 0 && (o.defaults || o.explicit) {
		tool.Fatalf("-M, -F and -P do not go with -d and -n")
	}
	if o.master == 'M' && (o.valuesOnly || o.namesOnly) {
		tool.Fatalf("-M does not go with -h and -H")
	}
	if o.change != 0 && o.change != 'e' && slices.ContainsFunc(o.args, func(a string) bool { return strings.Contains(a, "=") }) {
		tool.Fatalf("-X and -# take names without values")
	}
	if o.valuesOnly && o.namesOnly {
		tool.Fatalf("specify one of -h and -H")
	}
	if o.change != 0 && len(o.args) == 0 {
		tool.Fatalf("-e, -# and -X need arguments")
	}
	if !o.builtin && !o.service && !o.user {
		o.builtin, o.service, o.user = true, true, true
	}
}

func override(s string) config.Override {
	name, value, problem := config.SplitSetting(s)
	if problem != "" {
		tool.Fatalf("%s: %q", problem, s)
	}
	return config.Override{Name: name, Value: value}
}

func (o *options) classes(list string) {
	for _, c := range config.SplitList(list) {
		switch c {
		case "builtin":
			o.builtin = true
		case "service":
			o.service = true
		case "user":
			o.user = true
		case "all":
			o.builtin, o.service, o.user = true, true, true
		default:
			tool.Fatalf("unknown class %q: builtin, service, user or all expected", c)
		}
	}
}

// load reads main.cf. Defaults can be shown without one.
func (o *options) load() *config.Config {
	text := ""
	if !o.defaults { // the defaults are those of a system without main.cf
		var err error
		if text, err = config.ReadFile(o.mainName); err != nil {
			tool.Fatalf("%v", err)
		}
	}
	c, err := config.Parse(o.mainName, text, config.Options{Dir: o.dir, Known: params.All, Overrides: o.overrides, Program: tool.Name})
	if err != nil {
		tool.Fatalf("%v", err)
	}
	return c
}

// warn prints a warning once, after what was shown before it.
func (o *options) warn(format string, a ...any) {
	if o.quiet {
		return
	}
	o.out.Flush()
	tool.Warningf(format, a...)
}
