package durable

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FileSystem is what Inspect knows of a directory's file system.
type FileSystem struct {
	Type string // "ext4", "xfs", …; "" if unknown
	Own  bool   // the file system is the mail system's: none of the machine's common directories is on it
	// EntryWithFile: fsync of a new file also puts its directory entry on disk.
	EntryWithFile bool
	// Warning is text for the log when the file system voids the promise that
	// accepted mail survives a power failure; "" if it does not.
	Warning string
}

// Local tells that the file system is known to be on a disk of this machine or in
// its memory, so that its calls do not wait for others.
func (f FileSystem) Local() bool {
	switch f.Type {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "bcachefs", "zfs", "tmpfs", "overlay":
		return true
	}
	return false
}

// Ordered tells that changes to names, sizes and maps of blocks get to the disk in the
// order in which they were made, whichever files they are of.
func (f FileSystem) Ordered() bool {
	return f.EntryWithFile && (f.Type == "ext4" || f.Type == "xfs")
}

// mount is one line of /proc/self/mountinfo.
type mount struct {
	dev, root, point, fs, source string
	options                      []string // of the mount and of the file system
	common                       bool     // it holds directories of others
}

// parseMountinfo finds the mount with the device number "major:minor" that lies
// deepest above path.
func parseMountinfo(r io.Reader, dev, path string) (m mount, ok bool) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		sep := -1
		for i, s := range f {
			if s == "-" {
				sep = i
				break
			}
		}
		if sep < 6 || len(f) < sep+4 || f[2] != dev {
			continue
		}
		point := unescape(f[4])
		if path != point && point != "/" && !strings.HasPrefix(path, point+"/") {
			continue
		}
		if ok && len(point) < len(m.point) {
			continue
		}
		ok = true
		m = mount{dev: f[2], root: f[3], point: point, fs: f[sep+1], source: unescape(f[sep+2]),
			options: append(strings.Split(f[5], ","), strings.Split(f[sep+3], ",")...)}
	}
	return m, ok
}

// unescape undoes mountinfo's octal escapes of blanks.
func unescape(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] == '\\' {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				s = s[:i] + string([]byte{byte(n)}) + s[i+4:]
			}
		}
	}
	return s
}

func (m *mount) has(opt string) bool {
	for _, o := range m.options {
		if o == opt {
			return true
		}
	}
	return false
}

func (m *mount) hasPrefix(p string) bool {
	for _, o := range m.options {
		if strings.HasPrefix(o, p) {
			return true
		}
	}
	return false
}

// Inspect looks dir's file system up. It never fails: what it cannot find out
// it takes for the worse case.
func Inspect(dir string) FileSystem {
	var st unix.Stat_t
	abs, err := filepath.Abs(dir)
	if err == nil {
		if r, err := filepath.EvalSymlinks(abs); err == nil {
			abs = r
		}
		err = unix.Stat(abs, &st)
	}
	if err != nil {
		return FileSystem{}
	}
	dev := device(st.Dev)
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		if r, ok := remembered(dev, abs); ok {
			return r
		}
		return inspectMagic(abs)
	}
	defer f.Close()
	m, ok := parseMountinfo(f, dev, abs)
	if !ok {
		return inspectMagic(abs)
	}
	m.common = common(st.Dev)
	return judge(&m, abs, os.ReadFile)
}

// inspectMagic is for when /proc is not there: btrfs gives each subvolume a
// device number of its own, so mountinfo does not always help either.
func inspectMagic(dir string) FileSystem {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return FileSystem{}
	}
	switch int64(s.Type) {
	case unix.XFS_SUPER_MAGIC:
		return FileSystem{Type: "xfs", EntryWithFile: true}
	case unix.BTRFS_SUPER_MAGIC:
		return FileSystem{Type: "btrfs", EntryWithFile: true}
	}
	return FileSystem{}
}

// others are directories whose file system is certainly not the mail system's
// own: programs that have nothing to do with mail write there.
var others = []string{"/", "/usr", "/var", "/var/lib", "/var/tmp", "/var/log", "/tmp", "/home", "/root", "/srv", "/opt"}

// common tells whether a device holds one of others.
func common(dev uint64) bool {
	for _, d := range others {
		var st unix.Stat_t
		if unix.Stat(d, &st) == nil && st.Dev == dev {
			return true
		}
	}
	return false
}

// judge decides what the file system promises; read reads files below /proc.
func judge(m *mount, dir string, read func(string) ([]byte, error)) FileSystem {
	own := m.root == "/" && !m.common
	r := FileSystem{Type: m.fs}
	switch m.fs {
	case "xfs":
		r.EntryWithFile, r.Own = true, own
	case "btrfs":
		// syncfs works on the whole file system, which the other subvolumes share.
		r.EntryWithFile = true
	case "ext4", "ext3":
		if ext4Journal(m, read) {
			r.EntryWithFile, r.Own = true, own
		} else {
			r.Warning = fmt.Sprintf("%s is on %s without a journal: mail that was accepted may be lost when the power fails", dir, m.fs)
		}
	case "ext2", "vfat", "msdos", "exfat":
		r.Warning = fmt.Sprintf("%s is on %s: mail that was accepted may be lost when the power fails", dir, m.fs)
	case "tmpfs", "ramfs", "overlay":
		if m.fs != "overlay" {
			r.Warning = fmt.Sprintf("%s is on %s: the queue does not survive a restart of the machine", dir, m.fs)
		}
	case "nfs", "nfs4", "cifs", "smb3", "9p":
		r.Warning = fmt.Sprintf("%s is on the network file system %s: how durable mail is depends on its server", dir, m.fs)
	}
	if m.has("nobarrier") || m.has("barrier=0") {
		r.Warning = fmt.Sprintf("%s is mounted without write barriers: mail that was accepted may be lost when the power fails", dir)
	}
	return r
}

// ext4Journal tells whether the mount has a journal. /proc/fs/ext4/DEV/options
// lists "data=…" only if there is one; where it cannot be read, the mount's own
// options and the journal thread's directory are the next best.
func ext4Journal(m *mount, read func(string) ([]byte, error)) bool {
	name := filepath.Base(m.source)
	if l, err := os.Readlink("/sys/dev/block/" + m.dev); err == nil {
		name = filepath.Base(l) // /dev/mapper names and the like
	}
	if b, err := read("/proc/fs/ext4/" + name + "/options"); err == nil {
		return bytes.Contains(b, []byte("data="))
	}
	if m.hasPrefix("data=") {
		return true
	}
	_, err := read("/proc/fs/jbd2/" + name + "-8/info")
	return err == nil
}
