package mbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/pkg/dsncode"
)

// TestDiskFull: half a message is taken back.
func TestDiskFull(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	ctx, path := context.Background(), filepath.Join(mnt, "box")
	if err := Append(ctx, NewTarget(path, all), msg(strings.NewReader("first\r\n"))); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	err := Append(ctx, NewTarget(path, all), msg(strings.NewReader(strings.Repeat("0123456789\r\n", 40000))))
	if e := dsncode.As(err, ""); e == nil || e.DSN != "4.3.0" {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("%d bytes, were %d", len(after), len(before))
	}
	if err := Append(ctx, NewTarget(path, all), msg(strings.NewReader("second\r\n"))); err != nil {
		t.Error(err)
	}
}
