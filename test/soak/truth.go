package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Times are nanoseconds since the program began.
var began = time.Now()

func now() int64 { return int64(time.Since(began)) }

func seconds(t int64) float64 { return float64(t) / 1e9 }

// write is somebody's setting or clearing of one flag of one message, between
// start and end. An end of 0 means that it may still be under way, or that
// nobody knows how it ended.
type write struct {
	start, end int64
	on         bool
	who        string
}

// register is one flag of one message: all writes of it.
type register []*write

// allows tells whether the flag may be seen as on (or off) by somebody who
// looked between from and to. It may if some write made it so that had begun by
// then, unless another write that made it otherwise began after that one had
// ended, and was itself over before the look began.
func (r register) allows(on bool, from, to int64) bool {
	var latest int64 = -1 // start of the last write of the other value that was over
	for _, w := range r {
		if w.on != on && w.end != 0 && w.end < from {
			latest = max(latest, w.start)
		}
	}
	for _, w := range r {
		if w.on == on && w.start <= to && (w.end == 0 || w.end >= latest) {
			return true
		}
	}
	return false
}

// longestLook is more than passes between a look and its answer.
const longestLook = 5 * time.Minute

// prune drops writes that no look from then on can need: they were overwritten,
// and are not the last to say what they said.
func (r register) prune(then int64) register {
	var last [2]*write // by value: of those over, the one that began last
	at := func(on bool) int {
		if on {
			return 1
		}
		return 0
	}
	for _, w := range r {
		if l := last[at(w.on)]; w.end != 0 && w.end < then && (l == nil || w.start > l.start) {
			last[at(w.on)] = w
		}
	}
	var kept register
	for _, w := range r {
		over := last[at(!w.on)]
		if w.end == 0 || w == last[at(w.on)] || over == nil || w.end >= over.start {
			kept = append(kept, w)
		}
	}
	return kept
}

// removal is a reason for messages to be gone. Needs tells that it takes only
// those with \Deleted.
type removal struct {
	start, end int64
	needs      bool
	who        string
}

// message is what is known of a UID.
type message struct {
	uid      uint32
	token    string // "" as long as nobody has read it
	letter   *letter
	bound    int64 // when the token was known
	date     string
	size     uint64
	emailID  string
	sum      uint64 // of the octets; 0 as long as nobody has read them
	flag     [len(flagNames)]register
	removals []*removal
	gone     int64 // when somebody was first told so; 0 for not yet
	modSeq   uint64
	modSeen  int64            // when modSeq was seen
	at       map[uint64]flags // by mod-sequence
}

// letter is what is known of a token in one mailbox.
type letter struct {
	token   string
	sure    int  // messages that must have come
	maybe   int  // messages that may have come, or are coming
	copies  bool // some came by COPY or MOVE: then flags are not those of the token
	uids    []*message
	files   int      // files removed by the foreign program
	removal *removal // by the foreign program
}

// box is all that is known of one mailbox.
type box struct {
	w          *world
	user, name string
	dir        string
	other      *box // the user's other one

	mu       sync.Mutex
	validity uint32
	msgs     map[uint32]*message
	live     map[uint32]*message // those with a token that nobody was told are gone
	letters  map[string]*letter
	expunges []*removal // of all that had \Deleted
	highest  uint64     // HIGHESTMODSEQ
	next     uint32     // UIDNEXT
	nextSeen int64
	top      uint32 // highest UID known
}

func (b *box) String() string { return b.user + "/" + b.name }

func (b *box) letter(token string) *letter {
	l := b.letters[token]
	if l == nil {
		l = &letter{token: token}
		b.letters[token] = l
	}
	return l
}

// coming says that a message may come into being; the function returned, to be
// called once when that is over, tells how it went: came, came not, or, if it
// is never called, perhaps.
func (b *box) coming(token string, copied bool) func(came bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.letter(token)
	l.maybe++
	l.copies = l.copies || copied
	return func(came bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		l.maybe--
		if came {
			l.sure++
		}
	}
}

