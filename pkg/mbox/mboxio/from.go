// Package mboxio reads and rewrites mbox files as mail programs keep them
// under a reader's hands: where messages begin and end, the header fields in
// which programs keep UIDs and flags (Status, X-Status, X-Keywords, X-UID,
// X-IMAPbase), the text between mbox and wire form, and changes of the file that
// survive being killed at any moment. It knows no index and takes no locks; what is
// called with a file to be written is called with its locks held.
//
// The format, and what is done to what was appended so that the same bytes come
// back, is in docs/internals/mbox.md.
package mboxio

import (
	"bytes"
	"strconv"
	"time"
)

const fromWord = "From "

// maxFrom is the longest From_ line.
const maxFrom = 2048

// ParseFrom tells whether a line, with or without its end, begins a message:
// "From ", anything, and a date as ctime(3) writes it, with or without seconds, with a time
// zone before or behind the year, or "remote from" behind all. The date, without
// zone, is local time; Dovecot and mutt recognise the same lines.
func ParseFrom(line []byte) (date int64, ok bool) {
	if !bytes.HasPrefix(line, []byte(fromWord)) || len(line) > maxFrom {
		return 0, false
	}
	f := bytes.Fields(line[len(fromWord):])
	for i := 0; i+4 < len(f); i++ {
		if index3(weekdays, f[i]) < 0 {
			continue
		}
		if t, ok := fromDate(f[i+1:]); ok {
			return t, true
		}
	}
	return 0, false
}

const (
	weekdays = "SunMonTueWedThuFriSat"
	months   = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// index3 finds a name of three letters, followed by at most a comma.
func index3(names string, b []byte) int {
	if len(b) == 4 && b[3] == ',' {
		b = b[:3]
	}
	if len(b) != 3 {
		return -1
	}
	for i := 0; i < len(names); i += 3 {
		if names[i:i+3] == string(b) {
			return i / 3
		}
	}
	return -1
}

func number(b []byte, low, high int) (int, bool) {
	if len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n >= low && n <= high
}

// fromDate reads month, day, time, zones and year.
func fromDate(f [][]byte) (int64, bool) {
	month := index3(months, f[0])
	day, ok := number(f[1], 1, 31)
	if month < 0 || !ok {
		return 0, false
	}
	clock := bytes.Split(f[2], []byte(":"))
	if len(clock) != 2 && len(clock) != 3 {
		return 0, false
	}
	var hms [3]int
	for i, c := range clock {
		if hms[i], ok = number(c, 0, [3]int{23, 59, 60}[i]); !ok || len(c) > 2 {
			return 0, false
		}
	}
	loc := time.Local
	for i := 3; i < len(f) && i < 6; i++ {
		year, ok := number(f[i], 1900, 9999)
		if !ok || len(f[i]) != 4 {
			if z := zone(f[i]); z != nil {
				loc = z
			}
			continue
		}
		if i+1 < len(f) {
			if z := zone(f[i+1]); z != nil {
				loc = z
			}
		}
		return time.Date(year, time.Month(month+1), day, hms[0], hms[1], hms[2], 0, loc).Unix(), true
	}
	return 0, false
}

// zone understands +hhmm and the names of UTC; other names are nil.
func zone(b []byte) *time.Location {
	switch s := string(b); {
	case s == "UTC" || s == "GMT" || s == "UT":
		return time.UTC
	case len(s) == 5 && (s[0] == '+' || s[0] == '-'):
		n, err := strconv.Atoi(s[1:])
		if err != nil || n < 0 {
			return nil
		}
		off := n/100*3600 + n%100*60
		if s[0] == '-' {
			off = -off
		}
		return time.FixedZone("", off)
	}
	return nil
}

// appendFrom appends a From_ line.
func appendFrom(b []byte, sender string, date int64) []byte {
	b = append(append(b, fromWord...), sender...)
	b = append(b, "  "...)
	b = time.Unix(date, 0).Local().AppendFormat(b, time.ANSIC)
	return append(b, '\n')
}
