package main

import (
	"bytes"
	"strconv"
)

// charSet is a set of bytes. Line ends are never part of it: they separate
// lines and are no content.
type charSet [256]bool

// parseChars reads a set in the notation of message_reject_characters: C's
// escapes and octal numbers. It returns nil for an empty one.
func parseChars(v string) *charSet {
	if v == "" {
		return nil
	}
	var set charSet
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '\\' && i+1 < len(v) {
			i++
			if j := bytes.IndexByte([]byte("abfnrtv"), v[i]); j >= 0 {
				c = "\a\b\f\n\r\t\v"[j]
			} else {
				n := 0
				for n < 3 && i+n < len(v) && v[i+n] >= '0' && v[i+n] <= '7' {
					n++
				}
				if c = v[i]; n > 0 {
					u, _ := strconv.ParseUint(v[i:i+n], 8, 16)
					c = byte(u)
					i += n - 1
				}
			}
		}
		set[c] = true
	}
	set['\r'], set['\n'] = false, false
	return &set
}

// in tells whether p holds a byte of the set.
func (s *charSet) in(p []byte) bool {
	for _, c := range p {
		if s[c] {
			return true
		}
	}
	return false
}

// without returns p without the bytes of the set.
func (s *charSet) without(p []byte) []byte {
	if !s.in(p) {
		return p
	}
	out := make([]byte, 0, len(p))
	for _, c := range p {
		if !s[c] {
			out = append(out, c)
		}
	}
	return out
}
