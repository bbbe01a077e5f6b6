package store

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
	"posthaste/pkg/mbox/mboxio"
)

// maxLast is the highest UID that a file's own header fields may claim.
const maxLast = 1<<32 - 1<<20

// maxAhead is how many seconds a UIDVALIDITY in a file, which usually is a time, may be
// ahead of now.
const maxAhead = 366 * 86400

// scanMbox reads all messages of the open file. The one in which c-client keeps its
// own data is none.
func (f *folder) scanMbox(from int64) (list []*mboxio.Message, base *mboxio.Base, err error) {
	b := f.mb
	if b.file == nil {
		return nil, nil, nil
	}
	st, err := b.file.Stat()
	if err != nil {
		return nil, nil, err
	}
	first := from == 0
	err = mboxio.Scan(b.file, from, st.Size(), func(m *mboxio.Message) error {
		if first {
			first = false
			base = m.Base
			if base != nil && base.Pseudo {
				return nil
			}
		}
		if len(list) >= maxMessages {
			return errors.New("too many messages")
		}
		list = append(list, m)
		return nil
	})
	// Numbers that would soon run out are no program's, but a sender's.
	if base != nil && (base.Last > maxLast || int64(base.Validity) > time.Now().Unix()+maxAhead) {
		base = nil
	}
	return list, base, err
}

// reconcileMbox takes in what other programs did to the file. Its locks are held.
func (f *folder) reconcileMbox() error {
	b, h := f.mb, &f.idx.Header
	if b.file != nil && !b.readOnly && mboxio.Pending(f.journal()) {
		if err := mboxio.Recover(f.journal(), b.file); err != nil {
			return err
		}
		f.force = true
	}
	now := noFile
	if b.file != nil {
		st, err := b.stat()
		if err != nil {
			return err
		}
		now = st
	}
	old := stampIn(h)
	if !f.force && !f.idx.Lost && now.same(old) && !f.m.due(h.New, h.NewLooked, time.Now()) {
		return nil
	}
	var log index.Log
	next, seq := f.idx.State.UIDNext, f.idx.State.HighestModSeq+1
	partial := !f.force && !f.idx.Lost && now.ino == old.ino && now.size > old.size && old.size > 0 && h.New != 0
	var list []*mboxio.Message
	var err error
	if partial {
		list, partial = f.scanTail(old.size)
	}
	if partial {
		next, err = f.addMbox(&log, list, nil, next, seq)
	} else {
		var base *mboxio.Base
		if list, base, err = f.scanMbox(0); err != nil {
			return err
		}
		next, err = f.matchMbox(&log, list, base, next, seq)
	}
	if err != nil {
		return err
	}
	if err := f.touched(partial); err != nil {
		return err
	}
	if log.Len() > 0 {
		f.merges++
		f.mb.lags = f.mb.lags || f.writers()
	} else {
		seq = 0
	}
	if err := f.commit(&log, next, seq); err != nil {
		return err
	}
	f.force, f.idx.Lost = false, false
	return nil
}

// scanTail reads what was appended, if the first and the last message are still what
// and where they were. Flags in the middle may differ all the same: the next SELECT reads all.
func (f *folder) scanTail(from int64) (list []*mboxio.Message, ok bool) {
	ms := f.mboxOrder()
	if len(ms) == 0 {
		return nil, false
	}
	for _, m := range []*mailbox.Message{ms[0], ms[len(ms)-1]} {
		l := loc(m)
		end := from
		if m == ms[0] {
			end = l.end()
		}
		same := false
		err := mboxio.Scan(f.mb.file, l.off, end, func(e *mboxio.Message) error {
			same = locOf(e, m.UID) == mboxLoc{l.off, e.End - e.Off, l.sum, l.state, l.keywords}
			return nil
		})
		if err != nil || !same {
			return nil, false
		}
	}
	list, _, err := f.scanMbox(from)
	return list, err == nil
}

// mboxOrder returns the messages in the order of the file.
func (f *folder) mboxOrder() []*mailbox.Message {
	ms := f.idx.State.Messages
	at := func(a, b *mailbox.Message) int { return cmp.Compare(loc(a).off, loc(b).off) }
	if !slices.IsSortedFunc(ms, at) {
		ms = slices.Clone(ms)
		slices.SortFunc(ms, at)
	}
	return ms
}

// matchMbox finds the index's messages among those of the file: by X-UID where
// the content is the same, else by content alone, in order.
func (f *folder) matchMbox(log *index.Log, list []*mboxio.Message, base *mboxio.Base, next mailbox.UID, seq mailbox.ModSeq) (mailbox.UID, error) {
	st := f.idx.State
	found := make(map[mailbox.UID]*mboxio.Message, len(list))
	var rest []*mboxio.Message
	for _, e := range list {
		u := mailbox.UID(e.UID)
		if m := st.Get(u); m != nil && found[u] == nil && loc(m).sum == e.Sum {
			found[u] = e
		} else {
			rest = append(rest, e)
		}
	}
	if len(rest) > 0 {
		bySum := map[uint64][]mailbox.UID{}
		for _, m := range st.Messages {
			if found[m.UID] == nil {
				s := loc(m).sum
				bySum[s] = append(bySum[s], m.UID)
			}
		}
		rest = slices.DeleteFunc(rest, func(e *mboxio.Message) bool {
			us := bySum[e.Sum]
			if len(us) == 0 {
				return false
			}
			found[us[0]] = e
			bySum[e.Sum] = us[1:]
			return true
		})
	}
	for _, m := range st.Messages {
		e := found[m.UID]
		if e == nil {
			log.Expunge(m.UID, seq)
			continue
		}
		f.foundMbox(log, m, e, base, seq)
	}
	return f.addMbox(log, rest, base, next, seq)
}

