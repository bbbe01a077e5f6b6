package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

// userStore is one session's access to a Maildir.
type userStore struct {
	m      *Manager
	root   string
	closed bool
}

const (
	usesFile = "posthaste.uses" // special uses, "\Sent<TAB>name" a line; there since the first login
	subsFile = "subscriptions"  // as Dovecot has it
)

// setup makes the folders of a new user.
func (s *userStore) setup() error {
	if _, err := os.Stat(s.root + "/" + usesFile); err == nil {
		return nil
	}
	l, err := index.Acquire(s.root, lockWait)
	if err != nil {
		return err
	}
	defer l.Release()
	if _, err := os.Stat(s.root + "/" + usesFile); err == nil {
		return nil
	}
	var lines []byte
	subs, err := s.subscriptions()
	if err != nil {
		return err
	}
	for _, c := range s.m.o.Create {
		name, err := mailbox.CheckName(c.Name)
		if err != nil {
			return fmt.Errorf("folder %q: %w", c.Name, err)
		}
		dir, err := folderDir(s.root, name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(dir); err != nil {
			if err := makeFolder(dir); err != nil {
				return err
			}
			subs = append(subs, name)
		}
		if c.Use != mailbox.UseNone {
			lines = fmt.Appendf(lines, "%s\t%s\n", c.Use, name)
		}
	}
	if err := s.writeSubscriptions(subs); err != nil {
		return err
	}
	return writeFile(s.root, usesFile, lines)
}

func makeFolder(dir string) error {
	if err := maildir.Make(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(dir+"/maildirfolder", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// uses returns the special uses by folder name.
func (s *userStore) uses() map[string]mailbox.SpecialUse {
	m := map[string]mailbox.SpecialUse{}
	b, err := os.ReadFile(s.root + "/" + usesFile)
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		if use, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			m[name] = mailbox.SpecialUse(use)
		}
	}
	return m
}

func (s *userStore) writeUses(m map[string]mailbox.SpecialUse) error {
	var b []byte
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		b = fmt.Appendf(b, "%s\t%s\n", m[n], n)
	}
	return writeFile(s.root, usesFile, b)
}

// subscriptions reads both versions of Dovecot's file: lines with the name in
// storage form ("." between levels), or, after a line "V\t2", with tabs.
func (s *userStore) subscriptions() ([]string, error) {
	f, err := os.Open(s.root + "/" + subsFile)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSubscriptions(bufio.NewScanner(f), ".")
}

// parseSubscriptions reads the file's lines; sep is between levels in the old version.
func parseSubscriptions(in *bufio.Scanner, sep string) (out []string, err error) {
	for n := 0; in.Scan() && len(out) < 100000; n++ {
		line := in.Text()
		if n == 0 && strings.HasPrefix(line, "V\t") {
			sep = "\t"
			continue
		}
		if line == "" {
			continue
		}
		levels := strings.Split(line, sep)
		for i, l := range levels {
			if d, err := mailbox.DecodeUTF7(l); err == nil {
				levels[i] = d
			}
		}
		if name, err := mailbox.CheckName(strings.Join(levels, "/")); err == nil {
			out = append(out, name)
		}
	}
	return out, in.Err()
}

func (s *userStore) writeSubscriptions(names []string) error {
	return writeFile(s.root, subsFile, formatSubscriptions(names, "."))
}

// formatSubscriptions writes the new version; what is in dots is encoded in levels.
func formatSubscriptions(names []string, dots string) []byte {
	slices.Sort(names)
	names = slices.Compact(names)
	var b bytes.Buffer
	b.WriteString("V\t2\n\n")
	for _, n := range names {
		levels := strings.Split(n, "/")
		for i, l := range levels {
			levels[i] = mailbox.EncodeUTF7(l, dots)
		}
		b.WriteString(strings.Join(levels, "\t") + "\n")
	}
	return b.Bytes()
}

// names lists the folders that exist, INBOX first, with their directories.
func (s *userStore) names() (map[string]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	m := map[string]string{mailbox.Inbox: s.root}
	for _, e := range entries {
		name, ok := folderName(e.Name())
		if !ok || m[name] != "" {
			continue
		}
		dir := s.root + "/" + e.Name()
		if !e.IsDir() {
			if st, err := os.Stat(dir); err != nil || !st.IsDir() {
				continue
			}
		}
		m[name] = dir
	}
	return m, nil
}

func (s *userStore) List() ([]mailbox.Folder, error) {
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

// listFolders makes the list of folders by what exists, is subscribed to and has a use.
func listFolders(names map[string]string, subs []string, uses map[string]mailbox.SpecialUse) []mailbox.Folder {
	all := map[string]*mailbox.Folder{}
	at := func(n string) *mailbox.Folder {
		f := all[n]
		if f == nil {
			f = &mailbox.Folder{Name: n}
			all[n] = f
		}
		return f
	}
	for n := range names {
		f := at(n)
		f.Exists, f.Selectable, f.Use = true, true, uses[n]
		for p := parent(n); p != ""; p = parent(p) {
			at(p).HasChildren = true
		}
	}
	for _, n := range subs {
		at(n).Subscribed = true
	}
	out := make([]mailbox.Folder, 0, len(all))
	for _, f := range all {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b mailbox.Folder) int {
		if (a.Name == mailbox.Inbox) != (b.Name == mailbox.Inbox) {
			if a.Name == mailbox.Inbox {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		return name[:i]
	}
	return ""
}

func (s *userStore) Open(name string, readOnly bool) (mailbox.Mailbox, error) {
	if s.closed {
		return nil, mailbox.ErrClosed
	}
	f, err := s.m.byName(s.root, name)
	if err != nil {
		return nil, err
	}
	name, _ = mailbox.CheckName(name)
	return s.openBox(f, name, readOnly)
}

// openBox makes the folder, which the caller has got, a session's.
func (s *userStore) openBox(f *folder, name string, readOnly bool) (mailbox.Mailbox, error) {
	b := &box{f: f, name: name, readOnly: readOnly, changed: make(chan struct{}, 1)}
	if err := b.open(); err != nil {
		s.m.release(f)
		return nil, err
	}
	return b, nil
}

func (s *userStore) Status(name string, sizes bool) (mailbox.Status, error) {
	if s.closed {
		return mailbox.Status{}, mailbox.ErrClosed
	}
	f, err := s.m.byName(s.root, name)
	if err != nil {
		return mailbox.Status{}, err
	}
	return s.status(f, sizes)
}

// status looks at the folder, which the caller has got, and releases it.
func (s *userStore) status(f *folder, sizes bool) (st mailbox.Status, err error) {
	defer s.m.release(f)
	f.mu.Lock()
	if err := f.check(); err != nil {
		f.mu.Unlock()
		return st, err
	}
	v, recent, id := f.view, f.idx.Header.Recent, f.id()
	f.mu.Unlock()
	st = mailbox.Status{Messages: uint32(len(v.Messages)), UIDNext: v.UIDNext, UIDValidity: v.UIDValidity, HighestModSeq: v.HighestModSeq, ID: id}
	look := &box{f: f, view: v}
	for _, m := range v.Messages {
		if m.Flags&mailbox.Seen == 0 {
			st.Unseen++
		}
		if m.UID >= recent {
			st.Recent++
		}
		var n int64
		if sizes {
			if n, err = look.Size(m); err != nil && !errors.Is(err, mailbox.ErrExpunged) {
				return st, err
			}
			st.Size += n
		}
		if m.Flags&mailbox.Deleted != 0 {
			st.Deleted++
			st.DeletedSize += n
		}
	}
	if sizes {
		f.mu.Lock()
		f.flushFacts()
		f.mu.Unlock()
	}
	return st, nil
}

// exclusive runs fn while no other process of ours changes the set of folders.
func (s *userStore) exclusive(fn func() error) error {
	if s.closed {
		return mailbox.ErrClosed
	}
	// Not the inbox's lock: that is taken for its messages meanwhile.
	path := s.root + "/posthaste.folders.lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return fn()
}

func (s *userStore) Create(name string, use mailbox.SpecialUse) error {
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
		if names[name] != "" {
			return mailbox.ErrExists
		}
		dir, err := folderDir(s.root, name)
		if err != nil {
			return err
		}
		if use != mailbox.UseNone {
			if err := s.giveUse(name, use, names); err != nil {
				return err
			}
		}
		return makeFolder(dir)
	})
}

// giveUse gives a folder that is about to be made a special use, unless one of
// names has it.
func (s *userStore) giveUse(name string, use mailbox.SpecialUse, names map[string]string) error {
	uses := s.uses()
	for n, u := range uses {
		if u == use && names[n] != "" {
			return mailbox.ErrHasUse
		}
		if u == use {
			delete(uses, n)
		}
	}
	uses[name] = use
	return s.writeUses(uses)
}

func (s *userStore) Delete(name string) error {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return err
	}
	if name == mailbox.Inbox {
		return mailbox.ErrInbox
	}
	var trash string
	err = s.exclusive(func() error {
		names, err := s.names()
		if err != nil {
			return err
		}
		dir := names[name]
		if dir == "" {
			for n := range names {
				if strings.HasPrefix(n, name+"/") {
					return mailbox.ErrNoSelect
				}
			}
			return mailbox.ErrNotFound
		}
		trash = fmt.Sprintf("%s/%sdeleted.%016x", s.root, inside, rand.Uint64())
		return s.moveDir(dir, trash, true)
	})
	if err != nil {
		return err
	}
	bytes, files := maildir.Count(trash)
	if rel := strings.SplitN(name, "/", 2)[0]; rel != "Trash" {
		maildir.AddQuota(s.root, -bytes, -files)
	}
	s.sweep()
	return nil
}

// sweep removes what is left of deleted folders, also by processes that were
// killed. Trouble is left to the next one.
func (s *userStore) sweep() {
	list, err := os.ReadDir(s.root)
	if err != nil {
		return
	}
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), inside+"deleted.") {
			continue
		}
		if err := os.RemoveAll(s.root + "/" + e.Name()); err != nil {
			s.m.logf("remove %s/%s: %v", s.root, e.Name(), err)
		}
	}
}

