package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

func (b *box) Copy(uids []mailbox.UID, to string) (mailbox.Appended, error) {
	out, _, err := b.copy(uids, to, false)
	return out, err
}

func (b *box) Move(uids []mailbox.UID, to string) (mailbox.Appended, error) {
	if b.readOnly {
		return mailbox.Appended{}, mailbox.ErrReadOnly
	}
	out, moved, err := b.copy(uids, to, true)
	if err != nil || len(moved) == 0 {
		return out, err
	}
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.locked(func() error {
		list := make([]*mailbox.Message, 0, len(moved))
		for _, u := range moved {
			if m := f.idx.State.Get(u); m != nil {
				list = append(list, m)
			}
		}
		return f.remove(list)
	})
	return out, err
}

// addition is a message on its way into a folder. Its file is tmp/name.
type addition struct {
	tmp   string // path of the file
	base  string // the unique part of the name that it gets
	lines bool   // there are line ends
	sum   uint64 // mboxio.Message.Sum, for an mbox
	m     mailbox.Message
	bytes int64
	uid   mailbox.UID // asked for, 0 for any
	held  bool        // it is moved, and quota counts it where it comes from
}

func (b *box) copy(uids []mailbox.UID, to string, move bool) (out mailbox.Appended, done []mailbox.UID, err error) {
	if b.closed {
		return out, nil, mailbox.ErrClosed
	}
	if b.f.mb != nil {
		return b.copyMbox(uids, to, move)
	}
	dst, err := b.f.m.byName(b.f.root, to)
	if err != nil {
		return out, nil, err
	}
	defer b.f.m.release(dst)
	f := b.f
	f.mu.Lock()
	if err = f.check(); err == nil && f.view.UIDValidity != b.view.UIDValidity {
		err = mailbox.ErrOtherView
	}
	var list []*mailbox.Message
	if err == nil {
		list, _ = b.current(sortedUIDs(uids))
	}
	srcDir, held := f.dir, move && f.counts()
	f.mu.Unlock()
	if err != nil {
		return out, nil, err
	}
	adds := make([]*addition, 0, len(list))
	defer func() {
		if err != nil {
			for _, a := range adds {
				os.Remove(a.tmp)
			}
		}
	}()
	now := time.Now().Unix()
	for _, m := range list {
		a := &addition{m: *m, base: dst.m.uniqueName(), held: held}
		base, _ := splitName(m.File)
		for _, k := range []string{"S", "W"} {
			if n, ok := field(base, k); ok {
				a.base += "," + k + "=" + strconv.FormatInt(n, 10)
			}
		}
		a.m.SaveDate = now
		a.tmp = dst.where() + "/tmp/" + a.base
		if len(m.Keywords) == 0 {
			// The name that place gives, so that it need not rename the file.
			name, _ := new(letters).fileName(a.base, m.Flags, nil, "")
			a.tmp = dst.where() + "/tmp/" + name
		}
		src := f.path(m)
		err := link(src, a.tmp)
		if isNotExist(err) {
			// Renamed by a foreign program since the check, or gone.
			if src = findBase(srcDir, base); src != "" {
				err = link(src, a.tmp)
			}
		}
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return out, nil, fmt.Errorf("copy %s: %w", src, err)
		}
		a.bytes = physicalSize(m, a.tmp)
		adds = append(adds, a)
		done = append(done, m.UID)
	}
	if len(adds) == 0 {
		out, err = dst.nothingAdded()
		return out, nil, err
	}
	if out, err = dst.add(adds); err != nil {
		return out, nil, err
	}
	if err := syncDir(dst.where() + "/cur"); err != nil {
		return out, nil, err
	}
	out.Sources = done
	return out, done, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return durable.Sync(d)
}

// link makes to another name of from; where that is not possible, a copy.
func link(from, to string) error {
	err := unix.Link(from, to)
	switch {
	case err == nil:
		return nil
	case err == unix.EXDEV || err == unix.EPERM || err == unix.EMLINK || err == unix.EOPNOTSUPP:
	default:
		return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
	}
	return duplicate(from, to)
}

// duplicate copies a file with its time.
func duplicate(from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = durable.Sync(out)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chtimes(to, st.ModTime(), st.ModTime())
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}