// foundMbox records where a known message is, and flags that another program gave it.
func (f *folder) foundMbox(log *index.Log, m *mailbox.Message, e *mboxio.Message, base *mboxio.Base, seq mailbox.ModSeq) {
	old, now := loc(m), locOf(e, m.UID)
	if old == now {
		return
	}
	n := *m
	n.File = now.String()
	const flags = locOld - 1
	if now.state&flags != old.state&flags {
		n.Flags = e.Flags
	}
	if now.keywords != old.keywords {
		n.Keywords = f.keywordsOf(e, base)
	}
	if n.Flags == m.Flags && slices.Equal(n.Keywords, m.Keywords) {
		log.Rename(&n)
		return
	}
	n.ModSeq = seq
	log.Change(f.idx.State, &n)
}

// keywordsOf returns a message's keywords as far as the folder has them, or its
// X-IMAPbase field, where programs put new ones first. Others are the sender's.
func (f *folder) keywordsOf(e *mboxio.Message, base *mboxio.Base) []string {
	kw := slices.DeleteFunc(cleanKeywords(e.Keywords), func(k string) bool {
		_, known := f.idx.State.Keyword(k)
		return !known && !base.Has(k)
	})
	return spelling(f.idx.State, kw)
}

// addMbox gives UIDs to messages that are not known.
func (f *folder) addMbox(log *index.Log, list []*mboxio.Message, base *mboxio.Base, next mailbox.UID, seq mailbox.ModSeq) (mailbox.UID, error) {
	if len(list) == 0 {
		return next, nil
	}
	now := time.Now().Unix()
	for _, e := range list {
		m := newMbox(e, next, now)
		m.Keywords = f.keywordsOf(e, base)
		m.ModSeq = seq
		log.Add(f.idx.State, m)
		next++
	}
	return next, nil
}

func newMbox(e *mboxio.Message, u mailbox.UID, now int64) *mailbox.Message {
	return &mailbox.Message{UID: u, Flags: e.Flags, Keywords: cleanKeywords(e.Keywords), Size: e.Size, Date: e.Date, SaveDate: now,
		EmailID: max(1, e.Sum), File: locOf(e, u).String()}
}

// buildMbox is build for an mbox: the UIDs in the file are taken over unless an
// index of ours was lost, which knew better.
func (f *folder) buildMbox(l index.Lock, known bool) error {
	b := f.mb
	if b.file != nil && !b.readOnly && mboxio.Pending(f.journal()) {
		if err := mboxio.Recover(f.journal(), b.file); err != nil {
			return err
		}
	}
	list, base, err := f.scanMbox(0)
	if err != nil {
		return err
	}
	var validity uint32
	if base != nil && !known {
		validity, err = noteUIDValidity(f.root, base.Validity)
	} else {
		base = &mboxio.Base{}
		validity, err = nextUIDValidity(f.root)
	}
	if err != nil {
		return err
	}
	st := index.NewState(1)
	for _, k := range base.Keywords {
		if mailbox.ValidKeyword(k) {
			st.PreloadKeyword(k)
		}
	}
	next, last, now := mailbox.UID(base.Last)+1, mailbox.UID(0), time.Now().Unix()
	msgs := make([]*mailbox.Message, 0, len(list))
	recent := 0
	for _, e := range list {
		u := mailbox.UID(e.UID)
		if u <= last || e.UID > base.Last {
			u = next
			next++
		} else {
			last = u
		}
		if recent++; e.Old {
			recent = 0
		}
		msgs = append(msgs, newMbox(e, u, now))
	}
	slices.SortStableFunc(msgs, func(a, b *mailbox.Message) int { return cmp.Compare(a.UID, b.UID) })
	for _, m := range msgs {
		m.ModSeq = st.HighestModSeq
		m.Keywords = slices.DeleteFunc(m.Keywords, func(k string) bool { return !base.Has(k) })
		st.Preload(m)
	}
	st.UIDNext = max(st.UIDNext, next)
	h := index.Header{UIDValidity: validity, Recent: st.UIDNext}
	if recent > 0 {
		h.Recent = msgs[len(msgs)-recent].UID
	}
	if f.idx, err = l.Create(f.dir, h, st); err != nil {
		return err
	}
	if err := f.touched(false); err != nil {
		return err
	}
	return f.commit(noLog, 0, 0)
}
