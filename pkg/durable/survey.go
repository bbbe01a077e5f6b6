package durable

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"posthaste/pkg/wire"
)

// known holds what Survey or Adopt put down.
var known struct {
	sync.Mutex
	mounts []surveyed
}

type surveyed struct {
	dev, point string
	fs         FileSystem
}

// Survey looks at all mounted file systems and has Inspect remember them, for
// processes that are going to lose sight of /proc. What it returns is for
// Adopt, in a process that cannot look itself.
func Survey() []byte {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var e wire.Encoder
	for _, m := range judgeAll(b, commonDevices(), os.ReadFile) {
		e.String(m.dev)
		e.String(m.point)
		e.String(m.fs.Type)
		e.Bool(m.fs.Own)
		e.Bool(m.fs.EntryWithFile)
	}
	Adopt(e.B)
	return e.B
}

// Adopt has Inspect remember what Survey returned in another process.
func Adopt(survey []byte) error {
	var l []surveyed
	d := wire.NewDecoder(survey)
	for d.Err() == nil && len(d.Rest()) > 0 {
		l = append(l, surveyed{d.String(), d.String(), FileSystem{Type: d.String(), Own: d.Bool(), EntryWithFile: d.Bool()}})
	}
	if err := d.Done(); err != nil {
		return err
	}
	known.Lock()
	known.mounts = l
	known.Unlock()
	return nil
}

// judgeAll judges the file systems of a mount table that Inspect knows more
// about than their type tells.
func judgeAll(table []byte, common map[string]bool, read func(string) ([]byte, error)) (l []surveyed) {
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		dev, point := f[2], unescape(f[4])
		m, ok := parseMountinfo(bytes.NewReader([]byte(line)), dev, point)
		if !ok || m.fs != "ext4" && m.fs != "ext3" && m.fs != "xfs" {
			continue
		}
		m.common = common[dev]
		l = append(l, surveyed{dev, point, judge(&m, point, read)})
	}
	return l
}

func commonDevices() map[string]bool {
	r := map[string]bool{}
	for _, d := range others {
		var st unix.Stat_t
		if unix.Stat(d, &st) == nil {
			r[device(st.Dev)] = true
		}
	}
	return r
}

func device(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

// remembered is Inspect for a process that cannot read the mount table.
func remembered(dev, path string) (fs FileSystem, ok bool) {
	known.Lock()
	defer known.Unlock()
	best := -1
	for _, m := range known.mounts {
		// Of several mounts at one place, the last covers the others.
		if m.dev == dev && len(m.point) >= best && (path == m.point || m.point == "/" || strings.HasPrefix(path, m.point+"/")) {
			fs, best = m.fs, len(m.point)
		}
	}
	return fs, best >= 0
}
