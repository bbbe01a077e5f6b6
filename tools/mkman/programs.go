package main

import (
	"fmt"
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

// programs makes the pages of all programs.
func programs(root string, pages map[string][]byte) error {
	src, err := newSource(root)
	if err != nil {
		return err
	}
	names, err := programFolders(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		main, err := src.load(module + "/" + name)
		if err != nil {
			return err
		}
		num := 1
		if name == "master" || src.imports(main, module+"/pkg/service", map[*pkg]bool{}) {
			num = 8
		}
		p, err := parsePage(name, num, main.doc)
		if err != nil {
			return err
		}
		reads, err := src.reads(main)
		if err != nil {
			return err
		}
		p.parameters(slices.DeleteFunc(reads, func(n string) bool { return foreign(name, n) }))
		pages[pageName(name, num)] = p.render()
	}
	alias(pages, "mailq", "sendmail", 1)
	alias(pages, "newaliases", "sendmail", 1)
	return nil
}

// imports says whether a package uses another, itself or through others.
func (s *source) imports(p *pkg, target string, seen map[*pkg]bool) bool {
	if seen[p] {
		return false
	}
	seen[p] = true
	return slices.ContainsFunc(p.imports, func(i string) bool {
		return i == target || s.imports(s.packages[i], target, seen)
	})
}

// common are parameters that every program reads; they are named together, so
// that those that matter stand out.
var common = []string{"compatibility_level", "config_directory", "daemon_directory", "command_directory", "data_directory", "mail_name", "mail_owner", "mail_version",
	"maillog_file", "maillog_json", "max_idle", "max_use", "mydomain", "myhostname", "queue_directory", "role_uid_base", "setgid_group", "syslog_facility", "syslog_name"}

// foreign says that a parameter is not the program's, although the code that
// it shares with others refers to it.
func foreign(program, param string) bool {
	switch {
	case param == "auth_client_users":
		return program != "auth"
	case program == "smtp":
		return strings.HasPrefix(param, "lmtp_")
	case program == "lmtp":
		return strings.HasPrefix(param, "smtp_")
	}
	return false
}

// parameters writes the section about configuration parameters.
func (p *page) parameters(names []string) {
	s := p.at("CONFIGURATION PARAMETERS")
	var others []string
	own := 0
	for _, n := range names {
		d := parameter(n)
		if d == nil {
			continue
		}
		if slices.Contains(common, n) {
			others = append(others, n)
			continue
		}
		if own++; own == 1 {
			s.body.WriteString(fill("Changes to main.cf take effect with posthaste reload; postconf(5) has the types of values."))
		}
		s.entry(heading(d.Decl()), sentence(d.Decl().Note))
	}
	if len(others) == 0 {
		return
	}
	if own > 0 {
		s.body.WriteString(".PP\n")
	}
	s.body.WriteString(fill("Of the parameters of the system as a whole (postconf(5)) it reads " + strings.Join(others, ", ") + "."))
}

// heading is "name (default: value)".
func heading(d config.Decl) string {
	def := d.Default
	switch {
	case def == "" && d.Handling == "computed":
		return d.Name + " (computed)"
	case def == "":
		def = "empty"
	case len(def) > 60:
		return d.Name + " (default: see postconf -d)"
	}
	return fmt.Sprintf("%s (default: %s)", d.Name, def)
}

// parameter finds a declaration, nil if there is none.
func parameter(name string) config.Declared {
	i, ok := slices.BinarySearchFunc(params.All, name, func(d config.Declared, n string) int { return strings.Compare(d.Decl().Name, n) })
	if !ok {
		return nil
	}
	return params.All[i]
}

func allNames() []string {
	l := make([]string, len(params.All))
	for i, d := range params.All {
		l[i] = d.Decl().Name
	}
	return l
}
