package mimepart

import (
	"strconv"
	"strings"
	"time"
)

var monthNames = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

var zones = map[string]int{"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}

// ParseDate reads a Date field (RFC 5322, section 3.3, with its obsolete forms
// and much that mailers write instead). ok is false when not even the day is
// there.
func ParseDate(s string) (t time.Time, ok bool) {
	sc := scan{s: s}
	var words []string
	for len(words) < 12 {
		sc.try(',')
		sc.space()
		start := sc.i
		for sc.i < len(s) && strings.IndexByte(" \t\r\n,(", s[sc.i]) < 0 {
			sc.i++
		}
		if sc.i == start {
			break
		}
		words = append(words, s[start:sc.i])
	}
	if len(words) > 0 && words[0] != "" && (words[0][0] < '0' || words[0][0] > '9') && month(words[0]) < 0 {
		words = words[1:] // the day of the week
	}
	if len(words) == 1 || len(words) > 0 && strings.Count(words[0], "-") == 2 { // 7-Feb-1994
		words = append(strings.Split(words[0], "-"), words[1:]...)
	}
	if len(words) < 3 {
		return t, false
	}
	if month(words[0]) >= 0 { // Feb 7 12:00:00 1994, as ctime writes it
		words[0], words[1] = words[1], words[0]
		if len(words) >= 4 && strings.Contains(words[2], ":") {
			words[2], words[3] = words[3], words[2]
		}
	}
	day, err1 := strconv.Atoi(words[0])
	mon := month(words[1])
	year, err2 := strconv.Atoi(words[2])
	if err1 != nil || err2 != nil || mon < 0 || day < 1 || day > 31 || year < 0 || year > 9999 {
		return t, false
	}
	switch {
	case year < 50:
		year += 2000
	case year < 1000:
		year += 1900
	}
	var hms [3]int
	if len(words) > 3 {
		for i, p := range strings.SplitN(words[3], ":", 3) {
			n, err := strconv.Atoi(p)
			if err != nil || n < 0 || n > 60 {
				break
			}
			hms[i] = n
		}
	}
	loc := time.UTC
	if len(words) > 4 {
		if off, ok := zone(words[4]); ok && off != 0 {
			loc = time.FixedZone("", off)
		}
	}
	return time.Date(year, time.Month(mon+1), day, min(hms[0], 23), min(hms[1], 59), hms[2], 0, loc), true
}

func month(w string) int {
	if len(w) < 3 {
		return -1
	}
	low := strings.ToLower(w[:3])
	for i, m := range monthNames {
		if m == low {
			return i
		}
	}
	return -1
}

// zone returns a zone's offset in seconds.
func zone(w string) (int, bool) {
	if len(w) == 5 && (w[0] == '+' || w[0] == '-') {
		n, err := strconv.Atoi(w[1:])
		if err != nil || n%100 > 59 || n > 2359 {
			return 0, false
		}
		off := n/100*3600 + n%100*60
		if w[0] == '-' {
			off = -off
		}
		return off, true
	}
	h, ok := zones[strings.ToLower(w)]
	return h * 3600, ok
}
