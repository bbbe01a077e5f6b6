package mimepart

import (
	"io"
	"strings"
	"unicode/utf8"
)

// maxPreview is a preview's length in characters (RFC 8970, section 3.1).
const maxPreview = 200

// Preview returns the beginning of the message's text, on one line, without
// markup: of its first plain text or, if it has none, of its first HTML.
func (p *Part) Preview(src io.ReaderAt) []byte {
	var plain, html *Part
	p.Walk(func(c *Part) bool {
		if c.IsMessage() && c != p || strings.EqualFold(c.Disposition, "attachment") {
			return true
		}
		if isText(c) && c.End > c.Body {
			switch {
			case strings.EqualFold(c.Subtype, "plain"):
				plain = c
			case strings.EqualFold(c.Subtype, "html") && html == nil:
				html = c
			}
		}
		return plain == nil
	})
	part := plain
	if part == nil {
		part = html
	}
	if part == nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(part.Text(src), 16<<10))
	if part == html {
		text = stripTags(text)
	}
	out := make([]byte, 0, maxPreview)
	space := false
	for n := 0; len(text) > 0 && n < maxPreview; {
		r, k := utf8.DecodeRune(text)
		text = text[k:]
		if r <= ' ' || r == 0xa0 || r == 0x3000 || r == 0x7f {
			space = len(out) > 0
			continue
		}
		if r == utf8.RuneError && k == 1 {
			continue
		}
		if space {
			out = append(out, ' ')
			space = false
			n++
		}
		out = utf8.AppendRune(out, r)
		n++
	}
	return out
}

// stripTags takes HTML's tags, styles and scripts away and resolves the usual
// character references.
func stripTags(in []byte) []byte {
	s := string(in)
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		b.WriteByte(' ')
		hidden := ""
		for _, t := range [...]string{"style", "script", "head", "title"} {
			if len(s) > len(t)+1 && strings.EqualFold(s[1:1+len(t)], t) && !isToken(s[1+len(t)]) || len(s) > len(t)+1 && strings.EqualFold(s[1:1+len(t)], t) && s[1+len(t)] == '>' {
				hidden = "</" + t
			}
		}
		if hidden != "" {
			j := strings.Index(strings.ToLower(s), hidden)
			if j < 0 {
				break
			}
			s = s[j:]
		}
		j := strings.IndexByte(s, '>')
		if j < 0 {
			break
		}
		s = s[j+1:]
	}
	return []byte(references.Replace(b.String()))
}

var references = strings.NewReplacer("&nbsp;", " ", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#39;", "'", "&apos;", "'", "&amp;", "&")
