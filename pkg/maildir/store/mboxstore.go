package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// MboxLocation is where a user's mbox files are.
type MboxLocation struct {
	Root  string // directory of the folders; made if it is missing
	Inbox string // file; "" for Root/inbox. It need not exist.
}

// controlDir, in the root, has a directory with index, cache and journal for each folder.
const controlDir = ".posthaste"

// mboxSubs is the file of the subscriptions, as Dovecot names it for mbox.
const mboxSubs = ".subscriptions"

// mboxUser is what the sessions of a user have in common. It is not changed.
type mboxUser struct {
	loc     MboxLocation
	control string
	locks   filelock.Options
	limit   int64
	quota   UserOptions
}

func (u *mboxUser) lock() *filelock.Options { return &u.locks }

func lockContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), lockWait)
}

// mboxStore is one session's access to a user's mbox files. Folders are files below the
// root, their names in modified UTF-7, in directories by level. So a folder has
// messages or children, never both; INBOX may have both.
type mboxStore struct {
	userStore // its root is the control directory
	u         *mboxUser
}

// OpenMbox opens a user's mbox files; paths are absolute. The directory of the
// folders is made if it is missing, INBOX by the first message.
func (m *Manager) OpenMbox(loc MboxLocation, o UserOptions) (mailbox.Store, error) {
	if loc.Inbox == "" {
		loc.Inbox = loc.Root + "/inbox"
	}
	if !filepath.IsAbs(loc.Root) || !filepath.IsAbs(loc.Inbox) {
		return nil, fmt.Errorf("mbox %s, %s: not an absolute path", loc.Root, loc.Inbox)
	}
	loc.Root, loc.Inbox = filepath.Clean(loc.Root), filepath.Clean(loc.Inbox)
	u := &mboxUser{loc: loc, control: loc.Root + "/" + controlDir, locks: m.mboxLocks(), limit: m.o.MboxLimit, quota: o}
	if err := os.MkdirAll(u.control+"/tmp", 0o700); err != nil {
		return nil, err
	}
	s := &mboxStore{userStore: userStore{m: m, root: u.control}, u: u}
	s.sweep()
	return s, s.setup()
}

// mboxLocks are Options.Locks, tried as often as sessions wait.
func (m *Manager) mboxLocks() filelock.Options {
	o := m.o.Locks
	if o.Methods == 0 {
		o.Methods = filelock.Fcntl | filelock.Dotlock
	}
	o.Delay, o.Sign = lockPause, true
	o.Attempts = int(lockWait / lockPause)
	return o
}

// setup makes the folders of a new user.
func (s *mboxStore) setup() error {
	if exists(s.root + "/" + usesFile) {
		return nil
	}
	return s.exclusive(func() error {
		if exists(s.root + "/" + usesFile) {
			return nil
		}
		names, err := s.names()
		if err != nil {
			return err
		}
		subs, err := s.subscriptions()
		if err != nil {
			return err
		}
		uses := map[string]mailbox.SpecialUse{}
		for _, c := range s.m.o.Create {
			name, err := mailbox.CheckName(c.Name)
			if err != nil {
				return fmt.Errorf("folder %q: %w", c.Name, err)
			}
			if _, ok := names[name]; !ok {
				if err := s.make(name, names); err != nil {
					s.m.logf("folder %s of a new user: %v", name, err)
					continue
				}
				subs = append(subs, name)
			}
			uses[name] = c.Use
		}
		if err := s.writeSubscriptions(subs); err != nil {
			return err
		}
		return s.writeUses(uses)
	})
}

// path of a folder's file, whose name has been checked.
func (s *mboxStore) path(name string) (string, error) {
	if name == mailbox.Inbox {
		return s.u.loc.Inbox, nil
	}
	levels := strings.Split(name, "/")
	coded := make([]string, len(levels))
	for i, l := range levels {
		coded[i] = mailbox.EncodeUTF7(l, "")
		if coded[i][0] == '.' || len(coded[i]) > 255-len(".lock") || strings.HasSuffix(coded[i], ".lock") {
			return "", mailbox.ErrName
		}
	}
	path := s.u.loc.Root + "/" + strings.Join(coded, "/")
	if raw := s.u.loc.Root + "/" + name; raw != path && !exists(path) && exists(raw) {
		return raw, nil
	}
	return path, nil
}

