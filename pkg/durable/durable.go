// Package durable puts files on stable storage, and does it together for those
// who ask at the same time.
//
// A single caller's file is synced at once (but see Pace). Callers that come
// while another syncs share one sync, which blocks one thread instead of one for each:
//
//   - On ext4 with a journal and on xfs the pages of each of their files are written out,
//     and then one of the files is synced. Both carry out changes to names, sizes and maps
//     of blocks in order, in one journal: what commits the last change commits those before.
//     So that the last one is that file's, it is touched when all pages are out.
//   - Where the administrator says so, one syncfs does it, which also writes out what is
//     anybody else's.
//   - Elsewhere each syncs its own file.
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
// where a sync can be shared.
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
	// Syncfs is "auto" (or ""): share syncs on file systems of a kind known to be sound,
	// and use syncfs for SyncAll if the directory is on one of the mail system's own;
	// "yes": share syncfs; "no": each file is synced alone.
	Syncfs string
	Pace   Pace // of shared syncs
	Ops    *Ops // nil for the real ones
}

// Committer makes files below one directory durable. It is safe for concurrent
// use.
type Committer struct {
	ops      *Ops
	root     int // descriptor of the directory, kept so that syncfs reports errors
	all      int // another one, for SyncAll: an error is reported once for each
	path     string
	fs       FileSystem
	syncDir  bool         // new names need an fsync of their directory
	together func(*batch) // how syncs are shared
	group    atomic.Bool  // whether they are
	whole    atomic.Bool  // whether SyncAll may be used
	inFlight atomic.Int32
	slots    chan struct{} // limits fsync calls

	pace Pace

	mu      sync.Mutex
	idle    sync.Cond
	next    *batch    // collecting
	running bool      // a shared sync is under way
	last    time.Time // when the last sync started, if there is a pace
	syncs   atomic.Int64
	groups  atomic.Int64
}

type batch struct {
	done chan struct{}
	full chan struct{} // closed when the crowd is there
	fds  []int
	errs []error // of the files, if there are any
	err  error   // of all
}

func (b *batch) result(i int) error {
	if b.err == nil && b.errs != nil {
		return b.errs[i]
	}
	return b.err
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
	if c.all, err = c.ops.Open(dir, os.O_RDONLY, 0); err != nil {
		c.ops.Close(fd)
		return nil, Wrap("open", dir, err)
	}
	c.fs = Inspect(dir)
	c.syncDir = !c.fs.EntryWithFile
	c.together = c.syncfs
	switch o.Syncfs {
	case "", "auto":
		c.together = c.writeOut
		c.group.Store(c.fs.Ordered())
		c.whole.Store(c.fs.Own && c.fs.EntryWithFile)
	case "yes":
		c.group.Store(true)
		c.whole.Store(true)
	case "no":
	default:
		c.Close()
		return nil, fmt.Errorf("syncfs mode %q: want auto, yes or no", o.Syncfs)
	}
	return c, nil
}

// FileSystem tells what New found.
func (c *Committer) FileSystem() FileSystem { return c.fs }

// SyncsDirectories tells whether the directory of a new file is synced too.
func (c *Committer) SyncsDirectories() bool { return c.syncDir }

// Stats returns how many files were synced alone and how many shared syncs there
// were.
func (c *Committer) Stats() (alone, shared int64) { return c.syncs.Load(), c.groups.Load() }

// Close releases the directory.
func (c *Committer) Close() error { return errors.Join(c.ops.Close(c.root), c.ops.Close(c.all)) }

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

// Whole tells whether SyncAll may be used: the file system is the mail system's own,
// or the administrator allows it, and no syncfs has failed.
func (c *Committer) Whole() bool { return c.whole.Load() }

// SyncAll returns when all that was written to the file system before, by whomever, is
// on stable storage. fd is a file there that the caller may change.
func (c *Committer) SyncAll(fd int) error {
	err := Wrap("syncfs", c.path, c.ops.Syncfs(c.all))
	if err == nil {
		err = c.alive(fd)
	}
	if err != nil {
		c.whole.Store(false)
	}
	return err
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
	for members := 0; members < len(b.fds) && len(b.fds) < c.pace.Crowd; {
		wait := min(c.pace.Interval-time.Since(c.last), c.pace.Quiet)
		if wait <= 0 {
			return
		}
		members = len(b.fds)
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

// shared joins the batch that the next shared sync covers. The caller's data was
// written before it joined, and a batch is closed before its sync starts, so
// that the sync covers every member.
func (c *Committer) shared(fd int) error {
	c.mu.Lock()
	if !c.group.Load() {
		c.mu.Unlock()
		return errAlone
	}
	if b := c.next; b != nil {
		i := len(b.fds)
		if b.fds = append(b.fds, fd); len(b.fds) == c.pace.Crowd {
			close(b.full)
		}
		c.mu.Unlock()
		<-b.done
		return b.result(i)
	}
	b := &batch{done: make(chan struct{}), full: make(chan struct{}), fds: []int{fd}}
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
	c.together(b)

	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	c.idle.Signal()
	close(b.done)
	return b.result(0)
}

// syncfs syncs the whole file system for a batch.
//
// The kernel reports a failed write-back once per descriptor. A file whose pages
// were lost during one syncfs, but whose owner belongs to the next batch, would get
// no error from that one's, but does get one from fsync of its own descriptor.
// So there is no other syncfs after one that failed.
func (c *Committer) syncfs(b *batch) {
	err := c.ops.Syncfs(c.root)
	if err == nil {
		err = c.alive(b.fds[0])
	}
	if b.err = Wrap("syncfs", c.path, err); err != nil {
		c.group.Store(false)
	}
}

// writeOut syncs the files of a batch.
func (c *Committer) writeOut(b *batch) {
	for _, fd := range b.fds {
		c.ops.WriteOut(fd, false) // what is wrong is told below
	}
	b.errs = make([]error, len(b.fds))
	last := -1
	for i, fd := range b.fds {
		if err := c.ops.WriteOut(fd, true); err != nil {
			b.errs[i] = Wrap("write out file below", c.path, err)
			continue
		}
		last = i
	}
	if last < 0 {
		return
	}
	if err := c.ops.Touch(b.fds[last]); err != nil {
		// Then its sync need not commit the others' last changes.
		for i, fd := range b.fds {
			if b.errs[i] == nil {
				b.errs[i] = c.SyncOne(fd, "file below "+c.path)
			}
		}
		return
	}
	err := c.ops.Fsync(b.fds[last])
	if err == nil {
		err = c.alive(b.fds[last])
	}
	b.err = Wrap("fsync file below", c.path, err)
}
