package index

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
)

// Clock says which boot of the system this is and what time.
type Clock struct {
	Boot   uint64 // 0 if unknown
	Uptime time.Duration
	Now    time.Time
}

var bootID = sync.OnceValue(func() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64() | 1
})

// Present returns the Clock of this moment. The first call reads /proc, which
// a sandbox may hide later.
func Present() Clock {
	c := Clock{Boot: bootID(), Now: time.Now()}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		c.Uptime = time.Duration(ts.Nano())
	}
	return c
}

// same tells whether h was written since the system was started.
func (c Clock) same(h *Header) bool {
	if c.Boot != 0 && h.Boot != 0 {
		return c.Boot == h.Boot
	}
	w := time.Unix(0, h.Written)
	return w.After(c.Now.Add(-c.Uptime)) && w.Before(c.Now.Add(2*time.Second))
}

// EmailID derives an object id (RFC 8474) from the unique part of a file name.
func EmailID(base string) uint64 {
	s := sha256.Sum256([]byte(base))
	return max(1, binary.BigEndian.Uint64(s[:]))
}

// Lock is the right to write a folder's index and to rename its files.
type Lock struct{ fd int }

// ErrLocked is returned when another process keeps the lock.
var ErrLocked = errors.New("locked")

// Known tells whether the folder ever had an index: if it has none now, UIDs
// were given out that nobody knows. It needs no lock.
func Known(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir+"/"+LockName, &st) == nil && st.Size > 0
}

// markKnown makes Known true.
func (l Lock) markKnown() error {
	var st unix.Stat_t
	if err := unix.Fstat(l.fd, &st); err != nil || st.Size > 0 {
		return err
	}
	_, err := unix.Pwrite(l.fd, []byte("indexed\n"), 0)
	return err
}

// TryLock takes the lock of the folder in dir if it is free. create says whether
// the lock file may be made.
func TryLock(dir string, create bool) (Lock, error) {
	how := unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	if create {
		how |= unix.O_CREAT
	}
	fd, err := unix.Open(dir+"/"+LockName, how, 0o600)
	if err != nil {
		return Lock{-1}, &os.PathError{Op: "open", Path: dir + "/" + LockName, Err: err}
	}
	for {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return Lock{-1}, ErrLocked
		}
		return Lock{-1}, &os.PathError{Op: "lock", Path: dir + "/" + LockName, Err: err}
	}
	return Lock{fd}, nil
}

// Acquire waits for the lock, at most so long.
func Acquire(dir string, wait time.Duration) (Lock, error) {
	pause := 200 * time.Microsecond
	for end := time.Now().Add(wait); ; {
		l, err := TryLock(dir, true)
		if err != ErrLocked || time.Now().After(end) {
			return l, err
		}
		time.Sleep(pause + rand.N(pause))
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// Release gives the lock back.
func (l Lock) Release() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
}

// File is an open index. Its methods, other than Stale, need the Lock.
type File struct {
	dir    string
	f      *os.File
	ino    uint64
	Header Header
	State  *State // nil if only the header was read
	end    int64
	// Lost: see Parsed. The owner scans and clears it.
	Lost bool
}

func (f *File) path() string { return f.dir + "/" + Name }

// Moved tells the file that its folder was renamed.
func (f *File) Moved(dir string) { f.dir = dir }

// Close closes the file.
func (f *File) Close() { f.f.Close() }

func openFile(dir string) (*File, int64, error) {
	fd, err := unix.Open(dir+"/"+Name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: dir + "/" + Name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, 0, fmt.Errorf("%s/%s: not a plain file", dir, Name)
	}
	return &File{dir: dir, f: os.NewFile(uintptr(fd), dir+"/"+Name), ino: st.Ino}, st.Size, nil
}

// MaxFile is the largest index that is read: some five million messages.
const MaxFile = 1 << 30

// Load opens and reads the index in dir. The error is os.ErrNotExist if there
// is none, and ErrHeader or another if it has to be made anew.
func Load(dir string) (*File, error) {
	f, size, err := openFile(dir)
	if err != nil {
		return nil, err
	}
	if size > MaxFile {
		f.Close()
		return nil, fmt.Errorf("%s: %d bytes: %w", f.path(), size, ErrHeader)
	}
	b := make([]byte, size)
	n, err := f.f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	p, err := Parse(b[:n], Present())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.path(), err)
	}
	f.Header, f.State, f.end, f.Lost = p.Header, p.State, p.Valid, p.Lost
	return f, nil
}

