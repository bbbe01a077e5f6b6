package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// validityFile holds the highest UIDVALIDITY that was given out in this
// Maildir, so that a folder that is made again never gets the old one's.
const validityFile = "posthaste.uidvalidity"

// nextUIDValidity returns one that was never used here: the time, or more.
func nextUIDValidity(root string) (uint32, error) {
	return raiseUIDValidity(root, func(last uint32) uint32 { return max(last+1, uint32(time.Now().Unix())) })
}

// noteUIDValidity makes sure that v, which comes from elsewhere, is not given out.
func noteUIDValidity(root string, v uint32) (uint32, error) {
	_, err := raiseUIDValidity(root, func(last uint32) uint32 { return max(last, v) })
	return v, err
}

func raiseUIDValidity(root string, to func(last uint32) uint32) (uint32, error) {
	path := root + "/" + validityFile
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return 0, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	last, _ := strconv.ParseUint(strings.TrimSpace(string(b[:n])), 10, 32)
	v := to(uint32(last))
	if v == 0 {
		return 0, fmt.Errorf("%s: out of UIDVALIDITY values", path)
	}
	if uint64(v) == last {
		return v, nil
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%10d\n", v), 0); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil || n > 0 {
		return v, err
	}
	return v, syncDir(root) // the file is new
}
