package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

// noLog is the transaction that changes nothing but the header.
var noLog = &index.Log{}

// checkKeywords refuses what no flag can be, and gives what is fit to be stored.
func checkKeywords(kw []string) ([]string, error) {
	for _, k := range kw {
		if !mailbox.ValidKeyword(k) {
			return nil, fmt.Errorf("%w: keyword %.60q", mailbox.ErrLimit, k)
		}
	}
	return sortedKeywords(slices.Clone(kw)), nil
}

// spelling replaces keywords by the spelling that the folder has for them.
func spelling(st *index.State, kw []string) []string {
	for i, k := range kw {
		if n, ok := st.Keyword(k); ok {
			kw[i] = st.Keywords[n]
		}
	}
	slices.Sort(kw)
	return kw
}

func (b *box) Store(uids []mailbox.UID, c mailbox.StoreChange) (mailbox.Stored, error) {
	var out mailbox.Stored
	switch {
	case b.closed:
		return out, mailbox.ErrClosed
	case b.readOnly:
		return out, mailbox.ErrReadOnly
	}
	kw, err := checkKeywords(c.Keywords)
	if err != nil {
		return out, err
	}
	c.Keywords = kw
	uids = sortedUIDs(uids)
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	var done []mailbox.UID
	shared := b.view == f.view // the session sees what all see
	merges := f.merges
	err = f.locked(func() error {
		if f.idx.Header.UIDValidity != b.view.UIDValidity {
			return softError{mailbox.ErrOtherView}
		}
		st := f.idx.State
		c.Keywords = spelling(st, c.Keywords)
		if c.Op != mailbox.Remove {
			if n := newKeywords(st, c.Keywords); n > 0 && len(st.Keywords)+n > index.MaxKeywords {
				return softError{fmt.Errorf("%w: %d keywords in this mailbox", mailbox.ErrLimit, index.MaxKeywords)}
			}
			if f.mb == nil {
				if err := f.assignLetters(c.Keywords); err != nil {
					return softError{err}
				}
			}
		}
		list, gone := b.current(uids)
		out.Gone = gone
		var todo []*mailbox.Message
		for _, m := range list {
			if c.Conditional && m.ModSeq > c.UnchangedSince {
				out.Modified = append(out.Modified, m.UID)
				continue
			}
			todo = append(todo, m)
			done = append(done, m.UID)
		}
		return f.change(todo, &c)
	})
	if err != nil {
		return out, err
	}
	for _, u := range done {
		if m := f.idx.State.Get(u); m != nil {
			out.Changed = append(out.Changed, m)
		} else {
			out.Gone = append(out.Gone, u)
		}
	}
	if shared && merges == f.merges {
		// Nothing but this change came: share the new View, too.
		b.view = f.view
		for _, m := range out.Changed {
			i, _ := b.view.Find(m.UID)
			out.Seqs = append(out.Seqs, uint32(i+1))
		}
		return out, nil
	}
	b.view, out.Seqs = b.view.With(out.Changed)
	return out, nil
}

func newKeywords(st *index.State, kw []string) (n int) {
	for _, k := range kw {
		if _, ok := st.Keyword(k); !ok {
			n++
		}
	}
	return n
}

// apply computes a message's new flags.
func apply(m *mailbox.Message, c *mailbox.StoreChange) (mailbox.Flags, []string) {
	switch c.Op {
	case mailbox.Replace:
		return c.Flags, c.Keywords
	case mailbox.Add:
		missing := false
		for _, k := range c.Keywords {
			missing = missing || !m.HasKeyword(k)
		}
		if !missing {
			return m.Flags | c.Flags, m.Keywords
		}
		return m.Flags | c.Flags, sortedKeywords(slices.Concat(m.Keywords, c.Keywords))
	}
	if len(m.Keywords) == 0 || len(c.Keywords) == 0 {
		return m.Flags &^ c.Flags, m.Keywords
	}
	kept := slices.DeleteFunc(slices.Clone(m.Keywords), func(k string) bool {
		return slices.ContainsFunc(c.Keywords, func(s string) bool { return strings.EqualFold(s, k) })
	})
	return m.Flags &^ c.Flags, kept
}

