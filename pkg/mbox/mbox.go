// Package mbox appends messages to mbox files: a From_ line, ">From " quoting,
// a blank line behind, under the locks that other mail programs respect. A
// delivery that fails leaves the file as long as it was.
package mbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"posthaste/pkg/dsncode"
	"posthaste/pkg/durable"
	"posthaste/pkg/filelock"
	"posthaste/pkg/mailcopy"
)

// Message is one delivery.
type Message struct {
	Envelope mailcopy.Envelope
	Flags    mailcopy.Flags // usually mailcopy.Mbox
	Content  io.Reader      // CRLF form
}

// Target is the file.
type Target struct {
	Path string
	Lock filelock.Options
	// DotlockMayFail: a directory that does not take the dotlock file is no
	// reason to refuse (destinations in aliases and .forward files).
	DotlockMayFail bool
	Limit          int64 // largest size of the file in bytes, 0 for none
	Owner          int   // uid that must own an existing file; -1 for anyone
	AllowOther     bool  // devices and pipes are taken too (/dev/null in an alias)
	DefDSN         string
	// Created file: 0600, given to this uid and gid unless they are -1.
	ChownUID, ChownGID int
}

// NewTarget returns a Target with no special demands.
func NewTarget(path string, lock filelock.Options) *Target {
	return &Target{Path: path, Lock: lock, Owner: -1, DefDSN: "4.2.0", ChownUID: -1, ChownGID: -1}
}

// open files by path: fcntl locks do not exclude goroutines of one process.
var inUse struct {
	sync.Mutex
	m map[string]chan struct{}
}

