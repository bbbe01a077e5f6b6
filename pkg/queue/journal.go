package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/journal"
)

// JournalDir is the directory of the journals, below the queue directory.
const JournalDir = "journal"

const (
	// journalRate is how many messages in a second make a journal worth while.
	journalRate     = 32
	journalIdle     = 30 * time.Second
	journalInterval = 100 * time.Millisecond // of checkpoints by one sync
	journalSlowly   = 250 * time.Millisecond // of those by one for each message that is still there
	// journalRetry is how long after a failure the next journal is made.
	journalRetry = time.Minute
	// journalRoom is how many bytes must be free for one.
	journalRoom = 4 * journal.Size
)

// journaling is what a Spool knows of its journal: see UseJournal.
type journaling struct {
	current atomic.Pointer[journal.Journal]
	wanted  atomic.Bool // there is none, and one may be made
	failed  func(error)
	rate    int

	replay sync.Mutex // one at a time

	mu     sync.Mutex
	since  time.Time // when count started
	count  int       // messages since
	making bool
	closed bool
	maker  sync.WaitGroup
}

// UseJournal lets new messages become durable by a journal (package journal) while
// many come, queue_journal, which is "auto", "yes" (from the first one on) or "no".
// failed is told of its failures, after which messages are synced as without. The
// error tells why there will be none although the mode is "yes".
func (s *Spool) UseJournal(mode string, failed func(error)) error {
	fs := s.commit.FileSystem()
	suits := fs.Ordered()
	switch mode {
	case "no":
		return nil
	case "yes":
		if !suits {
			return fmt.Errorf("queue_journal = yes has no effect: the queue's file system is not ext4 with a journal, or xfs, but %q", fs.Type)
		}
	case "", "auto":
	default:
		return fmt.Errorf("journal mode %q: want auto, yes or no", mode)
	}
	s.jrnl.rate = journalRate
	if mode == "yes" {
		s.jrnl.rate = 1
	}
	s.jrnl.failed = failed
	s.jrnl.wanted.Store(suits)
	return nil
}

// journaled tells whether the content of a file that was just written to incoming is
// on stable storage in a journal.
func (s *Spool) journaled(content []byte, fd int) bool {
	j := s.jrnl.current.Load()
	if j == nil {
		if s.jrnl.wanted.Load() {
			s.wantJournal()
		}
		return false
	}
	err := j.Add(content, fd)
	if err == journal.ErrClosed && s.jrnl.current.CompareAndSwap(j, nil) {
		s.jrnl.wanted.Store(true)
	}
	return err == nil
}

// wantJournal makes a journal when there is reason to.
func (s *Spool) wantJournal() {
	m := &s.jrnl
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.making || m.closed {
		return
	}
	if now := time.Now(); m.count == 0 || now.Sub(m.since) > time.Second {
		m.since, m.count = now, 0
	}
	if m.count++; m.count < m.rate {
		return
	}
	m.count = 0
	m.making = true
	m.wanted.Store(false)
	m.maker.Go(s.makeJournal)
}

func (s *Spool) makeJournal() {
	m := &s.jrnl
	var j *journal.Journal
	room, err := s.journalRoom()
	if err == nil && room {
		o := journal.Options{
			Checkpoint: s.syncAll, Interval: journalInterval, Idle: journalIdle, Ops: s.ops,
			Failed: func(err error) {
				m.current.Store(nil)
				s.journalFailed(err)
			},
		}
		if !s.commit.Whole() {
			o.Checkpoint, o.Keep, o.Interval = s.syncEach, true, journalSlowly
		}
		j, err = journal.Create(s.prefix+JournalDir, o)
	}
	m.mu.Lock()
	m.making = false
	closed := m.closed
	if j != nil && !closed {
		m.current.Store(j)
	}
	m.mu.Unlock()
	switch {
	case j == nil:
		s.journalFailed(err)
	case closed:
		j.Close()
	}
}

// syncAll is a checkpoint where the file system is the mail system's own.
func (s *Spool) syncAll(files []int) error { return s.commit.SyncAll(files[len(files)-1]) }

// syncEach is a checkpoint elsewhere. Most messages have left the queue by then. The
// journal's mark has a new time, so that its sync commits all that was changed before.
func (s *Spool) syncEach(files []int) error {
	for _, fd := range files {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return durable.Wrap("stat", "new message", err)
		}
		if st.Nlink == 0 {
			continue
		}
		if err := s.commit.SyncOne(fd, "new message"); err != nil {
			return err
		}
	}
	return nil
}

// journalFailed makes the next attempt possible, some time later.
func (s *Spool) journalFailed(err error) {
	if err != nil && s.jrnl.failed != nil {
		s.jrnl.failed(fmt.Errorf("journal of new messages: %w; they are synced without one", err))
	}
	time.AfterFunc(journalRetry, func() { s.jrnl.wanted.Store(true) })
}