// findBase looks for a file by the unique part of its name.
func findBase(dir, base string) string {
	for _, p := range []uint8{index.New, index.Cur, index.Cur} {
		list, err := readNames(dir, p, nil)
		if err != nil {
			return ""
		}
		for _, s := range list {
			if b, _ := splitName(s.file); b == base {
				return dir + "/" + placeName(p) + "/" + s.file
			}
		}
	}
	return ""
}

// add brings files from tmp/ into the folder, all or none: more than one is
// committed to the log first, so that whoever comes after a crash completes it.
func (f *folder) add(list []*addition) (out mailbox.Appended, err error) {
	if f.mb != nil {
		return f.addToMbox(list)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var bytes, more, files int64
	for _, a := range list {
		bytes += a.bytes
		if !a.held {
			more, files = more+a.bytes, files+1
		}
	}
	if f.counts() && files > 0 {
		if err := maildir.CheckQuota(f.root, more, files); err != nil {
			if errors.Is(err, maildir.ErrOverQuota) {
				err = mailbox.ErrQuota
			}
			return out, err
		}
	}
	err = f.locked(func() error {
		first, err := f.place(list)
		if err != nil {
			return err
		}
		out.UIDValidity = f.idx.Header.UIDValidity
		for _, a := range list {
			out.UIDs = append(out.UIDs, a.m.UID)
		}
		if first {
			return nil
		}
		return f.settleTmp(out.UIDs)
	})
	if err != nil {
		return out, err
	}
	if f.counts() {
		maildir.AddQuota(f.root, bytes, int64(len(list)))
	}
	return out, nil
}

// place gives names and UIDs and commits. final tells that the file is in cur/
// already.
func (f *folder) place(list []*addition) (final bool, err error) {
	st := f.idx.State
	for _, a := range list {
		a.m.Keywords = spelling(st, append([]string(nil), a.m.Keywords...))
		if n := newKeywords(st, a.m.Keywords); n > 0 && len(st.Keywords)+n > index.MaxKeywords {
			return false, softError{fmt.Errorf("%w: %d keywords in this mailbox", mailbox.ErrLimit, index.MaxKeywords)}
		}
		if err := f.assignLetters(a.m.Keywords); err != nil {
			return false, softError{err}
		}
	}
	var log index.Log
	seq, next := st.HighestModSeq+1, st.UIDNext
	for i, a := range list {
		if a.uid != 0 {
			if a.uid < next {
				return false, softError{fmt.Errorf("UID %d is not above %d", a.uid, next-1)}
			}
			next = a.uid
		}
		m := &a.m
		m.UID, m.ModSeq = next, seq
		next++
		m.File, _ = f.let.fileName(a.base, m.Flags, m.Keywords, "")
		m.Place = index.Tmp
		if len(list) == 1 {
			m.Place = index.Cur
		}
		if a.tmp != f.path(m) {
			if err := unix.Rename(a.tmp, f.path(m)); err != nil {
				// Those before it are in tmp/ under their last names.
				f.force = true
				return false, softError{fmt.Errorf("rename %s: %w", a.tmp, err)}
			}
			list[i].tmp = f.path(m)
		}
		log.Add(st, m)
	}
	if len(list) == 1 {
		f.looked(false, true)
	}
	return len(list) == 1, f.commit(&log, next, seq)
}

// settleTmp moves committed files from tmp/ to cur/ and records that.
func (f *folder) settleTmp(uids []mailbox.UID) error {
	dirs, err := f.places(len(uids))
	if err != nil {
		return err
	}
	defer dirs.close()
	var log index.Log
	for _, u := range uids {
		m := f.idx.State.Get(u)
		if m == nil {
			continue
		}
		n := *m
		n.Place = index.Cur
		if err := dirs.rename(m, &n); err != nil {
			f.force = true
			return fmt.Errorf("rename %s: %w", f.path(m), err)
		}
		log.Rename(&n)
	}
	f.looked(false, true)
	return f.commit(&log, 0, 0)
}

// nothingAdded is the result of adding no message to a folder.
func (f *folder) nothingAdded() (mailbox.Appended, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return mailbox.Appended{}, err
	}
	return mailbox.Appended{UIDValidity: f.view.UIDValidity}, nil
}
