package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/dsncode"
)

// quota is an open maildirsize file (Maildir++): a first line with the limits,
// "1000000S,1000C", then a line "bytes files" for each change. A Maildir
// without that file has no quota; the nil *quota does nothing.
type quota struct{ path string }

// limits are the first line's values; 0 means none.
type limits struct{ bytes, files int64 }

// quotaFile is the name that Maildir++ has for it.
const quotaFile = "maildirsize"

const (
	maxQuotaFile = 5120 // beyond this the file is computed anew
	quotaAge     = 15 * time.Minute
)

// openQuota checks whether a message of size bytes fits.
func openQuota(dir string, size int64) (*quota, error) {
	q, l, used, err := readQuota(dir, func(l, used limits) bool { return l.fit(used, size, 1) })
	if err != nil {
		return nil, dsncode.As(err, "4.2.2")
	}
	if q != nil && !l.fit(used, size, 1) {
		return nil, dsncode.New("4.2.2", "mailbox is over its quota")
	}
	return q, nil
}

// fit tells whether so much more is allowed.
func (l limits) fit(used limits, bytes, files int64) bool {
	return (l.bytes == 0 || used.bytes+bytes <= l.bytes) && (l.files == 0 || used.files+files <= l.files)
}

// readQuota reads the maildirsize file. What it says may be wrong either way
// when it is old or long: it is then computed anew if it is long, or if good
// says no; a young one is believed.
func readQuota(dir string, good func(l, used limits) bool) (q *quota, l, used limits, err error) {
	q = &quota{dir + "/" + quotaFile}
	fd, err := open(q.path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, l, used, nil
	}
	f := os.NewFile(uintptr(fd), q.path)
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, l, used, nil
	}
	buf := make([]byte, maxQuotaFile+1)
	n, _ := f.Read(buf)
	l, used, ok := parseSize(buf[:n])
	if !ok {
		return nil, l, used, nil
	}
	if n > maxQuotaFile || !good(l, used) && time.Since(st.ModTime()) > quotaAge {
		if used, err = q.recount(dir, l); err != nil {
			return nil, l, used, fmt.Errorf("count maildir %s: %w", dir, err)
		}
	}
	return q, l, used, nil
}

// ErrOverQuota is CheckQuota's answer.
var ErrOverQuota = errors.New("mailbox is over its quota")

// CheckQuota returns ErrOverQuota if so much more does not fit into the
// Maildir at root.
func CheckQuota(root string, bytes, files int64) error {
	q, l, used, err := readQuota(root, func(l, used limits) bool { return l.fit(used, bytes, files) })
	if err == nil && q != nil && !l.fit(used, bytes, files) {
		return ErrOverQuota
	}
	return err
}

// Full is the error of a delivery to the Maildir in dir if nothing more fits.
func Full(dir string) error {
	_, err := openQuota(dir, 1)
	return err
}

// AddQuota accounts for what came or, below zero, went. A failure leaves the
// count wrong until the next recount.
func AddQuota(root string, bytes, files int64) {
	if bytes != 0 || files != 0 {
		(&quota{root + "/" + quotaFile}).addAll(bytes, files)
	}
}

// Usage is what a Maildir holds and may hold; a limit of 0 is none.
type Usage struct{ Bytes, BytesLimit, Files, FilesLimit int64 }

// ReadQuota returns the Maildir's use and limits; without quota, only zeros.
func ReadQuota(root string) (Usage, error) {
	q, l, used, err := readQuota(root, func(_, used limits) bool { return used.bytes >= 0 && used.files >= 0 })
	if q == nil || err != nil {
		return Usage{}, err
	}
	return Usage{max(0, used.bytes), l.bytes, max(0, used.files), l.files}, nil
}

// SetQuota gives the Maildir limits, and counts if it had others.
func SetQuota(root string, bytes, files int64) error {
	want := limits{bytes, files}
	q, l, _, err := readQuota(root, func(_, used limits) bool { return true })
	if err != nil || q != nil && l == want {
		return err
	}
	_, err = (&quota{root + "/" + quotaFile}).recount(root, want)
	return err
}

// Count returns what the files of one folder take.
func Count(dir string) (bytes, files int64) {
	var used limits
	used.count(dir)
	return used.bytes, used.files
}

func (u *limits) count(dir string) {
	for _, sub := range []string{"new", "cur"} {
		list, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			continue
		}
		for _, e := range list {
			if !strings.HasPrefix(e.Name(), ".") {
				u.bytes += fileSize(e)
				u.files++
			}
		}
	}
}

// parseSize reads a maildirsize file. A last line without line end was cut
// off and is left out.
func parseSize(b []byte) (l limits, used limits, ok bool) {
	first, rest, found := bytes.Cut(b, []byte("\n"))
	if !found {
		return l, used, false
	}
	for _, part := range strings.Split(string(first), ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		n, err := strconv.ParseInt(part[:len(part)-1], 10, 64)
		if err != nil || n < 0 {
			return l, used, false
		}
		switch part[len(part)-1] {
		case 'S':
			l.bytes = n
		case 'C':
			l.files = n
		}
	}
	for line := range bytes.Lines(rest) {
		f := bytes.Fields(line)
		if len(f) != 2 || line[len(line)-1] != '\n' {
			continue
		}
		s, err1 := strconv.ParseInt(string(f[0]), 10, 64)
		c, err2 := strconv.ParseInt(string(f[1]), 10, 64)
		if err1 == nil && err2 == nil {
			used.bytes += s
			used.files += c
		}
	}
	return l, used, true
}

// recount walks all folders but the trash and writes maildirsize anew.
func (q *quota) recount(dir string, l limits) (used limits, err error) {
	folders := []string{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return used, err
	}
	for _, e := range entries {
		if n := e.Name(); e.IsDir() && strings.HasPrefix(n, ".") && n != ".Trash" && !strings.HasPrefix(n, ".Trash.") {
			folders = append(folders, filepath.Join(dir, n))
		}
	}
	for _, f := range folders {
		used.count(f)
	}
	var line []string
	if l.bytes > 0 {
		line = append(line, fmt.Sprintf("%dS", l.bytes))
	}
	if l.files > 0 {
		line = append(line, fmt.Sprintf("%dC", l.files))
	}
	tmp, err := os.CreateTemp(filepath.Join(dir, "tmp"), "maildirsize")
	if err != nil {
		return used, err
	}
	_, err = fmt.Fprintf(tmp, "%s\n%12d %12d\n", strings.Join(line, ","), used.bytes, used.files)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), q.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return used, err
}

// fileSize takes the size from the name's ",S=" where there is one.
func fileSize(e fs.DirEntry) int64 {
	if _, s, ok := strings.Cut(e.Name(), ",S="); ok {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(s)
		}
		if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil {
			return n
		}
	}
	if i, err := e.Info(); err == nil {
		return i.Size()
	}
	return 0
}

// add accounts for a delivered message. A failure leaves the count low until
// the next recount; the message is delivered all the same.
func (q *quota) add(size int64) {
	if q != nil {
		q.addAll(size, 1)
	}
}

func (q *quota) addAll(bytes, files int64) {
	f, err := os.OpenFile(q.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %d\n", bytes, files)
}
