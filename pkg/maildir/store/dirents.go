package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// seen is one file that a look at new/ or cur/ found.
type seen struct {
	file   string
	place  uint8
	unsure bool // the directory does not tell whether it is a plain file
}

// direntBlock is how much of a directory is read at once.
const direntBlock = 32 << 10

// readNames adds the files of a directory to list.
func readNames(dir string, place uint8, list []seen) ([]seen, error) {
	path := dir + "/" + placeName(place)
	d, err := os.Open(path)
	if err != nil {
		return list, err
	}
	defer d.Close()
	buf := make([]byte, direntBlock)
	for {
		n, err := unix.Getdents(int(d.Fd()), buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return list, nil
		}
		list = appendDirents(list, buf[:n], place)
		if len(list) > maxMessages {
			return nil, fmt.Errorf("%s: more than %d messages", dir, maxMessages)
		}
	}
}

// The fields of struct linux_dirent64 (getdents64(2)).
const (
	direntLen  = 16 // 16 bits
	direntType = 18
	direntName = 19 // ends with a 0
)

// appendDirents adds what getdents64 gave, without what can be no message.
func appendDirents(list []seen, b []byte, place uint8) []seen {
	names := make([]byte, 0, len(b))
	first := len(list)
	var ends []int
	for len(b) > direntName {
		n := int(binary.NativeEndian.Uint16(b[direntLen:]))
		if n <= direntName || n > len(b) {
			break
		}
		typ, name := b[direntType], b[direntName:n]
		b = b[n:]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if typ != unix.DT_REG && typ != unix.DT_UNKNOWN || len(name) == 0 || len(name) > 255 || name[0] == '.' || name[0] == ':' {
			continue
		}
		names = append(names, name...)
		ends = append(ends, len(names))
		list = append(list, seen{place: place, unsure: typ == unix.DT_UNKNOWN})
	}
	// One string for all of them.
	all, from := string(names), 0
	for i, end := range ends {
		list[first+i].file = all[from:end]
		from = end
	}
	return list
}

// arrival is a file with what new files are ordered by.
type arrival struct {
	seen
	uniq  uint8       // length of the unique part of the name
	digit uint8       // length of the number in front
	uid   mailbox.UID // from Dovecot, or 0
	time  uint64      // the number in front
}

func (a *arrival) base() string { return a.file[:a.uniq] }
func (a *arrival) rest() string { return a.file[a.digit:a.uniq] }

// info is what follows the unique part and the colon.
func (a *arrival) info() string {
	if int(a.uniq) == len(a.file) {
		return ""
	}
	return a.file[a.uniq+1:]
}

// inOrder sorts files: those with UIDs first, then as they arrived. Of two with
// the same unique part, the one in cur/ counts: a program is moving it there
// with link and unlink.
func inOrder(files []seen, uids map[string]mailbox.UID) []arrival {
	list := make([]arrival, len(files))
	for i, s := range files {
		a := &list[i]
		base, _ := splitName(s.file)
		var rest string
		a.seen, a.uniq = s, uint8(len(base))
		a.time, rest = leadingNumber(base)
		a.digit = uint8(len(base) - len(rest))
		if uids != nil {
			a.uid = uids[base]
		}
	}
	// Small keys are sorted, which nearly always differ in the number.
	keys := make([]arrivalKey, len(list))
	for i := range list {
		keys[i] = arrivalKey{at: list[i].time, i: int32(i), fresh: true}
		if list[i].uid != 0 {
			keys[i] = arrivalKey{at: uint64(list[i].uid), i: int32(i)}
		}
	}
	slices.SortFunc(keys, func(k, l arrivalKey) int {
		switch {
		case k.fresh != l.fresh && l.fresh:
			return -1
		case k.fresh != l.fresh:
			return 1
		case k.at != l.at:
			return cmp.Compare(k.at, l.at)
		}
		a, b := &list[k.i], &list[l.i]
		if c := compareNames(a.base(), b.base()); c != 0 {
			return c
		}
		return strings.Compare(a.base(), b.base()) // 01 and 1 are the same time
	})
	kept := make([]arrival, 0, len(list))
	for _, k := range keys {
		a := &list[k.i]
		if n := len(kept); n > 0 && kept[n-1].base() == a.base() {
			if a.place == index.Cur || kept[n-1].place != index.Cur {
				kept[n-1] = *a
			}
			continue
		}
		kept = append(kept, *a)
	}
	return kept
}

// arrivalKey is what an arrival is sorted by first.
type arrivalKey struct {
	at    uint64
	i     int32
	fresh bool // no UID
}
