package restrict

import (
	"strings"

	"posthaste/pkg/esmtp"
)

func cutEnh(s string) (string, string) { return esmtp.CutEnhanced(s) }

// Expand replaces $name, ${name}, $(name), ${name?text} and ${name:text} (text
// may stand in braces, and is expanded in turn) by what value returns. It is
// for templates whose names only the running session knows: default_rbl_reply,
// smtpd_reject_footer.
func Expand(tmpl string, value func(string) string) string { return expand(tmpl, value, 0) }

func expand(s string, value func(string) string, depth int) string {
	if strings.IndexByte(s, '$') < 0 || depth > 10 {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		switch s[0] {
		case '$':
			b.WriteByte('$')
			s = s[1:]
		case '{', '(':
			end := closing(s)
			if end < 0 {
				return b.String()
			}
			b.WriteString(expandItem(s[1:end], value, depth))
			s = s[end+1:]
		default:
			n := nameLen(s)
			if n == 0 {
				b.WriteByte('$')
				continue
			}
			b.WriteString(value(s[:n]))
			s = s[n:]
		}
	}
}

func expandItem(s string, value func(string) string, depth int) string {
	n := nameLen(s)
	v := value(s[:n])
	s = s[n:]
	if s == "" {
		return v
	}
	yes, no := "", ""
	switch op := s[0]; op {
	case '?':
		yes, no = branches(s[1:])
	case ':':
		no, _ = branches(s[1:])
		if v != "" {
			return v
		}
	default:
		return v
	}
	if v != "" {
		return expand(yes, value, depth+1)
	}
	return expand(no, value, depth+1)
}

// branches splits "{a}:{b}", "{a}" or plain text.
func branches(s string) (a, b string) {
	t := strings.TrimLeft(s, " \t")
	if t == "" || t[0] != '{' {
		return s, ""
	}
	end := closing(t)
	if end < 0 {
		return s, ""
	}
	a, t = t[1:end], strings.TrimLeft(t[end+1:], " \t")
	if strings.HasPrefix(t, ":") {
		t = strings.TrimSpace(t[1:])
		if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
			t = t[1 : len(t)-1]
		}
		b = t
	}
	return a, b
}

func closing(s string) int {
	open, shut := s[0], byte('}')
	if open == '(' {
		shut = ')'
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case shut:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func nameLen(s string) int {
	i := 0
	for i < len(s) && (s[i] == '_' || s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z') {
		i++
	}
	return i
}

// fact is the value of a session's attribute in templates.
func (r *run) fact(name string) string {
	f := r.Facts
	switch name {
	case "client":
		return f.client()
	case "client_address":
		return f.ClientAddr
	case "client_name":
		return f.ClientName
	case "reverse_client_name":
		return f.ReverseName
	case "helo_name":
		return f.Helo
	case "sender":
		if f.Sender == "" {
			return "<>"
		}
		return r.p.quote(f.Sender)
	case "sender_domain":
		return mailDomain(f.Sender)
	case "sender_name":
		return strings.TrimSuffix(f.Sender, "@"+mailDomain(f.Sender))
	case "recipient":
		return r.p.quote(f.Rcpt)
	case "recipient_domain":
		return mailDomain(f.Rcpt)
	case "recipient_name":
		return strings.TrimSuffix(f.Rcpt, "@"+mailDomain(f.Rcpt))
	}
	return ""
}
