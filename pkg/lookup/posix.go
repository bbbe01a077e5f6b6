package lookup

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// posixTranslator turns a POSIX regular expression, as glibc reads it, into
// Go's syntax. Go's own POSIX mode refuses \w and repeated operators and reads
// a backslash in a bracket differently.
type posixTranslator struct {
	src      string
	i        int
	out      []byte
	extended bool
	newline  bool  // REG_NEWLINE: "." and [^x] do not match a line break
	open     []int // start of open groups in out
	atom     int   // start in out of what an operator would repeat, -1 for nothing
	repeated bool  // the atom has an operator already
	start    bool  // at the start of an expression, group or alternative
	groups   int
	backref  bool // uses \1: not for Go's engine
	large    bool // has a repeat count above what Go's engine takes
}

// posixToGo translates expr. backtrack says that the result is for an engine
// with back-references.
func posixToGo(expr string, extended, newline bool) (out string, backtrack bool, err error) {
	if !utf8.ValidString(expr) {
		return "", false, fmt.Errorf("pattern is not UTF-8")
	}
	p := &posixTranslator{src: expr, extended: extended, newline: newline, atom: -1, start: true}
	if err := p.run(); err != nil {
		return "", false, err
	}
	if len(p.open) > 0 {
		return "", false, fmt.Errorf("Unmatched ( or \\(")
	}
	return string(p.out), p.backref || p.large, nil
}

func (p *posixTranslator) run() error {
	for p.i < len(p.src) {
		c := p.src[p.i]
		if err := p.step(c); err != nil {
			return err
		}
	}
	return nil
}

// step handles one element of the expression.
func (p *posixTranslator) step(c byte) error {
	if c == '\\' {
		return p.escape()
	}
	switch {
	case c == '[':
		return p.bracket()
	case c == '.':
		p.i++
		if p.newline {
			p.emit("[^\\n]")
		} else {
			p.emit("(?s:.)")
		}
		return nil
	case c == '^' && (p.extended || p.start):
		p.i++
		p.anchor('^')
		return nil
	case c == '$' && (p.extended || p.endOfBranch()):
		p.i++
		p.anchor('$')
		return nil
	case c == '*':
		if !p.extended && p.start {
			break // a literal star
		}
		p.i++
		return p.repeat("*")
	}
	if p.extended {
		switch c {
		case '+', '?':
			p.i++
			return p.repeat(string(c))
		case '{':
			return p.interval("}")
		case '(':
			p.i++
			p.begin()
			return nil
		case ')':
			if len(p.open) > 0 {
				p.i++
				p.end()
				return nil
			}
		case '|':
			p.i++
			p.alternative()
			return nil
		}
	}
	r, n := utf8.DecodeRuneInString(p.src[p.i:])
	p.i += n
	p.emit(quoteRune(r))
	return nil
}

// endOfBranch says, for a basic expression, whether the "$" here ends a branch.
func (p *posixTranslator) endOfBranch() bool {
	rest := p.src[p.i+1:]
	return rest == "" || strings.HasPrefix(rest, "\\)") || strings.HasPrefix(rest, "\\|")
}

func quoteRune(r rune) string {
	if r < utf8.RuneSelf && !isAlnum(byte(r)) && r > ' ' && r != 0x7f {
		return "\\" + string(r)
	}
	if r < ' ' || r == 0x7f {
		return fmt.Sprintf("\\x%02x", r)
	}
	return string(r)
}

func (p *posixTranslator) emit(s string) {
	p.atom = len(p.out)
	p.repeated, p.start = false, false
	p.out = append(p.out, s...)
}

func (p *posixTranslator) anchor(c byte) {
	switch {
	case p.newline:
		p.out = append(p.out, "(?m:"+string(c)+")"...)
	case c == '^':
		p.out = append(p.out, "\\A"...)
	default:
		p.out = append(p.out, "\\z"...)
	}
	p.atom = -1
	if c == '$' {
		p.start = false
	}
}

func (p *posixTranslator) begin() {
	p.open = append(p.open, len(p.out))
	p.out = append(p.out, '(')
	p.groups++
	p.atom, p.start = -1, true
}

func (p *posixTranslator) end() {
	p.out = append(p.out, ')')
	p.atom = p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	p.repeated, p.start = false, false
}

func (p *posixTranslator) alternative() {
	p.out = append(p.out, '|')
	p.atom, p.start = -1, true
}

func (p *posixTranslator) repeat(op string) error {
	if p.atom < 0 || p.repeated && !p.extended {
		return fmt.Errorf("Invalid preceding regular expression")
	}
	if p.repeated {
		// Two operators in a row mean something else to Go.
		p.out = append(p.out, 0, 0, 0)
		copy(p.out[p.atom+3:], p.out[p.atom:])
		copy(p.out[p.atom:], "(?:")
		p.out = append(p.out, ')')
	}
	p.out = append(p.out, op...)
	p.repeated, p.start = true, false
	return nil
}

