package store

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
	"posthaste/pkg/mbox/mboxio"
)

type mboxAdmin struct{ s *mboxStore }

func (a *mboxAdmin) Folders() ([]string, error) { return folderList(a.s.names()) }

// alone runs fn with the locks of a folder's index and file.
func (a *mboxAdmin) alone(name string, fn func(f *folder, l index.Lock, known bool) error) error {
	f, _, err := a.s.folder(name)
	if err != nil {
		return err
	}
	return f.alone(func(f *folder, l index.Lock, known bool) error {
		if err := f.mb.enter(); err != nil {
			return f.trouble(err)
		}
		defer f.mb.leave()
		return fn(f, l, known)
	})
}

// Verify: what other programs did to the file since we looked is no problem.
func (a *mboxAdmin) Verify(name string) (problems []string, err error) {
	bad := func(format string, v ...any) { problems = append(problems, fmt.Sprintf(format, v...)) }
	err = a.alone(name, func(f *folder, _ index.Lock, known bool) error {
		if mboxio.Pending(f.journal()) {
			bad("a change of %s was interrupted; the next session completes it", f.mb.path)
		}
		list, _, err := f.scanMbox(0)
		if err != nil {
			bad("%s: %v", f.mb.path, err)
			return nil
		}
		idx := f.indexToVerify(known, bad)
		if idx == nil {
			return nil
		}
		defer idx.Close()
		last := mailbox.UID(0)
		for _, m := range idx.State.Messages {
			if m.UID <= last || m.UID >= idx.State.UIDNext || m.ModSeq > idx.State.HighestModSeq {
				bad("UID %d: out of order", m.UID)
			}
			last = m.UID
		}
		if now, err := f.mb.stat(); err != nil || !now.same(stampIn(&idx.Header)) || idx.Lost {
			return err // something came since
		}
		verifyMbox(idx, list, bad)
		return nil
	})
	return problems, err
}

// verifyMbox compares the index of a file that nobody changed with the file.
func verifyMbox(idx *index.File, list []*mboxio.Message, bad func(string, ...any)) {
	at := map[int64]*mboxio.Message{}
	for _, e := range list {
		at[e.Off] = e
	}
	for _, m := range idx.State.Messages {
		l := loc(m)
		e := at[l.off]
		delete(at, l.off)
		switch {
		case e == nil:
			bad("UID %d: no message begins at byte %d", m.UID, l.off)
		case e.Sum != l.sum:
			bad("UID %d: at byte %d is another message", m.UID, l.off)
		case e.Size != m.Size:
			bad("UID %d: size is %d, recorded as %d", m.UID, e.Size, m.Size)
		}
	}
	for off := range at {
		bad("the message at byte %d has no UID", off)
	}
}

func (a *mboxAdmin) Rebuild(name string) (kept bool, err error) {
	err = a.alone(name, func(f *folder, l index.Lock, known bool) error {
		os.Remove(f.dir + "/" + index.CacheName)
		idx, err := index.Load(f.dir)
		if err != nil {
			return f.build(l, known || !isNotExist(err))
		}
		f.idx, f.force = idx, true
		kept = true
		if err := f.reconcile(); err != nil {
			return err
		}
		f.idx, err = f.idx.Compact()
		return err
	})
	return kept, err
}

// Export writes UIDs and flags into the file.
func (a *mboxAdmin) Export(name string) error {
	f, _, err := a.s.folder(name)
	if err != nil {
		return err
	}
	defer a.s.m.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.force = true
	return f.locked(func() error {
		if f.mb.file == nil {
			return nil
		}
		if err := f.mboxWritable(); err != nil {
			return err
		}
		return f.writeFields()
	})
}

// ImportMaildir reads the Maildir as its files are; it writes nothing there.
func (a *mboxAdmin) ImportMaildir(src, inbox string) ([]Imported, error) {
	m := a.s.m
	names, err := (&userStore{m: m, root: src}).names()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(src + "/cur"); err != nil {
		return nil, err
	}
	var out []Imported
	for _, n := range slices.Sorted(maps.Keys(names)) {
		to := n
		if n == mailbox.Inbox {
			to = inbox
		}
		im, err := a.importFolder(src, names[n], to)
		if err != nil {
			return out, fmt.Errorf("%s: %w", n, err)
		}
		out = append(out, im)
	}
	return out, nil
}

func (a *mboxAdmin) importFolder(root, src, name string) (im Imported, err error) {
	im.Name = name
	from := &folder{m: a.s.m, root: root}
	from.moved(src)
	from.loadLetters()
	lk, err := from.read(true, true)
	if err != nil || len(lk.files) == 0 {
		return im, err
	}
	if err := a.s.Create(name, mailbox.UseNone); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return im, err
	}
	files := inOrder(lk.files, nil)
	for part := range slices.Chunk(files, 500) {
		msgs, _, err := from.messages(part)
		if err != nil {
			return im, err
		}
		ap, err := a.s.Append(name)
		if err != nil {
			return im, err
		}
		n := 0
		for i, x := range msgs {
			if x == nil {
				continue
			}
			if err := appendFile(ap, src+"/"+placeName(part[i].place)+"/"+part[i].file, x); err != nil {
				ap.Abort()
				return im, err
			}
			n++
		}
		if n > 0 {
			_, err = ap.Commit()
		}
		ap.Abort()
		if err != nil {
			return im, err
		}
		im.Messages += n
	}
	return im, nil
}

// appendFile adds a message of a Maildir: see content.
func appendFile(ap mailbox.Appender, path string, m *mailbox.Message) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	l, err := newLarge(f, st.Size(), isVerbatim(m.File, st.Size()))
	if err != nil {
		return err
	}
	w, err := ap.Begin(mailbox.AppendInfo{Flags: m.Flags, Keywords: m.Keywords, Date: st.ModTime()})
	if err == nil {
		_, err = l.WriteTo(io.Writer(w))
	}
	return err
}
