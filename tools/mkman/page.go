package main

import (
	"bytes"
	"fmt"
	"go/doc/comment"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"posthaste/pkg/config"
)

// page collects one manual page in the man macros.
type page struct {
	name     string
	section  int
	summary  string
	sections []*section
}

// section is one part of a page.
type section struct {
	title string
	body  bytes.Buffer
}

// parsePage reads a text in the syntax of go/doc/comment. Its first paragraph
// begins with the page's name.
func parsePage(name string, num int, text string) (*page, error) {
	var parser comment.Parser
	doc := parser.Parse(text)
	p := &page{name: name, section: num}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s(%d): no text", name, num)
	}
	first, ok := doc.Content[0].(*comment.Paragraph)
	if !ok {
		return nil, fmt.Errorf("%s(%d): the text does not begin with a paragraph", name, num)
	}
	lead := strings.Join(strings.Fields(plain(first.Text)), " ")
	word, _, _ := strings.Cut(lead, " ")
	if !strings.EqualFold(strings.TrimSuffix(word, ","), name) {
		return nil, fmt.Errorf("%s(%d): the text begins with %q, not with the name", name, num, word)
	}
	sentence, rest := firstSentence(lead)
	p.summary = strings.TrimPrefix(strings.TrimSpace(sentence[len(word):]), "is ")
	p.summary = strings.TrimSuffix(p.summary, ".")
	cur := p.at("DESCRIPTION")
	if rest != "" {
		p.paragraph(cur, rest)
	}
	synopsis := false // the code that comes next shows the usage
	for _, b := range doc.Content[1:] {
		switch b := b.(type) {
		case *comment.Heading:
			title := strings.ToUpper(plain(b.Text))
			if title == "USAGE" {
				title = "SYNOPSIS"
			}
			cur = p.at(title)
		case *comment.Paragraph:
			t := plain(b.Text)
			if u, ok := strings.CutPrefix(t, "Usage"); ok && strings.Contains(u, ":") {
				if u = strings.TrimSpace(strings.TrimPrefix(u, ":")); u == "" {
					synopsis = true
					continue
				}
				p.paragraph(p.at("SYNOPSIS"), strings.TrimPrefix(u, ", "))
				synopsis = strings.HasSuffix(u, ":")
				continue
			}
			p.paragraph(cur, t)
		case *comment.Code:
			to := cur
			if synopsis {
				to, synopsis = p.at("SYNOPSIS"), false
			}
			code(to, b.Text)
		case *comment.List:
			p.list(cur, b)
		}
	}
	return p, nil
}

// at returns the section with a title, which it makes if there is none.
func (p *page) at(title string) *section {
	i := slices.IndexFunc(p.sections, func(s *section) bool { return s.title == title })
	if i < 0 {
		i = len(p.sections)
		p.sections = append(p.sections, &section{title: title})
	}
	return p.sections[i]
}

// firstSentence cuts a text behind its first sentence.
func firstSentence(s string) (first, rest string) {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1], strings.TrimSpace(s[i+1:])
	}
	return s, ""
}

// plain is the text of a paragraph or heading without markup.
func plain(l []comment.Text) string {
	var b strings.Builder
	for _, t := range l {
		switch t := t.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(plain(t.Text))
		case *comment.DocLink:
			// [name] in a manual is an optional argument, not a link.
			b.WriteString("[" + plain(t.Text) + "]")
		}
	}
	return b.String()
}

func (p *page) paragraph(s *section, text string) {
	if s.body.Len() > 0 {
		s.body.WriteString(".PP\n")
	}
	s.body.WriteString(fill(text))
}

func (p *page) list(s *section, l *comment.List) {
	for _, item := range l.Items {
		mark := `\(bu`
		if item.Number != "" {
			mark = item.Number + "."
		}
		fmt.Fprintf(&s.body, ".IP %s 4\n", mark)
		for i, b := range item.Content {
			para, ok := b.(*comment.Paragraph)
			if !ok {
				continue
			}
			if i > 0 {
				s.body.WriteString(".IP\n")
			}
			s.body.WriteString(fill(plain(para.Text)))
		}
	}
}

func code(s *section, text string) {
	if s.body.Len() > 0 {
		s.body.WriteString(".PP\n")
	}
	s.body.WriteString(".nf\n.RS 4\n")
	for _, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		l = strings.ReplaceAll(expandTabs(l), "-", "\x00")
		s.body.WriteString(strings.ReplaceAll(protect(escape(l)), "\x00", `\-`) + "\n")
	}
	s.body.WriteString(".RE\n.fi\n")
}