// interval reads {n}, {n,}, {,m} or {n,m}.
func (p *posixTranslator) interval(closer string) error {
	if p.atom < 0 {
		return fmt.Errorf("Invalid preceding regular expression")
	}
	p.i++
	end := strings.Index(p.src[p.i:], closer)
	if end < 0 {
		return fmt.Errorf("Unmatched { or \\{")
	}
	lo, hi, comma := strings.Cut(p.src[p.i:p.i+end], ",")
	p.i += end + len(closer)
	least, most := 0, -1
	var err error
	if lo != "" {
		if least, err = number(lo); err != nil {
			return err
		}
	} else if !comma {
		return fmt.Errorf("Invalid content of {}")
	}
	if !comma {
		most = least
	} else if hi != "" {
		if most, err = number(hi); err != nil {
			return err
		}
		if most < least {
			return fmt.Errorf("Invalid content of {}")
		}
	}
	p.large = p.large || least > 1000 || most > 1000
	op := "{" + strconv.Itoa(least)
	if most != least {
		op += ","
		if most >= 0 {
			op += strconv.Itoa(most)
		}
	}
	return p.repeat(op + "}")
}

func number(s string) (int, error) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("Invalid content of {}")
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > 32767 {
		return 0, fmt.Errorf("Regular expression too big")
	}
	return n, nil
}

func (p *posixTranslator) escape() error {
	if p.i++; p.i == len(p.src) {
		return fmt.Errorf("Trailing backslash")
	}
	c := p.src[p.i]
	if !p.extended {
		switch c {
		case '(':
			p.i++
			p.begin()
			return nil
		case ')':
			p.i++
			if len(p.open) == 0 {
				return fmt.Errorf("Unmatched ) or \\)")
			}
			p.end()
			return nil
		case '|':
			p.i++
			p.alternative()
			return nil
		case '{':
			if p.start {
				return fmt.Errorf("Invalid preceding regular expression")
			}
			return p.interval("\\}")
		case '+', '?':
			if !p.start {
				p.i++
				return p.repeat(string(c))
			}
		}
	}
	switch c {
	case 'w', 'W', 's', 'S':
		p.i++
		p.emit("\\" + string(c))
		return nil
	case 'b', 'B', '<', '>', '`', '\'':
		p.i++
		p.out = append(p.out, map[byte]string{'b': "\\b", 'B': "\\B", '<': "\\b", '>': "\\b", '`': "\\A", '\'': "\\z"}[c]...)
		p.atom, p.start = -1, false
		return nil
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if int(c-'0') > p.groups {
			return fmt.Errorf("Invalid back reference")
		}
		p.i++
		p.backref = true
		p.emit("(?:\\" + string(c) + ")")
		return nil
	}
	r, n := utf8.DecodeRuneInString(p.src[p.i:])
	p.i += n
	p.emit(quoteRune(r))
	return nil
}

var posixClasses = []string{"alpha", "digit", "alnum", "upper", "lower", "space", "blank", "punct", "print", "graph", "cntrl", "xdigit"}

// bracket reads a bracket expression.
func (p *posixTranslator) bracket() error {
	errOpen := fmt.Errorf("Unmatched [, [^, [:, [., or [=")
	p.i++
	var b strings.Builder
	b.WriteByte('[')
	if strings.HasPrefix(p.src[p.i:], "^") {
		p.i++
		b.WriteByte('^')
		if p.newline {
			b.WriteString("\\n")
		}
	}
	for first := true; ; first = false {
		if p.i >= len(p.src) {
			return errOpen
		}
		if p.src[p.i] == ']' && !first {
			p.i++
			break
		}
		if class, ok, err := p.class(); err != nil {
			return err
		} else if ok {
			b.WriteString("[:" + class + ":]")
			continue
		}
		lo, err := p.element()
		if err != nil {
			return err
		}
		rest := p.src[p.i:]
		if !strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "-]") {
			b.WriteString(classRune(lo))
			continue
		}
		p.i++
		hi, err := p.element()
		if err != nil {
			return err
		}
		if hi < lo {
			return fmt.Errorf("Invalid range end")
		}
		b.WriteString(classRune(lo) + "-" + classRune(hi))
	}
	b.WriteByte(']')
	p.emit(b.String())
	return nil
}

// classRune writes a character so that it means itself within brackets.
func classRune(r rune) string { return fmt.Sprintf("\\x{%x}", r) }

// class reads [:name:] within a bracket expression.
func (p *posixTranslator) class() (string, bool, error) {
	if !strings.HasPrefix(p.src[p.i:], "[:") {
		return "", false, nil
	}
	end := strings.Index(p.src[p.i+2:], ":]")
	if end < 0 {
		return "", false, fmt.Errorf("Unmatched [, [^, [:, [., or [=")
	}
	name := p.src[p.i+2 : p.i+2+end]
	for _, c := range posixClasses {
		if c == name {
			p.i += end + 4
			return name, true, nil
		}
	}
	return "", false, fmt.Errorf("Invalid character class name")
}

// element reads one character of a bracket expression, which may be written
// [.x.] or [=x=].
func (p *posixTranslator) element() (rune, error) {
	for _, d := range []string{".", "="} {
		if !strings.HasPrefix(p.src[p.i:], "["+d) {
			continue
		}
		end := strings.Index(p.src[p.i+2:], d+"]")
		if end < 0 {
			return 0, fmt.Errorf("Unmatched [, [^, [:, [., or [=")
		}
		s := p.src[p.i+2 : p.i+2+end]
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 || n != len(s) {
			return 0, fmt.Errorf("Invalid collation character")
		}
		p.i += end + 4
		return r, nil
	}
	if p.i >= len(p.src) {
		return 0, fmt.Errorf("Unmatched [, [^, [:, [., or [=")
	}
	r, n := utf8.DecodeRuneInString(p.src[p.i:])
	p.i += n
	return r, nil
}
