package durable

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ops are the file operations behind the queue and the mailboxes. A nil field
// means the real system call; tests put failing ones in their place.
//
// They work on plain descriptors: os.File would ask epoll about every new
// file, one system call more for each message.
type Ops struct {
	Open   func(name string, flag int, perm uint32) (int, error)
	Write  func(fd int, p []byte) (int, error)
	Pwrite func(fd int, p []byte, off int64) (int, error)
	Fsync  func(fd int) error
	Syncfs func(fd int) error
	// WriteOut begins to write the pages of a file to the disk or, with wait, has
	// written them. It does not commit its size and place, nor flush the disk's cache.
	WriteOut func(fd int, wait bool) error
	// Touch makes a change to a file that its next sync has to commit.
	Touch  func(fd int) error
	Alive  func(fd int) error // an error if the file system has given up
	Close  func(fd int) error
	Rename func(from, to string) error
	Unlink func(name string) error
}

// Real returns the real operations.
func Real() *Ops {
	return &Ops{
		Open: func(name string, flag int, perm uint32) (int, error) {
			return retry(func() (int, error) { return unix.Open(name, flag|unix.O_CLOEXEC, perm) })
		},
		Write: func(fd int, p []byte) (int, error) {
			return retry(func() (int, error) { return unix.Write(fd, p) })
		},
		Pwrite: func(fd int, p []byte, off int64) (int, error) {
			return retry(func() (int, error) { return unix.Pwrite(fd, p, off) })
		},
		Fsync:    func(fd int) error { return unix.Fsync(fd) },
		Syncfs:   func(fd int) error { return unix.Syncfs(fd) },
		WriteOut: writeOut,
		Touch:    touch,
		Alive:    alive,
		Close:    func(fd int) error { return unix.Close(fd) },
		Rename:   func(from, to string) error { return unix.Rename(from, to) },
		Unlink:   func(name string) error { return unix.Unlink(name) },
	}
}

// Fill returns a copy of o with the real operations where o has none; a nil o
// gives Real.
func (o *Ops) Fill() *Ops {
	r := Real()
	if o == nil {
		return r
	}
	n := *o
	if n.Open == nil {
		n.Open = r.Open
	}
	if n.Write == nil {
		n.Write = r.Write
	}
	if n.Pwrite == nil {
		n.Pwrite = r.Pwrite
	}
	if n.Fsync == nil {
		n.Fsync = r.Fsync
	}
	if n.Syncfs == nil {
		n.Syncfs = r.Syncfs
	}
	if n.WriteOut == nil {
		n.WriteOut = r.WriteOut
	}
	if n.Touch == nil {
		n.Touch = r.Touch
	}
	if n.Alive == nil {
		n.Alive = r.Alive
	}
	if n.Close == nil {
		n.Close = r.Close
	}
	if n.Rename == nil {
		n.Rename = r.Rename
	}
	if n.Unlink == nil {
		n.Unlink = r.Unlink
	}
	return &n
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func writeOut(fd int, wait bool) error {
	flags := unix.SYNC_FILE_RANGE_WRITE
	if wait {
		// All three: then it leaves no page out.
		flags |= unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	}
	return unix.SyncFileRange(fd, 0, 0, flags)
}

// touch sets the mode that the file has, which changes the time of its last change.
func touch(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return unix.Fchmod(fd, st.Mode&0o7777)
}

// Sync is f.Sync, with an error also where the file system has given up and a sync
// finds nothing left to do.
func Sync(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return Wrap("sync", f.Name(), alive(int(f.Fd())))
}

// alive asks the file system to begin a change, of which nothing comes: an
// attribute is removed that does not exist. Other answers than those of a file
// system that has stopped mean nothing here.
func alive(fd int) error {
	switch err := unix.Fremovexattr(fd, "user.posthaste.none"); err {
	case unix.EROFS, unix.EIO, unix.ESHUTDOWN, unix.EUCLEAN:
		return err
	}
	return nil
}

// WriteAll writes the whole of p at the descriptor's offset.
func (o *Ops) WriteAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := o.Write(fd, p)
		if err != nil {
			return err
		}
		if n <= 0 {
			return unix.EIO
		}
		p = p[n:]
	}
	return nil
}

// PwriteAll writes the whole of p at off.
func (o *Ops) PwriteAll(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := o.Pwrite(fd, p, off)
		if err != nil {
			return err
		}
		if n <= 0 {
			return unix.EIO
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// ErrNoSpace is behind every error that says that the file system, its inodes
// or the owner's quota are used up; ErrIO is behind every other error of the
// storage itself.
var (
	ErrNoSpace = errors.New("insufficient system storage")
	ErrIO      = errors.New("storage error")
)

// Error is a failed file operation. errors.Is finds ErrNoSpace or ErrIO in it,
// and the errno.
type Error struct {
	Op, Path string
	Err      error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the errno and, where it has one, its class.
func (e *Error) Unwrap() []error {
	var no syscall.Errno
	if errors.As(e.Err, &no) {
		switch no {
		case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
			return []error{e.Err, ErrNoSpace}
		case unix.EIO, unix.EROFS, unix.EUCLEAN, unix.ENXIO:
			return []error{e.Err, ErrIO}
		}
	}
	return []error{e.Err}
}

// Wrap returns nil for a nil err, else an *Error.
func Wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, path, err}
}
