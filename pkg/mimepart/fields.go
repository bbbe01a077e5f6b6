package mimepart

import (
	"bytes"
	"strings"
)

// Fields that are kept.
const (
	fType = iota
	fEncoding
	fID
	fDescription
	fMD5
	fDisposition
	fLanguage
	fLocation
	fDate
	fSubject
	fFrom
	fSender
	fReplyTo
	fTo
	fCc
	fBcc
	fInReplyTo
	fMessageID
	nFields
)

// field returns the number of a name in small letters, -1 for one that is not
// kept.
func field(name []byte) int {
	switch string(name) {
	case "content-type":
		return fType
	case "content-transfer-encoding":
		return fEncoding
	case "content-id":
		return fID
	case "content-description":
		return fDescription
	case "content-md5":
		return fMD5
	case "content-disposition":
		return fDisposition
	case "content-language":
		return fLanguage
	case "content-location":
		return fLocation
	case "date":
		return fDate
	case "subject":
		return fSubject
	case "from":
		return fFrom
	case "sender":
		return fSender
	case "reply-to":
		return fReplyTo
	case "to":
		return fTo
	case "cc":
		return fCc
	case "bcc":
		return fBcc
	case "in-reply-to":
		return fInReplyTo
	case "message-id":
		return fMessageID
	}
	return -1
}

// fields keeps those fields of one header that matter.
type fields struct {
	val    [nFields][]byte
	cur    int // field whose lines follow, -1 for none
	size   int
	budget int
	text   []byte
}

func (f *fields) reset(budget int) {
	for i := range f.val {
		f.val[i] = f.val[i][:0]
	}
	f.cur, f.size, f.budget = -1, 0, budget
}

// shrink keeps the memory of ordinary fields only.
func (f *fields) shrink() {
	for i := range f.val {
		if cap(f.val[i]) > 1<<10 {
			f.val[i] = nil
		}
	}
	if cap(f.text) > 16<<10 {
		f.text = nil
	}
}

// add takes a header line or, unless start, a further piece of one.
func (f *fields) add(line []byte, start bool) {
	if !start || line[0] == ' ' || line[0] == '\t' {
		f.put(line)
		return
	}
	f.cur = -1
	end := colon(line[:min(len(line), 64)])
	if end <= 0 {
		return
	}
	var low [32]byte
	name := trimBlanks(line[:end])
	if len(name) > len(low) {
		return
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	n := field(low[:len(name)])
	if n < 0 {
		return
	}
	if len(f.val[n]) > 0 {
		if n != fTo && n != fCc && n != fBcc { // the first one counts
			return
		}
		f.cur = n
		f.put([]byte(", "))
	}
	f.cur = n
	f.put(line[end+1:])
}

func (f *fields) put(b []byte) {
	if f.cur < 0 {
		return
	}
	n := min(len(b), maxField-len(f.val[f.cur]), f.budget-f.size)
	if n > 0 {
		f.val[f.cur] = append(f.val[f.cur], b[:n]...)
		f.size += n
	}
}

// texts are the values of the fields on one line each, without the space around
// them. They share one piece of memory.
type texts [nFields]string

func (f *fields) texts(t *texts) {
	var ends [nFields]int
	f.text = f.text[:0]
	for i, v := range f.val {
		if len(v) > 0 {
			f.text = appendUnfolded(f.text, v)
		}
		ends[i] = len(f.text)
	}
	all := string(f.text)
	at := 0
	for i, end := range ends {
		t[i] = all[at:end]
		at = end
	}
}

func appendUnfolded(b, v []byte) []byte {
	v = bytes.Trim(v, " \t\r\n")
	if bytes.IndexByte(v, '\n') < 0 && bytes.IndexByte(v, '\r') < 0 {
		return append(b, v...)
	}
	fold := false
	for _, c := range v {
		switch {
		case c == '\r' || c == '\n':
			fold = true
			continue
		case fold && c == '\t':
			c = ' '
		}
		fold = false
		b = append(b, c)
	}
	return b
}

// content sets what the Content fields say of a part.
func (t *texts) content(p *Part, digest bool) {
	p.Type, p.Subtype = "text", "plain"
	if digest {
		p.Type, p.Subtype = "message", "rfc822"
	}
	p.Encoding = "7bit"
	if v := t[fType]; v != "" {
		s := scan{s: v}
		t := s.token()
		ok := s.try('/')
		sub := s.token()
		if t != "" && ok && sub != "" {
			p.Type, p.Subtype = t, sub
			p.Params = joined(s.params())
		} else {
			p.Type, p.Subtype = "text", "plain"
		}
	}
	if v := t[fEncoding]; v != "" {
		s := scan{s: v}
		if t := s.token(); t != "" {
			p.Encoding = t
		}
	}
	p.ID = t[fID]
	p.Description = t[fDescription]
	p.MD5 = t[fMD5]
	p.Location = strings.ReplaceAll(t[fLocation], " ", "")
	if v := t[fDisposition]; v != "" {
		s := scan{s: v}
		if t := s.token(); t != "" {
			p.Disposition = t
			p.DispParams = joined(s.params())
		}
	}
	if v := t[fLanguage]; v != "" {
		s := scan{s: v}
		for len(p.Language) < maxParams {
			t := s.token()
			if t == "" {
				break
			}
			p.Language = append(p.Language, t)
			if !s.try(',') {
				break
			}
		}
	}
}

// scan reads the tokens of a structured field.
type scan struct {
	s string
	i int
}

// space skips white space and comments.
func (s *scan) space() {
	for s.i < len(s.s) {
		switch s.s[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		case '(':
			s.comment()
		default:
			return
		}
	}
}

// comment skips a comment and returns its text.
func (s *scan) comment() string {
	depth, start := 0, s.i+1
	for s.i < len(s.s) {
		c := s.s[s.i]
		s.i++
		switch c {
		case '\\':
			s.i = min(s.i+1, len(s.s))
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s.s[start : s.i-1]
			}
		}
	}
	return s.s[min(start, len(s.s)):]
}

