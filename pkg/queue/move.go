package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

// modeForceExpire is the permission bit that postsuper -e sets, as Postfix's
// does: the queue manager returns the message to its sender.
const modeForceExpire = 0o010

// Move renames a message from one queue to another. It is not synced: after a
// power failure the message is in either.
func (s *Spool) Move(id, from, to string) error {
	if !ValidID(id) {
		return fmt.Errorf("bad queue id %.40q", id)
	}
	old := s.Path(from, id)
	err := s.inFolder(to, id, func(path string) error { return s.ops.Rename(old, path) })
	if errors.Is(err, unix.ENOENT) {
		// It may lie at another depth, from before hash_queue_depth was changed.
		if p := s.locate(from, id); p != "" && p != old {
			err = s.inFolder(to, id, func(path string) error { return s.ops.Rename(p, path) })
		}
	}
	return durable.Wrap("rename", old, err)
}

// Move is Spool.Move for an open file, which goes on to know where it is.
func (f *File) Move(to string) error {
	if err := f.s.Move(f.h.id, f.queue, to); err != nil {
		return err
	}
	f.queue = to
	return nil
}

// Claim makes the message the caller's for as long as the file is open, as far as
// others claim it, too. ErrBusy: somebody else has it. os.ErrNotExist: somebody
// else had it, and has removed it since it was loaded.
func (f *File) Claim() error {
	fd, err := f.FD()
	if err != nil {
		return err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if err == unix.EWOULDBLOCK {
			err = ErrBusy
		}
		return durable.Wrap("lock", f.Path(), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return durable.Wrap("stat", f.Path(), err)
	}
	if st.Nlink == 0 {
		return durable.Wrap("lock", f.Path(), unix.ENOENT)
	}
	return nil
}

// Locked tells whether somebody holds a lock on the message: qmgr, or an agent
// that delivers it, locks the descriptor for as long as it is at work.
func (s *Spool) Locked(queue, id string) bool {
	fd, err := s.ops.Open(s.Path(queue, id), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// Remove deletes a message. One that is not there is no error.
func (s *Spool) Remove(queue, id string) error {
	if !ValidID(id) {
		return fmt.Errorf("bad queue id %.40q", id)
	}
	p := s.Path(queue, id)
	err := s.ops.Unlink(p)
	if errors.Is(err, unix.ENOENT) {
		if q := s.locate(queue, id); q != "" {
			p, err = q, s.ops.Unlink(q)
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return durable.Wrap("unlink", p, err)
}

// Defer moves a message from active to deferred, where its modification time
// says when it is to be tried next.
func (s *Spool) Defer(id string, next time.Time) error {
	if !ValidID(id) {
		return fmt.Errorf("bad queue id %.40q", id)
	}
	if err := s.Schedule(Active, id, next); err != nil {
		return err
	}
	return s.Move(id, Active, Deferred)
}

// Schedule sets the time at which a message is to be tried next.
func (s *Spool) Schedule(queue, id string, next time.Time) error {
	ts := unix.NsecToTimespec(next.UnixNano())
	p := s.Path(queue, id)
	err := unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	return durable.Wrap("set time of", p, err)
}

// SetForceExpire marks a message for the queue manager to return. Root does it
// in directories that are not root's: what lies there must not lead elsewhere.
func (s *Spool) SetForceExpire(queue, id string) error {
	p := s.Path(queue, id)
	fd, err := s.ops.Open(p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return durable.Wrap("open", p, err)
	}
	defer s.ops.Close(fd)
	return durable.Wrap("chmod", p, unix.Fchmod(fd, 0o600|modeForceExpire))
}

// Corrupt moves a damaged message out of the way, for a person to look at.
func (s *Spool) Corrupt(queue, id string) error { return s.Move(id, queue, Corrupt) }

// Find returns the queue that holds a message; os.ErrNotExist if none does,
// os.ErrPermission if none does of those that this process may look into. A
// message that is moved at the same time is looked for once more.
func (s *Spool) Find(id string) (string, error) {
	if !ValidID(id) {
		return "", fmt.Errorf("bad queue id %.40q", id)
	}
	names := []string{Active, Incoming, Deferred, Hold, Maildrop, Corrupt}
	for try := 0; try < 2; try++ {
		for _, q := range names {
			if s.locate(q, id) != "" {
				return q, nil
			}
		}
	}
	for _, q := range names {
		// Who may not look has not found that it is not there.
		if unix.Access(s.prefix+q, unix.X_OK) == unix.EACCES {
			return "", os.ErrPermission
		}
	}
	return "", os.ErrNotExist
}

// locate returns the path of a message in a queue at whatever depth it lies.
func (s *Spool) locate(queue, id string) string {
	h := hashDigits(id)
	base := s.prefix + queue
	try := func(d int) string {
		p := base
		for i := 0; i < d; i++ {
			p += "/" + h[i:i+1]
		}
		p += "/" + id
		var st unix.Stat_t
		if unix.Lstat(p, &st) == nil {
			return p
		}
		return ""
	}
	if p := try(s.depth[queue]); p != "" {
		return p
	}
	for d := 0; d <= usecHex; d++ {
		if d == s.depth[queue] {
			continue
		}
		if p := try(d); p != "" {
			return p
		}
	}
	return ""
}

// Entry is a file in a queue.
type Entry struct {
	ID          string
	ModTime     time.Time
	Size        int64 // of the file
	Links       int
	ForceExpire bool
	Misplaced   bool // not where hash_queue_depth wants it; Move mends that
}

// List calls fn for each message of a queue, in no order, until it returns
// false. Files whose names are no queue ids are left out. Files may come and go
// meanwhile.
func (s *Spool) List(queue string, fn func(Entry) bool) error {
	_, err := s.walk(s.prefix+queue, queue, 0, func(path string, e Entry, valid bool) bool {
		return !valid || fn(e)
	})
	return err
}

// Strays calls fn with the path of each file in a queue whose name is no queue
// id.
func (s *Spool) Strays(queue string, fn func(path string, modTime time.Time) bool) error {
	_, err := s.walk(s.prefix+queue, queue, 0, func(path string, e Entry, valid bool) bool {
		return valid || fn(path, e.ModTime)
	})
	return err
}

// Rehome moves a misplaced file to where it belongs.
func (s *Spool) Rehome(queue, id string) error { return s.Move(id, queue, queue) }

func (s *Spool) walk(dir, queue string, depth int, fn func(path string, e Entry, valid bool) bool) (more bool, err error) {
	d, err := os.Open(dir)
	if err != nil {
		if depth > 0 && errors.Is(err, os.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	defer d.Close()
	var denied error // of subdirectories: the rest is walked all the same
	for {
		names, err := d.ReadDir(512)
		for _, n := range names {
			name := n.Name()
			path := dir + "/" + name
			if n.IsDir() {
				if len(name) != 1 || depth >= usecHex {
					continue
				}
				more, err := s.walk(path, queue, depth+1, fn)
				if errors.Is(err, os.ErrPermission) {
					denied = err
				} else if err != nil || !more {
					return false, err
				}
				continue
			}
			var st unix.Stat_t
			if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			e := Entry{ID: name, ModTime: time.Unix(st.Mtim.Unix()), Size: st.Size, Links: int(st.Nlink), ForceExpire: st.Mode&modeForceExpire != 0}
			valid := ValidID(name)
			if valid {
				e.Misplaced = path != s.Path(queue, name)
			}
			if !fn(path, e, valid) {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return denied == nil, denied
		}
		if err != nil {
			return false, err
		}
	}
}
