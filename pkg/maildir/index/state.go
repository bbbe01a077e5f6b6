package index

import (
	"slices"
	"sort"
	"strings"

	"posthaste/pkg/mailbox"
)

// Expunged is a message that is no more.
type Expunged struct {
	UID    mailbox.UID
	ModSeq mailbox.ModSeq
}

// State is what the log says. Messages that it hands out in a View are never
// changed; the list is copied before it is, once for each transaction.
type State struct {
	UIDNext       mailbox.UID
	HighestModSeq mailbox.ModSeq
	Messages      []*mailbox.Message
	Keywords      []string
	History       []Expunged // by ascending ModSeq
	Floor         mailbox.ModSeq
	// Dead counts records that a rewrite would leave out.
	Dead int

	shared bool // Messages is in a View
	gone   map[mailbox.UID]mailbox.ModSeq
	sets   map[string][]string
	slab   []mailbox.Message
}

func newState() *State { return &State{UIDNext: 1, HighestModSeq: 1} }

// alloc takes messages from blocks: one allocation for many.
func (st *State) alloc() *mailbox.Message {
	if len(st.slab) == 0 {
		st.slab = make([]mailbox.Message, min(512, max(8, len(st.Messages))))
	}
	m := &st.slab[0]
	st.slab = st.slab[1:]
	return m
}

// View returns a snapshot. The Messages seen in it will not change.
func (st *State) View(uidValidity uint32) *mailbox.View {
	st.shared = true
	n := len(st.Messages)
	k := len(st.Keywords)
	return &mailbox.View{UIDValidity: uidValidity, UIDNext: st.UIDNext, HighestModSeq: st.HighestModSeq,
		Messages: st.Messages[:n], Keywords: st.Keywords[:k:k]}
}

func (st *State) own() {
	if st.shared {
		st.Messages = slices.Clone(st.Messages)
		st.shared = false
	}
}

func (st *State) find(u mailbox.UID) (int, bool) {
	ms := st.Messages
	if n := len(ms); n > 0 && ms[n-1].UID == u {
		return n - 1, true
	}
	if len(ms) > 0 && u >= ms[0].UID {
		if i := int(u - ms[0].UID); i < len(ms) && ms[i].UID == u {
			return i, true
		}
	}
	i := sort.Search(len(ms), func(i int) bool { return ms[i].UID >= u })
	return i, i < len(ms) && ms[i].UID == u
}

// Get returns the message with that UID, or nil.
func (st *State) Get(u mailbox.UID) *mailbox.Message {
	if i, ok := st.find(u); ok {
		return st.Messages[i]
	}
	return nil
}

// Keyword returns the number of a keyword, in any case.
func (st *State) Keyword(k string) (int, bool) {
	for i, s := range st.Keywords {
		if len(s) == len(k) && strings.EqualFold(s, k) {
			return i, true
		}
	}
	return 0, false
}

// add appends: older views end before the new element, so the list need not be copied.
func (st *State) add(m *mailbox.Message) {
	st.flush()
	st.Messages = append(st.Messages, m)
	st.UIDNext = m.UID + 1
	st.HighestModSeq = max(st.HighestModSeq, m.ModSeq)
}

func (st *State) replace(i int, m *mailbox.Message) {
	st.own()
	st.Messages[i] = m
	st.HighestModSeq = max(st.HighestModSeq, m.ModSeq)
	st.Dead++
}

func (st *State) expunge(u mailbox.UID, s mailbox.ModSeq) {
	if st.gone == nil {
		st.gone = map[mailbox.UID]mailbox.ModSeq{}
	}
	st.gone[u] = s
	st.UIDNext = max(st.UIDNext, u+1)
	st.HighestModSeq = max(st.HighestModSeq, s)
	st.History = append(st.History, Expunged{u, s})
	st.Dead++
}

