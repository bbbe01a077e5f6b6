// Package filelock locks mailbox files the ways mail programs agree on: fcntl
// and flock locks on the open file, and a dotlock file beside it. It never
// blocks in the kernel: it tries a number of times with a pause, as Postfix
// does, so that a context can end the wait.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Methods is a set of ways to lock.
type Methods uint8

// The ways, by the names that mailbox_delivery_lock uses.
const (
	Fcntl Methods = 1 << iota
	Flock
	Dotlock
)

// ErrBusy is returned when another program keeps the lock.
var ErrBusy = errors.New("locked by another program")

// ParseMethods reads the words of mailbox_delivery_lock or
// virtual_mailbox_lock.
func ParseMethods(words []string) (Methods, error) {
	var m Methods
	for _, w := range words {
		switch w {
		case "fcntl":
			m |= Fcntl
		case "flock":
			m |= Flock
		case "dotlock":
			m |= Dotlock
		default:
			return 0, fmt.Errorf("unknown lock method %q (known: fcntl, flock, dotlock)", w)
		}
	}
	return m, nil
}

// Options are deliver_lock_attempts, deliver_lock_delay and stale_lock_time.
type Options struct {
	Methods  Methods
	Attempts int           // at least 1
	Delay    time.Duration // between attempts; half as much again is added at random
	Stale    time.Duration // a dotlock older than this is removed
	// Sign: a dotlock says whose it is, and one that says so and whose process is gone
	// is removed at once. For processes that hold locks often and may be killed.
	Sign bool
}

// signature is what a signed dotlock begins with; process and host follow. A number
// means nothing on another host.
const signature = "posthaste "

var signed = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s%d %s\n", signature, os.Getpid(), host)
})

// orphan tells whether a dotlock is signed by a process of this host that is gone.
func orphan(name string, st *syscall.Stat_t) bool {
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Size == 0 || st.Size > 300 {
		return false
	}
	// It may be another file by now.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var buf [300]byte
	n, _ := f.Read(buf[:])
	b := buf[:n]
	var pid int
	var host string
	rest, ok := strings.CutPrefix(string(b), signature)
	if n, err := fmt.Sscan(rest, &pid, &host); !ok || n != 2 || err != nil || pid <= 0 {
		return false
	}
	mine := strings.Fields(signed())
	return len(mine) == 3 && mine[2] == host && syscall.Kill(pid, 0) == syscall.ESRCH
}

func (o *Options) attempts() int { return max(1, o.Attempts) }

func (o *Options) pause(ctx context.Context) error {
	d := o.Delay
	if d > 0 {
		d += rand.N(d/2 + 1)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Dot creates path + ".lock" if the methods ask for it, and returns a function
// that removes it. The error is ErrBusy (wrapped) when somebody else keeps it.
func Dot(ctx context.Context, path string, o *Options) (release func(), err error) {
	if o.Methods&Dotlock == 0 {
		return func() {}, nil
	}
	name := path + ".lock"
	for i := 1; ; i++ {
		// O_EXCL does not follow a symbolic link.
		mode := uint32(0)
		if o.Sign {
			mode = 0o444
		}
		fd, err := syscall.Open(name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, mode)
		if err == nil {
			if o.Sign {
				syscall.Write(fd, []byte(signed())) // unsigned on a full disk
			}
			syscall.Close(fd)
			return func() { os.Remove(name) }, nil
		}
		if err != syscall.EEXIST {
			return nil, &os.PathError{Op: "unable to create lock file", Path: name, Err: err}
		}
		if i >= o.attempts() {
			return nil, fmt.Errorf("unable to create lock file %s: %w", name, ErrBusy)
		}
		var st syscall.Stat_t
		if syscall.Lstat(name, &st) == nil && (o.Stale > 0 && time.Since(time.Unix(st.Ctim.Unix())) > o.Stale || o.Sign && orphan(name, &st)) {
			if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
				return nil, err
			}
			continue
		}
		if err := o.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// File takes the kernel locks on f that the methods ask for. They go when f
// is closed. fcntl locks belong to the process: nothing else in it may open and
// close the same file meanwhile, which callers see to with a mutex by path.
func File(ctx context.Context, f *os.File, o *Options) error {
	if o.Methods&Flock != 0 {
		if err := o.try(ctx, func() error {
			return control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
		}); err != nil {
			return err
		}
	}
	if o.Methods&Fcntl != 0 {
		return o.try(ctx, func() error {
			l := syscall.Flock_t{Type: syscall.F_WRLCK}
			return control(f, func(fd int) error { return syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &l) })
		})
	}
	return nil
}

// Handle takes the kernel locks on f that the methods ask for; shared is for those
// who only read. Unlike File's, its fcntl lock belongs to the open file, not to the
// process (Linux's open file description locks), and excludes everybody
// else's, in this process or another. It goes when f is closed.
func Handle(ctx context.Context, f *os.File, o *Options, shared bool) error {
	how, typ := syscall.LOCK_EX, int16(syscall.F_WRLCK)
	if shared {
		how, typ = syscall.LOCK_SH, syscall.F_RDLCK
	}
	if o.Methods&Flock != 0 {
		if err := o.try(ctx, func() error {
			return control(f, func(fd int) error { return syscall.Flock(fd, how|syscall.LOCK_NB) })
		}); err != nil {
			return err
		}
	}
	if o.Methods&Fcntl != 0 {
		return o.try(ctx, func() error {
			l := syscall.Flock_t{Type: typ}
			return control(f, func(fd int) error { return syscall.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &l) })
		})
	}
	return nil
}

func (o *Options) try(ctx context.Context, lock func() error) error {
	for i := 1; ; i++ {
		err := lock()
		if err == nil {
			return nil
		}
		if err != syscall.EAGAIN && err != syscall.EACCES && err != syscall.EINTR {
			return fmt.Errorf("unable to lock for exclusive access: %w", err)
		}
		if i >= o.attempts() {
			return fmt.Errorf("unable to lock for exclusive access: %w", ErrBusy)
		}
		if err := o.pause(ctx); err != nil {
			return err
		}
	}
}

func control(f *os.File, fn func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = fn(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
