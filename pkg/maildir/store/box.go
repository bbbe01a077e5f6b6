package store

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"posthaste/pkg/mailbox"
)

// box is a session's view of a folder.
type box struct {
	f        *folder
	name     string
	readOnly bool
	view     *mailbox.View
	recent   []mailbox.UIDRange
	changed  chan struct{}
	win      window
	// Where facts are found out next if messages are asked for in order, and of
	// how many: see lookAt.
	lookNext, lookMany int
	closed             bool
}

var _ mailbox.Mailbox = (*box)(nil)

func (b *box) poke() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (b *box) Name() string        { return b.name }
func (b *box) ReadOnly() bool      { return b.readOnly }
func (b *box) View() *mailbox.View { return b.view }

func (b *box) ID() string {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	return b.f.id()
}

// id is the folder's object id (RFC 8474). f.mu is held.
func (f *folder) id() string {
	if f.idx == nil && f.check() != nil {
		return ""
	}
	return fmt.Sprintf("F%016x", f.idx.Header.ID)
}

// open attaches the box.
func (b *box) open() error {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mb != nil && f.idx != nil && stampIn(&f.idx.Header).partial {
		f.force = true
	}
	if err := f.check(); err != nil {
		return err
	}
	if f.mb != nil {
		if stampIn(&f.idx.Header).partial {
			f.force = true
			if err := f.check(); err != nil {
				return err
			}
		}
		if f.mb.readOnly {
			b.readOnly = true
		}
		f.mb.lags = f.mb.lags || !b.readOnly
	}
	b.view = f.view
	b.claim()
	f.boxes[b] = struct{}{}
	return nil
}

// claim makes this session the one that sees new messages first. f.mu is held.
func (b *box) claim() {
	f := b.f
	if f.idx == nil || f.idx.Header.Recent >= b.view.UIDNext {
		return
	}
	r := mailbox.UIDRange{First: max(1, f.idx.Header.Recent), Last: b.view.UIDNext - 1}
	if b.readOnly {
		// The same again if nobody claimed it meanwhile, and never one twice.
		n := len(b.recent)
		if n > 0 && b.recent[n-1].First == r.First {
			b.recent[n-1] = r
			return
		}
		if n > 0 {
			r.First = max(r.First, b.recent[n-1].Last+1)
		}
		if r.First <= r.Last {
			b.recent = append(b.recent, r)
		}
		return
	}
	err := f.locked(func() error {
		h := &f.idx.Header
		r.First = max(1, h.Recent)
		h.Recent = max(h.Recent, b.view.UIDNext)
		return f.idx.Commit(noLog, f.idx.State.UIDNext, f.idx.State.HighestModSeq)
	})
	if err == nil && r.First <= r.Last {
		b.recent = append(b.recent, r)
	}
}

func (b *box) Recent(u mailbox.UID) bool {
	for _, r := range b.recent {
		if u >= r.First && u <= r.Last {
			return true
		}
	}
	return false
}

func (b *box) RecentCount() int {
	n := 0
	ms := b.view.Messages
	for _, r := range b.recent {
		i := sort.Search(len(ms), func(i int) bool { return ms[i].UID >= r.First })
		j := sort.Search(len(ms), func(i int) bool { return ms[i].UID > r.Last })
		n += max(0, j-i)
	}
	return n
}

func (b *box) Sync(ctx context.Context, expunge bool) (mailbox.Changes, error) {
	if b.closed {
		return mailbox.Changes{}, mailbox.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return mailbox.Changes{}, err
	}
	select {
	case <-b.changed:
	default:
	}
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return mailbox.Changes{}, err
	}
	if f.view.UIDValidity != b.view.UIDValidity {
		return mailbox.Changes{}, mailbox.ErrOtherView
	}
	var c mailbox.Changes
	b.view, c = b.view.Advance(f.view, expunge)
	if c.New > 0 {
		b.claim()
	}
	return c, nil
}

func (b *box) Changed() <-chan struct{} {
	b.f.m.watch(b.f)
	return b.changed
}

// current returns the messages as they are now, of those uids that are in the
// View; gone are those that are no more. nil asks for all. f.mu is held.
func (b *box) current(uids []mailbox.UID) (list []*mailbox.Message, gone []mailbox.UID) {
	st := b.f.idx.State
	list = make([]*mailbox.Message, 0, len(uids))
	for _, u := range uids {
		if m := st.Get(u); m != nil {
			if _, ok := b.view.Find(u); ok {
				list = append(list, m)
			}
		} else if _, ok := b.view.Find(u); ok {
			gone = append(gone, u)
		}
	}
	return list, gone
}

func sortedUIDs(uids []mailbox.UID) []mailbox.UID {
	if !slices.IsSorted(uids) {
		uids = slices.Clone(uids)
		slices.Sort(uids)
	}
	return slices.Compact(slices.Clone(uids))
}

func (b *box) Vanished(since mailbox.ModSeq) []mailbox.UIDRange {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []mailbox.UIDRange
	add := func(first, last mailbox.UID) {
		if n := len(out); n > 0 && out[n-1].Last+1 == first {
			out[n-1].Last = last
		} else {
			out = append(out, mailbox.UIDRange{First: first, Last: last})
		}
	}
	if f.idx != nil {
		if uids, ok := f.idx.State.Vanished(since); ok {
			for _, u := range uids {
				// What is gone but not announced yet stays unannounced.
				if _, shown := b.view.Find(u); !shown && u < b.view.UIDNext {
					add(u, u)
				}
			}
			return out
		}
	}
	next := mailbox.UID(1)
	for _, m := range b.view.Messages {
		if m.UID > next {
			add(next, m.UID-1)
		}
		next = m.UID + 1
	}
	if next < b.view.UIDNext {
		add(next, b.view.UIDNext-1)
	}
	return out
}

func (b *box) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	f, wasteful := b.f, false
	f.mu.Lock()
	delete(f.boxes, b)
	if len(f.boxes) == 0 {
		f.flushFacts()
		if f.cache != nil {
			f.cache.flush(f)
		}
		if f.mb != nil {
			f.flushMbox()
		}
		if f.idx != nil {
			wasteful, _ = f.idx.Wasteful()
		}
	}
	f.mu.Unlock()
	if wasteful {
		f.m.soon(f.tidy)
	}
	b.win = window{}
	f.m.release(f)
	return nil
}
