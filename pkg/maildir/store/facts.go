package store

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// A look at a Maildir reads its directories and no file. What only a file tells,
// its time, which is the internal date, and its size, is found out when
// somebody asks, and then kept in the index: a date that was told stays, even if
// a foreign program changes the file's time.

// fact is what was found out about a message.
type fact struct {
	size int64 // -1 if not known
	date int64 // mailbox.NoDate if not known
}

var nothing = fact{-1, mailbox.NoDate}

// factsMost is how many facts wait before they are written.
const factsMost = 1024

// How many files are looked at for one: more and more if the messages are
// asked for one after the other.
const (
	lookFirst = 16
	lookMost  = 4096
)

func (b *box) Size(m *mailbox.Message) (int64, error) {
	if m.Size >= 0 {
		return m.Size, nil
	}
	known, _ := b.known(m.UID)
	if known.size < 0 && b.f.mb == nil && hasSize(m.File) {
		b.lookAt(m)
		known, _ = b.known(m.UID)
	}
	if known.size >= 0 {
		return known.size, nil
	}
	c, err := b.Content(m)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Size(), nil
}

func (b *box) Date(m *mailbox.Message) (int64, error) {
	if m.Date != mailbox.NoDate {
		return m.Date, nil
	}
	if b.closed {
		return 0, mailbox.ErrClosed
	}
	known, written := b.known(m.UID)
	if known.date == mailbox.NoDate {
		b.lookAt(m)
		known, written = b.known(m.UID)
	}
	if known.date == mailbox.NoDate {
		// Not where this session's View has it.
		fd, m, err := b.openFile(m)
		if err != nil {
			return 0, err
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err != nil {
			return 0, fmt.Errorf("stat %s: %w", b.f.path(m), err)
		}
		known.date = st.Mtim.Sec
		b.note(m.UID, known)
		known, written = b.known(m.UID)
	}
	if !written {
		b.f.mu.Lock()
		b.f.flushFacts()
		b.f.mu.Unlock()
	}
	return known.date, nil
}

// known returns what somebody found out about a message since, and whether the
// index has it.
func (b *box) known(u mailbox.UID) (k fact, written bool) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		return nothing, false
	}
	k = nothing
	if m := f.idx.State.Get(u); m != nil {
		k = fact{m.Size, m.Date}
	}
	if k.size >= 0 && k.date != mailbox.NoDate {
		return k, true
	}
	if more, ok := f.facts[u]; ok {
		return k.or(more), false
	}
	return k, true
}

// or returns k, and what it lacks from another.
func (k fact) or(more fact) fact {
	if k.size < 0 {
		k.size = more.size
	}
	if k.date == mailbox.NoDate {
		k.date = more.date
	}
	return k
}

// note remembers a fact, to be written with others.
func (b *box) note(u mailbox.UID, k fact) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		return
	}
	f.note(f.idx.State.Get(u), k)
	if len(f.facts) >= factsMost {
		f.flushFacts()
	}
}

// note remembers what is new about m. f.mu is held.
func (f *folder) note(m *mailbox.Message, k fact) {
	if m == nil || m.Size >= 0 && m.Date != mailbox.NoDate {
		return
	}
	if f.facts == nil {
		f.facts = map[mailbox.UID]fact{}
	}
	if old, ok := f.facts[m.UID]; ok {
		k = old.or(k)
	}
	f.facts[m.UID] = k
}

// lookAt looks at the file of a message, and at those of some that follow.
// What fails is left for its turn.
func (b *box) lookAt(m *mailbox.Message) {
	f := b.f
	i, ok := b.view.Find(m.UID)
	if !ok || b.closed {
		return
	}
	if i == b.lookNext && i > 0 {
		b.lookMany = min(2*b.lookMany, lookMost)
	} else {
		b.lookMany = lookFirst
	}
	list := make([]*mailbox.Message, 0, b.lookMany)
	f.mu.Lock()
	if f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		f.mu.Unlock()
		return
	}
	for ; i < len(b.view.Messages) && len(list) < b.lookMany; i++ {
		now := f.idx.State.Get(b.view.Messages[i].UID)
		if now == nil || now.Date != mailbox.NoDate && (now.Size >= 0 || !hasSize(now.File)) {
			continue
		}
		if _, waits := f.facts[now.UID]; !waits {
			list = append(list, now)
		}
	}
	b.lookNext = i
	f.mu.Unlock()
	dirs, err := f.places(len(list))
	if err != nil {
		return
	}
	defer dirs.close()
	found := make([]fact, len(list))
	inParallel(len(list), func(i int) error {
		found[i] = dirs.facts(list[i])
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		return
	}
	for i, k := range found {
		if k != nothing {
			f.note(f.idx.State.Get(list[i].UID), k)
		}
	}
}

// facts looks at a message's file.
func (p *places) facts(m *mailbox.Message) fact {
	dirfd, name := p.at(m)
	var st unix.Stat_t
	if unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nothing
	}
	k := fact{-1, st.Mtim.Sec}
	base, _ := splitName(m.File)
	if w, ok := field(base, "W"); ok {
		// A wrong size would cut messages off or hang clients.
		if s, ok := field(base, "S"); ok && s == st.Size && w >= s && w <= 2*s {
			k.size = w
		}
	}
	return k
}

// hasSize tells whether a name tells the size of the wire form.
func hasSize(file string) bool {
	base, _ := splitName(file)
	_, w := field(base, "W")
	_, s := field(base, "S")
	return w && s
}

// flushFacts writes what was found out. f.mu is held. Trouble means that it
// will be tried again.
func (f *folder) flushFacts() {
	if len(f.facts) == 0 || f.gone {
		return
	}
	facts := f.facts
	f.facts = nil
	err := f.locked(func() error {
		var log index.Log
		for _, u := range slices.Sorted(maps.Keys(facts)) {
			m := f.idx.State.Get(u)
			if m == nil {
				continue
			}
			was := fact{m.Size, m.Date}
			if now := was.or(facts[u]); now != was {
				n := *m
				n.Size, n.Date = now.size, now.date
				log.Facts(&n)
			}
		}
		if log.Len() == 0 {
			return nil
		}
		return f.commit(&log, 0, 0)
	})
	switch {
	case f.facts != nil:
	case err != nil:
		f.facts = facts
	case len(facts) >= factsMost: // more will come
		clear(facts)
		f.facts = facts
	}
}