func (s *scan) try(c byte) bool {
	s.space()
	if s.i < len(s.s) && s.s[s.i] == c {
		s.i++
		return true
	}
	return false
}

// token reads a MIME token; 8-bit octets are let through.
func (s *scan) token() string {
	s.space()
	start := s.i
	for s.i < len(s.s) && isToken(s.s[s.i]) {
		s.i++
	}
	return s.s[start:s.i]
}

var tokenChars = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c != 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, byte(c)) < 0
	}
	return t
}()

func isToken(c byte) bool { return tokenChars[c] }

// quoted reads a quoted string after its first quote.
func (s *scan) quoted() string {
	var b strings.Builder
	for s.i < len(s.s) {
		c := s.s[s.i]
		s.i++
		switch c {
		case '"':
			return b.String()
		case '\\':
			if s.i < len(s.s) {
				b.WriteByte(s.s[s.i])
				s.i++
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// params reads "; name=value" as far as it makes sense.
func (s *scan) params() (list []Param) {
	for s.i < len(s.s) && len(list) < maxParams {
		if !s.try(';') {
			// What is not understood ends at the next semicolon.
			n := strings.IndexByte(s.s[s.i:], ';')
			if n < 0 {
				return list
			}
			s.i += n
			continue
		}
		name := s.token()
		if name == "" || !s.try('=') {
			continue
		}
		s.space()
		var value string
		if s.try('"') {
			value = s.quoted()
		} else {
			start := s.i
			for s.i < len(s.s) && s.s[s.i] != ';' && s.s[s.i] != ' ' && s.s[s.i] != '\t' && s.s[s.i] != '(' {
				s.i++
			}
			value = s.s[start:s.i]
		}
		list = append(list, Param{name, value})
	}
	return list
}

// joined joins the pieces that RFC 2231, section 3, cuts a long value into:
// name*0, name*1* and so on become name, or name* if any piece is encoded. Pieces
// that do not follow their predecessor stay as they are.
func joined(list []Param) []Param {
	out := list[:0]
	for _, x := range list {
		name, n, encoded, ok := piece(x.Name)
		if !ok {
			out = append(out, x)
			continue
		}
		if n == 0 {
			if encoded {
				name += "*"
			}
			out = append(out, Param{name, x.Value})
			continue
		}
		last := len(out) - 1
		if last < 0 || !strings.EqualFold(strings.TrimSuffix(out[last].Name, "*"), name) {
			out = append(out, x)
			continue
		}
		out[last].Value += x.Value
	}
	return out
}

// piece takes name*n or name*n* apart.
func piece(s string) (name string, n int, encoded, ok bool) {
	s, encoded = strings.CutSuffix(s, "*")
	name, num, found := strings.Cut(s, "*")
	if !found || num == "" || len(num) > 3 {
		return "", 0, false, false
	}
	for _, c := range num {
		if c < '0' || c > '9' {
			return "", 0, false, false
		}
		n = n*10 + int(c-'0')
	}
	return name, n, encoded, true
}

// extended decodes the value of a parameter name*: charset'language'text with
// %XX, of which the octets are returned as they are.
func extended(v string) string {
	if i := strings.IndexByte(v, '\''); i >= 0 {
		if j := strings.IndexByte(v[i+1:], '\''); j >= 0 {
			v = v[i+j+2:]
		}
	}
	if strings.IndexByte(v, '%') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '%' && i+2 < len(v) {
			if h, ok := hex(v[i+1], v[i+2]); ok {
				c = h
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}
