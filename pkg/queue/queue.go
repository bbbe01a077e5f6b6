// Package queue keeps messages on disk: one file a message, in one of the
// directories incoming, active, deferred, hold, corrupt and maildrop below the
// queue directory. docs/internals/queue.md has the file format, each legal
// state of a message and the steps between them.
//
// One program writes a file at a time: its creator until Commit, then only
// qmgr(8), which appends outcomes. A Spool is safe for concurrent use, a Writer
// or a File is not.
package queue

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"posthaste/pkg/config"
	"posthaste/pkg/durable"
	"posthaste/pkg/params"
)

// The queues.
const (
	Incoming = "incoming"
	Active   = "active"
	Deferred = "deferred"
	Hold     = "hold"
	Corrupt  = "corrupt"
	Maildrop = "maildrop"
)

// Names are all queues, in the order in which postqueue(1) lists them.
var Names = []string{Maildrop, Active, Incoming, Deferred, Hold, Corrupt}

// Load's errors. ErrIncomplete: the file was never committed (its writer is
// still at work, gave up, or died; nobody was told that the message is safe).
// ErrCorrupt: it is not a queue file, or it was damaged. ErrBusy: another process
// has claimed it. A missing file is os.ErrNotExist.
var (
	ErrIncomplete = errors.New("incomplete queue file")
	ErrCorrupt    = errors.New("corrupt queue file")
	ErrBusy       = errors.New("queue file is in use")
)

// FileError is a queue file that cannot be read; Unwrap gives one of the errors
// above or a system error.
type FileError struct {
	Path   string
	Reason string
	Err    error
}

func (e *FileError) Error() string {
	s := e.Path + ": " + e.Err.Error()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

func (e *FileError) Unwrap() error { return e.Err }

// Options tell Open how the queue is laid out.
type Options struct {
	HashNames []string // hash_queue_names
	HashDepth int      // hash_queue_depth; 0 means 1
	Syncfs    string   // queue_syncfs: "auto", "yes" or "no"
	Ops       *durable.Ops
}

// OptionsFrom reads hash_queue_names, hash_queue_depth and queue_syncfs.
func OptionsFrom(c *config.Config) Options {
	return Options{
		HashNames: params.HashQueueNames.List(c),
		HashDepth: params.HashQueueDepth.In(c),
		Syncfs:    params.QueueSyncfs.In(c),
	}
}

// Spool is a queue directory.
type Spool struct {
	dir    string
	prefix string         // of the queues' paths
	depth  map[string]int // queue name -> levels of hash directories
	ops    *durable.Ops
	commit *durable.Committer
	jrnl   journaling

	mu   sync.Mutex
	dirs map[string]int // directory -> descriptor kept for fsync
}

// Open returns the queue below dir, which is "." for daemons. It does not
// create directories: Init does.
func Open(dir string, o Options) (*Spool, error) {
	c, err := durable.New(dir, durable.Options{Syncfs: o.Syncfs, Ops: o.Ops})
	if err != nil {
		return nil, err
	}
	prefix := ""
	if clean := filepath.Clean(dir); clean != "." {
		prefix = clean + "/"
	}
	s := &Spool{dir: dir, prefix: prefix, depth: map[string]int{}, ops: o.Ops.Fill(), commit: c, dirs: map[string]int{}}
	depth := max(o.HashDepth, 1)
	for _, n := range o.HashNames {
		s.depth[strings.ToLower(n)] = min(depth, usecHex)
	}
	// Programs that users start write here, and others read there.
	delete(s.depth, Maildrop)
	return s, nil
}

// Init creates the queue directories that are missing, for one owner. The
// installed system has them made with their owners and modes by posthaste(1).
func Init(dir string) error {
	for _, n := range Names {
		mode := os.FileMode(0o700)
		if n == Maildrop {
			mode = 0o730
		}
		if err := os.MkdirAll(filepath.Join(dir, n), mode); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(dir, JournalDir), 0o700)
}

// Warning tells why the file system below the queue voids the promise that
// accepted mail survives a power failure; "" if it does not.
func (s *Spool) Warning() string { return s.commit.FileSystem().Warning }

// Committer returns what makes the spool's files durable.
func (s *Spool) Committer() *durable.Committer { return s.commit }

// Close releases the descriptors that the spool keeps. Open Files and Writers
// stay usable except for Commit.
func (s *Spool) Close() error {
	s.closeJournal()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, fd := range s.dirs {
		s.ops.Close(fd)
		delete(s.dirs, k)
	}
	return s.commit.Close()
}

// folder returns the directory in which a queue keeps an id.
func (s *Spool) folder(queue, id string) string {
	var b [maxPath]byte
	return string(s.appendFolder(b[:0], queue, id))
}

// maxPath is the length of most paths of messages.
const maxPath = 128

func (s *Spool) appendFolder(p []byte, queue, id string) []byte {
	p = append(append(p, s.prefix...), queue...)
	if d := s.depth[queue]; d > 0 {
		h := hashDigits(id)
		for i := 0; i < d; i++ {
			p = append(p, '/', h[i])
		}
	}
	return p
}

// Path returns where a message lies, or would lie, in a queue.
func (s *Spool) Path(queue, id string) string {
	var b [maxPath]byte
	return string(append(append(s.appendFolder(b[:0], queue, id), '/'), id...))
}

// syncFD returns a descriptor of a directory, for its fsync.
func (s *Spool) syncFD(dir string) (int, error) {
	if !s.commit.SyncsDirectories() {
		return -1, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.dirs[dir]; ok {
		return fd, nil
	}
	fd, err := s.ops.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, durable.Wrap("open", dir, err)
	}
	s.dirs[dir] = fd
	return fd, nil
}

// inFolder runs op, and once more after creating the directory that it misses.
func (s *Spool) inFolder(queue, id string, op func(path string) error) error {
	path := s.Path(queue, id)
	err := op(path)
	if err != nil && errors.Is(err, unix.ENOENT) && s.depth[queue] > 0 {
		if s.makeFolder(queue, s.folder(queue, id)) == nil {
			err = op(path)
		}
	}
	return err
}

// makeFolder creates the hash levels of a queue down to dir. What root creates,
// for postsuper(1), belongs to the queue's owner, who must get at it.
func (s *Spool) makeFolder(queue, dir string) error {
	base := s.prefix + queue
	var st unix.Stat_t
	if err := unix.Stat(base, &st); err != nil {
		return err
	}
	for p := base; len(p) < len(dir); {
		p = dir[:len(p)+2] // a slash and one digit
		err := unix.Mkdir(p, 0o700)
		if err == nil && os.Geteuid() == 0 {
			err = unix.Lchown(p, int(st.Uid), int(st.Gid))
		}
		if err != nil && err != unix.EEXIST {
			return err
		}
	}
	return nil
}

// hashDigits gives the hex form of an id's microseconds, as Postfix hashes long
// queue ids: the leading digits are spread evenly.
func hashDigits(id string) string {
	us, ok := idMicros(id)
	if !ok {
		us = 0
	}
	h := strings.ToUpper(strconv.FormatUint(uint64(us), 16))
	return strings.Repeat("0", max(usecHex-len(h), 0)) + h
}

const usecHex = 5 // hex digits of 999,999
