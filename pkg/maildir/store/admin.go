package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

// Admin is what an administrator does with a user's mail.
type Admin interface {
	// Folders returns the names of the folders, INBOX first.
	Folders() ([]string, error)
	// Verify compares a folder's index with its messages by the rules of
	// docs/internals/mailstore.md and changes nothing. What it returns are sentences.
	// A message that no index has is no problem: the next session takes it in.
	Verify(name string) (problems []string, err error)
	// Rebuild writes a folder's index anew from its messages. UIDs are kept as far as
	// the old index can be read; otherwise UIDVALIDITY changes, except where the
	// messages themselves tell. kept tells which.
	Rebuild(name string) (kept bool, err error)
	// Export writes what Dovecot needs to show the same UIDs.
	Export(name string) error
	// ImportMaildir copies the messages of a Maildir with all folders, those of its
	// inbox into the folder inbox.
	ImportMaildir(src, inbox string) ([]Imported, error)
}

// Admin opens the mail at a location for its administrator.
func (m *Manager) Admin(l location.Location) (Admin, error) {
	if !l.Mbox {
		return &maildirAdmin{m, l.Root}, nil
	}
	s, err := m.OpenAt(l, UserOptions{})
	if err != nil {
		return nil, err
	}
	return &mboxAdmin{s.(*mboxStore)}, nil
}

type maildirAdmin struct {
	m    *Manager
	root string
}

func (a *maildirAdmin) Folders() ([]string, error) {
	return folderList((&userStore{m: a.m, root: a.root}).names())
}