// moveDir renames a folder's directory and what this process knows of it.
func (s *userStore) moveDir(from, to string, gone bool) error {
	m := s.m
	f := m.get(s.root, from, nil)
	defer m.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		if err == unix.EINVAL || err == unix.ENOSYS {
			err = os.Rename(from, to)
		}
		if err != nil {
			if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
				return mailbox.ErrExists
			}
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(f)
	if gone {
		f.gone = true
		f.wake()
		return nil
	}
	// Sessions that have the folder open keep it under its new name.
	f.moved(to)
	f.key = to
	m.folders[to] = f
	m.rewatch(f)
	return nil
}

// checkRename returns the names' one spelling.
func checkRename(from, to string) (string, string, error) {
	from, err := mailbox.CheckName(from)
	if err != nil {
		return "", "", err
	}
	if to, err = mailbox.CheckName(to); err != nil {
		return "", "", err
	}
	if to == mailbox.Inbox {
		return "", "", mailbox.ErrExists
	}
	if from != mailbox.Inbox && strings.HasPrefix(to, from+"/") {
		return "", "", fmt.Errorf("%w: below itself", mailbox.ErrName)
	}
	return from, to, nil
}

// renames lists what a rename moves, parents first.
func renames(names map[string]string, from, to string) (moves [][2]string, err error) {
	for n := range names {
		rest, ok := strings.CutPrefix(n, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		target, err := mailbox.CheckName(to + rest)
		if err != nil {
			return nil, err
		}
		if names[target] != "" {
			return nil, mailbox.ErrExists
		}
		moves = append(moves, [2]string{n, target})
	}
	if len(moves) == 0 {
		return nil, mailbox.ErrNotFound
	}
	slices.SortFunc(moves, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return moves, nil
}

// moveUses lets special uses follow a rename.
func (s *userStore) moveUses(moves [][2]string) error {
	uses, changed := s.uses(), false
	for _, mv := range moves {
		if u, ok := uses[mv[0]]; ok {
			delete(uses, mv[0])
			uses[mv[1]], changed = u, true
		}
	}
	if changed {
		return s.writeUses(uses)
	}
	return nil
}

func (s *userStore) Rename(from, to string) error {
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
		for _, mv := range moves {
			dir, err := folderDir(s.root, mv[1])
			if err != nil {
				return err
			}
			if err := s.moveDir(names[mv[0]], dir, false); err != nil {
				return err
			}
		}
		return s.moveUses(moves)
	})
}

