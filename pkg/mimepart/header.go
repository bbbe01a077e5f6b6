package mimepart

import (
	"bytes"
	"encoding/base64"
)

// DecodeHeader returns a header field's text in UTF-8, unfolded, with its
// encoded words (RFC 2047) decoded. Words are joined before their charset is
// decoded, since mailers cut characters in two.
func DecodeHeader(v []byte) []byte {
	plain := true
	for i, c := range v {
		if c >= 0x80 || c == '\r' || c == '\n' || c == '=' && i+1 < len(v) && v[i+1] == '?' {
			plain = false
			break
		}
	}
	if plain {
		return v
	}
	out := make([]byte, 0, len(v))
	var pending []byte // octets of encoded words in charset cs
	var cs string
	flush := func() {
		if pending != nil {
			out = append(out, ToUTF8(cs, pending)...)
			pending = nil
		}
	}
	raw := 0 // v[raw:i] is not yet written
	write := func(to int) {
		flush()
		t := ToUTF8("", v[raw:to])
		for _, c := range t {
			if c != '\r' && c != '\n' {
				out = append(out, c)
			}
		}
	}
	for i := 0; i+1 < len(v); {
		if v[i] != '=' || v[i+1] != '?' {
			i++
			continue
		}
		name, text, n := encodedWord(v[i:])
		if n == 0 {
			i += 2
			continue
		}
		if pending == nil || !blank(v[raw:i]) {
			write(i)
		} else if name != cs {
			flush()
		}
		cs = name
		pending = append(pending, text...)
		if pending == nil {
			pending = []byte{}
		}
		i += n
		raw = i
	}
	write(len(v))
	return out
}

// encodedWord reads =?charset?encoding?text?= and returns its length, 0 if it
// is none.
func encodedWord(v []byte) (charset string, text []byte, n int) {
	q := bytes.IndexByte(v[2:], '?')
	if q < 1 || q > 60 || len(v) < 2+q+4 {
		return "", nil, 0
	}
	charset = string(v[2 : 2+q])
	enc, at := v[2+q+1], 2+q+3
	if v[at-1] != '?' {
		return "", nil, 0
	}
	end := bytes.Index(v[at:min(len(v), at+8000)], []byte("?="))
	if end < 0 {
		return "", nil, 0
	}
	body := v[at : at+end]
	n = at + end + 2
	switch enc {
	case 'B', 'b':
		text = lenientBase64(body)
	case 'Q', 'q':
		text = make([]byte, 0, len(body))
		for i := 0; i < len(body); i++ {
			c := body[i]
			switch {
			case c == '_':
				c = ' '
			case c == '=' && i+2 < len(body):
				if h, ok := hex(body[i+1], body[i+2]); ok {
					c = h
					i += 2
				}
			}
			text = append(text, c)
		}
	default:
		return "", nil, 0
	}
	return charset, text, n
}

// lenientBase64 decodes what is base64 and skips the rest.
func lenientBase64(in []byte) []byte {
	clean := make([]byte, 0, len(in))
	for _, c := range in {
		if isBase64(c) {
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	k, _ := base64.RawStdEncoding.Decode(out, clean)
	return out[:k]
}

func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

func hex(a, b byte) (byte, bool) {
	x, y := nibble(a), nibble(b)
	return x<<4 | y, x < 16 && y < 16
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// NextField cuts the first field off a header: its name, its value with line
// ends, the whole field and what follows. A line that is no field has no name.
// At the empty line or the end ok is false.
func NextField(h []byte) (name, value, whole, rest []byte, ok bool) {
	if len(h) == 0 || h[0] == '\n' || h[0] == '\r' && (len(h) == 1 || h[1] == '\n') {
		return nil, nil, nil, h, false
	}
	end := 0
	for {
		i := bytes.IndexByte(h[end:], '\n')
		if i < 0 {
			end = len(h)
			break
		}
		end += i + 1
		if end >= len(h) || h[end] != ' ' && h[end] != '\t' {
			break
		}
	}
	whole, rest = h[:end], h[end:]
	if i := colon(whole); i > 0 {
		return trimBlanks(whole[:i]), whole[i+1:], whole, rest, true
	}
	return nil, whole, whole, rest, true
}

// colon finds the colon in the first line of b, -1 if there is none. Names are
// short: a call to search for it would take longer.
func colon(b []byte) int {
	for i, c := range b {
		switch c {
		case ':':
			return i
		case '\n':
			return -1
		}
	}
	return -1
}

// trimBlanks leaves out blanks at the end.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
