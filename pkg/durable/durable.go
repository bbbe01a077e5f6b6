// Package durable puts files on stable storage, and does it together for those
// who ask at the same time.
//
// A single caller's file is synced at once (but see Pace). Callers that come
// while another syncs share one syncfs, where the file system is the mail system's own
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
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// FsyncWaiters is the most callers that sync each their own file at a time
// where a shared syncfs is allowed.
const FsyncWaiters = 1

// maxFsync bounds the fsync calls that run at a time where syncfs must not be
// used: each takes a thread, and more than that make no larger batches.
const maxFsync = 64

// Pace lets callers wait for others to share a sync with, which makes fewer and
// larger commits of the file system's journal. It is for callers of whom others
// come before one is served.
type Pace struct {
	// Interval is how long after the start of one sync the next one starts at the
	// latest. Who comes later than that after the last does not wait. 0: nobody waits.
	Interval time.Duration
	// Quiet ends the wait when no other has come for that long, and Crowd when that
	// many wait.
	Quiet time.Duration
	Crowd int
}

// Options tell New how to sync.
type Options struct {
	// Syncfs is "auto" (or ""): use syncfs for many waiters if the directory is
	// on a file system of the mail system's own, of a kind known to be sound; "yes": always
	// allowed; "no": never.
	Syncfs string
	Pace   Pace // of shared syncs
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

	pace Pace

	mu      sync.Mutex
	idle    sync.Cond
	next    *batch    // collecting
	running bool      // a syncfs is under way
	last    time.Time // when the last sync started, if there is a pace
	syncs   atomic.Int64
	groups  atomic.Int64
}

type batch struct {
	done    chan struct{}
	full    chan struct{} // closed when the crowd is there
	members int
	err     error
}

// New returns a Committer for files below dir, and looks up what file system
// that is.
func New(dir string, o Options) (*Committer, error) {
	c := &Committer{ops: o.Ops.Fill(), path: dir, slots: make(chan struct{}, maxFsync), pace: o.Pace}
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
	if c.group.Load() && (n > FsyncWaiters || !c.due()) {
		if err := c.shared(fd); err != errAlone {
			return err
		}
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	if err := c.SyncOne(fd, name); err != nil {
		return err
	}
	if dir >= 0 && c.syncDir {
		return Wrap("fsync directory of", name, c.ops.Fsync(dir))
	}
	return nil
}

// SyncOne is fsync of one file, whoever else is waiting.
func (c *Committer) SyncOne(fd int, name string) error {
	c.syncs.Add(1)
	err := c.ops.Fsync(fd)
	if err == nil {
		err = c.alive(fd)
	}
	return Wrap("fsync", name, err)
}

// Shares tells whether syncfs is used, and so SyncAll can be.
func (c *Committer) Shares() bool { return c.group.Load() }

// SyncAll returns when all that was written to the file system before, by whomever, is
// on stable storage. fd is a file there that the caller may change.
func (c *Committer) SyncAll(fd int) error {
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	return c.shared(fd)
}

// alive tells whether a sync that succeeded did so. When the journal has failed, in
// somebody else's sync or by itself, ext4 and xfs may find nothing left to do for a
// sync of what should have been in it, which then succeeds; on ext4 that goes on
// until the next change to the file system is refused.
func (c *Committer) alive(fd int) error {
	if !c.fs.Local() {
		return nil // somebody else's disk, and a question over the network
	}
	return c.ops.Alive(fd)
}

// gather waits for others to join b. c.mu is held, but not while it waits.
func (c *Committer) gather(b *batch) {
	for members := 0; members < b.members && b.members < c.pace.Crowd; {
		wait := min(c.pace.Interval-time.Since(c.last), c.pace.Quiet)
		if wait <= 0 {
			return
		}
		members = b.members
		c.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-b.full:
		case <-t.C:
		}
		t.Stop()
		c.mu.Lock()
	}
}

// due tells whether a sync may start now, and if so takes it that it does.
func (c *Committer) due() bool {
	if c.pace.Interval == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.last) < c.pace.Interval {
		return false
	}
	c.last = now
	return true
}

// errAlone: a shared sync would tell nothing, each must sync its own file.
var errAlone = errors.New("no shared sync any more")

// shared joins the batch that the next syncfs covers. The caller's data was
// written before it joined, and a batch is closed before its syncfs starts, so
// that the sync covers every member.
//
// The kernel reports a failed write-back once per descriptor. A file whose pages
// were lost during one syncfs, but whose owner belongs to the next batch, would get
// no error from that one's, but does get one from fsync of its own descriptor.
// So there is no other syncfs after one that failed.
func (c *Committer) shared(fd int) error {
	c.mu.Lock()
	if !c.group.Load() {
		c.mu.Unlock()
		return errAlone
	}
	if b := c.next; b != nil {
		if b.members++; b.members == c.pace.Crowd {
			close(b.full)
		}
		c.mu.Unlock()
		<-b.done
		return b.err
	}
	b := &batch{done: make(chan struct{}), full: make(chan struct{}), members: 1}
	c.next = b
	c.gather(b)
	for c.running {
		c.idle.Wait()
	}
	c.next = nil
	if !c.group.Load() {
		c.mu.Unlock()
		b.err = errAlone
		close(b.done)
		return errAlone
	}
	c.running = true
	if c.pace.Interval > 0 {
		c.last = time.Now()
	}
	c.mu.Unlock()

	c.groups.Add(1)
	b.err = c.ops.Syncfs(c.root)
	if b.err == nil {
		b.err = c.alive(fd)
	}
	b.err = Wrap("syncfs", c.path, b.err)

	c.mu.Lock()
	c.running = false
	if b.err != nil {
		c.group.Store(false)
	}
	c.mu.Unlock()
	c.idle.Signal()
	close(b.done)
	return b.err
}