// flush takes the expunged messages out, all in one pass.
func (st *State) flush() {
	if len(st.gone) == 0 {
		return
	}
	kept := make([]*mailbox.Message, 0, len(st.Messages)+8)
	for _, m := range st.Messages {
		if _, gone := st.gone[m.UID]; !gone {
			kept = append(kept, m)
		}
	}
	st.Messages, st.shared = kept, false
	clear(st.gone)
	slices.SortStableFunc(st.History, func(a, b Expunged) int {
		switch {
		case a.ModSeq < b.ModSeq:
			return -1
		case a.ModSeq > b.ModSeq:
			return 1
		}
		return int(int64(a.UID) - int64(b.UID))
	})
	if n := len(st.History) - maxHistory; n > maxHistory/4 {
		st.Floor = max(st.Floor, st.History[n-1].ModSeq)
		st.History = slices.Clone(st.History[n:])
	}
}

// Vanished returns the UIDs expunged after since; ok is false if the history
// does not reach back so far.
func (st *State) Vanished(since mailbox.ModSeq) (uids []mailbox.UID, ok bool) {
	if since < st.Floor {
		return nil, false
	}
	i := sort.Search(len(st.History), func(i int) bool { return st.History[i].ModSeq > since })
	for _, e := range st.History[i:] {
		uids = append(uids, e.UID)
	}
	slices.Sort(uids)
	return slices.Compact(uids), true
}

// snapshot writes the state as a new log. Expunges come before messages, since
// the messages' UIDs must ascend past what was ever given.
func (st *State) snapshot(out []byte, gen uint64) []byte {
	size := 1 << 10
	for _, m := range st.Messages {
		size += len(m.File) + 48
	}
	out = slices.Grow(out, size)
	l := Log{b: make([]byte, 0, min(size, 1<<20+1<<10))}
	for _, k := range st.Keywords {
		l.b = append(l.b, opKeyword)
		l.string(k)
	}
	l.floor(st.Floor)
	flush := func(limit int) {
		if l.Len() > limit {
			out = l.appendFrame(out, gen)
			l.b = l.b[:0]
		}
	}
	for _, m := range st.Messages {
		l.Add(st, m)
		flush(1 << 20)
	}
	for _, e := range st.History {
		l.Expunge(e.UID, e.ModSeq)
		flush(1 << 20)
	}
	flush(0)
	return out
}

// Parsed is what Parse made of a file's bytes.
type Parsed struct {
	Header Header
	State  *State
	Valid  int64 // where the intact part ends
	// Lost tells that committed transactions may be missing: UIDNext and
	// HighestModSeq have been moved past all that can have been given out, and
	// the folder has to be scanned.
	Lost bool
}

// Parse reads a whole index. boot and now tell the present boot of the system
// and time: after a crash of the system, what was not synced may be missing
// without a trace.
func Parse(b []byte, c Clock) (*Parsed, error) {
	h, both, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	p := &Parsed{Header: h, State: newState(), Valid: HeaderSize}
	p.Lost = !both || !c.same(&h)
	for {
		payload, n, ok := nextFrame(b[p.Valid:], h.Gen)
		if !ok {
			break
		}
		if err := p.State.apply(payload); err != nil {
			return nil, err
		}
		p.Valid += int64(n)
	}
	p.Lost = p.Lost || p.Valid < h.Length
	p.settle(both)
	return p, nil
}

// settle reconciles header and log.
func (p *Parsed) settle(both bool) {
	h, st := &p.Header, p.State
	st.UIDNext = max(st.UIDNext, h.UIDNext)
	st.HighestModSeq = max(st.HighestModSeq, h.HighestModSeq)
	if !p.Lost {
		return
	}
	st.UIDNext = max(st.UIDNext, h.UIDReserve)
	st.HighestModSeq = max(st.HighestModSeq, h.ModSeqReserve)
	if !both {
		// The lost copy may have held a later reservation.
		if st.UIDNext < 1<<32-1-uidChunk {
			st.UIDNext += uidChunk
		}
		st.HighestModSeq += modSeqChunk
	}
	st.Floor = st.HighestModSeq
	h.New, h.Cur = 0, 0
}