func reserve(ctx context.Context, path string) (func(), error) {
	for {
		inUse.Lock()
		ch, busy := inUse.m[path]
		if !busy {
			if inUse.m == nil {
				inUse.m = map[string]chan struct{}{}
			}
			ch = make(chan struct{})
			inUse.m[path] = ch
			inUse.Unlock()
			return func() {
				inUse.Lock()
				delete(inUse.m, path)
				inUse.Unlock()
				close(ch)
			}, nil
		}
		inUse.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// File is an mbox file that is open and dot-locked, but not yet locked in the
// kernel. A process with more rights may open it for one that appends.
type File struct {
	*os.File
	Target  *Target
	Created bool
	release []func()
}

// Release closes the file and removes the dotlock.
func (f *File) Release() {
	f.File.Close()
	for i := len(f.release) - 1; i >= 0; i-- {
		f.release[i]()
	}
	f.release = nil
}

// Open dot-locks and opens the target, creating it if it is missing. Like
// Postfix it refuses directories, files with several hard links, symbolic links
// that are not root's, and files of the wrong owner. Errors are *dsncode.Error.
func Open(ctx context.Context, t *Target) (*File, error) {
	f := &File{Target: t}
	rel, err := reserve(ctx, t.Path)
	if err != nil {
		return nil, dsncode.New("4.2.0", "%w", err)
	}
	f.release = append(f.release, rel)
	fail := func(err error) (*File, error) {
		if f.File != nil {
			f.File.Close()
		}
		for i := len(f.release) - 1; i >= 0; i-- {
			f.release[i]()
		}
		return nil, t.wrap(err)
	}
	if st, err := os.Stat(t.Path); err != nil || st.Mode().IsRegular() {
		unlock, err := filelock.Dot(ctx, t.Path, &t.Lock)
		switch {
		case err == nil:
			f.release = append(f.release, unlock)
		case errors.Is(err, filelock.ErrBusy) || !t.DotlockMayFail:
			return fail(err)
		}
	}
	if err := f.open(); err != nil {
		return fail(err)
	}
	return f, nil
}

func (t *Target) wrap(err error) error {
	var de *dsncode.Error
	switch {
	case errors.As(err, &de):
		return err
	case errors.Is(err, filelock.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return dsncode.New("4.2.0", "%w", err)
	}
	return dsncode.As(err, t.DefDSN)
}

// open opens an existing file or creates a new one; each may turn into the
// other between two calls, so it tries more than once.
func (f *File) open() error {
	t := f.Target
	for try := 0; ; try++ {
		fd, err := unix.Open(t.Path, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err == nil {
			f.File = os.NewFile(uintptr(fd), t.Path)
			return f.check()
		}
		if err != unix.ENOENT {
			return &os.PathError{Op: "open", Path: t.Path, Err: err}
		}
		// O_EXCL: not through a dangling symbolic link.
		fd, err = unix.Open(t.Path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_EXCL|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err == nil {
			f.File, f.Created = os.NewFile(uintptr(fd), t.Path), true
			if t.ChownUID >= 0 || t.ChownGID >= 0 {
				if err := unix.Fchown(fd, t.ChownUID, t.ChownGID); err != nil {
					os.Remove(t.Path)
					return &os.PathError{Op: "chown", Path: t.Path, Err: err}
				}
			}
			return nil
		}
		if err != unix.EEXIST || try == 3 {
			return &os.PathError{Op: "create", Path: t.Path, Err: err}
		}
	}
}

// check refuses what somebody could have put in the mailbox's place.
func (f *File) check() error {
	t := f.Target
	var st, lst unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: t.Path, Err: err}
	}
	if err := unix.Lstat(t.Path, &lst); err != nil {
		return &os.PathError{Op: "stat", Path: t.Path, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if lst.Mode&unix.S_IFMT == unix.S_IFLNK {
		var dir unix.Stat_t
		if lst.Uid != 0 || unix.Stat(filepath.Dir(t.Path), &dir) != nil || dir.Uid != 0 || dir.Mode&0o22 != 0 {
			return dsncode.New(t.DefDSN, "destination %s is a symbolic link", t.Path)
		}
	} else if lst.Dev != st.Dev || lst.Ino != st.Ino {
		return dsncode.New("4.2.0", "target file status changed unexpectedly")
	}
	switch {
	case kind != unix.S_IFREG && !t.AllowOther:
		return dsncode.New(t.DefDSN, "destination %s is not a regular file", t.Path)
	case kind == unix.S_IFREG && st.Nlink != 1:
		return dsncode.New(t.DefDSN, "destination %s has %d hard links", t.Path, st.Nlink)
	case kind == unix.S_IFREG && t.Owner >= 0 && int(st.Uid) != t.Owner:
		return dsncode.New("4.2.0", "destination %s is not owned by recipient", t.Path)
	case kind == unix.S_IFREG && t.Owner < 0 && st.Mode&0o111 != 0:
		return dsncode.New("5.7.1", "file is executable")
	}
	return nil
}

// Append delivers m to the target. Errors are *dsncode.Error.
func Append(ctx context.Context, t *Target, m *Message) error {
	f, err := Open(ctx, t)
	if err != nil {
		return err
	}
	defer f.Release()
	return f.Append(ctx, m)
}

// Append locks the open file, appends the message and syncs it.
func (f *File) Append(ctx context.Context, m *Message) error {
	t := f.Target
	if err := f.append(ctx, m); err != nil {
		return t.wrap(err)
	}
	if f.Created {
		// The entry of a new file; an unreadable directory is left to the file system's journal.
		if d, err := os.Open(filepath.Dir(t.Path)); err == nil {
			defer d.Close()
			if err := durable.Sync(d); err != nil {
				return t.wrap(err)
			}
		}
	}
	return nil
}

func (f *File) append(ctx context.Context, m *Message) error {
	t := f.Target
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	head := mailcopy.AppendHeader(nil, &m.Envelope, m.Flags, "\n")
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_, err := mailcopy.Copy(f, m.Content, head, m.Flags, "\n")
		return copyError(err)
	}
	if err := filelock.File(ctx, f.File, &t.Lock); err != nil {
		return err
	}
	// Some POP3 servers replace the mailbox instead of locking it.
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Nlink != 1 {
		return dsncode.New("4.2.0", "target file status changed unexpectedly")
	}
	old := st.Size
	if err := full(old, t.Limit); err != nil {
		return err
	}
	w := io.Writer(f.File)
	if t.Limit > 0 {
		w = &limitWriter{w: f.File, left: t.Limit - old}
	}
	_, err := mailcopy.Copy(w, m.Content, head, m.Flags, "\n")
	if err == nil {
		err = durable.Sync(f.File)
	}
	if err != nil {
		if terr := f.Truncate(old); terr != nil {
			err = fmt.Errorf("%w (and truncating back failed: %v)", err, terr)
		}
	}
	return copyError(err)
}

func copyError(err error) error {
	var re *mailcopy.ReadError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &re):
		return dsncode.New("4.3.0", "%w", err)
	}
	return fmt.Errorf("error writing message: %w", err)
}

// limitWriter fails with EFBIG rather than exceed the limit, as the kernel
// would under RLIMIT_FSIZE.
type limitWriter struct {
	w    io.Writer
	left int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, syscall.EFBIG
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

// Full is the error of a delivery to the file at path if nothing more fits. limit
// is that of its size, 0 for none.
func Full(path string, limit int64) error {
	st, err := os.Lstat(path)
	if err != nil {
		return nil // Append makes it, or has more to say
	}
	return full(st.Size(), limit)
}

func full(size, limit int64) error {
	if limit > 0 && size >= limit {
		return dsncode.New("5.2.2", "mailbox of %s bytes is over its limit of %d", strconv.FormatInt(size, 10), limit)
	}
	return nil
}