// change renames files to show the new flags, and then records what came of
// it. A file that has gone elsewhere is looked for once.
func (f *folder) change(list []*mailbox.Message, c *mailbox.StoreChange) error {
	if f.mb != nil {
		return f.changeMbox(list, c)
	}
	// Who has not looked into the directories yet does not know the letters, and
	// would leave those of keywords that go.
	f.loadLetters()
	dirs, err := f.places(len(list))
	if err != nil {
		return err
	}
	defer dirs.close()
	for try := 0; len(list) > 0; try++ {
		var log index.Log
		var lost []mailbox.UID
		st := f.idx.State
		seq := st.HighestModSeq + 1
		touched := [3]bool{}
		for i, m := range list {
			fl, kw := apply(m, c)
			if fl == m.Flags && slices.Equal(kw, m.Keywords) {
				continue
			}
			n := *m
			n.Flags, n.Keywords, n.ModSeq = fl, kw, seq
			base, info := splitName(m.File)
			_, _, other := f.let.parseInfo(info)
			name, inCur := f.let.fileName(base, fl, kw, other)
			if (inCur || m.Place != index.New) && name != m.File {
				n.File, n.Place = name, index.Cur
				if len(name) > 255 {
					return fmt.Errorf("%w: file name", mailbox.ErrLimit)
				}
				err := dirs.rename(m, &n)
				if p := f.elsewhere(m, err); p != "" {
					// With the flags that the other program gave it.
					_, info := splitName(filepath.Base(p))
					x := *m
					x.Flags, x.Keywords = f.flagsIn(info, m)
					n.Flags, n.Keywords = apply(&x, c)
					n.File, _ = f.let.fileName(base, n.Flags, n.Keywords, other)
					err = unix.Rename(p, f.path(&n))
				}
				if err == unix.ENOENT {
					lost = append(lost, m.UID)
					continue
				}
				if err != nil {
					// What was renamed so far is found by the next scan.
					f.force = true
					return fmt.Errorf("rename %s: %w", f.path(m), err)
				}
				touched[m.Place], touched[n.Place] = true, true
			}
			if log.Len() == 0 {
				log.Grow(list[i:])
			}
			log.Change(st, &n)
		}
		if log.Len() > 0 {
			f.looked(touched[index.New], touched[index.Cur])
			if err := f.commit(&log, 0, seq); err != nil {
				return err
			}
		}
		if len(lost) == 0 || try > 2 {
			return nil
		}
		f.force = true
		if err := f.reconcile(); err != nil {
			return err
		}
		list = list[:0]
		for _, u := range lost {
			if m := f.idx.State.Get(u); m != nil {
				list = append(list, m)
			}
		}
	}
	return nil
}

func (b *box) Expunge(uids []mailbox.UID) error {
	switch {
	case b.closed:
		return mailbox.ErrClosed
	case b.readOnly:
		return mailbox.ErrReadOnly
	}
	if uids == nil {
		for _, m := range b.view.Messages {
			uids = append(uids, m.UID)
		}
	}
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked(func() error {
		if f.idx.Header.UIDValidity != b.view.UIDValidity {
			return softError{mailbox.ErrOtherView}
		}
		list, _ := b.current(sortedUIDs(uids))
		list = slices.DeleteFunc(list, func(m *mailbox.Message) bool { return m.Flags&mailbox.Deleted == 0 })
		return f.remove(list)
	})
}

// remove unlinks files and then records that they are gone.
func (f *folder) remove(list []*mailbox.Message) error {
	if f.mb != nil {
		return f.removeMbox(list)
	}
	dirs, err := f.places(len(list))
	if err != nil {
		return err
	}
	defer dirs.close()
	for try := 0; len(list) > 0; try++ {
		var log index.Log
		var lost []mailbox.UID
		seq := f.idx.State.HighestModSeq + 1
		touched := [3]bool{}
		var bytes, files int64
		for _, m := range list {
			size := physicalSize(m, f.path(m))
			err := dirs.unlink(m)
			if p := f.elsewhere(m, err); p != "" {
				err = unix.Unlink(p)
			}
			if err == unix.ENOENT {
				lost = append(lost, m.UID)
				continue
			}
			if err != nil {
				f.force = true
				return fmt.Errorf("unlink %s: %w", f.path(m), err)
			}
			touched[m.Place] = true
			bytes, files = bytes+size, files+1
			log.Expunge(m.UID, seq)
		}
		if log.Len() > 0 {
			f.looked(touched[index.New], touched[index.Cur])
			if err := f.commit(&log, 0, seq); err != nil {
				return err
			}
			if f.counts() {
				maildir.AddQuota(f.root, -bytes, -files)
			}
		}
		if len(lost) == 0 || try > 2 {
			return nil
		}
		f.force = true
		if err := f.reconcile(); err != nil {
			return err
		}
		list = list[:0]
		for _, u := range lost {
			if m := f.idx.State.Get(u); m != nil {
				list = append(list, m)
			}
		}
	}
	return nil
}

// elsewhere looks for a file that err says is not where the index has it, when
// the index is known to be behind because the disk is full. Otherwise it is "",
// and a scan does that for all.
func (f *folder) elsewhere(m *mailbox.Message, err error) string {
	if err != unix.ENOENT || !f.force {
		return ""
	}
	base, _ := splitName(m.File)
	return findBase(f.dir, base)
}

// physicalSize is what quota counts.
func physicalSize(m *mailbox.Message, path string) int64 {
	base, _ := splitName(m.File)
	if n, ok := field(base, "S"); ok {
		return n
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Size
}

// counts tells whether quota counts this folder: all but the trash.
func (f *folder) counts() bool {
	rel := strings.TrimPrefix(f.dir, f.root)
	if f.mb != nil {
		return rel != "/Trash" && !strings.HasPrefix(rel, "/Trash.")
	}
	return rel != "/.Trash" && !strings.HasPrefix(rel, "/.Trash.")
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