// get returns what is known of the UID. The box is locked.
func (b *box) get(uid uint32) *message {
	m := b.msgs[uid]
	if m == nil {
		m = &message{uid: uid, at: map[uint64]flags{}}
		b.msgs[uid] = m
		b.top = max(b.top, uid)
	}
	return m
}

// bind records that the UID is the token's message.
func (b *box) bind(uid uint32, token string, from int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	if m.token == token {
		return nil
	}
	if m.token != "" {
		return fmt.Errorf("UID %d of %v was message %s and is now %s", uid, b, m.token, token)
	}
	l := b.letters[token]
	if l == nil {
		return fmt.Errorf("UID %d of %v is message %q, which nobody put there", uid, b, token)
	}
	if len(l.uids) >= b.most(l) {
		return fmt.Errorf("UID %d of %v is message %s, which is there as %s already, and was put there %d times", uid, b, token, l.list(), l.sure+l.maybe)
	}
	t := now()
	m.token, m.letter, m.bound = token, l, t
	l.uids = append(l.uids, m)
	if m.gone == 0 {
		b.live[uid] = m
	}
	f := first(token)
	for i := range m.flag {
		arrival := register{{end: t, on: f&(1<<i) != 0, who: "arrival"}}
		if l.copies {
			arrival = register{{end: t, on: true, who: "copy"}, {end: t, who: "copy"}}
		}
		m.flag[i] = append(arrival, m.flag[i]...)
	}
	return nil
}

// may tells which flags of a message may be set, and which clear, for one who
// looked between from and now.
func (b *box) may(uid uint32, from int64) (on, off flags) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, t := b.get(uid), now()
	for i := range m.flag {
		if m.flag[i].allows(true, from, t) {
			on |= 1 << i
		}
		if m.flag[i].allows(false, from, t) {
			off |= 1 << i
		}
	}
	return on, off
}

// copyOf records that a copy came with flags of which those in on may be set,
// and those in off clear.
func (b *box) copyOf(uid uint32, on, off flags) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	for i := range m.flag {
		m.flag[i] = slices.DeleteFunc(m.flag[i], func(w *write) bool {
			return w.who == "copy" && (w.on && on&(1<<i) == 0 || !w.on && off&(1<<i) == 0)
		})
	}
}

// most is how many UIDs a letter may have had. One that came by SMTP and that a
// reader has removed comes again if the program that delivered it was killed
// before it could say so: nobody can know then that it was there. The box is locked.
func (b *box) most(l *letter) int {
	n := l.sure + l.maybe
	if l.token[0] == 'd' && b.w.deliveryKilled.Load() {
		for _, m := range l.uids {
			if b.mayBeGone(m, now()) {
				n++
			}
		}
	}
	return n
}

func (l *letter) list() string {
	var s []string
	for _, m := range l.uids {
		s = append(s, fmt.Sprintf("UID %d", m.uid))
	}
	return strings.Join(s, ", ")
}

// change records the beginning of a change of flags: those in on are set, those
// in off cleared. The function returned ends it: done after so long; or, with a
// negative value, as having never been.
func (b *box) change(uids []uint32, on, off flags, who string) func(after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := now()
	var all []*write
	for _, u := range uids {
		m := b.get(u)
		for i := range m.flag {
			if (on|off)&(1<<i) != 0 {
				w := &write{start: t, on: on&(1<<i) != 0, who: who}
				if m.flag[i] = append(m.flag[i], w); len(m.flag[i])%64 == 0 {
					m.flag[i] = m.flag[i].prune(t - int64(longestLook))
				}
				all = append(all, w)
			}
		}
	}
	return func(after time.Duration) {
		b.mu.Lock()
		defer b.mu.Unlock()
		end := now() + int64(after)
		for _, w := range all {
			if w.end = end; after < 0 { // a write at the end of time, which excuses nothing
				w.start, w.end = 1<<62, 1<<62
			}
		}
	}
}

