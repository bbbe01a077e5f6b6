package store

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"posthaste/pkg/mailbox"
)

// uidList is a dovecot-uidlist file.
type uidList struct {
	UIDValidity uint32
	UIDNext     mailbox.UID
	UIDs        map[string]mailbox.UID // by the unique part of the file name
}

var errUIDList = errors.New("bad dovecot-uidlist")

// parseUIDList reads versions 1 and 3. A line that is not understood ends the
// list, and so does a UID that does not ascend: Dovecot appends to the file, and
// a torn end is normal. UIDs above that are still never given again, as far as
// the header tells.
func parseUIDList(b []byte) (*uidList, error) {
	first, rest, ok := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(first))
	if !ok || len(f) < 3 {
		return nil, errUIDList
	}
	l := &uidList{UIDNext: 1, UIDs: map[string]mailbox.UID{}}
	num := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return 0
		}
		return uint32(n)
	}
	switch f[0] {
	case "1":
		l.UIDValidity, l.UIDNext = num(f[1]), mailbox.UID(num(f[2]))
	case "3":
		for _, s := range f[1:] {
			switch s[0] {
			case 'V':
				l.UIDValidity = num(s[1:])
			case 'N':
				l.UIDNext = mailbox.UID(num(s[1:]))
			}
		}
	default:
		return nil, fmt.Errorf("%w: version %.10q", errUIDList, f[0])
	}
	if l.UIDValidity == 0 || l.UIDNext == 0 {
		return nil, fmt.Errorf("%w: no UIDVALIDITY", errUIDList)
	}
	var last mailbox.UID
	for line := range bytes.Lines(rest) {
		s := string(line)
		if !strings.HasSuffix(s, "\n") {
			break
		}
		s = strings.TrimSuffix(s, "\n")
		id, name, ok := strings.Cut(s, " ")
		if f[0] == "3" && ok {
			if strings.HasPrefix(name, ":") {
				name = name[1:]
			} else if _, name, ok = strings.Cut(name, " :"); !ok {
				break
			}
		}
		u := mailbox.UID(num(id))
		if !ok || u <= last || u >= 1<<32-2 || name == "" || strings.Contains(name, "/") {
			break
		}
		last = u
		base, _ := splitName(name)
		l.UIDs[base] = u
	}
	l.UIDNext = max(l.UIDNext, last+1)
	return l, nil
}

// formatUIDList writes version 3.
func formatUIDList(v *mailbox.View, id uint64) []byte {
	b := fmt.Appendf(nil, "3 V%d N%d G%016x%016x\n", v.UIDValidity, v.UIDNext, id, id)
	for _, m := range v.Messages {
		b = strconv.AppendUint(b, uint64(m.UID), 10)
		base, _ := splitName(m.File)
		b = append(append(append(b, " :"...), base...), '\n')
	}
	return b
}