func folderList(list map[string]string, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var out []string
	for n := range list {
		if n != mailbox.Inbox {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return append([]string{mailbox.Inbox}, out...), nil
}

// with runs fn with the folder's lock, without first taking in what changed.
func (m *Manager) with(root, name string, fn func(f *folder, l index.Lock, known bool) error) error {
	f, err := m.byName(root, name)
	if err != nil {
		return err
	}
	return f.alone(fn)
}

// alone is with for a folder that the caller has got, and releases it.
func (f *folder) alone(fn func(f *folder, l index.Lock, known bool) error) error {
	defer f.m.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.idx != nil || index.Known(f.dir)
	l, err := index.Acquire(f.dir, lockWait)
	if err != nil {
		return f.trouble(err)
	}
	defer l.Release()
	f.drop()
	f.letSeen = fileStamp{}
	err = fn(f, l, known)
	f.publish()
	return err
}

func (a *maildirAdmin) Verify(name string) (problems []string, err error) {
	m, root := a.m, a.root
	bad := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	err = m.with(root, name, func(f *folder, _ index.Lock, known bool) error {
		idx := f.indexToVerify(known, bad)
		if idx == nil {
			return nil
		}
		defer idx.Close()
		b, _ := os.ReadFile(root + "/" + validityFile)
		var highest uint32
		fmt.Sscan(string(b), &highest)
		if highest < idx.Header.UIDValidity {
			bad("UIDVALIDITY is %d, above the %d in %s", idx.Header.UIDValidity, highest, validityFile)
		}
		f.loadLetters()
		lk, err := f.read(true, true)
		if err != nil {
			return err
		}
		bases := map[string]seen{}
		for _, s := range lk.files {
			base, _ := splitName(s.file)
			if old, dup := bases[base]; dup {
				bad("two files share a name: %s/%s and %s/%s", placeName(old.place), old.file, placeName(s.place), s.file)
			}
			bases[base] = s
		}
		last := mailbox.UID(0)
		names := map[string]mailbox.UID{}
		for _, x := range idx.State.Messages {
			if x.UID <= last || x.UID >= idx.State.UIDNext || x.ModSeq > idx.State.HighestModSeq {
				bad("UID %d: out of order", x.UID)
			}
			last = x.UID
			f.verify(x, bases, bad)
			base, _ := splitName(x.File)
			if other, dup := names[base]; dup {
				bad("UIDs %d and %d are the same file", other, x.UID)
			}
			names[base] = x.UID
		}
		return nil
	})
	return problems, err
}

func (f *folder) verify(x *mailbox.Message, bases map[string]seen, bad func(string, ...any)) {
	base, info := splitName(x.File)
	s, ok := bases[base]
	switch {
	case !ok && x.Place == index.Tmp:
		return // the next session completes it
	case !ok:
		bad("UID %d: the file is gone: %s", x.UID, x.File)
		return
	case s.file != x.File || s.place != x.Place:
		return // renamed by another program, which is its right
	}
	fl, kw, _ := f.let.parseInfo(info)
	if fl != x.Flags {
		bad("UID %d: flags differ from the file name %s", x.UID, x.File)
	}
	for _, k := range kw {
		if !x.HasKeyword(k) {
			bad("UID %d: keyword %s is only in the file name %s", x.UID, k, x.File)
		}
	}
	if x.Size < 0 {
		return
	}
	if n, err := f.wireSize(x); err != nil {
		bad("UID %d: %v", x.UID, err)
	} else if n != x.Size {
		bad("UID %d: size is %d, recorded as %d", x.UID, n, x.Size)
	}
}

// wireSize measures a message.
func (f *folder) wireSize(x *mailbox.Message) (int64, error) {
	b := &box{f: f}
	fd, err := unix.Open(f.path(x), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: f.path(x), Err: err}
	}
	c, _, err := b.content(fd, x)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Size(), nil
}

func (a *maildirAdmin) Rebuild(name string) (kept bool, err error) {
	err = a.m.with(a.root, name, func(f *folder, l index.Lock, known bool) error {
		os.Remove(f.dir + "/" + index.CacheName)
		idx, err := index.Load(f.dir)
		if err != nil {
			if !isNotExist(err) {
				known = true
			}
			return f.build(l, known)
		}
		f.idx, f.force = idx, true
		kept = true
		if err := f.reconcile(); err != nil {
			return err
		}
		var log index.Log
		seq := f.idx.State.HighestModSeq + 1
		for _, x := range f.idx.State.Messages {
			n := *x
			_, info := splitName(x.File)
			fl, kw := f.flagsIn(info, x)
			kw = spelling(f.idx.State, kw)
			if fl != x.Flags || !slices.Equal(kw, x.Keywords) {
				n.Flags, n.Keywords, n.ModSeq = fl, kw, seq
				log.Change(f.idx.State, &n)
			}
			if n.Size, err = f.wireSize(x); isNotExist(err) || errors.Is(err, mailbox.ErrExpunged) {
				n.Size = x.Size // renamed or removed since the look: the next one finds out
			} else if err != nil {
				return err
			}
			if n.Size != x.Size {
				log.Facts(&n)
			}
		}
		if log.Len() > 0 {
			if err := f.commit(&log, 0, seq); err != nil {
				return err
			}
		}
		f.idx, err = f.idx.Compact()
		return err
	})
	return kept, err
}

// Export writes dovecot-uidlist, so that Dovecot shows the same UIDs, and gives
// $Forwarded a letter, since Dovecot does not know "P".
func (a *maildirAdmin) Export(name string) error {
	f, err := a.m.byName(a.root, name)
	if err != nil {
		return err
	}
	defer a.m.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.force = true
	return f.locked(func() error {
		if err := f.spellForwarded(); err != nil {
			return err
		}
		v := f.idx.State.View(f.idx.Header.UIDValidity)
		return writeFile(f.dir, "dovecot-uidlist", formatUIDList(v, f.idx.Header.ID))
	})
}

// spellForwarded writes $Forwarded as a letter of dovecot-keywords instead of
// "P", if there is such a message and a letter is free. Should it be
// interrupted, the index knows the keyword, and the next export goes on.
func (f *folder) spellForwarded() error {
	f.loadLetters()
	var log index.Log
	for _, m := range f.idx.State.View(f.idx.Header.UIDValidity).Messages {
		if !slices.Contains(m.Keywords, forwarded) {
			continue
		}
		if f.let.letter(forwarded) == 0 {
			if !f.let.assign(forwarded) {
				return nil
			}
			if err := f.saveLetters(); err != nil {
				return err
			}
		}
		base, info := splitName(m.File)
		_, _, other := f.let.parseInfo(info)
		n := *m
		n.File, _ = f.let.fileName(base, m.Flags, m.Keywords, strings.ReplaceAll(other, "P", ""))
		n.Place = index.Cur
		if n.File == m.File || len(n.File) > 255 {
			continue
		}
		f.force = true
		if err := os.Rename(f.path(m), f.path(&n)); err != nil {
			return err
		}
		log.Rename(&n)
	}
	if log.Len() == 0 {
		return nil
	}
	return f.commit(&log, 0, 0)
}

// Imported is what ImportMaildir did with one folder.
type Imported struct {
	Name     string
	Messages int
	UIDs     bool // they were kept
}

// ImportMaildir: a folder that does not exist here, or has nothing in it and was
// never opened, gets the UIDs of the other one, too.
func (a *maildirAdmin) ImportMaildir(src, inbox string) ([]Imported, error) {
	m, root := a.m, a.root
	names, err := (&userStore{m: m, root: src}).names()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(src + "/cur"); err != nil {
		return nil, err
	}
	s, err := m.Open(root, UserOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var out []Imported
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	for _, n := range sorted {
		to := n
		if n == mailbox.Inbox {
			to = inbox
		}
		im, err := m.importFolder(names[n], root, to)
		if err != nil {
			return out, fmt.Errorf("%s: %w", n, err)
		}
		out = append(out, im)
	}
	return out, nil
}

func (m *Manager) importFolder(src, root, name string) (im Imported, err error) {
	im.Name = name
	name, err = mailbox.CheckName(name)
	if err != nil {
		return im, err
	}
	dir, err := folderDir(root, name)
	if err != nil {
		return im, err
	}
	if _, err := os.Stat(dir); err != nil {
		if err := makeFolder(dir); err != nil {
			return im, err
		}
	}
	from := &folder{m: m, root: src}
	from.moved(src)
	from.loadLetters()
	lk, err := from.read(true, true)
	if err != nil {
		return im, err
	}
	files := inOrder(lk.files, nil)
	if _, count := maildir.Count(dir); count == 0 && !index.Known(dir) {
		im.UIDs = true
		im.Messages, err = adopt(src, dir, files)
		if err == nil {
			var f *folder
			if f, err = m.byName(root, name); err == nil {
				f.mu.Lock()
				err = f.check()
				f.mu.Unlock()
				m.release(f)
			}
		}
		return im, err
	}
	f, err := m.byName(root, name)
	if err != nil {
		return im, err
	}
	defer m.release(f)
	for part := range slices.Chunk(files, 500) {
		var adds []*addition
		msgs, _, err := from.messages(part)
		if err != nil {
			return im, err
		}
		for i, x := range msgs {
			if x == nil {
				continue
			}
			s := part[i]
			a := &addition{m: *x, base: m.uniqueName()}
			a.m.SaveDate = time.Now().Unix()
			a.tmp = f.where() + "/tmp/" + a.base
			if err := copyFile(src+"/"+placeName(s.place)+"/"+s.file, a.tmp); err != nil {
				return im, err
			}
			a.bytes = physicalSize(&a.m, a.tmp)
			adds = append(adds, a)
		}
		if len(adds) == 0 {
			continue
		}
		if _, err := f.add(adds); err != nil {
			for _, a := range adds {
				os.Remove(a.tmp)
			}
			return im, err
		}
		im.Messages += len(adds)
	}
	return im, syncDir(f.where() + "/cur")
}

// adopt copies a folder as it is, with what knows its UIDs.
func adopt(src, dir string, files []arrival) (int, error) {
	n := 0
	for _, s := range files {
		rel := "/" + placeName(s.place) + "/" + s.file
		err := copyFile(src+rel, dir+rel)
		if err != nil {
			return n, err
		}
		n++
	}
	for _, name := range []string{"dovecot-keywords", "dovecot-uidlist"} {
		b, err := os.ReadFile(src + "/" + name)
		if isNotExist(err) {
			continue
		}
		if err == nil {
			err = writeFile(dir, name, b)
		}
		if err != nil {
			return n, err
		}
	}
	// An index of ours knows better than an old dovecot-uidlist.
	if idx, err := index.Load(src); err == nil {
		v := idx.State.View(idx.Header.UIDValidity)
		b := formatUIDList(v, idx.Header.ID)
		idx.Close()
		if err := writeFile(dir, "dovecot-uidlist", b); err != nil {
			return n, err
		}
	}
	return n, syncDir(dir + "/cur")
}

// copyFile copies with the time; what is no plain file is left out.
func copyFile(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	return duplicate(from, to)
}

// Find returns the directory of a folder, for tools that show it.
func (m *Manager) Find(root, name string) (string, error) {
	name, err := mailbox.CheckName(name)
	if err != nil {
		return "", err
	}
	dir, err := folderDir(root, name)
	return strings.TrimSuffix(dir, "/"), err
}

// indexToVerify loads a folder's index and says what is wrong with it as a whole;
// nil if there is nothing to compare messages with.
func (f *folder) indexToVerify(known bool, bad func(format string, a ...any)) *index.File {
	idx, err := index.Load(f.dir)
	switch {
	case isNotExist(err):
		if known {
			bad("the index is missing: UIDs will start anew")
		}
		return nil
	case err != nil:
		bad("%v", err)
		return nil
	}
	if idx.Lost {
		bad("the index may lack its end: UIDs go on at %d", idx.State.UIDNext)
	}
	return idx
}
