package maildir

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// publish renames a finished file into new/ and, if the folder has an index
// that nobody else is writing, records it there, so that its reader need not
// look for it. What goes wrong with the index does not matter: then the reader
// looks. indexed is false if there is no index.
func publish(dir, tmp, name string, wire int64) (indexed bool, err error) {
	final := dir + "/new/" + name
	l, err := index.TryLock(dir, false)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist), rename(tmp, final)
	}
	defer l.Release()
	f, err := index.LoadHeader(dir)
	if err != nil {
		return true, rename(tmp, final)
	}
	defer f.Close()
	before := changed(dir)
	if err := rename(tmp, final); err != nil {
		return true, err
	}
	h := &f.Header
	now := time.Now()
	// The log is complete for new/ still if it was just before.
	if h.New != 0 && h.New == before {
		h.New, h.NewLooked = changed(dir), now.UnixNano()
	}
	base, _, _ := strings.Cut(name, ":")
	m := &mailbox.Message{UID: h.UIDNext, ModSeq: h.HighestModSeq + 1, Size: wire, Date: now.Unix(), SaveDate: now.Unix(),
		EmailID: index.EmailID(base), File: name, Place: index.New}
	var log index.Log
	log.Add(nil, m)
	f.Commit(&log, m.UID+1, m.ModSeq)
	return true, nil
}

// changed returns when new/ was last changed, or 0.
func changed(dir string) int64 {
	var st unix.Stat_t
	if unix.Stat(dir+"/new", &st) != nil {
		return 0
	}
	return st.Mtim.Nano()
}

// bareLF counts the line ends that are one byte longer in wire form.
type bareLF struct {
	n    int64
	last byte
}

func (c *bareLF) count(p []byte) {
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.n++
		}
		c.last = b
	}
}

// countingWriter is an fdWriter that knows the wire form's size.
type countingWriter struct {
	fd fdWriter
	c  bareLF
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.c.count(p)
	return w.fd.Write(p)
}
