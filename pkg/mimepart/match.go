package mimepart

import (
	"bytes"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Fold appends text with letters of either case made the same.
func Fold(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, c)
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		i += n
	}
	return dst
}

// validUTF8Prefix tells whether b is valid UTF-8 but for a character cut at its
// end.
func validUTF8Prefix(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

type scratch struct{ in, low []byte }

var scratches = sync.Pool{New: func() any { return &scratch{in: make([]byte, 16<<10), low: make([]byte, 0, 24<<10)} }}

// Contains tells whether folded text from r contains needle, which Fold made.
// Errors of r end the text.
func Contains(r io.Reader, needle []byte) bool {
	if len(needle) == 0 {
		return true
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	low := s.low[:0]
	have := 0 // octets at the start of s.in: a character that was cut
	for {
		n, err := r.Read(s.in[have:])
		in := s.in[:have+n]
		have = 0
		cut := len(in)
		for i := 1; i < utf8.UTFMax && i <= len(in) && err == nil; i++ {
			if utf8.RuneStart(in[len(in)-i]) {
				if !utf8.FullRune(in[len(in)-i:]) {
					cut = len(in) - i
				}
				break
			}
		}
		low = Fold(low, in[:cut])
		if bytes.Contains(low, needle) {
			s.low = low[:0]
			return true
		}
		if keep := len(needle) - 1; len(low) > keep {
			low = low[:copy(low, low[len(low)-keep:])]
		}
		have = copy(s.in, in[cut:])
		if err != nil {
			s.low = low[:0]
			return false
		}
	}
}

// ContainsFold tells whether text, folded, contains needle, which Fold made.
func ContainsFold(text, needle []byte) bool {
	if len(needle) == 0 {
		return true
	}
	s := scratches.Get().(*scratch)
	s.low = Fold(s.low[:0], text)
	ok := bytes.Contains(s.low, needle)
	scratches.Put(s)
	return ok
}
