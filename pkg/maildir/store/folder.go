package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

const (
	lockWait = 20 * time.Second
	// lockPause is between attempts at the lock of an mbox file.
	lockPause = 20 * time.Millisecond
	// racy is how far apart a directory's last change and our look at it have to
	// be before the same modification time means the same content: times of
	// files advance with the kernel's tick, or whole seconds on old file systems.
	racy    = 20 * time.Millisecond
	racyOld = 2100 * time.Millisecond
	// settle is how long after an uncertain look the next one is taken.
	settle = time.Second
)

// folder is what the sessions of this process have in common about one
// directory.
type folder struct {
	m   *Manager
	key string // in Manager.folders

	at atomic.Pointer[string] // dir, for those who do not hold mu

	mu      sync.Mutex
	dir     string
	root    string
	idx     *index.File
	view    *mailbox.View
	let     letters
	letSeen fileStamp
	boxes   map[*box]struct{}
	force   bool // scan at the next check
	again   bool // the scan under way saw a file come and go: scan once more
	merges  int  // how often something of others was taken in
	gone    bool
	cache   *cache
	facts   map[mailbox.UID]fact // found out, not written yet
	mb      *mboxFile            // if the messages are in an mbox file; nil for a Maildir

	// Guarded by Manager.mu.
	refs     int
	idle     time.Time
	watched  bool
	watching []string // paths
	recheck  bool
}

// fileStamp tells whether a file is the one that was read.
type fileStamp struct{ ino, size, mtime int64 }

func stampOf(path string) fileStamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileStamp{}
	}
	return fileStamp{int64(st.Ino), st.Size, st.Mtim.Nano()}
}

func mtime(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Mtim.Nano(), nil
}

// unsure tells whether a directory may have changed since looked without
// another modification time.
func unsure(mtime, looked int64) bool {
	d := time.Duration(looked - mtime)
	return d < racy || mtime%1e9 == 0 && d < racyOld
}

// due tells whether an unsure directory is to be looked at again.
func (m *Manager) due(mtime, looked int64, now time.Time) bool {
	return unsure(mtime, looked) && now.UnixNano()-looked > int64(m.settle)
}

// check brings the folder's view to the present. f.mu is held.
func (f *folder) check() error {
	if f.gone {
		return mailbox.ErrOtherView
	}
	if f.idx != nil && !f.force {
		if f.mb != nil {
			if f.mboxFresh() {
				return nil
			}
			return f.locked(func() error { return nil })
		}
		n, err1 := mtime(f.dir + "/new")
		c, err2 := mtime(f.dir + "/cur")
		stale, _ := f.idx.Stale()
		h, now := &f.idx.Header, time.Now()
		if err1 == nil && err2 == nil && !stale && !f.idx.Lost && n == h.New && c == h.Cur &&
			!f.m.due(h.New, h.NewLooked, now) && !f.m.due(h.Cur, h.CurLook, now) {
			return nil
		}
	}
	return f.locked(func() error { return nil })
}

// locked runs fn with the index's lock, everything that others did taken in,
// and then shows the sessions what fn did. f.mu is held.
func (f *folder) locked(fn func() error) error {
	if f.gone {
		return mailbox.ErrOtherView
	}
	known := f.idx != nil || index.Known(f.dir)
	l, err := index.Acquire(f.dir, lockWait)
	if err != nil {
		return f.trouble(err)
	}
	defer l.Release()
	if f.mb != nil {
		if err := f.mb.enter(); err != nil {
			return f.trouble(err)
		}
		defer f.mb.leave()
	}
	if err := f.bring(l, known); err != nil {
		f.drop()
		return f.trouble(err)
	}
	err = f.reconcile()
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// Nothing was written, and nothing forgotten: what came can be taken in
		// later. Who wants to remove messages must be able to.
		f.force, err = true, nil
	}
	if err == nil {
		err = fn()
	}
	if err == nil {
		if _, must := f.idx.Wasteful(); must {
			err = f.rewrite()
		}
	}
	f.publish()
	if err != nil {
		// What the log says and what is in memory may differ now.
		var soft softError
		if !errors.As(err, &soft) {
			f.drop()
		}
		return f.trouble(err)
	}
	return nil
}

// rewrite leaves out of the index what is no more. The lock is held.
func (f *folder) rewrite() error {
	n, err := f.idx.Compact()
	if err == nil {
		f.idx = n
	}
	return err
}

// tidy rewrites the index if that is worth it and no session has the folder open.
func (f *folder) tidy() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idx == nil || f.gone || len(f.boxes) > 0 {
		return
	}
	f.locked(func() error {
		if yes, _ := f.idx.Wasteful(); !yes {
			return nil
		}
		return f.rewrite()
	})
}

// softError wraps an error that left the index as it should be.
type softError struct{ error }

func (e softError) Unwrap() error { return e.error }

