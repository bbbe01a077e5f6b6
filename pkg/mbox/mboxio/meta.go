package mboxio

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/mailbox"
)

// Meta is what header fields of mailbox programs say of a message.
type Meta struct {
	UID      uint32 // X-UID, 0 for none
	Flags    mailbox.Flags
	Old      bool // Status has O: not recent
	Keywords []string
	Base     *Base // X-IMAPbase or X-IMAP
	Text     string
}

// Base is what the first message of a file says of the whole folder.
type Base struct {
	Validity, Last uint32
	Keywords       []string
	Pseudo         bool // X-IMAP: the message is c-client's own
}

// Has tells whether the keyword is among those of the folder, in any case.
func (b *Base) Has(keyword string) bool {
	return b != nil && slices.ContainsFunc(b.Keywords, func(k string) bool { return strings.EqualFold(k, keyword) })
}

// What Text consists of: what was done to an appended message so that
// it fits into an mbox, and is undone when it is read.
const (
	textQuoted   = 'q' // mboxrd: a ">" before lines of ">"s and "From "
	textEnd      = 'n' // a line end was added
	textVerbatim = 'v' // line ends are as they came
	textHeader   = 'h' // header fields with hidden names got the prefix escaped
)

const escaped = "X-Escaped-"

// The fields. All are hidden from clients: Content-Length and Lines because
// mail programs change them at will, and a message's bytes must not change.
const (
	fieldStatus = iota + 1
	fieldXStatus
	fieldKeywords
	fieldUID
	fieldBase
	fieldIMAP
	fieldText
	fieldLength
	fieldLines
)

var fieldNames = map[string]int{"status": fieldStatus, "x-status": fieldXStatus, "x-keywords": fieldKeywords, "x-uid": fieldUID,
	"x-imapbase": fieldBase, "x-imap": fieldIMAP, "x-posthaste-text": fieldText, "content-length": fieldLength, "lines": fieldLines}

// ours tells which fields a rewrite replaces; the others stay where they are.
func ours(field int) bool { return field >= fieldStatus && field <= fieldText }

// field returns which hidden field a header line is, 0 for none, and its value.
func field(line []byte) (int, []byte) {
	if len(line) == 0 {
		return 0, nil
	}
	switch line[0] {
	case 'S', 's', 'X', 'x', 'C', 'c', 'L', 'l':
	default:
		return 0, nil
	}
	i := bytes.IndexByte(line[:min(len(line), 24)], ':')
	if i < 0 {
		return 0, nil
	}
	var low [24]byte
	name := bytes.TrimRight(line[:i], " \t")
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	return fieldNames[string(low[:len(name)])], line[i+1:]
}

// take reads a field's value, continuation lines included.
func (m *Meta) take(f int, v []byte) {
	switch f {
	case fieldStatus, fieldXStatus:
		for _, c := range v {
			switch {
			case f == fieldStatus && c == 'R':
				m.Flags |= mailbox.Seen
			case f == fieldStatus && c == 'O':
				m.Old = true
			case f == fieldXStatus && c == 'A':
				m.Flags |= mailbox.Answered
			case f == fieldXStatus && c == 'F':
				m.Flags |= mailbox.Flagged
			case f == fieldXStatus && c == 'D':
				m.Flags |= mailbox.Deleted
			case f == fieldXStatus && c == 'T':
				m.Flags |= mailbox.Draft
			}
		}
	case fieldKeywords:
		for _, k := range strings.Fields(string(v)) {
			if len(m.Keywords) < 100 && mailbox.ValidKeyword(k) {
				m.Keywords = append(m.Keywords, k)
			}
		}
	case fieldUID:
		if n, err := strconv.ParseUint(strings.TrimSpace(string(v)), 10, 32); err == nil {
			m.UID = uint32(n)
		}
	case fieldBase, fieldIMAP:
		w := strings.Fields(string(v))
		if len(w) < 2 {
			return
		}
		a, err1 := strconv.ParseUint(w[0], 10, 32)
		b, err2 := strconv.ParseUint(w[1], 10, 32)
		if err1 == nil && err2 == nil && a > 0 {
			m.Base = &Base{Validity: uint32(a), Last: uint32(b), Keywords: slices.Clone(w[2:min(len(w), 600)]), Pseudo: f == fieldIMAP}
		}
	case fieldText:
		for _, c := range string(bytes.TrimSpace(v)) {
			if strings.ContainsRune("qnvh", c) && !strings.ContainsRune(m.Text, c) {
				m.Text += string(c)
			}
		}
	}
}

// slack is how many blanks a new block has for flags and keywords to come.
const slack = 64

// block formats the fields, with blanks behind X-Keywords so that they take size
// bytes; 0 leaves the usual room. It is nil if they do not fit.
func (m *Meta) block(size int) []byte {
	var b []byte
	if m.Base != nil {
		b = appendBase(append(b, "X-IMAPbase: "...), m.Base)
		for _, k := range m.Base.Keywords {
			b = append(append(b, ' '), k...)
		}
		b = append(b, '\n')
	}
	b = fmt.Appendf(b, "X-UID: %d\nStatus: ", m.UID)
	if m.Flags&mailbox.Seen != 0 {
		b = append(b, 'R')
	}
	if m.Old {
		b = append(b, 'O')
	}
	b = append(b, '\n')
	if m.Flags&^mailbox.Seen != 0 {
		b = append(b, "X-Status: "...)
		for _, f := range []struct {
			f mailbox.Flags
			c byte
		}{{mailbox.Answered, 'A'}, {mailbox.Deleted, 'D'}, {mailbox.Flagged, 'F'}, {mailbox.Draft, 'T'}} {
			if m.Flags&f.f != 0 {
				b = append(b, f.c)
			}
		}
		b = append(b, '\n')
	}
	b = append(b, "X-Keywords:"...)
	for _, k := range m.Keywords {
		b = append(append(b, ' '), k...)
	}
	rest := ""
	if m.Text != "" {
		rest = "X-Posthaste-Text: " + m.Text + "\n"
	}
	pad := slack
	if size > 0 {
		if pad = size - len(b) - 1 - len(rest); pad < 0 {
			return nil
		}
	}
	b = append(b, bytes.Repeat([]byte{' '}, pad)...)
	return append(append(b, '\n'), rest...)
}

func appendBase(b []byte, base *Base) []byte {
	return fmt.Appendf(b, "%010d %010d", base.Validity, base.Last)
}
