package queue

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestListDenied: one directory that cannot be read hides nothing but itself.
func TestListDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may read every directory")
	}
	dir := t.TempDir()
	for _, d := range []string{"deferred/A", "deferred/B"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, NewID(time.Now())), nil, 0600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "deferred/A"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(dir, "deferred/A"), 0700)
	s, err := Open(dir, Options{HashNames: []string{Deferred}, HashDepth: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.List(Deferred, func(Entry) bool { n++; return true })
	if n != 1 || !errors.Is(err, os.ErrPermission) {
		t.Errorf("%d files, %v; want 1 and a permission error", n, err)
	}
}
