// Package journaltest makes the journals that a power failure leaves.
package journaltest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/journal"
)

// Lost leaves contents in a journal in dir, and returns its mark, which tells that
// the file system knows of the files of so many of them as Knows says: none so far.
func Lost(t testing.TB, dir string, contents ...[]byte) (mark string) {
	t.Helper()
	j, err := journal.Create(dir, journal.Options{
		Interval: time.Hour, Idle: time.Hour,
		Checkpoint: func([]int) error { return unix.EIO }, // so that it stays
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents {
		if err := j.Add(c, -1); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	marks, err := filepath.Glob(dir + "/*.mark")
	if err != nil || len(marks) != 1 {
		t.Fatal(marks, err)
	}
	Knows(t, marks[0], 0)
	return marks[0]
}

// Knows makes a mark tell that the file system knows of the first n contents.
func Knows(t testing.TB, mark string, n int) {
	t.Helper()
	st, err := os.Stat(mark)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(mark, time.Time{}, time.Unix(int64(n), int64(st.ModTime().Nanosecond()))); err != nil {
		t.Fatal(err)
	}
}
