package lookup

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"go.elara.ws/pcre"
)

// linear is a pattern of Go's engine, whose time is linear in its input.
type linear struct {
	re *regexp.Regexp
	// prefix is text that every match begins with, at the start of the subject: a
	// cheap test that spares header checks most of their work. It is in lower case
	// if fold is set.
	prefix string
	fold   bool
}

func newLinear(re *regexp.Regexp) linear {
	m := linear{re: re}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return m
	}
	tree = tree.Simplify()
	if tree.Op != syntax.OpConcat || len(tree.Sub) < 2 || tree.Sub[0].Op != syntax.OpBeginText || tree.Sub[1].Op != syntax.OpLiteral {
		return m
	}
	lit := tree.Sub[1]
	for _, r := range lit.Rune {
		if r >= 0x80 {
			return m
		}
	}
	m.prefix, m.fold = string(lit.Rune), lit.Flags&syntax.FoldCase != 0
	if m.fold {
		m.prefix = strings.ToLower(m.prefix)
	}
	return m
}

// excluded says that s cannot match since it begins otherwise. A byte above
// ASCII may be a letter that folds to an ASCII one, and decides nothing.
func (m *linear) excluded(s string) bool {
	for i := 0; i < len(m.prefix); i++ {
		if i == len(s) {
			return true
		}
		c := s[i]
		if c >= 0x80 {
			return !m.fold
		}
		if m.fold && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != m.prefix[i] {
			return true
		}
	}
	return false
}

func (m linear) groups() int { return m.re.NumSubexp() }

func (m linear) match(s string, groups bool) (bool, []string, error) {
	if m.excluded(s) {
		return false, nil, nil
	}
	if !groups {
		return m.re.MatchString(s), nil, nil
	}
	sub := m.re.FindStringSubmatch(s)
	return sub != nil, sub, nil
}

func openRegexp(typ, name string, env *Env, o Options) (Table, error) {
	return openPatterns(typ, name, env, o, compilePOSIX)
}

// compilePOSIX compiles a pattern of a regexp table. Flags: i (fold case) and x
// (extended syntax) are on and turned off, m (lines) is off and turned on.
func compilePOSIX(expr, flags string) (matcher, error) {
	fold, extended, newline := true, true, false
	for _, f := range flags {
		switch f {
		case 'i':
			fold = !fold
		case 'm':
			newline = !newline
		case 'x':
			extended = !extended
		default:
			return nil, fmt.Errorf("unknown regexp option \"%c\"", f)
		}
	}
	out, backtrack, err := posixToGo(expr, extended, newline)
	if err != nil {
		return nil, err
	}
	if backtrack {
		opts := pcre.DollarEndOnly
		if fold {
			opts |= pcre.Caseless
		}
		return compileBacktracking(out, opts)
	}
	if fold {
		out = "(?i)" + out
	}
	re, err := regexp.Compile(out)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) {
			err = errors.New(string(se.Code))
		}
		return nil, err
	}
	re.Longest()
	return newLinear(re), nil
}

func openPCRE(typ, name string, env *Env, o Options) (Table, error) {
	return openPatterns(typ, name, env, o, compilePCRE)
}

// compilePCRE compiles a pattern of a pcre table: with Go's engine if the
// pattern means the same there, else with PCRE2. Flags: i (fold case) and s (dot
// matches line breaks) are on; m x A E U X are off; each is toggled.
func compilePCRE(expr, flags string) (matcher, error) {
	on := map[rune]bool{'i': true, 's': true}
	for _, f := range flags {
		if !strings.ContainsRune("imsxAEUX", f) {
			return nil, fmt.Errorf("unknown regexp option \"%c\"", f)
		}
		on[f] = !on[f]
	}
	if !on['x'] && !on['A'] && !strings.Contains(expr, "(*") {
		f := ""
		for _, x := range "imsU" {
			if on[x] {
				f += string(x)
			}
		}
		goExpr := expr
		if f != "" {
			goExpr = "(?" + f + ")" + expr
		}
		if sameInGo(expr) {
			if re, err := regexp.Compile(goExpr); err == nil {
				return newLinear(re), nil
			}
		}
	}
	var opts pcre.CompileOption
	for f, o := range map[rune]pcre.CompileOption{'i': pcre.Caseless, 'm': pcre.Multiline, 's': pcre.DotAll, 'x': pcre.Extended,
		'A': pcre.Anchored, 'E': pcre.DollarEndOnly, 'U': pcre.Ungreedy} {
		if on[f] {
			opts |= o
		}
	}
	return compileBacktracking(expr, opts)
}

// sameInGo is false for patterns that Go's engine accepts and reads
// differently: octal escapes, and white space classes, which include the
// vertical tab in PCRE.
func sameInGo(expr string) bool {
	for i := 0; i+1 < len(expr); i++ {
		if expr[i] != '\\' {
			continue
		}
		i++
		if c := expr[i]; c >= '0' && c <= '9' || c == 'C' || c == 's' && i > 1 && strings.Contains(expr, "\v") {
			return false
		}
	}
	return true
}
