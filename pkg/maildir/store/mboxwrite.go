package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"posthaste/pkg/filelock"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
	"posthaste/pkg/mbox/mboxio"
)

// maxBaseKeywords is how many keywords are named in X-IMAPbase.
const maxBaseKeywords = 64

// metaOf is what the header fields of a message are to say. base is for the first one of
// the file, in which programs look for all keywords; more are those to come.
func (f *folder) metaOf(m *mailbox.Message, first bool, next mailbox.UID, more ...string) *mboxio.Meta {
	meta := &mboxio.Meta{UID: uint32(m.UID), Flags: m.Flags, Old: true, Keywords: m.Keywords}
	if first {
		meta.Base = f.baseOf(next, more...)
	}
	return meta
}

// baseOf is what the file says of the folder when next is UIDNext.
func (f *folder) baseOf(next mailbox.UID, more ...string) *mboxio.Base {
	kw := slices.Clone(f.idx.State.Keywords)
	for _, k := range more {
		if !slices.Contains(kw, k) {
			kw = append(kw, k)
		}
	}
	return &mboxio.Base{Validity: f.idx.Header.UIDValidity, Last: uint32(next - 1), Keywords: kw[:min(len(kw), maxBaseKeywords)]}
}

// pseudo tells whether something comes before the first message: c-client's
// own, in which the numbers of the folder are then.
func pseudo(order []*mailbox.Message) bool { return len(order) > 0 && loc(order[0]).off > 64 }

// mboxWritable is asked before a change.
func (f *folder) mboxWritable() error {
	if f.mb.readOnly {
		return softError{mailbox.ErrReadOnly}
	}
	return nil
}

// rewriteMbox writes the file anew from its message number start on, without
// those in drop, and then what more writes. Messages whose fields are out of date, and
// the first one of the file, get new ones. log gets the new places.
func (f *folder) rewriteMbox(log *index.Log, order []*mailbox.Message, start int, drop map[mailbox.UID]bool) error {
	from := loc(order[start]).off
	own := !pseudo(order)
	tx, err := mboxio.Begin(f.journal(), f.mb.file, from)
	if err != nil {
		return err
	}
	defer tx.Abort()
	for i, m := range order[start:] {
		if drop[m.UID] {
			continue
		}
		first := own && (start == 0 && from == tx.Offset())
		l := loc(m)
		var meta *mboxio.Meta
		if first || l.dirty(m) {
			meta = f.metaOf(m, first, f.idx.State.UIDNext)
		}
		off := tx.Offset()
		if err := mboxio.CopyMessage(tx, f.mb.file, l.off, l.end(), meta); err != nil {
			return fmt.Errorf("%s: message %d: %w", f.mb.path, start+i+1, err)
		}
		if meta != nil {
			l = l.current(m)
		}
		l.off, l.len = off, tx.Offset()-off
		if n := *m; n.File != l.String() {
			n.File = l.String()
			log.Rename(&n)
		}
	}
	return f.commitTx(tx)
}

// commitTx makes a change of the file. A change that is begun but not complete
// is completed by the next one who comes.
func (f *folder) commitTx(tx *mboxio.Tx) error {
	// Until the index follows, it describes another file.
	f.force = true
	if err := tx.Commit(); err != nil {
		return err
	}
	f.force = false
	return f.touched(stampIn(&f.idx.Header).partial)
}

// changeMbox changes flags: in the index, and in the file where they fit into the
// fields that are there. The rest follows when the folder is closed.
func (f *folder) changeMbox(list []*mailbox.Message, c *mailbox.StoreChange) error {
	if err := f.mboxWritable(); err != nil {
		return err
	}
	var log index.Log
	st := f.idx.State
	seq := st.HighestModSeq + 1
	order := f.mboxOrder()
	wrote := false
	for _, m := range list {
		fl, kw := apply(m, c)
		if fl == m.Flags && slices.Equal(kw, m.Keywords) {
			continue
		}
		n := *m
		n.Flags, n.Keywords, n.ModSeq = fl, kw, seq
		if l := loc(m); l.state&locTidy != 0 && l.state&locUID != 0 {
			meta := f.metaOf(&n, m == order[0] && !pseudo(order), st.UIDNext, kw...)
			err := mboxio.SetMeta(f.mb.file, l.off, l.end(), meta)
			if err == nil {
				n.File = l.current(&n).String()
				wrote = true
			} else if !errors.Is(err, mboxio.ErrRoom) {
				f.force = true
				return fmt.Errorf("%s: %w", f.mb.path, err)
			}
		}
		log.Change(st, &n)
	}
	if log.Len() == 0 {
		return nil
	}
	f.mb.lags = true
	if wrote {
		if err := f.touched(stampIn(&f.idx.Header).partial); err != nil {
			return err
		}
	}
	return f.commit(&log, 0, seq)
}

