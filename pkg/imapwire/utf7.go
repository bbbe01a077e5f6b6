package imapwire

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrUTF7 says that a mailbox name is no modified UTF-7.
var ErrUTF7 = errors.New("mailbox name is not valid modified UTF-7")

const b64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// EncodeUTF7 writes a UTF-8 name in modified UTF-7 (RFC 3501, section 5.1.3).
func EncodeUTF7(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e || s[i] == '&' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	b := make([]byte, 0, len(s)*2)
	var bits uint32
	n, shifted := 0, false
	end := func() {
		if shifted {
			if n > 0 {
				b = append(b, b64[bits<<(6-n)&63])
			}
			b = append(b, '-')
			bits, n, shifted = 0, 0, false
		}
	}
	put := func(u uint16) {
		if !shifted {
			b = append(b, '&')
			shifted = true
		}
		bits = bits<<16 | uint32(u)
		for n += 16; n >= 6; {
			n -= 6
			b = append(b, b64[bits>>n&63])
		}
		bits &= 1<<n - 1
	}
	for _, r := range s {
		switch {
		case r == '&':
			end()
			b = append(b, "&-"...)
		case 0x20 <= r && r <= 0x7e:
			end()
			b = append(b, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			put(uint16(hi))
			put(uint16(lo))
		default:
			put(uint16(r))
		}
	}
	end()
	return string(b)
}

// DecodeUTF7 reads a name in modified UTF-7. It is strict: each name has one
// spelling, so that no two spellings hide one mailbox.
func DecodeUTF7(s string) (string, error) {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", ErrUTF7
		}
		if s[i] == '&' {
			plain = false
		}
	}
	if plain {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '&' {
			out = append(out, s[i])
			continue
		}
		j := i + 1
		for j < len(s) && s[j] != '-' {
			j++
		}
		if j == len(s) {
			return "", ErrUTF7
		}
		if j == i+1 {
			out = append(out, '&')
			i = j
			continue
		}
		var ok bool
		if out, ok = decodeShift(out, s[i+1:j]); !ok {
			return "", ErrUTF7
		}
		i = j
	}
	if name := string(out); EncodeUTF7(name) == s {
		return name, nil
	}
	return "", ErrUTF7
}

// decodeShift decodes the base64 between "&" and "-".
func decodeShift(out []byte, s string) ([]byte, bool) {
	var bits uint32
	n := 0
	var high rune
	for i := 0; i < len(s); i++ {
		v := indexB64(s[i])
		if v < 0 {
			return nil, false
		}
		bits = bits<<6 | uint32(v)
		if n += 6; n < 16 {
			continue
		}
		n -= 16
		u := rune(bits >> n & 0xffff)
		bits &= 1<<n - 1
		switch {
		case high != 0:
			r := utf16.DecodeRune(high, u)
			if r == utf8.RuneError {
				return nil, false
			}
			out = utf8.AppendRune(out, r)
			high = 0
		case 0xd800 <= u && u < 0xdc00:
			high = u
		case 0xdc00 <= u && u < 0xe000:
			return nil, false
		default:
			out = utf8.AppendRune(out, u)
		}
	}
	return out, high == 0 && n < 6 && bits == 0
}

func indexB64(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == ',':
		return 63
	}
	return -1
}