// remove records a reason for messages to go: those of uids, or all with
// \Deleted for nil. The function returned ends it.
func (b *box) remove(uids []uint32, needs bool, who string) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &removal{start: now(), needs: needs, who: who}
	if uids == nil {
		b.expunges = append(b.expunges, r)
	}
	for _, u := range uids {
		if m := b.msgs[u]; m != nil {
			m.removals = append(m.removals, r)
		}
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.end = now()
	}
}

// mayBeGone tells whether somebody had a reason. The box is locked.
func (b *box) mayBeGone(m *message, t int64) bool {
	if m.gone != 0 {
		return true
	}
	good := func(r *removal) bool {
		if r.start > t {
			return false
		}
		end := r.end
		if end == 0 {
			end = t
		}
		return !r.needs || m.token == "" || m.flag[deleted].allows(true, r.start, end)
	}
	for _, r := range m.removals {
		if good(r) {
			return true
		}
	}
	if m.letter != nil && m.letter.removal != nil && good(m.letter.removal) {
		return true
	}
	for i := len(b.expunges) - 1; i >= 0; i-- {
		if good(b.expunges[i]) {
			return true
		}
	}
	return false
}

// expunged records that somebody was told that the message is gone.
func (b *box) expunged(uid uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	t := now()
	if !b.mayBeGone(m, t) {
		return fmt.Errorf("UID %d of %v, message %s, is said to be gone, but nobody removed it\n%s", uid, b, m.token, m.history())
	}
	if m.gone == 0 {
		m.gone = t
		delete(b.live, uid)
	}
	return nil
}

// there records that a session, which looked after from, sees the message.
func (b *box) there(uid uint32, from int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	if m.gone != 0 && m.gone < from {
		return fmt.Errorf("UID %d of %v, message %s, is back: somebody was told %.3f s ago that it is gone", uid, b, m.token, seconds(now()-m.gone))
	}
	return nil
}

// seen is what a response says of a message; zero values where it says nothing.
type seen struct {
	flags    flags
	hasFlags bool
	modSeq   uint64
	date     string
	size     uint64
	emailID  string
}

// observe holds what somebody was told, who looked between from and now, to
// what can be.
func (b *box) observe(uid uint32, s seen, from int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	t := now()
	for _, c := range []struct {
		what      string
		old, seen *string
	}{{"INTERNALDATE", &m.date, &s.date}, {"EMAILID", &m.emailID, &s.emailID}} {
		if *c.seen != "" && *c.old != "" && *c.old != *c.seen {
			return fmt.Errorf("UID %d of %v: %s was %s and is now %s", uid, b, c.what, *c.old, *c.seen)
		}
		if *c.seen != "" {
			*c.old = *c.seen
		}
	}
	if s.size != 0 && m.size != 0 && s.size != m.size {
		return fmt.Errorf("UID %d of %v: RFC822.SIZE was %d and is now %d", uid, b, m.size, s.size)
	}
	if s.size != 0 {
		m.size = s.size
	}
	if s.hasFlags && m.token != "" {
		for i := range m.flag {
			if on := s.flags&(1<<i) != 0; !m.flag[i].allows(on, from, t) && !b.mayBeGone(m, t) { // a view may keep what is gone, as it was
				return fmt.Errorf("UID %d of %v: %s cannot be %s for one who looked after %.3f s\n%s", uid, b, flagNames[i],
					map[bool]string{true: "set", false: "clear"}[on], seconds(from), m.history())
			}
		}
	}
	if s.modSeq != 0 {
		if s.modSeq < m.modSeq && m.modSeen < from && !b.mayBeGone(m, t) {
			return fmt.Errorf("UID %d of %v: its mod-sequence was %d at %.3f s, and %d for one who looked after %.3f s", uid, b, m.modSeq, seconds(m.modSeen), s.modSeq, seconds(from))
		}
		if s.modSeq > m.modSeq {
			m.modSeq, m.modSeen = s.modSeq, t
		}
		if s.hasFlags {
			if old, ok := m.at[s.modSeq]; ok && old != s.flags {
				return fmt.Errorf("UID %d of %v: with the same mod-sequence %d its flags were %v and are now %v", uid, b, s.modSeq, old, s.flags)
			}
			m.at[s.modSeq] = s.flags
		}
	}
	return nil
}

