// Package esmtp is the wire side of SMTP (RFC 5321 and its extensions) that
// server and client share: replies, lines, paths and parameters, the dot
// transparency of DATA. Everything in it is pure: bytes in, values out, limits
// as arguments; no policy, no logging, no clock.
package esmtp

import (
	"strings"
	"unicode/utf8"
)

// Reply is an SMTP reply: three-digit code, enhanced status code (RFC 3463)
// and text. The lines of a multi-line reply are separated by "\n" in Text.
type Reply struct {
	Code int
	Enh  string // "5.7.1", or "" for none (banner, HELO, EHLO, 354)
	Text string
}

// maxReplyLine is the longest reply line without its CRLF (RFC 5321, section
// 4.5.3.1.5).
const maxReplyLine = 510

// Class is the first digit of the code: 2, 3, 4 or 5.
func (r Reply) Class() int { return r.Code / 100 }

// IsZero tells that there is no reply.
func (r Reply) IsZero() bool { return r.Code == 0 }

// Parse splits "550 5.7.1 text", "550 text" or "5.7.1 text" into a reply. A
// missing code or enhanced code stays zero; ok tells whether there was a code.
func Parse(s string) (r Reply, ok bool) {
	if len(s) >= 3 && isCode(s[:3]) && (len(s) == 3 || s[3] == ' ' || s[3] == '-' || s[3] == '\t') {
		r.Code = int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
		ok = true
		s = s[3:]
		if s != "" {
			s = strings.TrimLeft(s[1:], " \t")
		}
	}
	r.Enh, r.Text = CutEnhanced(s)
	return r, ok
}

func isCode(s string) bool {
	return s[0] >= '2' && s[0] <= '5' && isDigit(s[1]) && isDigit(s[2])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// CutEnhanced splits a leading enhanced status code off s; enh is "" and text
// is s when there is none. White space after the code goes too.
func CutEnhanced(s string) (enh, text string) {
	n := enhancedLen(s)
	if n == 0 || n < len(s) && s[n] != ' ' && s[n] != '\t' && s[n] != '\n' {
		return "", s
	}
	return s[:n], strings.TrimLeft(s[n:], " \t")
}

// enhancedLen returns the length of the d.ddd.ddd at the start of s, 0 if
// there is none.
func enhancedLen(s string) int {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return 0
	}
	i := 2
	for part := 0; part < 2; part++ {
		n := 0
		for i < len(s) && isDigit(s[i]) && n < 3 {
			i, n = i+1, n+1
		}
		if n == 0 {
			return 0
		}
		if part == 0 {
			if i >= len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
	}
	return i
}

// ValidEnhanced tells whether s is an enhanced status code and nothing else.
func ValidEnhanced(s string) bool { return s != "" && enhancedLen(s) == len(s) }

// Soft returns the reply as soft_bounce sends it: a 5 that begins the code or
// the enhanced code becomes a 4.
func (r Reply) Soft() Reply {
	if r.Class() == 5 {
		r.Code -= 100
		if r.Enh != "" && r.Enh[0] == '5' {
			r.Enh = "4" + r.Enh[1:]
		}
	}
	return r
}

// Aligned returns the reply with the class digit of the enhanced code made
// that of the code: 550 with 4.7.25 becomes 550 5.7.25.
func (r Reply) Aligned() Reply {
	if r.Enh != "" && r.Code != 0 && int(r.Enh[0]-'0') != r.Class() {
		c := r.Class()
		if c == 3 {
			c = 2
		}
		r.Enh = string(byte('0'+c)) + r.Enh[1:]
	}
	return r
}

// String is the reply as the log shows it: one line, "550 5.1.1 text".
func (r Reply) String() string {
	b := make([]byte, 0, 8+len(r.Enh)+len(r.Text))
	b = appendCode(b, r.Code)
	if r.Enh != "" {
		b = append(append(b, ' '), r.Enh...)
	}
	if r.Text != "" {
		b = append(append(b, ' '), strings.ReplaceAll(r.Text, "\n", "; ")...)
	}
	return string(b)
}

func appendCode(b []byte, code int) []byte {
	return append(b, byte('0'+code/100%10), byte('0'+code/10%10), byte('0'+code%10))
}

// Append adds the wire form to b: each line with code and enhanced code,
// CRLF, at most 512 bytes; what is not printable becomes "?", white space a
// blank.
func (r Reply) Append(b []byte) []byte {
	text := r.Text
	for {
		line, rest, more := strings.Cut(text, "\n")
		start := len(b)
		b = appendCode(b, r.Code)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Enh != "" {
			b = append(append(b, r.Enh...), ' ')
		}
		b = appendPrintable(b, line)
		if len(b)-start > maxReplyLine {
			b = b[:start+maxReplyLine]
			for len(b) > start+4 && !utf8.Valid(b[len(b)-min(4, len(b)-start-4):]) && b[len(b)-1] >= 0x80 {
				b = b[:len(b)-1]
			}
		}
		b = append(b, '\r', '\n')
		if !more {
			return b
		}
		text = rest
	}
}

func appendPrintable(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\t' || c == '\r' || c == '\v' || c == '\f':
			b = append(b, ' ')
		case c < ' ' || c == 0x7f:
			b = append(b, '?')
		case c < 0x80:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 || r < 0xa0 {
				b = append(b, '?')
			} else {
				b = append(b, s[i:i+n]...)
			}
			i += n - 1
		}
	}
	return b
}
