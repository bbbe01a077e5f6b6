package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
	"posthaste/pkg/mbox/mboxio"
)

// journalName is the file beside an index in which a change of the mbox file is
// complete before it begins.
const journalName = "posthaste.journal"

// mboxFile is what a folder has that is an mbox file. Its index, cache and journal are
// in folder.dir. It is guarded by folder.mu.
type mboxFile struct {
	path  string
	user  *mboxUser
	inbox bool // may be missing, and then is empty

	file     *os.File // while the locks are held; nil if there is none
	readOnly bool     // file cannot be written
	unlock   func()
	lags     bool // the file may lack what the index has, and somebody may write it
}

// mboxLoc is where a message is and what its file says of it. It is in
// mailbox.Message.File, as hexadecimal numbers.
type mboxLoc struct {
	off, len int64
	sum      uint64 // mboxio.Message.Sum
	state    uint64 // flags in the file, and the bits below
	keywords uint32 // checksum of those in the file
}

const (
	locOld  = 1 << 8 // Status has O
	locUID  = 1 << 9 // X-UID is right
	locTidy = 1 << 10
)

func (l mboxLoc) String() string {
	b := make([]byte, 0, 64)
	for _, v := range [...]uint64{uint64(l.off), uint64(l.len), l.sum, l.state, uint64(l.keywords)} {
		b = append(strconv.AppendUint(b, v, 16), '-')
	}
	return string(b[:len(b)-1])
}

func parseLoc(s string) (l mboxLoc, ok bool) {
	var v [5]uint64
	for i := range v {
		word, rest, _ := strings.Cut(s, "-")
		n, err := strconv.ParseUint(word, 16, 64)
		if err != nil {
			return l, false
		}
		v[i], s = n, rest
	}
	return mboxLoc{int64(v[0]), int64(v[1]), v[2], v[3], uint32(v[4])}, s == "" && int64(v[0]) >= 0 && int64(v[1]) > 0
}

// loc of a message. What is damaged is nowhere, and so found gone.
func loc(m *mailbox.Message) mboxLoc {
	l, _ := parseLoc(m.File)
	return l
}

func (l mboxLoc) end() int64 { return l.off + l.len }

func keywordSum(kw []string) uint32 {
	if len(kw) == 0 {
		return 0
	}
	return crc32.ChecksumIEEE([]byte(strings.Join(kw, " ")))
}

// locOf is the location of a message that was found, with that UID.
func locOf(e *mboxio.Message, u mailbox.UID) mboxLoc {
	l := mboxLoc{e.Off, e.End - e.Off, e.Sum, uint64(e.Flags), keywordSum(cleanKeywords(e.Keywords))}
	if e.Old {
		l.state |= locOld
	}
	if e.UID == uint32(u) {
		l.state |= locUID
	}
	if e.Tidy {
		l.state |= locTidy
	}
	return l
}

// cleanKeywords puts a field's keywords in order.
func cleanKeywords(kw []string) []string {
	if len(kw) == 0 {
		return nil
	}
	return sortedKeywords(slices.Clone(kw))
}

// current is the location of a message whose fields in the file are what the index says.
func (l mboxLoc) current(m *mailbox.Message) mboxLoc {
	l.state = uint64(m.Flags) | locOld | locUID | locTidy
	l.keywords = keywordSum(m.Keywords)
	return l
}

// dirty tells whether the file says something else than the index.
func (l mboxLoc) dirty(m *mailbox.Message) bool {
	return l.state&^locTidy != uint64(m.Flags)|locOld|locUID || l.keywords != keywordSum(m.Keywords)
}

// mboxStamp tells whether the file is the one that the index describes. partial: only
// its end was looked at when it had grown.
type mboxStamp struct {
	mtime, size int64
	ino         uint64
	partial     bool
}

// The header has room for two directories' times; an mbox has one file.
func (s mboxStamp) store(h *index.Header, now time.Time) {
	h.New, h.Cur, h.NewLooked, h.CurLook = s.mtime, s.size+1, now.UnixNano(), int64(s.ino<<1)
	if s.partial {
		h.CurLook |= 1
	}
}

func stampIn(h *index.Header) mboxStamp {
	return mboxStamp{h.New, h.Cur - 1, uint64(h.CurLook) >> 1, h.CurLook&1 != 0}
}

func (s mboxStamp) same(t mboxStamp) bool {
	return s.mtime == t.mtime && s.size == t.size && s.ino == t.ino
}

