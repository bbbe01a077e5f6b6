package lookup

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"posthaste/pkg/lookup/source"
)

// matcher is a compiled pattern of a regexp or pcre table.
type matcher interface {
	// match says whether s matches; groups are the submatches if wanted, "" for
	// those that took no part.
	match(s string, groups bool) (ok bool, sub []string, err error)
	// groups is the number of submatches.
	groups() int
}

// rule is one line of a pattern table.
type rule struct {
	op     ruleOp
	line   int
	pats   []pattern // all must agree; the first gives the submatches
	value  string    // without substitution
	parts  []part    // with substitution
	end    int       // if: index of its endif
	net    *network  // cidr
	negate bool      // cidr
}

type pattern struct {
	m      matcher
	negate bool
}

type ruleOp byte

const (
	opMatch ruleOp = iota
	opIf
	opEndif
)

// part is literal text or, if group is above 0, a submatch. A conditional part
// is there only if the submatch is not empty (cond '?') or is empty (':').
type part struct {
	text  string
	group int
	cond  byte
	then  []part
	other []part
}

// patterns is a regexp or pcre table.
type patterns struct {
	ownership
	name    string
	rules   []rule
	encoded bool
}

// patternWarn logs trouble with one line. Rules with trouble are skipped, as
// Postfix does, so that one mistake does not stop all mail.
func patternWarn(env *Env, typ, file string, line int, format string, a ...any) {
	env.warn("%s map %s, line %d: %s", typ, file, line, fmt.Sprintf(format, a...))
}

// ruleLines calls fn with each logical line of a pattern table: a file, or
// {{rule}, {rule}} in the configuration itself.
func ruleLines(typ, name string, env *Env, own *ownership, fn func(line string, n int)) error {
	if strings.HasPrefix(name, "{") {
		*own = inMainCF
		text := strings.TrimSpace(name)
		if !strings.HasSuffix(text, "}") {
			return fmt.Errorf("missing '}' in %q", name)
		}
		for i, item := range splitItems(text[1 : len(text)-1]) {
			if !strings.HasPrefix(item, "{") {
				return fmt.Errorf("missing '{' before %q", item)
			}
			line, err := unbrace(item)
			if err != nil {
				return err
			}
			fn(line, i+1)
		}
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	own.uid, own.known = fileOwner(f)
	lines := source.NewLines(f)
	lines.Warn = func(n int, text string) { patternWarn(env, typ, name, n, "%s", text) }
	for {
		line, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return source.Problem(name, n, err)
		}
		if s := strings.TrimRight(string(line), " \t\r\n\v\f"); s != "" {
			fn(s, n)
		}
	}
}

// compiler turns the text between the delimiters and the flags behind them
// into a matcher.
type compiler func(expr, flags string) (matcher, error)

func openPatterns(typ, name string, env *Env, o Options, compile compiler) (Table, error) {
	t := &patterns{name: typ + ":" + name, encoded: o.File}
	b := nesting{rules: &t.rules}
	err := ruleLines(typ, name, env, &t.ownership, func(line string, n int) {
		r, err := parsePatternRule(line, n, o, compile, func(format string, a ...any) { patternWarn(env, typ, name, n, format, a...) })
		if err == nil {
			err = b.add(r)
		}
		if err != nil {
			patternWarn(env, typ, name, n, "%v: skipping this rule", err)
		}
	})
	if err != nil {
		return nil, err
	}
	b.finish(func(line int) { patternWarn(env, typ, name, line, "IF has no matching ENDIF") })
	return t, nil
}

// nesting keeps track of if and endif.
type nesting struct {
	rules *[]rule
	open  []int
}

func (b *nesting) add(r rule) error {
	switch r.op {
	case opIf:
		b.open = append(b.open, len(*b.rules))
	case opEndif:
		if len(b.open) == 0 {
			return fmt.Errorf("ENDIF without matching IF")
		}
		(*b.rules)[b.open[len(b.open)-1]].end = len(*b.rules)
		b.open = b.open[:len(b.open)-1]
	}
	*b.rules = append(*b.rules, r)
	return nil
}