// indexDir is where a folder's index is: one directory, whatever its level.
func (s *mboxStore) indexDir(name string) (string, error) {
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = mailbox.EncodeUTF7(l, ".")
	}
	base := strings.Join(levels, ".")
	if len(base) > 255 {
		return "", mailbox.ErrName
	}
	return s.root + "/=" + base, nil
}

// names lists the files that are folders, by name; directories are not among them.
func (s *mboxStore) names() (map[string]string, error) {
	m := map[string]string{mailbox.Inbox: s.u.loc.Inbox}
	return m, s.walk(s.u.loc.Root, "", 0, m)
}

func (s *mboxStore) walk(dir, prefix string, depth int, m map[string]string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		if depth > 0 && (isNotExist(err) || errors.Is(err, fs.ErrPermission)) {
			return nil
		}
		return err
	}
	for _, e := range list {
		base := e.Name()
		if base[0] == '.' || strings.HasSuffix(base, ".lock") || len(m) > 100_000 {
			continue
		}
		level, err := mailbox.DecodeUTF7(base)
		if err != nil {
			level = base
		}
		name, err := mailbox.CheckName(prefix + level)
		if err != nil || strings.Contains(level, "/") {
			continue
		}
		path := dir + "/" + base
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			st, err := os.Stat(path)
			if err != nil || st.IsDir() { // a link to a directory could lead round in circles
				continue
			}
			mode = st.Mode().Type()
		}
		switch {
		case mode.IsDir() && depth < mailbox.MaxLevels:
			if err := s.walk(path, name+"/", depth+1, m); err != nil {
				return err
			}
		case mode.IsRegular() && m[name] == "" && path != s.u.loc.Inbox:
			m[name] = path
		}
	}
	return nil
}

// subscriptions reads Dovecot's file: lines with "/" between levels, or, after a line
// "V\t2", with tabs.
func (s *mboxStore) subscriptions() ([]string, error) {
	f, err := os.Open(s.u.loc.Root + "/" + mboxSubs)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSubscriptions(bufio.NewScanner(f), "/")
}

func (s *mboxStore) writeSubscriptions(names []string) error {
	return replaceFile(s.root+"/tmp", s.u.loc.Root+"/"+mboxSubs, formatSubscriptions(names, ""))
}

// folder finds a folder. The caller releases it.
func (s *mboxStore) folder(name string) (*folder, string, error) {
	if s.closed {
		return nil, "", mailbox.ErrClosed
	}
	name, err := mailbox.CheckName(name)
	if err != nil {
		return nil, "", err
	}
	path, err := s.path(name)
	if err != nil {
		return nil, "", err
	}
	if name != mailbox.Inbox {
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			if err != nil && !isNotExist(err) && !errors.Is(err, unix.ENOTDIR) {
				return nil, "", err
			}
			return nil, "", mailbox.ErrNotFound
		}
	}
	f, err := s.at(name, path)
	return f, name, err
}

// at is folder for a file that is known.
func (s *mboxStore) at(name, path string) (*folder, error) {
	dir, err := s.indexDir(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir+"/tmp", 0o700); err != nil {
		return nil, err
	}
	f := s.m.get(s.root, dir, &mboxFile{path: path, user: s.u, inbox: name == mailbox.Inbox})
	f.mu.Lock()
	f.mb.user = s.u // the quota may be another than at an earlier session's login
	f.mu.Unlock()
	return f, nil
}

func (s *mboxStore) List() ([]mailbox.Folder, error) {
	if s.closed {
		return nil, mailbox.ErrClosed
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	subs, err := s.subscriptions()
	if err != nil {
		return nil, err
	}
	return listFolders(names, subs, s.uses()), nil
}

func (s *mboxStore) Open(name string, readOnly bool) (mailbox.Mailbox, error) {
	f, name, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	return s.openBox(f, name, readOnly)
}

func (s *mboxStore) Status(name string, sizes bool) (mailbox.Status, error) {
	f, _, err := s.folder(name)
	if err != nil {
		return mailbox.Status{}, err
	}
	return s.status(f, sizes)
}

func (s *mboxStore) Append(name string) (mailbox.Appender, error) {
	f, _, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	return &appender{f: f}, nil
}

func (s *mboxStore) Create(name string, use mailbox.SpecialUse) error {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return err
	}
	if name == mailbox.Inbox {
		return mailbox.ErrExists
	}
	return s.exclusive(func() error {
		names, err := s.names()
		if err != nil {
			return err
		}
		if use != mailbox.UseNone {
			if err := s.giveUse(name, use, names); err != nil {
				return err
			}
		}
		return s.make(name, names)
	})
}

