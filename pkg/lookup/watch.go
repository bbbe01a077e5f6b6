package lookup

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// checkEvery is how often a table may look whether its file changed. A program
// must not see an old version long after another has acted on the new one: mail
// that smtpd took for a new address would be bounced by the program that
// delivers it. An fstat costs 0.2 µs.
var checkEvery = int64(2 * time.Millisecond)

// retryEvery is how often a table that could not be opened is tried again.
var retryEvery = int64(time.Second)

// stamp identifies a version of a file.
type stamp struct {
	dev, ino, nlink uint64
	size            int64
	mtime, ctime    syscall.Timespec
}

func stampOf(st *syscall.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, uint64(st.Nlink), st.Size, st.Mtim, st.Ctim}
}

// same compares the versions, but for what renaming a link changes.
func (s stamp) same(o stamp) bool {
	return s.dev == o.dev && s.ino == o.ino && s.size == o.size && s.mtime == o.mtime
}

// watch notices, at most once in checkEvery, that an open file was changed or
// replaced. It asks the descriptor, not the name: that works inside a chroot or
// a sandbox too.
type watch struct {
	path  string
	f     *os.File
	was   stamp
	next  atomic.Int64 // unix nanoseconds
	stale atomic.Bool  // Stale has been called
}

func newWatch(path string, f *os.File) (*watch, error) {
	w := &watch{path: path, f: f}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	w.was = stampOf(&st)
	w.next.Store(time.Now().UnixNano() + checkEvery)
	return w, nil
}

// changed says whether it is time to look, and the file is not what path
// names any more, or has new content. gone is set when path cannot be reached.
func (w *watch) changed() (yes, gone bool) {
	now := time.Now().UnixNano()
	next := w.next.Load()
	if now < next || !w.next.CompareAndSwap(next, now+checkEvery) {
		return false, false
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(w.f.Fd()), &st); err != nil {
		return true, true
	}
	s := stampOf(&st)
	if s == w.was {
		return false, false
	}
	var at syscall.Stat_t
	if err := syscall.Stat(w.path, &at); err != nil {
		// Only a link count or an owner may have changed; then nothing is lost.
		return s.nlink < w.was.nlink || !s.same(w.was), true
	}
	return !stampOf(&at).same(w.was), false
}
