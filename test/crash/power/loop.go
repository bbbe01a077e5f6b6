package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a loop device on one of the disks.
type loop struct {
	dev  *os.File
	back *os.File
}

// attach puts a loop device on file.
func attach(file string) (*loop, error) {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	back, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var last error
	for range 20 { // another program may take the free one first
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			last = err
			break
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			last = err
			break
		}
		c := unix.LoopConfig{Fd: uint32(back.Fd())}
		c.Info.Flags = unix.LO_FLAGS_DIRECT_IO
		if last = unix.IoctlLoopConfigure(int(dev.Fd()), &c); last == nil {
			return &loop{dev, back}, nil
		}
		dev.Close()
		time.Sleep(10 * time.Millisecond)
	}
	back.Close()
	return nil, fmt.Errorf("loop device on %s: %w", file, last)
}

func (l *loop) name() string { return l.dev.Name() }

// detach removes the device.
func (l *loop) detach() error {
	defer l.back.Close()
	defer l.dev.Close()
	var err error
	for range 100 {
		if err = unix.IoctlSetInt(int(l.dev.Fd()), unix.LOOP_CLR_FD, 0); err != unix.EBUSY {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// makeFS makes a file system.
func makeFS(fstype, dev string) error {
	args := map[string][]string{
		"ext4":  {"-q", "-E", "nodiscard"},
		"xfs":   {"-q", "-K"},
		"btrfs": {"-q", "-K"},
	}[fstype]
	out, err := exec.Command("mkfs."+fstype, append(args, dev)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.%s: %w: %s", fstype, err, out)
	}
	return nil
}

// mounted is a file system on a disk.
type mounted struct {
	l  *loop
	at string
}

func mount(file, fstype, at string) (*mounted, error) {
	l, err := attach(file)
	if err != nil {
		return nil, err
	}
	if err := unix.Mount(l.name(), at, fstype, unix.MS_NOATIME, ""); err != nil {
		l.detach()
		return nil, &mountError{err}
	}
	return &mounted{l, at}, nil
}

// mountError: the file system did not survive.
type mountError struct{ err error }

func (e *mountError) Error() string { return "mount: " + e.err.Error() }

func (m *mounted) unmount() error {
	var err error
	for range 100 {
		if err = unix.Unmount(m.at, 0); err != unix.EBUSY {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", filepath.Base(m.at), err)
	}
	return m.l.detach()
}
