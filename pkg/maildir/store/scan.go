package store

import (
	"errors"
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

// look is what is in the directories, and the times that say so.
type look struct {
	files              []seen
	new, cur           bool // which were read
	newTime, curTime   int64
	newLooked, curLook int64
}

// expected guesses how many files a directory has.
func expected(path string) int {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return int(min(st.Size/48, 1<<16))
}

func (f *folder) read(n, c bool) (*look, error) {
	l := &look{new: n, cur: c}
	var err error
	if f.idx != nil {
		l.files = make([]seen, 0, len(f.idx.State.Messages)+16)
	} else {
		l.files = make([]seen, 0, expected(f.dir+"/cur"))
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
				handle(m, seen{file: m.File, place: index.Cur})
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
	left := make([]seen, 0, len(found))
	for _, s := range found {
		left = append(left, s)
	}
	fresh := inOrder(left, nil)
	if len(fresh) > maxFresh {
		fresh, f.again = fresh[:maxFresh], true
	}
	msgs, gone, err := f.messages(fresh)
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

// messages makes messages of files, without UIDs, many in parallel. A nil
// message is no plain file, or gone; gone tells of the latter.
func (f *folder) messages(list []arrival) (msgs []*mailbox.Message, gone bool, err error) {
	msgs = make([]*mailbox.Message, len(list))
	slab := make([]mailbox.Message, len(list))
	now := time.Now().Unix()
	var lost atomic.Bool
	err = inParallel(len(list), func(i int) error {
		ok, err := f.message(&list[i], now, &slab[i])
		if ok {
			msgs[i] = &slab[i]
		}
		if isNotExist(err) {
			lost.Store(true)
			return nil
		}
		return err
	})
	return msgs, lost.Load(), err
}

// inParallel calls fn for the numbers below n, on several processors if they
// are many. After an error no more are begun.
func inParallel(n int, fn func(i int) error) error {
	workers := 1
	if n >= 500 {
		workers = max(1, min(4, runtime.GOMAXPROCS(0)))
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	part := func(w int) {
		for i := w * n / workers; i < (w+1)*n/workers && errs[w] == nil; i++ {
			errs[w] = fn(i)
		}
	}
	for w := 1; w < workers; w++ {
		wg.Go(func() { part(w) })
	}
	part(0)
	wg.Wait()
	return errors.Join(errs...)
}

// message makes a message of a file. It is false for what is no plain file.
// What only the file itself tells, its time and size, is found out when somebody
// asks: see facts.
func (f *folder) message(a *arrival, now int64, m *mailbox.Message) (bool, error) {
	*m = mailbox.Message{File: a.file, Place: a.place, Size: -1, Date: mailbox.NoDate, SaveDate: int64(a.time), EmailID: index.EmailID(a.base())}
	m.Flags, m.Keywords, _ = f.let.parseInfo(a.info())
	named := savedWhen(a, now)
	if named && !a.unsure {
		return true, nil
	}
	var st unix.Stat_t
	path := f.dir + "/" + placeName(a.place) + "/" + a.file
	if err := unix.Lstat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if !named {
		m.SaveDate = st.Ctim.Sec
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG, nil
}

// firstMaildir is before any time in a file name.
const firstMaildir = 788918400 // 1995

// savedWhen tells whether the name begins with the time at which the file came
// here. That is SAVEDATE (RFC 8514): who delivers or copies a message gives it a name, while the
// file's own times change with each flag, or when it is restored from a backup.
func savedWhen(a *arrival, now int64) bool {
	return a.time >= firstMaildir && a.time <= uint64(now) && strings.HasPrefix(a.rest(), ".")
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
	var list *uidList
	if !known {
		list = f.readUIDList()
	}
	// Durable before the index that uses it, and meanwhile the directories are read.
	validity := make(chan validityResult, 1)
	go func(list *uidList) {
		var r validityResult
		if list != nil {
			r.v, r.err = noteUIDValidity(f.root, list.UIDValidity)
		} else {
			r.v, r.err = nextUIDValidity(f.root)
		}
		validity <- r
	}(list)
	takenOver := list != nil
	if !takenOver {
		list = &uidList{UIDNext: 1}
	}
	st, lk, err := f.firstLook(list)
	v := <-validity
	if err = errors.Join(err, v.err); err != nil {
		return err
	}
	h := index.Header{UIDValidity: v.v, New: lk.newTime, NewLooked: lk.newLooked, Cur: lk.curTime, CurLook: lk.curLook}
	h.Recent = f.recentFrom(st)
	if takenOver {
		// Until it is durable, Dovecot's list is all that knows of these UIDs.
		f.idx, err = l.Create(f.dir, h, st)
		return err
	}
	if f.idx, err = l.CreateSoon(f.dir, h, st); err != nil {
		return err
	}
	idx, dir := f.idx, f.dir
	f.m.soon(func() { idx.Settle(dir) })
	return nil
}

type validityResult struct {
	v   uint32
	err error
}

// firstLook makes a state of what is in the directories, with the UIDs of list.
func (f *folder) firstLook(list *uidList) (*index.State, *look, error) {
	lk, err := f.read(true, true)
	if err != nil {
		return nil, nil, err
	}
	order := inOrder(lk.files, list.UIDs)
	msgs, gone, err := f.messages(order)
	if err != nil {
		return nil, nil, err
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
		if m.UID = order[i].uid; m.UID == 0 {
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
	return st, lk, nil
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
