// Package store shows Maildir++ and mbox files to readers: it implements package
// mailbox on them with an index for each folder (package index). What it keeps
// where, the locks, and the rules that hold at any time are in
// docs/internals/mailstore.md and, for mbox, docs/internals/mbox.md. What sessions
// share about a folder is the same for both; folder.mb tells them apart.
package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

// Manager shares folders among the sessions of a process. A process has one.
type Manager struct {
	o       Options
	host    string
	tag     string // makes names unique among processes
	deliver maildir.Store
	settle  time.Duration

	mu       sync.Mutex
	folders  map[string]*folder // by directory
	idle     int
	prune    *time.Timer
	lastName int64
	closed   bool
	watcher  *fsnotify.Watcher
	watching bool
	stop     chan struct{}
	done     sync.WaitGroup
}

// Options are for all stores of a Manager.
type Options struct {
	// Host is the name that ends the names of new files; "" for the system's.
	Host string
	// Syncfs: see durable.Options.
	Syncfs string
	// Poll is how often watched folders are looked at all the same, 0 for 30 s.
	Poll time.Duration
	// Create lists the folders that the first login makes and subscribes to;
	// nil for DefaultFolders.
	Create []mailbox.Folder
	// Locks says how mbox files are locked: Methods and Stale count; the zero value
	// is fcntl and dotlock.
	Locks filelock.Options
	// MboxLimit is the size in bytes that an mbox file must not exceed by an append,
	// 0 for none.
	MboxLimit int64
	// Warn is told of what an administrator should know; may be nil.
	Warn func(format string, args ...any)
}

// DefaultFolders are the folders of a new user.
var DefaultFolders = []mailbox.Folder{
	{Name: "Drafts", Use: mailbox.UseDrafts},
	{Name: "Junk", Use: mailbox.UseJunk},
	{Name: "Sent", Use: mailbox.UseSent},
	{Name: "Trash", Use: mailbox.UseTrash},
}

// UserOptions are for one store.
type UserOptions struct {
	QuotaBytes    int64 // 0 for what an existing maildirsize file says
	QuotaMessages int64
}

const (
	idleFolders = 16               // kept open for those who come back
	idleTime    = 60 * time.Second // so long
	defaultPoll = 30 * time.Second
	quiet       = 5 * time.Millisecond // events that come together are looked at together
)

// NewManager returns a Manager. It reads the system's boot id, so it is to be
// called before a sandbox hides /proc.
func NewManager(o Options) (*Manager, error) {
	m := &Manager{o: o, host: o.Host, folders: map[string]*folder{}, stop: make(chan struct{}), settle: settle}
	if m.host == "" {
		var err error
		if m.host, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	m.host = maildir.EscapeHost(m.host)
	m.tag = fmt.Sprintf("P%dR%08x", os.Getpid(), rand.Uint32())
	m.deliver.Syncfs = o.Syncfs
	if m.o.Poll <= 0 {
		m.o.Poll = defaultPoll
	}
	if m.o.Create == nil {
		m.o.Create = DefaultFolders
	}
	index.Present()
	return m, nil
}

func (m *Manager) logf(format string, args ...any) {
	if m.o.Warn != nil {
		m.o.Warn(format, args...)
	}
}

// uniqueName makes the unique part of a file name. Names of one process ascend.
func (m *Manager) uniqueName() string {
	m.mu.Lock()
	t := max(time.Now().UnixMicro(), m.lastName+1)
	m.lastName = t
	m.mu.Unlock()
	return fmt.Sprintf("%d.M%06d%s.%s", t/1e6, t%1e6, m.tag, m.host)
}

// Open opens the Maildir at root, an absolute path; it is made if it is missing.
func (m *Manager) Open(root string, o UserOptions) (mailbox.Store, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("maildir %s: not an absolute path", root)
	}
	s := &userStore{m: m, root: filepath.Clean(root)}
	if err := maildir.Make(s.root); err != nil {
		return nil, err
	}
	if err := s.setup(); err != nil {
		return nil, err
	}
	if o.QuotaBytes > 0 || o.QuotaMessages > 0 {
		if err := maildir.SetQuota(s.root, o.QuotaBytes, o.QuotaMessages); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close ends watching and lets go of the folders. Stores must be closed.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	close(m.stop)
	if m.watcher != nil {
		m.watcher.Close()
	}
	if m.prune != nil {
		m.prune.Stop()
	}
	var all []*folder
	for _, f := range m.folders {
		all = append(all, f)
	}
	m.mu.Unlock()
	m.done.Wait()
	for _, f := range all {
		f.mu.Lock()
		f.flushFacts()
		f.closeCache()
		f.drop()
		f.mu.Unlock()
	}
	return nil
}

// byName finds a folder of the Maildir at root. The caller releases it.
func (m *Manager) byName(root, name string) (*folder, error) {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return nil, err
	}
	dir, err := folderDir(root, name)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(dir + "/cur"); err != nil || !st.IsDir() {
		if st, derr := os.Stat(dir); derr != nil || !st.IsDir() {
			return nil, mailbox.ErrNotFound
		}
		if err := maildir.Make(dir); err != nil {
			return nil, err
		}
	}
	return m.get(root, dir, nil), nil
}

