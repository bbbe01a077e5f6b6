package store

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/mailbox"
)

// forwarded is the keyword that a "P" in a file name stands for, unless
// dovecot-keywords has a letter for it.
const forwarded = "$Forwarded"

// splitName separates the unique part of a Maildir file name from its info.
func splitName(file string) (base, info string) {
	base, info, _ = strings.Cut(file, ":")
	return base, info
}

// letters are the keywords that a to z stand for in file names: the first 26
// of dovecot-keywords.
type letters struct{ names [26]string }

// parseKeywords reads a dovecot-keywords file: "0 keyword" a line.
func parseKeywords(b []byte) (l letters) {
	for line := range bytes.Lines(b) {
		num, name, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		n, err := strconv.Atoi(num)
		if ok && err == nil && n >= 0 && n < 26 && mailbox.ValidKeyword(name) && l.letter(name) == 0 {
			l.names[n] = name
		}
	}
	return l
}

func (l *letters) format() []byte {
	var b []byte
	for i, n := range l.names {
		if n != "" {
			b = append(strconv.AppendInt(b, int64(i), 10), ' ')
			b = append(append(b, n...), '\n')
		}
	}
	return b
}

// letter returns the letter of a keyword, or 0.
func (l *letters) letter(k string) byte {
	for i, n := range l.names {
		if n != "" && len(n) == len(k) && strings.EqualFold(n, k) {
			return byte('a' + i)
		}
	}
	return 0
}

// assign gives a keyword a letter if one is free.
func (l *letters) assign(k string) bool {
	if l.letter(k) != 0 {
		return false
	}
	// The lowest number above all taken ones first, so that a letter that some
	// old file may still have is not given another meaning.
	for i := range l.names {
		if l.names[i] == "" && !slices.ContainsFunc(l.names[i:], func(s string) bool { return s != "" }) {
			l.names[i] = k
			return true
		}
	}
	return false
}

// parseInfo reads the flags of a file name. Letters that mean nothing here
// come back in other, to be kept.
func (l *letters) parseInfo(info string) (f mailbox.Flags, kw []string, other string) {
	fl, ok := strings.CutPrefix(info, "2,")
	if !ok {
		return 0, nil, ""
	}
	for i := 0; i < len(fl); i++ {
		switch c := fl[i]; c {
		case 'S':
			f |= mailbox.Seen
		case 'R':
			f |= mailbox.Answered
		case 'F':
			f |= mailbox.Flagged
		case 'T':
			f |= mailbox.Deleted
		case 'D':
			f |= mailbox.Draft
		case 'P':
			if l.letter(forwarded) == 0 {
				kw = append(kw, forwarded)
			} else {
				other += "P"
			}
		case ',': // what follows is of another program (Dovecot allows it)
			return f, sortedKeywords(kw), other + fl[i:]
		default:
			if c >= 'a' && c <= 'z' && l.names[c-'a'] != "" {
				kw = append(kw, l.names[c-'a'])
			} else if !strings.Contains(other, string(c)) {
				other += string(c)
			}
		}
	}
	return f, sortedKeywords(kw), other
}

func sortedKeywords(k []string) []string {
	slices.Sort(k)
	return slices.CompactFunc(k, strings.EqualFold)
}

// fileName makes the name of a file with these flags. The second result says
// whether it has to be in cur/: a file without flags may stay in new/.
func (l *letters) fileName(base string, f mailbox.Flags, kw []string, other string) (string, bool) {
	var set [16]byte
	s := set[:0]
	for _, p := range [...]struct {
		f mailbox.Flags
		c byte
	}{{mailbox.Draft, 'D'}, {mailbox.Flagged, 'F'}, {mailbox.Answered, 'R'}, {mailbox.Seen, 'S'}, {mailbox.Deleted, 'T'}} {
		if f&p.f != 0 {
			s = append(s, p.c)
		}
	}
	for _, k := range kw {
		if c := l.letter(k); c != 0 {
			s = append(s, c)
		} else if strings.EqualFold(k, forwarded) {
			s = append(s, 'P')
		}
	}
	own, foreign, _ := strings.Cut(other, ",")
	s = append(s, own...)
	slices.Sort(s)
	s = slices.Compact(s)
	if foreign != "" {
		s = append(append(s, ','), foreign...)
	}
	return base + ":2," + string(s), len(s) > 0
}

// inNames tells which of the keywords a file name can show.
func (l *letters) shows(k string) bool { return l.letter(k) != 0 || strings.EqualFold(k, forwarded) }

// field reads a number like ",S=123" of a file name; ok is false without it.
func field(base, key string) (int64, bool) {
	_, s, ok := strings.Cut(base, ","+key+"=")
	if !ok {
		return 0, false
	}
	if i := strings.IndexByte(s, ','); i >= 0 {
		s = s[:i]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0
}

// compareNames orders new files as they arrived: by the time at the front of
// the name, then by the microseconds where the name has them, then by name.
func compareNames(a, b string) int {
	ta, ra := leadingNumber(a)
	tb, rb := leadingNumber(b)
	if c := cmp.Compare(ta, tb); c != 0 {
		return c
	}
	if strings.HasPrefix(ra, ".M") && strings.HasPrefix(rb, ".M") {
		ma, sa := leadingNumber(ra[2:])
		mb, sb := leadingNumber(rb[2:])
		if c := cmp.Compare(ma, mb); c != 0 {
			return c
		}
		ra, rb = sa, sb
	}
	return strings.Compare(ra, rb)
}

func leadingNumber(s string) (n uint64, rest string) {
	i := 0
	for i < len(s) && i < 19 && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + uint64(s[i]-'0')
		i++
	}
	return n, s[i:]
}
