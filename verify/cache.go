package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	proto "posthaste/pkg/proto/verify"
)

// entry is what is known of one address.
type entry struct {
	status  proto.Status
	probed  time.Time // when a probe was sent whose result is still out; zero if none is
	updated time.Time // when the result came; zero while there is none
	text    string
}

// format is one line of the file: address, status, seconds of the result, text.
func format(addr string, e *entry) string {
	return fmt.Sprintf("%s %d %d %s\n", strconv.Quote(addr), e.status, e.updated.Unix(), strconv.Quote(e.text))
}

var errLine = errors.New("malformed line")

// parse reads a line of the file.
func parse(line string) (addr string, e entry, err error) {
	q, err := strconv.QuotedPrefix(line)
	if err != nil {
		return "", e, errLine
	}
	if addr, err = strconv.Unquote(q); err != nil || addr == "" || len(addr) > proto.MaxAddress || q[0] != '"' {
		return "", e, errLine
	}
	f := strings.SplitN(line[len(q):], " ", 4)
	if len(f) != 4 || f[0] != "" {
		return "", e, errLine
	}
	st, err1 := strconv.ParseUint(f[1], 10, 8)
	at, err2 := strconv.ParseInt(f[2], 10, 62)
	text, err3 := strconv.Unquote(f[3])
	if err1 != nil || err2 != nil || err3 != nil || f[3][0] != '"' || at <= 0 || len(text) > proto.MaxText ||
		st == uint64(proto.Unknown) || st > uint64(proto.Unreachable) {
		return "", e, errLine
	}
	return addr, entry{status: proto.Status(st), updated: time.Unix(at, 0), text: text}, nil
}

// journal is the file that keeps results across a restart: a line for each,
// the last of an address counts. It is no more than a cache: a line that cannot
// be read is passed over, nothing is synced.
type journal struct{ f *os.File }

// openJournal opens the file that address_verify_map names ("type:path", the
// type does not matter); without one, results live as long as the process.
func openJournal(m string) (*journal, error) {
	if m == "" {
		return nil, nil
	}
	if _, path, ok := strings.Cut(m, ":"); ok {
		m = path
	}
	f, err := os.OpenFile(m, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", m)
	}
	return &journal{f}, nil
}

// load reads the file.
func (j *journal) load(each func(addr string, e entry)) error {
	if _, err := j.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s := bufio.NewScanner(j.f)
	s.Buffer(nil, 4*(proto.MaxAddress+proto.MaxText)+64)
	for s.Scan() {
		if addr, e, err := parse(s.Text()); err == nil {
			each(addr, e)
		}
	}
	return s.Err()
}

// rewrite replaces the contents by those of entries.
func (j *journal) rewrite(entries map[string]*entry) error {
	if err := j.f.Truncate(0); err != nil {
		return err
	}
	if _, err := j.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w := bufio.NewWriter(j.f)
	for addr, e := range entries {
		if !e.updated.IsZero() {
			w.WriteString(format(addr, e))
		}
	}
	return w.Flush()
}

// add appends one result.
func (j *journal) add(addr string, e *entry) error {
	_, err := j.f.WriteString(format(addr, e))
	return err
}