// trouble names the errors that clients are told of.
func (f *folder) trouble(err error) error {
	switch {
	case err == index.ErrLocked:
		return mailbox.ErrBusy
	case errors.Is(err, fs.ErrNotExist):
		if f.mb == nil && !exists(f.dir) || f.mb != nil && !f.mb.inbox && !exists(f.mb.path) {
			f.gone = true
			f.wake()
			return fmt.Errorf("%w: %w", mailbox.ErrOtherView, err)
		}
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", mailbox.ErrQuota, err)
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// drop forgets the index, so that it is read anew.
func (f *folder) drop() {
	if f.idx != nil {
		f.idx.Close()
		f.idx = nil
	}
}

// bring makes f.idx what the file says.
func (f *folder) bring(l index.Lock, known bool) error {
	if f.idx != nil {
		stale, _ := f.idx.Stale()
		if !stale {
			return nil
		}
		f.merges++
		if f.idx.Refresh() == nil {
			return f.idx.Trim()
		}
		f.drop()
	}
	f.merges++
	idx, err := index.Load(f.dir)
	if err == nil && idx.State.UIDNext < 1<<32-1024 {
		f.idx = idx
		for _, m := range idx.State.Messages {
			if m.Place == index.Tmp {
				f.force = true // the writer died; merge completes its work
				break
			}
		}
		f.cleanTmp()
		return idx.Trim()
	}
	if err == nil {
		idx.Close()
		known = true // out of UIDs
	} else if errors.Is(err, fs.ErrNotExist) {
		if f.mb == nil {
			_, err = os.Stat(f.dir + "/cur")
		} else {
			_, err = os.Stat(f.dir + "/tmp")
		}
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrPermission) {
		known = true
	} else {
		return err
	}
	return f.build(l, known)
}

// tmpAge is when a file in tmp/ is one that its writer has given up, as the
// format says.
const tmpAge = 36 * time.Hour

// cleanTmp removes what killed writers left. Committed messages on their way
// to cur/ stay.
func (f *folder) cleanTmp() {
	if f.mb != nil {
		os.Remove(f.journal() + ".new") // its writer would have the lock
	}
	list, err := os.ReadDir(f.dir + "/tmp")
	if err != nil || f.force || len(list) == 0 {
		return
	}
	for _, e := range list {
		// Not the modification time: an append sets that to the message's date.
		var st unix.Stat_t
		path := f.dir + "/tmp/" + e.Name()
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && time.Since(time.Unix(st.Ctim.Unix())) > tmpAge {
			os.Remove(path)
		}
	}
}

// publish shows the state to the sessions if it is another.
func (f *folder) publish() {
	if f.idx == nil {
		return
	}
	st, v := f.idx.State, f.view
	if v != nil && v.UIDValidity == f.idx.Header.UIDValidity && v.HighestModSeq == st.HighestModSeq && v.UIDNext == st.UIDNext &&
		len(v.Messages) == len(st.Messages) && len(v.Keywords) == len(st.Keywords) && (len(v.Messages) == 0 || &v.Messages[0] == &st.Messages[0]) {
		return
	}
	f.view = st.View(f.idx.Header.UIDValidity)
	f.wake()
}

func (f *folder) wake() {
	for b := range f.boxes {
		b.poke()
	}
}

// commit writes a transaction. seq is the highest mod-sequence it gave.
func (f *folder) commit(l *index.Log, next mailbox.UID, seq mailbox.ModSeq) error {
	st := f.idx.State
	return f.idx.Commit(l, max(next, st.UIDNext), max(seq, st.HighestModSeq))
}

// looked notes the directories' times after we changed them ourselves: what is
// in them is what the log says. The times are recent, so that another look follows.
func (f *folder) looked(n, c bool) {
	h := &f.idx.Header
	now := time.Now().UnixNano()
	if n && h.New != 0 {
		if t, err := mtime(f.dir + "/new"); err == nil {
			h.New, h.NewLooked = t, now
		}
	}
	if c && h.Cur != 0 {
		if t, err := mtime(f.dir + "/cur"); err == nil {
			h.Cur, h.CurLook = t, now
		}
	}
	f.m.recheck(f)
}

// where is the directory. It may be renamed at any time by another session.
func (f *folder) where() string { return *f.at.Load() }

func (f *folder) moved(dir string) {
	f.dir = dir
	f.at.Store(&dir)
	if f.idx != nil {
		f.idx.Moved(dir)
	}
}

// path of a message's file.
func (f *folder) path(m *mailbox.Message) string {
	return f.where() + "/" + placeName(m.Place) + "/" + m.File
}

func placeName(p uint8) string {
	switch p {
	case index.New:
		return "new"
	case index.Tmp:
		return "tmp"
	}
	return "cur"
}

// loadLetters reads dovecot-keywords if it is another than before. Other
// letters mean that flags in file names have another meaning.
func (f *folder) loadLetters() {
	path := f.dir + "/dovecot-keywords"
	s := stampOf(path)
	if s == f.letSeen {
		return
	}
	f.letSeen = s
	file, err := os.Open(path)
	if err != nil {
		f.let = letters{}
		return
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, 64<<10))
	if err == nil {
		f.let = parseKeywords(b)
	}
}

// assignLetters gives keywords letters, as long as there are some.
func (f *folder) assignLetters(kw []string) error {
	f.loadLetters()
	changed := false
	for _, k := range kw {
		if !f.let.shows(k) && f.let.assign(k) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return f.saveLetters()
}

func (f *folder) saveLetters() error {
	if err := writeFile(f.dir, "dovecot-keywords", f.let.format()); err != nil {
		f.letSeen = fileStamp{}
		f.loadLetters()
		return err
	}
	f.letSeen = stampOf(f.dir + "/dovecot-keywords")
	return nil
}

// writeFile replaces a small file of the folder, durably.
func writeFile(dir, name string, b []byte) error {
	return replaceFile(dir+"/tmp", dir+"/"+name, b)
}

// replaceFile writes a file in a directory for temporary files and renames it into place.
func replaceFile(tmpDir, path string, b []byte) error {
	tmp, err := os.CreateTemp(tmpDir, filepath.Base(path)+".")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