func expandTabs(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r != '\t' {
			b.WriteRune(r)
			n++
			continue
		}
		for b.WriteByte(' '); n%8 != 7; n++ {
			b.WriteByte(' ')
		}
		n++
	}
	return b.String()
}

// entry writes a tagged paragraph.
func (s *section) entry(tag, text string) {
	s.body.WriteString(".TP\n\\fB" + strings.ReplaceAll(escape(tag), "-", `\-`) + "\\fR\n")
	s.body.WriteString(fill(text))
}

const width = 76

// reference is a page that text mentions: "postconf(5)".
var reference = regexp.MustCompile(`\b([A-Za-z0-9][A-Za-z0-9_.-]*)\(([1-8])\)`)

// fill breaks text into lines, with references to pages in bold.
func fill(text string) string {
	var out, line strings.Builder
	n := 0
	flush := func() {
		if line.Len() > 0 {
			out.WriteString(protect(line.String()) + "\n")
			line.Reset()
			n = 0
		}
	}
	for _, w := range strings.Fields(text) {
		if l := utf8.RuneCountInString(w); n > 0 && n+1+l > width {
			flush()
		} else if n > 0 {
			line.WriteByte(' ')
			n++
		}
		n += utf8.RuneCountInString(w)
		w = escape(w)
		if strings.HasPrefix(strings.TrimLeft(w, "[(|\""), "-") || strings.Contains(w, "--") {
			w = strings.ReplaceAll(w, "-", `\-`)
		}
		line.WriteString(reference.ReplaceAllString(w, `\fB$1\fR($2)`))
	}
	flush()
	return out.String()
}

// escape makes text safe for roff, but for the start of a line.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r >= 0x80:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// protect keeps a line of text from being read as a request.
func protect(l string) string {
	if strings.HasPrefix(l, ".") || strings.HasPrefix(l, `\(aq`) {
		return `\&` + l
	}
	return l
}

// render writes the page out. date is the release's, YYYYMMDD, so that the same
// sources make the same page.
func (p *page) render() []byte {
	var b bytes.Buffer
	d := config.ReleaseDate
	b.WriteString(".\\\" Made by tools/mkman: do not edit.\n")
	fmt.Fprintf(&b, ".TH %s %d %s-%s-%s \"Posthaste %s\"\n", strings.ToUpper(p.name), p.section, d[:4], d[4:6], d[6:], config.Version)
	b.WriteString(".nh\n.ad l\n")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s", p.name, fill(p.summary))
	order := func(s *section) int {
		switch s.title {
		case "SYNOPSIS":
			return -2
		case "DESCRIPTION":
			return -1
		case "CONFIGURATION PARAMETERS":
			return 1
		case "FILES":
			return 2
		}
		return 0
	}
	slices.SortStableFunc(p.sections, func(x, y *section) int { return order(x) - order(y) })
	for _, s := range p.sections {
		if s.body.Len() == 0 {
			continue
		}
		title := s.title
		if strings.Contains(title, " ") {
			title = `"` + title + `"`
		}
		fmt.Fprintf(&b, ".SH %s\n", escape(title))
		b.Write(s.body.Bytes())
	}
	p.seeAlso(&b)
	return b.Bytes()
}

// seeAlso lists the pages that this one mentions.
func (p *page) seeAlso(b *bytes.Buffer) {
	type ref struct{ name, num string }
	seen := map[ref]bool{{p.name, fmt.Sprint(p.section)}: true}
	var refs []ref
	for _, m := range boldReference.FindAllStringSubmatch(b.String(), -1) {
		r := ref{strings.ToLower(m[1]), m[2]}
		if !seen[r] {
			seen[r] = true
			refs = append(refs, r)
		}
	}
	if len(refs) == 0 {
		return
	}
	slices.SortFunc(refs, func(x, y ref) int {
		if x.num != y.num {
			return strings.Compare(x.num, y.num)
		}
		return strings.Compare(x.name, y.name)
	})
	b.WriteString(".SH \"SEE ALSO\"\n")
	for i, r := range refs {
		end := ","
		if i == len(refs)-1 {
			end = ""
		}
		fmt.Fprintf(b, ".BR %s (%s)%s\n", r.name, r.num, end)
	}
}

var boldReference = regexp.MustCompile(`\\fB([A-Za-z0-9_.-]+)\\fR\(([1-8])\)`)

// sentence makes one of a parameter's note.
func sentence(note string) string {
	if note == "" {
		return ""
	}
	word, _, _ := strings.Cut(note, " ")
	if !strings.ContainsAny(word, "_:=$(.0123456789") {
		r, n := utf8.DecodeRuneInString(note)
		note = string(unicode.ToUpper(r)) + note[n:]
	}
	return strings.TrimSuffix(note, ".") + "."
}