// journalRoom tells whether the disk has room enough not to miss a journal's.
func (s *Spool) journalRoom() (bool, error) {
	var st unix.Statfs_t
	path := s.prefix + JournalDir
	if err := unix.Statfs(path, &st); err != nil {
		return false, durable.Wrap("statfs", path, err)
	}
	return int64(st.Bavail)*int64(st.Frsize) >= journalRoom, nil
}

func (s *Spool) closeJournal() {
	m := &s.jrnl
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.maker.Wait()
	if j := m.current.Swap(nil); j != nil {
		j.Close()
	}
}

// Replay makes messages anew that the journals of former processes hold and the file
// system has lost, with a power failure, and tells restored of each. A message that
// cannot be written stays in its journal for the next time.
func (s *Spool) Replay(restored func(id string)) error {
	s.jrnl.replay.Lock()
	defer s.jrnl.replay.Unlock()
	dir := s.prefix + JournalDir
	old, err := journal.Abandoned(dir, s.ops)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range old {
		if err := s.replay(o, restored); err != nil {
			errs = append(errs, fmt.Errorf("journal %s: %w", o.Name, err))
		}
		o.Close()
	}
	return errors.Join(append(errs, s.replayLeft(dir, restored))...)
}

// replay writes a journal's messages. Those that are not there are written beside the
// journal, and get to incoming when none of them is needed in the journal any longer:
// else one of them could be made once more after it was delivered.
func (s *Spool) replay(o *journal.Old, restored func(id string)) error {
	var made []string
	prefix := s.prefix + JournalDir + "/" + o.Name + "."
	err := o.Each(func(content []byte, created bool) error {
		h, _, reason := parseHead(content)
		if reason != "" || !ValidID(h.id) {
			return fmt.Errorf("not a message: %s", reason)
		}
		q, err := s.Find(h.id)
		if err == nil {
			return s.redo(q, s.locate(q, h.id), h.id, content)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if created {
			return nil
		}
		made = append(made, h.id)
		return s.rewrite(prefix+h.id, unix.O_CREAT|unix.O_TRUNC, content)
	})
	if err != nil {
		return err
	}
	if err := o.RemoveData(); err != nil {
		return err
	}
	for _, id := range made {
		if err := s.enter(prefix+id, id, restored); err != nil {
			return err
		}
	}
	return o.Remove()
}

// enter moves a message that was made beside a journal to incoming.
func (s *Spool) enter(path, id string, restored func(id string)) error {
	err := s.inFolder(Incoming, id, func(to string) error { return s.ops.Rename(path, to) })
	if errors.Is(err, unix.ENOENT) {
		return nil // a successor or predecessor of this process has moved it
	}
	if err != nil {
		return durable.Wrap("rename", path, err)
	}
	restored(id)
	return nil
}

// replayLeft goes on where a process ended before it had moved what it had made.
func (s *Spool) replayLeft(dir string, restored func(id string)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Name()] = true
	}
	var errs []error
	for _, e := range entries {
		if name, id, ok := strings.Cut(e.Name(), "."); ok && ValidID(id) && !there[name] {
			errs = append(errs, s.enter(dir+"/"+e.Name(), id, restored))
		}
	}
	return errors.Join(errs...)
}

// redo puts the content of a message that is there on stable storage. What is in its
// pages now is no proof that they were written. Nothing but its log follows the
// content. A whole message that says something else is left alone: cleanup(8) may not
// write to all queues, nor may a journal do it in its name.
func (s *Spool) redo(queue, path, id string, content []byte) error {
	if queue == Maildrop {
		return nil // postsuper(1) has put it there, which it does to what it could read
	}
	var before unix.Stat_t
	if err := unix.Lstat(path, &before); err != nil { // also if it has left, so that there is no path
		return gone(durable.Wrap("stat", path, err))
	}
	whole, same := s.compare(queue, path, id, content)
	if whole && !same {
		return nil
	}
	if err := s.rewrite(path, 0, content); err != nil {
		return gone(err)
	}
	// It tells when the message is due.
	times := []unix.Timespec{before.Atim, before.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return gone(durable.Wrap("set time of", path, err))
	}
	if queue == Corrupt && !whole {
		return gone(s.Move(id, Corrupt, Incoming))
	}
	return nil
}

// compare tells whether a file is a whole message, and whether it is this one.
func (s *Spool) compare(queue, path, id string, content []byte) (whole, same bool) {
	f, err := s.load(queue, id, path)
	if err != nil {
		return false, false
	}
	defer f.Close()
	b := make([]byte, len(content))
	n, _ := fdReader(f.fd).ReadAt(b, 0)
	return f.Verify() == nil, bytes.Equal(b[:n], content)
}

// gone forgives that a file was moved or removed meanwhile: then its pages are well.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (s *Spool) rewrite(path string, flags int, content []byte) error {
	fd, err := s.ops.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return durable.Wrap("open", path, err)
	}
	defer s.ops.Close(fd)
	if err := s.ops.PwriteAll(fd, content, 0); err != nil {
		return durable.Wrap("write", path, err)
	}
	dir, err := s.syncFD(path[:strings.LastIndexByte(path, '/')])
	if err != nil {
		return err
	}
	return s.commit.CommitFD(fd, dir, path)
}