// finish ends blocks that were left open at the end of the table.
func (b *nesting) finish(warn func(line int)) {
	for _, i := range b.open {
		warn((*b.rules)[i].line)
		(*b.rules)[i].end = len(*b.rules)
	}
}

// keyword says whether line begins with an operator, and returns the rest.
func keyword(line, word string) (string, bool) {
	if len(line) < len(word) || !strings.EqualFold(line[:len(word)], word) {
		return "", false
	}
	rest := line[len(word):]
	if rest != "" && isAlnum(rest[0]) {
		return "", false
	}
	return rest, true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func parsePatternRule(line string, n int, o Options, compile compiler, warn func(string, ...any)) (rule, error) {
	r := rule{line: n}
	if rest, ok := keyword(line, "endif"); ok {
		r.op = opEndif
		if strings.TrimSpace(rest) != "" {
			warn("ignoring extra text after ENDIF")
		}
		return r, nil
	}
	if rest, ok := keyword(line, "if"); ok {
		r.op = opIf
		p, rest, err := takePattern(rest, compile)
		if err != nil {
			return r, err
		}
		if strings.TrimSpace(rest) != "" {
			warn("ignoring extra text after IF statement: %q", strings.TrimSpace(rest))
		}
		r.pats = []pattern{p}
		return r, nil
	}
	if line == "" || isAlnum(line[0]) {
		return r, fmt.Errorf("unrecognized request %q", line)
	}
	for {
		p, rest, err := takePattern(line, compile)
		if err != nil {
			return r, err
		}
		r.pats = append(r.pats, p)
		line = rest
		if !strings.HasPrefix(line, "!") || len(r.pats) == 2 {
			break
		}
	}
	value := strings.TrimLeft(line, " \t\r\n\v\f")
	if value == "" {
		warn("no replacement text: using empty string")
	}
	if o.File {
		v, err := encodeFiles(value)
		if err != nil {
			return r, err
		}
		r.value = v
		return r, nil
	}
	parts, most, err := parseTemplate(value)
	if err != nil {
		return r, err
	}
	if most == 0 {
		for _, p := range parts {
			r.value += p.text
		}
		return r, nil
	}
	if r.pats[0].negate {
		return r, fmt.Errorf("$number found in negative match replacement text")
	}
	if most > r.pats[0].m.groups() {
		return r, fmt.Errorf("out of range replacement index \"%d\"", most)
	}
	r.parts = parts
	return r, nil
}

// takePattern reads [!]/pattern/flags.
func takePattern(s string, compile compiler) (p pattern, rest string, err error) {
	i := 0
	for ; i < len(s); i++ {
		if s[i] == '!' {
			p.negate = !p.negate
		} else if !isBlank(s[i]) {
			break
		}
	}
	if i == len(s) {
		return p, "", fmt.Errorf("no regexp")
	}
	delim := s[i]
	start := i + 1
	for i = start; i < len(s) && s[i] != delim; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	if i >= len(s) {
		return p, "", fmt.Errorf("no closing regexp delimiter %q", string(delim))
	}
	expr := s[start:i]
	i++
	flags := i
	for i < len(s) && !isBlank(s[i]) && s[i] != '!' {
		i++
	}
	p.m, err = compile(expr, s[flags:i])
	return p, s[i:], err
}

// parseTemplate reads a replacement text: $1 ${1} $(1) are submatches, $$ is a
// dollar, ${1?text} and ${1:text} depend on whether the submatch is empty.
func parseTemplate(s string) (parts []part, most int, err error) {
	return template(s, 0)
}

func template(s string, depth int) (parts []part, most int, err error) {
	if depth > 20 {
		return nil, 0, fmt.Errorf("bad replacement syntax: too deep")
	}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			parts = append(parts, part{text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '$' {
			lit.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return nil, 0, fmt.Errorf("bad replacement syntax: missing name after $")
		}
		if s[i] == '$' {
			lit.WriteByte('$')
			continue
		}
		p, used, sub, err := variable(s[i:], depth)
		if err != nil {
			return nil, 0, err
		}
		flush()
		parts = append(parts, p)
		most = max(most, p.group, sub)
		i += used - 1
	}
	flush()
	return parts, most, nil
}

// variable reads what follows a dollar sign and returns how long it is.
func variable(s string, depth int) (p part, used, most int, err error) {
	body := ""
	switch s[0] {
	case '{', '(':
		end := closing(s)
		if end < 0 {
			return p, 0, 0, fmt.Errorf("bad replacement syntax: truncated macro reference %q", s)
		}
		body, used = s[1:end], end+1
	default:
		for used < len(s) && (isAlnum(s[used]) || s[used] == '_') {
			used++
		}
		body = s[:used]
	}
	digits := 0
	for digits < len(body) && (isAlnum(body[digits]) || body[digits] == '_') {
		digits++
	}
	num := body[:digits]
	p.group, err = strconv.Atoi(num)
	if err != nil {
		return p, 0, 0, fmt.Errorf("bad replacement syntax: non-numeric replacement index %q", num)
	}
	if p.group < 1 {
		return p, 0, 0, fmt.Errorf("bad replacement syntax: out-of-range replacement index %q", num)
	}
	rest := body[digits:]
	if rest == "" {
		return p, used, p.group, nil
	}
	if s[0] != '{' && s[0] != '(' || rest[0] != '?' && rest[0] != ':' {
		return p, 0, 0, fmt.Errorf("bad replacement syntax %q", s[:used])
	}
	p.cond = rest[0]
	rest = rest[1:]
	most = p.group
	then, other := rest, ""
	if strings.HasPrefix(rest, "{") {
		end := closing(rest)
		if end < 0 {
			return p, 0, 0, fmt.Errorf("bad replacement syntax %q", s[:used])
		}
		then = rest[1:end]
		if tail := rest[end+1:]; tail != "" {
			if tail[0] != ':' || len(tail) < 3 || tail[1] != '{' || closing(tail[1:]) != len(tail)-2 {
				return p, 0, 0, fmt.Errorf("bad replacement syntax %q", s[:used])
			}
			other = tail[2 : len(tail)-1]
		}
	}
	for _, x := range []struct {
		text string
		to   *[]part
	}{{then, &p.then}, {other, &p.other}} {
		sub, m, err := template(x.text, depth+1)
		if err != nil {
			return p, 0, 0, err
		}
		*x.to = sub
		most = max(most, m)
	}
	return p, used, most, nil
}

// closing returns the index of the bracket that closes s[0].
func closing(s string) int {
	open, end := s[0], byte('}')
	if open == '(' {
		end = ')'
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case end:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func expandParts(b *strings.Builder, parts []part, sub []string) {
	for i := range parts {
		p := &parts[i]
		if p.group == 0 {
			b.WriteString(p.text)
			continue
		}
		v := ""
		if p.group < len(sub) {
			v = sub[p.group]
		}
		switch {
		case p.cond == 0:
			b.WriteString(v)
		case (p.cond == '?') == (v != ""):
			expandParts(b, p.then, sub)
		default:
			expandParts(b, p.other, sub)
		}
	}
}

func (t *patterns) Get(key string) (string, bool, error) {
	for i := 0; i < len(t.rules); i++ {
		r := &t.rules[i]
		if r.op == opEndif {
			continue
		}
		var sub []string
		all := true
		for k := range r.pats {
			ok, s, err := r.pats[k].m.match(key, k == 0 && r.parts != nil)
			if err != nil {
				return "", false, &Error{t.name, fmt.Errorf("line %d: %w", r.line, err)}
			}
			if ok == r.pats[k].negate {
				all = false
				break
			}
			if k == 0 {
				sub = s
			}
		}
		switch {
		case r.op == opIf:
			if !all {
				i = r.end
			}
		case all:
			if r.parts == nil {
				if t.encoded {
					return decodeFile(t.name, r.value)
				}
				return r.value, true, nil
			}
			var b strings.Builder
			expandParts(&b, r.parts, sub)
			return b.String(), true, nil
		}
	}
	return "", false, nil
}
func (t *patterns) Name() string  { return t.name }
func (t *patterns) Partial() bool { return false }
func (t *patterns) Close() error  { return nil }
