// Package durable puts files on stable storage, and does it together for those
// who ask at the same time.
//
// A single caller's file is synced at once. Callers that come while another
// syncs share one syncfs, where the file system is the mail system's own
// (syncfs flushes everybody's dirty pages, so it is not used on a shared one)
// or where the administrator says so; elsewhere each syncs its own file, which
// the file system's journal batches too. A shared syncfs blocks one thread
// instead of one for each waiter: measured on ext4 with a journal, it takes a
// fifth off the suite's processor time at 10 sessions, and brings 3.7 times
// the messages of Postfix's sequence of system calls at 256 writers.
//
// A new file is durable when its content and the directory entry that leads to
// it are. ext4 with a journal, xfs and btrfs put both on disk with fsync of the
// file; elsewhere the directory is synced as well. Neither holds for ext4
// without a journal under syncfs or for network file systems: Warning tells.
package durable

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// FsyncWaiters is the most callers that sync each their own file at a time
// where a shared syncfs is allowed.
const FsyncWaiters = 1

// maxFsync bounds the fsync calls that run at a time where syncfs must not be
// used: each takes a thread, and more than that make no larger batches.
const maxFsync = 64

// Options tell New how to sync.
type Options struct {
	// Syncfs is "auto" (or ""): use syncfs for many waiters if the directory is
	// on a file system of the mail system's own, of a kind known to be sound; "yes": always
	// allowed; "no": never.
	Syncfs string
	Ops    *Ops // nil for the real ones
}

// Committer makes files below one directory durable. It is safe for concurrent
// use.
type Committer struct {
	ops      *Ops
	root     int // descriptor of the directory, kept so that syncfs reports errors
	path     string
	fs       FileSystem
	syncDir  bool // new names need an fsync of their directory
	group    atomic.Bool
	inFlight atomic.Int32
	slots    chan struct{} // limits fsync calls

	mu      sync.Mutex
	idle    sync.Cond
	next    *batch // collecting
	running bool   // a syncfs is under way
	syncs   atomic.Int64
	groups  atomic.Int64
}

type batch struct {
	done chan struct{}
	err  error
}

// New returns a Committer for files below dir, and looks up what file system
// that is.
func New(dir string, o Options) (*Committer, error) {
	c := &Committer{ops: o.Ops.Fill(), path: dir, slots: make(chan struct{}, maxFsync)}
	c.idle.L = &c.mu
	fd, err := c.ops.Open(dir, os.O_RDONLY, 0)
	if err != nil {
		return nil, Wrap("open", dir, err)
	}
	c.root = fd
	c.fs = Inspect(dir)
	c.syncDir = !c.fs.EntryWithFile
	switch o.Syncfs {
	case "", "auto":
		c.group.Store(c.fs.Own && c.fs.EntryWithFile)
	case "yes":
		c.group.Store(true)
	case "no":
	default:
		c.ops.Close(fd)
		return nil, fmt.Errorf("syncfs mode %q: want auto, yes or no", o.Syncfs)
	}
	return c, nil
}

// FileSystem tells what New found.
func (c *Committer) FileSystem() FileSystem { return c.fs }

// SyncsDirectories tells whether the directory of a new file is synced too.
func (c *Committer) SyncsDirectories() bool { return c.syncDir }

// Stats returns how many files were synced alone and how many syncfs calls
// were made.
func (c *Committer) Stats() (alone, shared int64) { return c.syncs.Load(), c.groups.Load() }

// Close releases the directory.
func (c *Committer) Close() error { return c.ops.Close(c.root) }

// Commit returns when f, and its name in dir where the file system needs that,
// are on stable storage. dir may be nil for a file whose name is durable
// already.
func (c *Committer) Commit(f *os.File, dir *os.File) error {
	d := -1
	if dir != nil {
		d = int(dir.Fd())
	}
	err := c.CommitFD(int(f.Fd()), d, f.Name())
	runtime.KeepAlive(f)
	runtime.KeepAlive(dir)
	return err
}

// CommitFD is Commit for descriptors; dir is -1 for none, and name is for the
// error text.
func (c *Committer) CommitFD(fd, dir int, name string) error {
	n := c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	if n > FsyncWaiters && c.group.Load() {
		return c.shared()
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	c.syncs.Add(1)
	if err := c.ops.Fsync(fd); err != nil {
		return Wrap("fsync", name, err)
	}
	if dir >= 0 && c.syncDir {
		return Wrap("fsync directory of", name, c.ops.Fsync(dir))
	}
	return nil
}

// shared joins the batch that the next syncfs covers. The caller's data was
// written before it joined, and a batch is closed before its syncfs starts, so
// that the sync covers every member.
func (c *Committer) shared() error {
	c.mu.Lock()
	if b := c.next; b != nil {
		c.mu.Unlock()
		<-b.done
		return b.err
	}
	b := &batch{done: make(chan struct{})}
	c.next = b
	for c.running {
		c.idle.Wait()
	}
	c.next, c.running = nil, true
	c.mu.Unlock()

	c.groups.Add(1)
	b.err = Wrap("syncfs", c.path, c.ops.Syncfs(c.root))
	if b.err != nil {
		// The kernel reports a failed write-back once per descriptor. A file
		// whose pages were lost but whose owner joins a later batch would get no
		// error from syncfs, but does get one from fsync of its own descriptor.
		c.group.Store(false)
	}

	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	c.idle.Signal()
	close(b.done)
	return b.err
}
