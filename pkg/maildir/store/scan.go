package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// maxMessages bounds a folder.
const maxMessages = 4 << 20

// maxFresh bounds a transaction; what is more comes in the next.
const maxFresh = 100_000

// seen is one file that a look at new/ or cur/ found.
type seen struct {
	file  string
	place uint8
}

// readNames adds the files of a directory to list.
func readNames(dir string, place uint8, list []seen) ([]seen, error) {
	d, err := os.Open(dir + "/" + placeName(place))
	if err != nil {
		return list, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if n[0] != '.' && len(n) < 256 && !strings.HasPrefix(n, ":") {
				list = append(list, seen{n, place})
			}
		}
		if len(list) > maxMessages {
			return nil, fmt.Errorf("%s: more than %d messages", dir, maxMessages)
		}
		if err == io.EOF || err == nil && len(names) == 0 {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// look is what is in the directories, and the times that say so.
type look struct {
	files              []seen
	new, cur           bool // which were read
	newTime, curTime   int64
	newLooked, curLook int64
}

func (f *folder) read(n, c bool) (*look, error) {
	l := &look{new: n, cur: c}
	var err error
	if f.idx != nil {
		l.files = make([]seen, 0, len(f.idx.State.Messages)+16)
	}
	// new/ first: what moves to cur/ meanwhile is then seen twice, not never.
	if n {
		l.newLooked = time.Now().UnixNano()
		if l.newTime, err = mtime(f.dir + "/new"); err != nil {
			return nil, err
		}
		if l.files, err = readNames(f.dir, index.New, l.files); err != nil {
			return nil, err
		}
	}
	if c {
		l.curLook = time.Now().UnixNano()
		if l.curTime, err = mtime(f.dir + "/cur"); err != nil {
			return nil, err
		}
		if l.files, err = readNames(f.dir, index.Cur, l.files); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// reconcile takes in what foreign programs did to new/ and cur/.
func (f *folder) reconcile() error {
	if f.mb != nil {
		return f.reconcileMbox()
	}
	h := &f.idx.Header
	nt, err := mtime(f.dir + "/new")
	if err != nil {
		return err
	}
	ct, err := mtime(f.dir + "/cur")
	if err != nil {
		return err
	}
	now := time.Now()
	all := f.force || f.idx.Lost
	n := all || nt != h.New || f.m.due(h.New, h.NewLooked, now)
	c := all || ct != h.Cur || f.m.due(h.Cur, h.CurLook, now)
	if !n && !c {
		return nil
	}
	f.loadLetters()
	l, err := f.read(n, c)
	if err != nil {
		return err
	}
	if err := f.merge(l); err != nil {
		return err
	}
	f.force, f.again, f.idx.Lost = f.again, false, false
	if unsure(h.New, h.NewLooked) || unsure(h.Cur, h.CurLook) {
		f.m.recheck(f)
	}
	return nil
}

// byBase finds files by the unique part of their names. Of two with the same,
// the one in cur/ counts: a program is moving it there with link and unlink.
func byBase(files []seen) map[string]seen {
	m := make(map[string]seen, len(files))
	for _, s := range files {
		base, _ := splitName(s.file)
		if old, dup := m[base]; dup && (old.place == index.Cur && s.place != index.Cur) {
			continue
		}
		m[base] = s
	}
	return m
}

// merge brings the log to what l says.
func (f *folder) merge(l *look) error {
	st := f.idx.State
	found := byBase(l.files)
	var log index.Log
	var missing []*mailbox.Message
	seq := st.HighestModSeq + 1
	handle := func(m *mailbox.Message, s seen) {
		if m.Place == index.Cur && s.place == index.New && !l.cur {
			return // half way from new/ to cur/, by link and unlink
		}
		if s.file == m.File && s.place == m.Place {
			return
		}
		f.renamed(&log, m, s, seq)
	}
	for _, m := range st.Messages {
		base, _ := splitName(m.File)
		if s, ok := found[base]; ok {
			handle(m, s)
			delete(found, base)
		} else if m.Place == index.New && l.new || m.Place == index.Cur && l.cur || m.Place == index.Tmp {
			missing = append(missing, m)
		}
	}
	if len(missing) > 0 {
		var err error
		if missing, err = f.confirm(missing, found, handle, l); err != nil {
			return err
		}
	}
	for _, m := range missing {
		log.Expunge(m.UID, seq)
	}
	next, err := f.addFound(&log, found, seq)
	if err != nil {
		return err
	}
	h := &f.idx.Header
	old := *h
	if l.new {
		h.New, h.NewLooked = l.newTime, l.newLooked
	}
	if l.cur {
		h.Cur, h.CurLook = l.curTime, l.curLook
	}
	if log.Len() == 0 {
		if *h == old && !f.idx.Lost {
			return nil
		}
		return f.commit(&log, 0, 0)
	}
	f.merges++
	return f.commit(&log, next, seq)
}

// confirm looks again for messages that a look did not find. A directory may
// hide a file that is renamed while it is read, so one look proves nothing; two
// in a row, of which the second saw no change going on, are believed.
func (f *folder) confirm(missing []*mailbox.Message, found map[string]seen, handle func(*mailbox.Message, seen), l *look) ([]*mailbox.Message, error) {
	for range 5 {
		if len(missing) == 0 {
			return nil, nil
		}
		again, err := f.read(true, true)
		if err != nil {
			return nil, err
		}
		now := byBase(again.files)
		var left []*mailbox.Message
		for _, m := range missing {
			base, _ := splitName(m.File)
			if s, ok := now[base]; ok {
				handle(m, s)
				delete(found, base)
				continue
			}
			if m.Place == index.Tmp && f.forward(m) {
				handle(m, seen{m.File, index.Cur})
				continue
			}
			left = append(left, m)
		}
		missing = left
		n, err1 := mtime(f.dir + "/new")
		c, err2 := mtime(f.dir + "/cur")
		if err1 != nil || err2 != nil {
			return nil, errors.Join(err1, err2)
		}
		if n == again.newTime && c == again.curTime {
			return missing, nil
		}
	}
	// Something is going on without end: nothing is known to be gone, and the
	// next check looks again.
	l.newTime, l.curTime = 0, 0
	return nil, nil
}

// forward completes a committed addition whose writer died before the rename.
func (f *folder) forward(m *mailbox.Message) bool {
	return os.Rename(f.dir+"/tmp/"+m.File, f.dir+"/cur/"+m.File) == nil
}

// renamed records another name of a known message, and the flags in it. What
// the old name could not show stays.
func (f *folder) renamed(log *index.Log, m *mailbox.Message, s seen, seq mailbox.ModSeq) {
	_, info := splitName(s.file)
	_, oldInfo := splitName(m.File)
	n := *m
	n.File, n.Place = s.file, s.place
	if info == oldInfo {
		log.Rename(&n)
		return
	}
	n.Flags, n.Keywords = f.flagsIn(info, m)
	if n.Flags == m.Flags && slices.Equal(n.Keywords, m.Keywords) {
		log.Rename(&n)
		return
	}
	n.ModSeq = seq
	log.Change(f.idx.State, &n)
}

// flagsIn returns the flags that a name gives to m, and of m's keywords those
// that names cannot show.
func (f *folder) flagsIn(info string, m *mailbox.Message) (mailbox.Flags, []string) {
	fl, kw, _ := f.let.parseInfo(info)
	for _, k := range m.Keywords {
		if !f.let.shows(k) {
			kw = append(kw, k)
		}
	}
	return fl, sortedKeywords(kw)
}

// addFound gives UIDs to files that are not known.
func (f *folder) addFound(log *index.Log, found map[string]seen, seq mailbox.ModSeq) (mailbox.UID, error) {
	st := f.idx.State
	if len(found) == 0 {
		return 0, nil
	}
	fresh, _ := inOrder(found, nil)
	if len(fresh) > maxFresh {
		fresh, f.again = fresh[:maxFresh], true
	}
	msgs, gone, err := f.inspectAll(fresh)
	if err != nil {
		return 0, err
	}
	if gone {
		f.again = true
	}
	next := st.UIDNext
	for _, m := range msgs {
		if m == nil {
			continue
		}
		m.UID, m.ModSeq = next, seq
		log.Add(st, m)
		next++
	}
	return next, nil
}

// inspectAll inspects files, many of them in parallel: what counts is system
// calls. A nil message is no plain file, or gone; gone tells of the latter.
func (f *folder) inspectAll(list []seen) (msgs []*mailbox.Message, gone bool, err error) {
	msgs = make([]*mailbox.Message, len(list))
	slab := make([]mailbox.Message, len(list))
	var fds [2]int
	for p := range fds {
		if fds[p], err = unix.Open(f.dir+"/"+placeName(uint8(p)), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, false, &os.PathError{Op: "open", Path: f.dir, Err: err}
		}
		defer unix.Close(fds[p])
	}
	workers := 1
	if len(list) >= 500 {
		workers = max(1, min(4, runtime.GOMAXPROCS(0)))
	}
	var lost atomic.Bool
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * len(list) / workers; i < (w+1)*len(list)/workers; i++ {
				ok, err := f.inspect(fds[list[i].place], list[i], &slab[i])
				switch {
				case err == unix.ENOENT:
					lost.Store(true)
				case err != nil:
					errs[w] = &os.PathError{Op: "stat", Path: f.dir + "/" + placeName(list[i].place) + "/" + list[i].file, Err: err}
					return
				case ok:
					msgs[i] = &slab[i]
				}
			}
		})
	}
	wg.Wait()
	return msgs, lost.Load(), errors.Join(errs...)
}

// inspect makes a message of a file in the directory dirfd, without UID. It is
// false for what is no plain file.
func (f *folder) inspect(dirfd int, s seen, m *mailbox.Message) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, s.file, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, nil
	}
	base, info := splitName(s.file)
	*m = mailbox.Message{File: s.file, Place: s.place, Size: -1, Date: st.Mtim.Sec, SaveDate: st.Ctim.Sec, EmailID: index.EmailID(base)}
	m.Flags, m.Keywords, _ = f.let.parseInfo(info)
	if w, ok := field(base, "W"); ok {
		// A wrong size would cut messages off or hang clients.
		if p, ok := field(base, "S"); ok && p == st.Size && w >= p && w <= 2*p {
			m.Size = w
		}
	}
	return true, nil
}

