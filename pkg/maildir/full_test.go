package maildir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/pkg/dsncode"
)

// TestDiskFull: a full file system is a temporary failure that leaves nothing
// behind, and the delivery succeeds once there is room.
func TestDiskFull(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("SKIPPED: needs a small file system, and mounting one fails: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	dir := filepath.Join(mnt, "m")
	var s Store
	if _, err := s.Deliver(message(dir, "first\r\n", 0)); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(mnt, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{100 << 10, 400 << 10} {
		m := message(dir, strings.Repeat("0123456789\r\n", size/12), 1)
		_, err := s.Deliver(m)
		if e := dsncode.As(err, ""); e == nil || e.DSN != "4.3.0" || !strings.Contains(e.Text, "no space left") {
			t.Errorf("%d bytes: %v", size, err)
		}
		if l, _ := filepath.Glob(dir + "/*/*"); len(l) != 1 {
			t.Errorf("left behind: %v", l)
		}
	}
	os.Remove(ballast)
	m := message(dir, strings.Repeat("0123456789\r\n", 100<<10/12), 1)
	if r, err := s.Deliver(m); err != nil || r.Repeated {
		t.Errorf("with room again: %+v, %v", r, err)
	}
}