// octets holds a message's content to what it must be.
func (b *box) octets(uid uint32, got string) error {
	token := tokenOf(got)
	if token == "" {
		return fmt.Errorf("UID %d of %v has no token: %.200q", uid, b, got)
	}
	if err := b.bind(uid, token, 0); err != nil {
		return err
	}
	if w := wrongText(token, got); w != "" {
		return fmt.Errorf("UID %d of %v, message %s: %s", uid, b, token, w)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.get(uid)
	sum := seedOf(got)
	if m.sum != 0 && m.sum != sum {
		return fmt.Errorf("UID %d of %v, message %s: other octets than before", uid, b, token)
	}
	m.sum = sum
	if m.size != 0 && m.size != uint64(len(got)) {
		return fmt.Errorf("UID %d of %v: RFC822.SIZE %d, but %d octets", uid, b, m.size, len(got))
	}
	m.size = uint64(len(got))
	return nil
}

// selected holds what SELECT says, sent after from, to what was said before.
func (b *box) selected(validity, next uint32, highest uint64, from int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.validity == 0 {
		b.validity = validity
	}
	if b.validity != validity {
		return fmt.Errorf("UIDVALIDITY of %v was %d and is now %d", b, b.validity, validity)
	}
	if b.nextSeen < from && (next < b.next || highest < b.highest) {
		return fmt.Errorf("%v had UIDNEXT %d and HIGHESTMODSEQ %d before, and now %d and %d", b, b.next, b.highest, next, highest)
	}
	if next > b.next || highest > b.highest {
		b.next, b.highest, b.nextSeen = max(b.next, next), max(b.highest, highest), now()
	}
	return nil
}

// missing lists messages that somebody knew before from and that are not in
// has, without anybody having removed them.
func (b *box) missing(has map[uint32]bool, from int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := now()
	for u, m := range b.live {
		if m.bound < from && !has[u] && !b.mayBeGone(m, t) {
			return fmt.Errorf("UID %d of %v, message %s, is lost: known since %.3f s, but not to one who looked after %.3f s\n%s", u, b, m.token, seconds(m.bound), seconds(from), m.history())
		}
	}
	for u := range has {
		if m := b.msgs[u]; m != nil && m.gone != 0 && m.gone < from {
			return fmt.Errorf("UID %d of %v, message %s, is still there for one who looked after %.3f s, though somebody was told at %.3f s that it is gone", u, b, m.token, seconds(from), seconds(m.gone))
		}
	}
	return nil
}

// history is what happened to a message, for a report.
func (m *message) history() string {
	var s strings.Builder
	fmt.Fprintf(&s, "history of UID %d, message %s, known since %.3f s:\n", m.uid, m.token, seconds(m.bound))
	for i, r := range m.flag {
		for _, w := range r[max(0, len(r)-8):] {
			fmt.Fprintf(&s, "  %s %v from %.3f to %.3f by %s\n", flagNames[i], map[bool]string{true: "set", false: "cleared"}[w.on], seconds(w.start), seconds(w.end), w.who)
		}
	}
	for _, r := range m.removals {
		fmt.Fprintf(&s, "  removal from %.3f to %.3f by %s\n", seconds(r.start), seconds(r.end), r.who)
	}
	if m.gone != 0 {
		fmt.Fprintf(&s, "  gone at %.3f\n", seconds(m.gone))
	}
	return s.String()
}