// arrival is a file with what new files are ordered by.
type arrival struct {
	seen
	uid  mailbox.UID // from Dovecot, or 0
	time uint64
}

// inOrder sorts files: those with UIDs first, then as they arrived.
func inOrder(found map[string]seen, uids map[string]mailbox.UID) ([]seen, []mailbox.UID) {
	list := make([]arrival, 0, len(found))
	for base, s := range found {
		a := arrival{seen: s, uid: uids[base]}
		a.time, _ = leadingNumber(s.file)
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b arrival) int {
		switch {
		case a.uid != 0 && b.uid != 0:
			return cmp.Compare(a.uid, b.uid)
		case a.uid != 0:
			return -1
		case b.uid != 0:
			return 1
		case a.time != b.time:
			return cmp.Compare(a.time, b.time)
		}
		return compareNames(a.file, b.file)
	})
	files, us := make([]seen, len(list)), make([]mailbox.UID, len(list))
	for i, a := range list {
		files[i], us[i] = a.seen, a.uid
	}
	return files, us
}

// build makes an index where there is none, or none that can be read. known
// tells that there was one: then UIDs were given out that nobody knows any
// more, and UIDVALIDITY changes. Otherwise Dovecot's are taken over.
func (f *folder) build(l index.Lock, known bool) error {
	if f.mb != nil {
		return f.buildMbox(l, known)
	}
	f.letSeen = fileStamp{}
	f.loadLetters()
	lk, err := f.read(true, true)
	if err != nil {
		return err
	}
	var list *uidList
	if !known {
		list = f.readUIDList()
	}
	var validity uint32
	if list != nil {
		validity, err = noteUIDValidity(f.root, list.UIDValidity)
	} else {
		list = &uidList{UIDNext: 1}
		validity, err = nextUIDValidity(f.root)
	}
	if err != nil {
		return err
	}
	found := byBase(lk.files)
	order, uids := inOrder(found, list.UIDs)
	msgs, gone, err := f.inspectAll(order)
	if err != nil {
		return err
	}
	if gone {
		lk.newTime, lk.curTime = 0, 0 // look again
	}
	st := index.NewState(1)
	for _, k := range f.let.names {
		st.PreloadKeyword(k)
	}
	next := list.UIDNext
	for i, m := range msgs {
		if m == nil {
			continue
		}
		if m.UID = uids[i]; m.UID == 0 {
			m.UID = next
			next++
		}
		m.ModSeq = st.HighestModSeq
		for _, k := range m.Keywords {
			st.PreloadKeyword(k)
		}
		st.Preload(m)
	}
	st.UIDNext = max(st.UIDNext, next)
	h := index.Header{UIDValidity: validity, New: lk.newTime, NewLooked: lk.newLooked, Cur: lk.curTime, CurLook: lk.curLook}
	h.Recent = f.recentFrom(st)
	f.idx, err = l.Create(f.dir, h, st)
	return err
}

// recentFrom: at first sight, only the trailing messages that are still in new/ are recent.
func (f *folder) recentFrom(st *index.State) mailbox.UID {
	u := st.UIDNext
	for i := len(st.Messages) - 1; i >= 0 && st.Messages[i].Place == index.New; i-- {
		u = st.Messages[i].UID
	}
	return u
}

func (f *folder) readUIDList() *uidList {
	file, err := os.OpenFile(f.dir+"/dovecot-uidlist", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, 512<<20))
	if err != nil {
		return nil
	}
	l, err := parseUIDList(b)
	if err != nil {
		f.m.logf("%s/dovecot-uidlist: %v: UIDs start anew", f.dir, err)
		return nil
	}
	return l
}