// get returns the folder whose directory is dir; mb is for one that is new to this process.
func (m *Manager) get(root, dir string, mb *mboxFile) *folder {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.folders[dir]
	if f == nil {
		f = &folder{m: m, key: dir, root: root, mb: mb, boxes: map[*box]struct{}{}}
		f.moved(dir)
		m.folders[dir] = f
	} else if f.refs == 0 {
		m.idle--
	}
	f.refs++
	return f
}

// release ends a use of the folder. It stays open for a while.
func (m *Manager) release(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.refs--
	if f.refs > 0 {
		return
	}
	if f.watched {
		f.watched = false
		m.unwatch(f)
	}
	if m.folders[f.key] != f || m.closed {
		m.closeLater(f) // replaced: nobody finds it again
		return
	}
	f.idle = time.Now()
	m.idle++
	if m.idle > idleFolders {
		m.closeIdle(time.Time{}, idleFolders)
	}
	if m.prune == nil {
		m.prune = time.AfterFunc(idleTime, m.pruneIdle)
	}
}

// soon runs fn beside what the sessions do. Close waits for it.
func (m *Manager) soon(fn func()) {
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.done.Go(fn)
	}
	m.mu.Unlock()
	if closed {
		fn()
	}
}

// closeLater closes a folder without m.mu, which is held. Close waits for that,
// or does it itself.
func (m *Manager) closeLater(f *folder) {
	if m.closed {
		go f.close()
		return
	}
	m.done.Go(f.close)
}

func (f *folder) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushFacts()
	f.closeCache()
	f.drop()
	f.view = nil
}

func (m *Manager) pruneIdle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune = nil
	if m.closed {
		return
	}
	m.closeIdle(time.Now().Add(-idleTime), 0)
	if m.idle > 0 {
		m.prune = time.AfterFunc(idleTime, m.pruneIdle)
	}
}

// closeIdle closes unused folders, the oldest first, that have been idle since
// before, or until only keep are left. m.mu is held.
func (m *Manager) closeIdle(before time.Time, keep int) {
	for m.idle > keep {
		var oldest *folder
		for _, f := range m.folders {
			if f.refs == 0 && (oldest == nil || f.idle.Before(oldest.idle)) {
				oldest = f
			}
		}
		if oldest == nil || !before.IsZero() && oldest.idle.After(before) {
			return
		}
		delete(m.folders, oldest.key)
		m.idle--
		m.closeLater(oldest)
	}
}

// forget makes f unknown, because its directory is another's now or no more.
// m.mu is held.
func (m *Manager) forget(f *folder) {
	if m.folders[f.key] == f {
		delete(m.folders, f.key)
		if f.refs == 0 {
			m.idle--
		}
	}
}

// below returns the folders at dir and, for a Maildir++ folder, its children. m.mu is held.
func (m *Manager) below(dir string) (list []*folder) {
	for k, f := range m.folders {
		if k == dir || strings.HasPrefix(k, dir+".") {
			list = append(list, f)
		}
	}
	return list
}