func stampFrom(st *unix.Stat_t) mboxStamp {
	return mboxStamp{mtime: st.Mtim.Nano(), size: st.Size, ino: st.Ino << 1 >> 1}
}

// noFile is the stamp of a file that is not there.
var noFile = mboxStamp{mtime: 1}

func (b *mboxFile) stat() (mboxStamp, error) {
	var st unix.Stat_t
	err := unix.Stat(b.path, &st)
	if err == unix.ENOENT && b.inbox {
		return noFile, nil
	}
	if err != nil {
		return mboxStamp{}, &os.PathError{Op: "stat", Path: b.path, Err: err}
	}
	return stampFrom(&st), nil
}

// mboxFresh tells whether there is nothing to take in. f.mu is held.
func (f *folder) mboxFresh() bool {
	s, err := f.mb.stat()
	h := &f.idx.Header
	stale, _ := f.idx.Stale()
	return err == nil && !stale && !f.idx.Lost && s.same(stampIn(h)) && !f.m.due(h.New, h.NewLooked, time.Now()) && !mboxio.Pending(f.journal())
}

func (f *folder) journal() string { return f.dir + "/" + journalName }

// enter opens the file and takes the locks that mail programs respect. The
// dotlock is left out where its directory cannot be written, if there is a lock in the
// kernel, too. f.mu and the index's lock are held.
func (b *mboxFile) enter() error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	lock := b.user.lock()
	unlock := func() {}
	if _, err := os.Stat(b.path); err == nil && lock.Methods&filelock.Dotlock != 0 {
		u, err := filelock.Dot(ctx, b.path, lock)
		switch {
		case err == nil:
			unlock = u
		case errors.Is(err, filelock.ErrBusy) || errors.Is(err, context.DeadlineExceeded):
			return index.ErrLocked
		case lock.Methods == filelock.Dotlock:
			return err
		}
	}
	f, err := openMbox(b.path, os.O_RDWR)
	b.readOnly = false
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		b.readOnly = true
		f, err = openMbox(b.path, os.O_RDONLY)
	}
	if errors.Is(err, fs.ErrNotExist) && b.inbox {
		b.file, b.unlock = nil, unlock
		return nil
	}
	if err == nil {
		if err = filelock.Handle(ctx, f, lock, b.readOnly); err != nil {
			f.Close()
			if errors.Is(err, filelock.ErrBusy) || errors.Is(err, context.DeadlineExceeded) {
				err = index.ErrLocked
			}
		}
	}
	if err != nil {
		unlock()
		return err
	}
	b.file, b.unlock = f, unlock
	return nil
}

// openMbox opens a plain file, without a trace in its time of access if
// possible: mail programs tell by it whether there is new mail.
func openMbox(path string, how int) (*os.File, error) {
	how |= unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	fd, err := unix.Open(path, how|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, how, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: not a plain file", path)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (b *mboxFile) leave() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	if b.unlock != nil {
		b.unlock()
		b.unlock = nil
	}
}

// create makes the missing file, for the first message.
func (b *mboxFile) create() error {
	if b.file != nil {
		return nil
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err == nil {
		f.Close()
	}
	b.leave()
	if err := b.enter(); err != nil {
		return err
	}
	if b.file == nil {
		return &os.PathError{Op: "open", Path: b.path, Err: fs.ErrNotExist}
	}
	return nil
}

// writers tells whether a session has the folder open that may write. f.mu is held.
func (f *folder) writers() bool {
	for b := range f.boxes {
		if !b.readOnly {
			return true
		}
	}
	return false
}

// touched notes what the file is after we looked at it or wrote it, with its
// locks still held. A time of change so recent that another program's change could
// have the same is replaced by one of a nanosecond that no other program sets; the
// time of access stays.
func (f *folder) touched(partial bool) error {
	b := f.mb
	if b.file == nil {
		noFile.store(&f.idx.Header, time.Now())
		return nil
	}
	fd := int(b.file.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	now := time.Now()
	if unsure(st.Mtim.Nano(), now.UnixNano()) && !b.readOnly {
		ts := []unix.Timespec{st.Atim, unix.NsecToTimespec(now.UnixNano() | 1)}
		if unix.UtimesNanoAt(unix.AT_FDCWD, b.path, ts, 0) == nil {
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			// Nothing can have the same time by chance.
			now = now.Add(racyOld)
		}
	}
	s := stampFrom(&st)
	s.partial = partial
	s.store(&f.idx.Header, now)
	if unsure(s.mtime, now.UnixNano()) {
		f.m.recheck(f)
	}
	return nil
}