// removeMbox takes messages out of the file.
func (f *folder) removeMbox(list []*mailbox.Message) error {
	if len(list) == 0 {
		return nil
	}
	if err := f.mboxWritable(); err != nil {
		return err
	}
	drop := map[mailbox.UID]bool{}
	for _, m := range list {
		drop[m.UID] = true
	}
	order := f.mboxOrder()
	start := slices.IndexFunc(order, func(m *mailbox.Message) bool { return drop[m.UID] })
	var log index.Log
	if err := f.rewriteMbox(&log, order, start, drop); err != nil {
		return err
	}
	seq := f.idx.State.HighestModSeq + 1
	for _, m := range list {
		log.Expunge(m.UID, seq)
	}
	return f.commit(&log, 0, seq)
}

// flushMbox writes UIDs and flags to the file that only the index has. f.mu is held.
// Trouble leaves that to the next one.
func (f *folder) flushMbox() {
	if f.gone || f.idx == nil || !f.mb.lags {
		return
	}
	err := f.locked(func() error {
		f.mb.lags = false
		if f.mb.file == nil || f.mb.readOnly {
			return nil
		}
		return f.writeFields()
	})
	if err != nil {
		f.m.logf("%s: flags and UIDs are not written: %v", f.mb.path, err)
	}
}

// writeFields is flushMbox with the locks.
func (f *folder) writeFields() error {
	order := f.mboxOrder()
	if len(order) == 0 {
		return nil
	}
	var log index.Log
	start, next := -1, f.idx.State.UIDNext
	if pseudo(order) {
		if err := mboxio.SetBase(f.mb.file, 0, loc(order[0]).off, f.baseOf(next)); err != nil && !errors.Is(err, mboxio.ErrRoom) {
			return err
		}
	}
	for i, m := range order {
		l := loc(m)
		first := i == 0 && !pseudo(order)
		if !first && !l.dirty(m) {
			continue
		}
		err := mboxio.ErrRoom
		if l.state&locTidy != 0 {
			err = mboxio.SetMeta(f.mb.file, l.off, l.end(), f.metaOf(m, first, next))
		}
		if errors.Is(err, mboxio.ErrRoom) {
			start = i
			break
		}
		if err != nil {
			return err
		}
		if n := *m; n.File != l.current(m).String() {
			n.File = l.current(m).String()
			log.Rename(&n)
		}
	}
	if start >= 0 {
		if err := f.rewriteMbox(&log, order, start, nil); err != nil {
			f.force = true
			return err
		}
	} else if err := f.touched(stampIn(&f.idx.Header).partial); err != nil {
		return err
	}
	return f.commit(&log, 0, 0)
}

// addToMbox is add: all messages become one change of the file.
func (f *folder) addToMbox(list []*addition) (out mailbox.Appended, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.locked(func() error {
		if err := f.mb.create(); err != nil {
			return softError{err}
		}
		if err := f.mboxWritable(); err != nil {
			return err
		}
		if err := f.roomFor(list); err != nil {
			return softError{err}
		}
		out, err = f.appendMbox(list)
		return err
	})
	return out, err
}

// roomFor checks the limits of the file and of the user.
func (f *folder) roomFor(list []*addition) error {
	var bytes, more, files int64
	for _, a := range list {
		n := a.bytes + 256
		bytes += n
		if !a.held {
			more, files = more+n, files+1
		}
	}
	st, err := f.mb.file.Stat()
	if err != nil {
		return err
	}
	u := f.mb.user
	if u.limit > 0 && st.Size()+bytes > u.limit {
		return fmt.Errorf("%w: %s would exceed mailbox_size_limit", mailbox.ErrQuota, f.mb.path)
	}
	if f.counts() && files > 0 {
		return u.check(f.m, more, files)
	}
	return nil
}