// renameInbox moves the inbox's messages to a new folder; the inbox stays.
func renameInbox(s mailbox.Store, to string) error {
	if err := s.Create(to, mailbox.UseNone); err != nil {
		return err
	}
	b, err := s.Open(mailbox.Inbox, false)
	if err != nil {
		return err
	}
	defer b.Close()
	uids := make([]mailbox.UID, 0, len(b.View().Messages))
	for _, m := range b.View().Messages {
		uids = append(uids, m.UID)
	}
	_, err = b.Move(uids, to)
	return err
}

func (s *userStore) Subscribe(name string, on bool) error {
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

// subscribe changes a list of subscriptions; nil is no change.
func subscribe(subs []string, name string, on bool) ([]string, error) {
	has := slices.Contains(subs, name)
	switch {
	case on && !has:
		if len(subs) >= 10000 {
			return nil, mailbox.ErrLimit
		}
		return append(subs, name), nil
	case !on && has:
		return append([]string{}, slices.DeleteFunc(subs, func(n string) bool { return n == name })...), nil
	}
	return nil, nil
}

func (s *userStore) Quota() (mailbox.Quota, error) {
	q, err := maildir.ReadQuota(s.root)
	return mailbox.Quota{Bytes: q.Bytes, BytesLimit: q.BytesLimit, Messages: q.Files, MessagesLimit: q.FilesLimit}, err
}

// Close ends the session's access. Its Mailboxes are closed by their owner.
func (s *userStore) Close() error {
	s.closed = true
	return nil
}

// Root is where the Maildir is, for tools.
func (s *userStore) Root() string { return filepath.Clean(s.root) }