// LoadHeader opens the index in dir for adding to it without reading it all.
// It refuses an index whose reader has something to repair first.
func LoadHeader(dir string) (*File, error) {
	f, size, err := openFile(dir)
	if err != nil {
		return nil, err
	}
	var b [HeaderSize]byte
	if _, err = f.f.ReadAt(b[:2*slotSize], 0); err == nil {
		h, both, perr := parseHeader(b[:])
		f.Header, f.end, err = h, h.Length, perr
		if err == nil && (!both || size != h.Length || !Present().same(&h)) {
			err = fmt.Errorf("%s: needs its reader", f.path())
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Stale tells whether others wrote since: more to read, or another file. It
// needs no lock. gone means that there is no index any more.
func (f *File) Stale() (stale, gone bool) {
	var st unix.Stat_t
	if err := unix.Stat(f.path(), &st); err != nil {
		return true, true
	}
	return st.Ino != f.ino || st.Size != f.end, false
}

// Refresh reads what others wrote. An error means that the index has to be
// loaded anew.
func (f *File) Refresh() error {
	var st unix.Stat_t
	if err := unix.Stat(f.path(), &st); err != nil {
		return err
	}
	if st.Ino != f.ino || st.Size < f.end {
		return fmt.Errorf("%s: replaced", f.path())
	}
	var b [HeaderSize]byte
	if _, err := f.f.ReadAt(b[:2*slotSize], 0); err != nil {
		return err
	}
	h, both, err := parseHeader(b[:])
	if err != nil || h.Gen != f.Header.Gen || !both {
		return ErrHeader
	}
	if st.Size > f.end {
		more := make([]byte, st.Size-f.end)
		n, err := f.f.ReadAt(more, f.end)
		if err != nil && err != io.EOF {
			return err
		}
		for more = more[:n]; ; {
			payload, n, ok := nextFrame(more, h.Gen)
			if !ok {
				break
			}
			if err := f.State.apply(payload); err != nil {
				return err
			}
			f.end += int64(n)
			more = more[n:]
		}
	}
	if f.end < h.Length {
		return ErrHeader
	}
	f.Header = h
	f.State.UIDNext = max(f.State.UIDNext, h.UIDNext)
	f.State.HighestModSeq = max(f.State.HighestModSeq, h.HighestModSeq)
	return nil
}

// writeHeader writes the next copy.
func (f *File) writeHeader() error {
	h := &f.Header
	h.Seq++
	now := Present()
	h.Written = now.Now.UnixNano()
	h.Boot = now.Boot
	var buf [slotSize]byte
	_, err := f.f.WriteAt(h.append(buf[:0]), int64(h.Seq%2)*slotSize)
	return err
}

// reserve makes the reservations cover next and seq, durably.
func (h *Header) reserve(next mailbox.UID, seq mailbox.ModSeq) bool {
	raised := false
	if next > h.UIDReserve || h.UIDReserve == 0 {
		h.UIDReserve = next + min(uidChunk, 1<<32-1-next)
		raised = true
	}
	if seq > h.ModSeqReserve {
		h.ModSeqReserve = seq + modSeqChunk
		raised = true
	}
	return raised
}

// ErrUIDs says that the folder has no UIDs left under this UIDVALIDITY.
var ErrUIDs = errors.New("out of UIDs")

// Prepare makes sure that UIDs below next and mod-sequences up to seq may be
// given out.
func (f *File) Prepare(next mailbox.UID, seq mailbox.ModSeq) error {
	if next >= 1<<32-2 {
		return ErrUIDs
	}
	if !f.Header.reserve(next, seq) {
		return nil
	}
	if err := f.writeHeader(); err != nil {
		return err
	}
	return f.f.Sync()
}

// Commit writes a transaction and the header with it. next and seq are UIDNext
// and HighestModSeq after it. If there is a State, the transaction is applied to it.
func (f *File) Commit(l *Log, next mailbox.UID, seq mailbox.ModSeq) error {
	if err := f.Prepare(next, seq); err != nil {
		return err
	}
	if l.Len() > 0 {
		if l.Len() > maxFrame {
			return fmt.Errorf("%s: transaction of %d bytes", f.path(), l.Len())
		}
		b := l.appendFrame(make([]byte, 0, frameHead+l.Len()), f.Header.Gen)
		if n, err := f.f.WriteAt(b, f.end); err != nil {
			if n > 0 {
				f.f.Truncate(f.end)
			}
			return err
		}
		// Something torn and longer may have been there.
		if f.State != nil {
			if err := f.State.apply(l.b); err != nil {
				return err
			}
			f.State.UIDNext = max(f.State.UIDNext, next)
			f.State.HighestModSeq = max(f.State.HighestModSeq, seq)
		}
		f.end += int64(len(b))
	}
	f.Header.Length = f.end
	f.Header.UIDNext = next
	f.Header.HighestModSeq = seq
	return f.writeHeader()
}

// Trim cuts off what follows the last intact transaction.
func (f *File) Trim() error {
	st, err := f.f.Stat()
	if err != nil || st.Size() == f.end {
		return err
	}
	return f.f.Truncate(f.end)
}

// Sync puts the index on stable storage.
func (f *File) Sync() error { return f.f.Sync() }

// Size is the length of the log.
func (f *File) Size() int64 { return f.end }

// Wasteful tells whether a rewrite would make the file much smaller. It waits for
// the disk, and for all that the file system has to write, so it is for a
// quiet moment unless must tells that it can wait no longer.
func (f *File) Wasteful() (yes, must bool) {
	dead := f.State.Dead
	return dead > 1000 && dead > 2*len(f.State.Messages), dead > 100_000 && dead > 8*len(f.State.Messages)
}

// NewState returns the state of an empty folder, its UIDs beginning at next.
func NewState(next mailbox.UID) *State {
	st := newState()
	st.UIDNext = max(1, next)
	return st
}

// Preload adds a message to a state that is about to be created; messages come
// by ascending UID.
func (st *State) Preload(m *mailbox.Message) { st.add(m) }

// PreloadKeyword makes a keyword known to such a state.
func (st *State) PreloadKeyword(k string) {
	if _, ok := st.Keyword(k); !ok && len(st.Keywords) < MaxKeywords && k != "" && len(k) <= MaxKeyword {
		st.Keywords = append(st.Keywords, k)
	}
}

// Create writes a new index, durably, in place of any that is there, and opens
// it. Of h, UIDValidity, ID, Recent and the directory times are taken; an ID of 0
// is chosen.
func (l Lock) Create(dir string, h Header, st *State) (*File, error) {
	f, err := create(dir, h, st, true)
	if err == nil {
		err = l.markKnown()
	}
	return f, err
}

// CreateSoon is Create for a UIDVALIDITY that is new and known, durably, to
// have been given out: should this index be lost, the next one has another. The caller makes
// it durable with Settle when there is time.
func (l Lock) CreateSoon(dir string, h Header, st *State) (*File, error) {
	f, err := create(dir, h, st, false)
	if err == nil {
		err = l.markKnown()
	}
	return f, err
}

// Settle makes an index of CreateSoon in dir durable. It needs no lock.
func (f *File) Settle(dir string) {
	if f.f.Sync() == nil {
		syncDir(dir)
	}
}

func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}

func create(dir string, h Header, st *State, durable bool) (*File, error) {
	h.Gen = rand.Uint64()
	if h.ID == 0 {
		h.ID = rand.Uint64() | 1
	}
	st.flush()
	b := st.snapshot(make([]byte, HeaderSize), h.Gen)
	h.UIDNext, h.HighestModSeq = st.UIDNext, st.HighestModSeq
	h.reserve(h.UIDNext, h.HighestModSeq)
	h.Length = int64(len(b))
	now := Present()
	h.Boot, h.Written = now.Boot, now.Now.UnixNano()
	h.Seq++
	h.append(b[int64(h.Seq%2)*slotSize : int64(h.Seq%2)*slotSize])
	h.Seq++
	h.append(b[int64(h.Seq%2)*slotSize : int64(h.Seq%2)*slotSize])

	tmp := fmt.Sprintf("%s/tmp/%s.%016x", dir, Name, rand.Uint64())
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, dir+"/"+Name)
	}
	if err != nil {
		f.Close()
		os.Remove(tmp)
		return nil, err
	}
	if durable {
		syncDir(dir)
	}
	n := &File{dir: dir, f: f, Header: h, State: st, end: h.Length}
	var fs unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &fs); err != nil {
		f.Close()
		return nil, err
	}
	n.ino = fs.Ino
	st.Dead = 0
	return n, nil
}

// Compact rewrites the file. The caller uses the returned File instead of f.
func (f *File) Compact() (*File, error) {
	n, err := create(f.dir, f.Header, f.State, true)
	if err == nil {
		f.Close()
	}
	return n, err
}