func (f *folder) appendMbox(list []*addition) (out mailbox.Appended, err error) {
	st := f.idx.State
	var log index.Log
	var kw []string
	seq, next := st.HighestModSeq+1, st.UIDNext
	for _, a := range list {
		a.m.Keywords = spelling(st, slices.Clone(a.m.Keywords))
		if n := newKeywords(st, a.m.Keywords); n > 0 && len(st.Keywords)+n > index.MaxKeywords {
			return out, softError{fmt.Errorf("%w: %d keywords in this mailbox", mailbox.ErrLimit, index.MaxKeywords)}
		}
		if a.uid != 0 && a.uid < next {
			return out, softError{fmt.Errorf("UID %d is not above %d", a.uid, next-1)}
		}
		next = max(next, a.uid)
		kw = append(kw, a.m.Keywords...)
		a.m.UID, a.m.ModSeq = next, seq
		next++
	}
	// No UID is in the file that could be given again.
	if err := f.idx.Prepare(next, seq); err != nil {
		return out, err
	}
	order := f.mboxOrder()
	size, err := f.mb.file.Seek(0, io.SeekEnd)
	if err != nil {
		return out, err
	}
	tx, err := mboxio.Begin(f.journal(), f.mb.file, size)
	if err != nil {
		return out, softError{err}
	}
	defer tx.Abort()
	if err := separate(tx, f.mb.file, size); err != nil {
		return out, softError{err}
	}
	for i, a := range list {
		off := tx.Offset()
		meta := f.metaOf(&a.m, len(order) == 0 && size == 0 && i == 0, next, kw...)
		if err := encodeFile(tx, a, meta); err != nil {
			return out, softError{err}
		}
		l := mboxLoc{off: off, len: tx.Offset() - off, sum: a.sum}.current(&a.m)
		a.m.File, a.m.Place = l.String(), 0
		log.Add(st, &a.m)
		out.UIDs = append(out.UIDs, a.m.UID)
	}
	if err := f.commitTx(tx); err != nil {
		return out, err
	}
	if len(order) > 0 && !pseudo(order) {
		// X-IMAPbase names the last UID. If it has no room for it, closing finds some.
		m := order[0]
		if l := loc(m); l.state&locTidy == 0 || l.dirty(m) || mboxio.SetMeta(f.mb.file, l.off, l.end(), f.metaOf(m, true, next, kw...)) != nil {
			f.mb.lags = true
		}
		if err := f.touched(stampIn(&f.idx.Header).partial); err != nil {
			return out, err
		}
	}
	out.UIDValidity = f.idx.Header.UIDValidity
	return out, f.commit(&log, next, seq)
}

// separate ends what is at the end of the file.
func separate(w io.Writer, file *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	var b [2]byte
	k := min(size, 2)
	if _, err := file.ReadAt(b[2-k:], size-k); err != nil {
		return err
	}
	if b[1] == '\n' && (b[0] == '\n' || k == 1) {
		return nil
	}
	_, err := w.Write([]byte{'\n'})
	return err
}

// encodeFile writes the message in a's file in mbox form, and finds its sum.
func encodeFile(w io.Writer, a *addition, meta *mboxio.Meta) error {
	in, err := os.OpenFile(a.tmp, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	verbatim := a.lines && a.m.Size == a.bytes
	if meta.Text, err = mboxio.Inspect(in, verbatim); err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if a.sum, err = mboxio.SumOf(in, verbatim); err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return mboxio.Encode(w, in, "MAILER-DAEMON", a.m.Date, meta)
}

// openForRead opens the file for one who reads a message at a known place.
func (f *folder) openForRead() (*os.File, error) {
	b := f.mb
	file, err := openMbox(b.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	ctx, cancel := lockContext()
	defer cancel()
	o := *b.user.lock()
	if o.Methods&(filelock.Fcntl|filelock.Flock) == 0 {
		o.Methods |= filelock.Fcntl
	}
	if err := filelock.Handle(ctx, file, &o, true); err != nil {
		file.Close()
		if errors.Is(err, filelock.ErrBusy) {
			err = mailbox.ErrBusy
		}
		return nil, err
	}
	return file, nil
}

// mboxContent opens a message. The whole of it is read, or, if it is large, copied into a
// file without a name, since its place in the file is good only as long as the lock is held.
func (b *box) mboxContent(m *mailbox.Message) (mailbox.Content, error) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 5 {
		if err := f.check(); err != nil {
			return nil, err
		}
		now := f.idx.State.Get(m.UID)
		if f.view.UIDValidity != b.view.UIDValidity || now == nil {
			return nil, mailbox.ErrExpunged
		}
		file, err := f.openForRead()
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		err = unix.Fstat(int(file.Fd()), &st)
		if err == nil && stampFrom(&st).same(stampIn(&f.idx.Header)) {
			c, err := readMbox(file, f.dir, loc(now), now.Size)
			file.Close()
			if errors.Is(err, mboxio.ErrPlace) {
				f.force = true
				continue
			}
			return c, err
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, mailbox.ErrBusy
}

func readMbox(file *os.File, dir string, l mboxLoc, size int64) (mailbox.Content, error) {
	if size > wholeLimit {
		out, err := nameless(dir)
		if err != nil {
			return nil, err
		}
		n, err := mboxio.DecodeAt(out, file, l.off, l.end())
		if err != nil {
			out.Close()
			return nil, err
		}
		return newLarge(out, n, true)
	}
	buf := contentBuffers.Get().(*contentBuffer)
	w := &sliceWriter{b: buf.wire[:0]}
	_, err := mboxio.DecodeAt(w, file, l.off, l.end())
	buf.wire = w.b
	if err != nil {
		contentBuffers.Put(buf)
		return nil, err
	}
	return &whole{b: w.b, buf: buf}, nil
}

// nameless makes a file that goes when it is closed.
func nameless(dir string) (*os.File, error) {
	if fd, err := unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	// Some file systems, NFS among them, cannot do that.
	f, err := os.CreateTemp(dir+"/tmp", "message.")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
