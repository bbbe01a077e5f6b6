package main

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
)

//go:embed section5
var section5 embed.FS

// formats makes the pages of section 5.
func formats(root string, pages map[string][]byte) error {
	entries, err := section5.ReadDir("section5")
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := section5.ReadFile("section5/" + e.Name())
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(e.Name(), ".txt")
		p, err := parsePage(name, 5, string(text))
		if err != nil {
			return err
		}
		if name == "postconf" {
			p.reference()
		}
		pages[pageName(name, 5)] = p.render()
	}
	alias(pages, "body_checks", "header_checks", 5)
	return nil
}

// reference lists every parameter: those that have an effect with their text,
// the others by their names.
func (p *page) reference() {
	s := p.at("PARAMETERS")
	for _, d := range params.All {
		decl := d.Decl()
		if !params.IsUsed(decl.Name) {
			continue
		}
		def := decl.Default
		switch {
		case decl.Handling == "computed":
			def = "computed"
		case def == "":
			def = "empty"
		}
		s.entry(fmt.Sprintf("%s (%s; default: %s)", decl.Name, kind(d), def), sentence(decl.Note))
	}
	rest := map[string][]string{}
	var texts []string
	for _, d := range params.All {
		decl := d.Decl()
		if params.IsUsed(decl.Name) {
			continue
		}
		why := whyNot(decl)
		if rest[why] == nil {
			texts = append(texts, why)
		}
		name := decl.Name
		if decl.Handling == "accept-approximate" && decl.Note != "" {
			name += " (" + decl.Note + ")"
		}
		rest[why] = append(rest[why], name)
	}
	slices.Sort(texts)
	s = p.at("PARAMETERS WITHOUT EFFECT")
	s.body.WriteString(fill("These names of Postfix are accepted in main.cf, and do nothing here. posthaste check mentions those that are set."))
	for _, why := range texts {
		s.body.WriteString(".PP\n" + fill(why+":"))
		s.body.WriteString(".RS 4\n" + fill(strings.Join(rest[why], ", ")) + ".RE\n")
	}
}

// whyNot says in a few words why a parameter has no effect.
func whyNot(d config.Decl) string {
	switch {
	case d.Handling == "alias":
		return "Old names of parameters that have no effect either"
	case d.Handling == "accept-approximate":
		return "Approximated, since the TLS library is not OpenSSL"
	case strings.HasPrefix(d.Note, "documented only"):
		return "Documented by Postfix, but read by no program of its"
	case d.Handling == "accept-ignore", d.Handling == "accept-mostly-ignore":
		return "Accepted, since nothing here needs them"
	case d.Handling == "removed":
		return "Removed by Postfix"
	case d.Handling == "computed":
		return "Computed, for use in the values of others"
	}
	return "Read by no program of this system"
}

// kind describes the values of a parameter.
func kind(d config.Declared) string {
	switch p := d.(type) {
	case *config.Bool:
		return "yes or no"
	case *config.Int:
		return "number" + bounds(p.Min, p.Max, "")
	case *config.Time:
		unit := p.Unit
		if unit == 0 {
			unit = 's'
		}
		return "time, in " + map[byte]string{'s': "seconds", 'm': "minutes", 'h': "hours", 'd': "days", 'w': "weeks"}[unit] + bounds(p.Min, p.Max, "s")
	case *config.Raw:
		return "text, expanded when used"
	}
	return "text"
}

func bounds(low, high int64, unit string) string {
	switch {
	case high != 0:
		return fmt.Sprintf(" from %d%s to %d%s", low, unit, high, unit)
	case low != 0:
		return fmt.Sprintf(" from %d%s", low, unit)
	}
	return ""
}