// make makes an empty file, and the directories above it.
func (s *mboxStore) make(name string, names map[string]string) error {
	if names[name] != "" {
		return mailbox.ErrExists
	}
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() && !removeEmpty(path) {
		return fmt.Errorf("%w: it has children, and so cannot have messages in the mbox format", mailbox.ErrName)
	}
	dir, err := s.indexDir(name)
	if err != nil {
		return err
	}
	for p := parent(name); p != ""; p = parent(p) {
		if names[p] != "" && p != mailbox.Inbox {
			return fmt.Errorf("%w: %s has messages, and so cannot have children in the mbox format", mailbox.ErrName, p)
		}
	}
	// What another folder of that name left is not this one's.
	if exists(dir) {
		if err := s.discard(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return mailbox.ErrExists
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// removeEmpty removes directories without files.
func removeEmpty(path string) bool {
	list, err := os.ReadDir(path)
	if err != nil {
		return false
	}
	for _, e := range list {
		if !e.IsDir() || !removeEmpty(path+"/"+e.Name()) {
			return false
		}
	}
	return os.Remove(path) == nil
}

// discard makes the index in dir one that no folder has.
func (s *mboxStore) discard(dir string) error {
	return os.Rename(dir, fmt.Sprintf("%s/%sdeleted.%016x", s.root, inside, rand.Uint64()))
}

func (s *mboxStore) Delete(name string) error {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return err
	}
	if name == mailbox.Inbox {
		return mailbox.ErrInbox
	}
	err = s.exclusive(func() error {
		names, err := s.names()
		if err != nil {
			return err
		}
		path := names[name]
		if path == "" {
			for n := range names {
				if strings.HasPrefix(n, name+"/") {
					return mailbox.ErrNoSelect
				}
			}
			return mailbox.ErrNotFound
		}
		f, err := s.at(name, path)
		if err != nil {
			return err
		}
		defer s.m.release(f)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := f.mb.enter(); err != nil {
			return f.trouble(err)
		}
		defer f.mb.leave()
		if err := os.Remove(path); err != nil {
			return err
		}
		dir := f.dir
		s.m.mu.Lock()
		s.m.forget(f)
		s.m.mu.Unlock()
		f.gone = true
		f.wake()
		for d := filepath.Dir(path); d != s.u.loc.Root && strings.HasPrefix(d, s.u.loc.Root+"/") && os.Remove(d) == nil; {
			d = filepath.Dir(d)
		}
		return s.discard(dir)
	})
	if err == nil {
		s.sweep()
	}
	return err
}

func (s *mboxStore) Rename(from, to string) error {
	from, to, err := checkRename(from, to)
	if err != nil {
		return err
	}
	if from == mailbox.Inbox {
		return renameInbox(s, to)
	}
	return s.exclusive(func() error {
		names, err := s.names()
		if err != nil {
			return err
		}
		moves, err := renames(names, from, to)
		if err != nil {
			return err
		}
		for n := range names {
			if n == to || strings.HasPrefix(n, to+"/") {
				return mailbox.ErrExists
			}
			if strings.HasPrefix(to, n+"/") && n != mailbox.Inbox {
				return fmt.Errorf("%w: %s has messages, and so cannot have children in the mbox format", mailbox.ErrName, n)
			}
		}
		for _, mv := range moves {
			if err := s.move(mv[0], names[mv[0]], mv[1]); err != nil {
				return err
			}
		}
		if path, err := s.path(from); err == nil {
			removeEmpty(path)
		}
		return s.moveUses(moves)
	})
}

// move renames one folder: first its index, which without its file is nobody's, then the file.
func (s *mboxStore) move(from, path, to string) error {
	target, err := s.path(to)
	if err != nil {
		return err
	}
	dir, err := s.indexDir(to)
	if err != nil {
		return err
	}
	if exists(dir) {
		if err := s.discard(dir); err != nil {
			return err
		}
	}
	f, err := s.at(from, path)
	if err != nil {
		return err
	}
	m := s.m
	defer m.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	if err := f.mb.enter(); err != nil {
		return f.trouble(err)
	}
	defer f.mb.leave()
	if err := os.Rename(f.dir, dir); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE); err != nil {
		os.Rename(dir, f.dir)
		if err == unix.EEXIST {
			return mailbox.ErrExists
		}
		return &os.LinkError{Op: "rename", Old: path, New: target, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(f)
	f.moved(dir)
	f.key, f.mb.path = dir, target
	m.folders[dir] = f
	m.rewatch(f)
	return nil
}

func (s *mboxStore) Subscribe(name string, on bool) error {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return err
	}
	return s.exclusive(func() error {
		subs, err := s.subscriptions()
		if err == nil {
			subs, err = subscribe(subs, name, on)
		}
		if err != nil || subs == nil {
			return err
		}
		return s.writeSubscriptions(subs)
	})
}

// Quota counts the bytes of the files, the trash excepted; messages only if they are limited.
func (s *mboxStore) Quota() (mailbox.Quota, error) {
	q := mailbox.Quota{BytesLimit: s.u.quota.QuotaBytes, MessagesLimit: s.u.quota.QuotaMessages}
	if q.BytesLimit == 0 && q.MessagesLimit == 0 {
		return q, nil
	}
	var err error
	q.Bytes, q.Messages, err = s.u.usage(s.m)
	return q, err
}

// usage is what a user's files hold; messages are counted as the indexes have them.
func (u *mboxUser) usage(m *Manager) (bytes, messages int64, err error) {
	s := &mboxStore{userStore: userStore{m: m, root: u.control}, u: u}
	names, err := s.names()
	if err != nil {
		return 0, 0, err
	}
	for name, path := range names {
		if name == "Trash" || strings.HasPrefix(name, "Trash/") {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			continue
		}
		bytes += st.Size()
		if u.quota.QuotaMessages == 0 {
			continue
		}
		if dir, err := s.indexDir(name); err == nil {
			if idx, err := index.Load(dir); err == nil {
				messages += int64(len(idx.State.Messages))
				idx.Close()
			}
		}
	}
	return bytes, messages, nil
}

// check is ErrQuota if so much more does not fit.
func (u *mboxUser) check(m *Manager, bytes, messages int64) error {
	if u.quota.QuotaBytes == 0 && u.quota.QuotaMessages == 0 {
		return nil
	}
	b, n, err := u.usage(m)
	if err != nil {
		return err
	}
	if u.quota.QuotaBytes > 0 && b+bytes > u.quota.QuotaBytes || u.quota.QuotaMessages > 0 && n+messages > u.quota.QuotaMessages {
		return mailbox.ErrQuota
	}
	return nil
}

// copyMbox is copy for messages in mbox files: their text is written again.
func (b *box) copyMbox(uids []mailbox.UID, to string, move bool) (out mailbox.Appended, done []mailbox.UID, err error) {
	f := b.f
	f.mu.Lock()
	s := &mboxStore{userStore: userStore{m: f.m, root: f.root}, u: f.mb.user}
	f.mu.Unlock()
	dst, _, err := s.folder(to)
	if err != nil {
		return out, nil, err
	}
	a := &appender{f: dst} // which releases dst
	defer a.Abort()
	f.mu.Lock()
	if err = f.check(); err == nil && f.view.UIDValidity != b.view.UIDValidity {
		err = mailbox.ErrOtherView
	}
	var list []*mailbox.Message
	if err == nil {
		list, _ = b.current(sortedUIDs(uids))
	}
	held := move && f.counts()
	f.mu.Unlock()
	if err != nil {
		return out, nil, err
	}
	for _, m := range list {
		c, err := b.mboxContent(m)
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err == nil {
			err = a.copy(m, c, held)
			c.Close()
		}
		if err != nil {
			return out, nil, err
		}
		done = append(done, m.UID)
	}
	if len(done) == 0 {
		out, err = dst.nothingAdded()
		return out, nil, err
	}
	if out, err = a.Commit(); err != nil {
		return out, nil, err
	}
	out.Sources = slices.Clone(done)
	return out, done, nil
}

// copy adds a message as it is elsewhere.
func (a *appender) copy(m *mailbox.Message, c mailbox.Content, held bool) error {
	w, err := a.Begin(mailbox.AppendInfo{Flags: m.Flags, Keywords: m.Keywords, Date: time.Unix(m.Date, 0)})
	if err != nil {
		return err
	}
	a.cur.add.m.EmailID, a.cur.add.held = m.EmailID, held
	_, err = c.WriteTo(w)
	return err
}
