package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// step is one thing that a client does.
type step struct {
	share int
	run   func(*session) error
}

// steps are chosen among by their shares.
var steps = [...]step{
	{10, (*session).noop}, {8, (*session).appendSome}, {16, (*session).store}, {5, (*session).storeSeq}, {4, (*session).flagDeleted},
	{3, (*session).expunge}, {3, (*session).uidExpunge}, {4, (*session).copyMove}, {9, (*session).body}, {4, (*session).read}, {8, (*session).list},
	{5, (*session).structure}, {5, (*session).search}, {6, (*session).idle}, {3, (*session).status}, {2, (*session).reselect}, {2, (*session).leave}, {3, (*session).changedSince},
}

func (s *session) step() error {
	total := 0
	for _, x := range steps {
		total += x.share
	}
	n := s.rng.IntN(total)
	for _, x := range steps {
		if n -= x.share; n < 0 {
			return x.run(s)
		}
	}
	return nil
}

// noop brings the view to the present, and looks whether all is there.
func (s *session) noop() error {
	at := now()
	if l, err := s.do("NOOP"); err != nil || l.word(1) != "OK" {
		return err
	}
	if err := s.learn(); err != nil {
		return err
	}
	return s.complete(at)
}

func (s *session) appendSome() error {
	s.box.mu.Lock()
	live := len(s.box.live)
	s.box.mu.Unlock()
	if live > s.w.o.most {
		return s.noop()
	}
	n := 1
	if s.rng.IntN(4) == 0 {
		n = 2 + s.rng.IntN(3)
	}
	var b strings.Builder
	b.WriteString("APPEND " + s.box.name)
	var tokens []string
	var over []func(bool)
	for range n {
		t := s.w.token("a")
		tokens = append(tokens, t)
		over = append(over, s.box.coming(t, false))
		m := text(t)
		fmt.Fprintf(&b, " %v {%d+}\r\n%s", first(t), len(m), m)
	}
	s.box.mu.Lock()
	top := s.box.top
	s.box.mu.Unlock()
	l, err := s.do("%s", b.String())
	if err != nil {
		return err
	}
	for _, f := range over {
		f(l.word(1) == "OK")
	}
	if l.word(1) != "OK" {
		return nil
	}
	w, ok := l.code("APPENDUID")
	if !ok || len(w) != 2 {
		return wrong("APPEND without APPENDUID: %s", l.raw)
	}
	got := set(w[1])
	if len(got) != n || uint32(number(w[0])) != s.box.validityNow() {
		return wrong("%d messages appended under UIDVALIDITY %d: %s", n, s.box.validityNow(), l.raw)
	}
	for i, u := range got {
		if u <= top {
			return wrong("APPENDUID %d, but UID %d was known before", u, top)
		}
		if err := s.box.bind(u, tokens[i], s.started); err != nil {
			return asWrong(err)
		}
	}
	return nil
}

func (b *box) validityNow() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.validity
}

const all = flags(1<<len(flagNames) - 1)

// randomFlags is one to three flags, none of them \Deleted.
func (s *session) randomFlags() (f flags) {
	for range 1 + s.rng.IntN(3) {
		f |= 1 << s.rng.IntN(len(flagNames))
	}
	return f &^ (1 << deleted)
}

// store changes flags by UID.
func (s *session) store() error {
	return s.storing(s.pick(1+s.rng.IntN(4)), s.randomFlags(), s.rng.IntN(3), true)
}

// storeSeq is the same by sequence number.
func (s *session) storeSeq() error {
	return s.storing(s.pick(1+s.rng.IntN(3)), s.randomFlags(), s.rng.IntN(3), false)
}

// flagDeleted marks messages to be expunged; mostly those in full mailboxes.
func (s *session) flagDeleted() error {
	n := 1
	if len(s.uids) > s.w.o.most*2/3 {
		n = 8
	}
	op := 0
	if s.rng.IntN(5) == 0 {
		op = 1
	}
	return s.storing(s.pick(n), 1<<deleted, op, true)
}

// storing is STORE: op 0 adds, 1 removes, 2 replaces.
func (s *session) storing(uids []uint32, f flags, op int, byUID bool) error {
	if len(uids) == 0 {
		return s.noop()
	}
	on, off := f, flags(0)
	sign := "+"
	switch op {
	case 1:
		on, off, sign = 0, f, "-"
	case 2:
		off, sign = all&^f, ""
	}
	target, verb := join(uids), "UID STORE"
	if !byUID {
		verb = "STORE"
		var seqs []uint32
		for i, u := range s.uids {
			for _, x := range uids {
				if u == x {
					seqs = append(seqs, uint32(i+1))
				}
			}
		}
		target = join(seqs)
	}
	cond := ""
	if s.condstore && s.rng.IntN(4) == 0 && s.modSeq > 0 {
		cond = fmt.Sprintf(" (UNCHANGEDSINCE %d)", s.modSeq)
	}
	silent := ""
	if s.rng.IntN(3) == 0 {
		silent = ".SILENT"
		for _, u := range uids {
			delete(s.flags, u)
		}
	}
	over := s.box.change(uids, on, off, fmt.Sprintf("client %d, %sFLAGS %v%s", s.id, sign, f, cond))
	l, err := s.do("%s %s%s %sFLAGS%s %v", verb, target, cond, sign, silent, f)
	if silent != "" { // what came was before, or after: who knows
		for _, u := range uids {
			delete(s.flags, u)
		}
	}
	if err != nil {
		return err
	}
	if _, ro := l.code("READ-ONLY"); ro && l.word(1) == "NO" && s.readOnly {
		over(-1)
		return nil
	}
	// With a condition, and when some were gone, not all may have been changed:
	// then such a write excuses what is seen, and overwrites nothing.
	if l.word(1) == "OK" && cond == "" && !strings.Contains(l.raw, "[EXPUNGEISSUED]") {
		if s.readOnly {
			return wrong("%s %s in a mailbox that is read-only: %s", verb, target, l.raw)
		}
		over(0)
		if silent == "" {
			for _, u := range uids {
				if got, ok := s.fetched[u]; !ok || !got.hasFlags {
					return wrong("%s %s: nothing was told of UID %d", verb, target, u)
				}
			}
		}
	}
	return nil
}

// removing is the box's remove, and nothing where the session may not write.
func (s *session) removing(uids []uint32, needs bool, who string) func() {
	if s.readOnly {
		return func() {}
	}
	return s.box.remove(uids, needs, who)
}

// expunge removes all that is marked.
func (s *session) expunge() error {
	if s.rng.IntN(4) == 0 { // without being told of
		over := s.removing(nil, true, fmt.Sprintf("client %d, CLOSE", s.id))
		l, err := s.do("CLOSE")
		if err != nil || l.word(1) != "OK" {
			return err
		}
		over()
		return s.selectBox(0)
	}
	over := s.removing(nil, true, fmt.Sprintf("client %d, EXPUNGE", s.id))
	if _, err := s.do("EXPUNGE"); err != nil {
		return err
	}
	over()
	return nil
}

func (s *session) uidExpunge() error {
	var marked []uint32
	for _, u := range s.uids {
		if s.flags[u]&(1<<deleted) != 0 {
			marked = append(marked, u)
		}
	}
	if len(marked) == 0 {
		return s.flagDeleted()
	}
	over := s.removing(marked, true, fmt.Sprintf("client %d, UID EXPUNGE", s.id))
	if _, err := s.do("UID EXPUNGE %s", join(marked)); err != nil {
		return err
	}
	over()
	return nil
}

// copyMove puts messages into the user's other mailbox.
func (s *session) copyMove() error {
	uids := s.pick(1 + s.rng.IntN(3))
	dst := s.box.other
	dst.mu.Lock()
	full := len(dst.live) > s.w.o.most
	dst.mu.Unlock()
	if len(uids) == 0 || full {
		return s.flagDeleted()
	}
	verb := "COPY"
	if s.rng.IntN(2) == 0 {
		verb = "MOVE"
	}
	s.coming = map[uint32]func(bool){}
	var over func()
	for _, u := range uids {
		s.box.mu.Lock()
		t := s.box.msgs[u].token
		s.box.mu.Unlock()
		s.coming[u] = dst.coming(t, true)
	}
	if verb == "MOVE" {
		over = s.removing(uids, false, fmt.Sprintf("client %d, MOVE", s.id))
	}
	l, err := s.do("UID %s %s %s", verb, join(uids), dst.name)
	if err != nil {
		return err
	}
	if w, ok := l.code("COPYUID"); ok && verb == "COPY" {
		if err := s.copied(w); err != nil {
			return err
		}
	}
	if l.word(1) != "OK" && verb == "MOVE" { // it may have copied them
		return nil
	}
	for _, f := range s.coming {
		f(false)
	}
	if over != nil {
		over()
	}
	return nil
}

// copied takes COPYUID's words.
func (s *session) copied(w []string) error {
	if len(w) != 3 {
		return wrong("COPYUID %v", w)
	}
	dst := s.box.other
	from, to := set(w[1]), set(w[2])
	if len(from) != len(to) {
		return wrong("COPYUID %v: %d messages became %d", w, len(from), len(to))
	}
	if v := dst.validityNow(); v != 0 && uint32(number(w[0])) != v {
		return wrong("COPYUID %v, but the UIDVALIDITY of %v is %d", w, dst, v)
	}
	for i, u := range from {
		f := s.coming[u]
		if f == nil {
			return wrong("COPYUID %v: UID %d was not to be copied", w, u)
		}
		f(true)
		delete(s.coming, u)
		s.box.mu.Lock()
		t := s.box.msgs[u].token
		s.box.mu.Unlock()
		on, off := s.box.may(u, s.started)
		if err := dst.bind(to[i], t, s.started); err != nil {
			return asWrong(err)
		}
		dst.copyOf(to[i], on, off)
	}
	return nil
}

// body reads messages.
func (s *session) body() error {
	uids := s.pick(1 + s.rng.IntN(3))
	if len(uids) == 0 {
		return s.noop()
	}
	_, err := s.do("UID FETCH %s (RFC822.SIZE INTERNALDATE BODY.PEEK[])", join(uids))
	return err
}

// read reads messages, which makes them \Seen.
func (s *session) read() error {
	uids := s.pick(1)
	if len(uids) == 0 {
		return s.noop()
	}
	before, told := s.flags[uids[0]]
	over := s.box.change(uids, 1<<4, 0, fmt.Sprintf("client %d, BODY[]", s.id))
	l, err := s.do("UID FETCH %s BODY[]", join(uids))
	if err == nil && l.word(1) == "OK" && !strings.Contains(l.raw, "[EXPUNGEISSUED]") && !s.readOf(uids[0]) {
		return wrong("UID FETCH %d BODY[]: nothing came", uids[0])
	}
	if err == nil && s.readOnly {
		over(-1)
	} else if err == nil && s.readOf(uids[0]) && told && before&(1<<4) == 0 { // otherwise it may have seemed to be set already
		over(0)
	}
	return err
}

func (s *session) readOf(u uint32) bool {
	_, ok := s.fetched[u]
	return ok
}

// list asks for all flags. They must be those told.
func (s *session) list() error {
	items := "UID FLAGS"
	if s.condstore {
		items += " MODSEQ"
	}
	if len(s.uids) == 0 {
		return s.noop()
	}
	s.asks = func(int, uint32) bool { return true }
	if s.rng.IntN(2) == 0 {
		_, err := s.do("FETCH 1:* (%s)", items)
		return err
	}
	_, err := s.do("UID FETCH 1:* (%s)", items)
	return err
}

// structure asks for what is cached of messages.
func (s *session) structure() error {
	uids := s.pick(5)
	if len(uids) == 0 {
		return s.noop()
	}
	l, err := s.do("UID FETCH %s (RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (X-Token)])", join(uids))
	if err == nil && l.word(1) == "OK" && !strings.Contains(l.raw, "[EXPUNGEISSUED]") {
		for _, u := range uids {
			if !s.readOf(u) {
				return wrong("UID FETCH %s: nothing of UID %d came", join(uids), u)
			}
		}
	}
	return err
}

// search must find what the flags told say.
func (s *session) search() error {
	i := s.rng.IntN(len(flagNames))
	key := "KEYWORD " + flagNames[i]
	if i < 5 {
		key = strings.ToUpper(flagNames[i][1:])
	}
	known := map[uint32]bool{}
	for _, u := range s.uids {
		if f, ok := s.flags[u]; ok && u != 0 {
			known[u] = f&(1<<i) != 0
		}
	}
	if _, err := s.do("UID SEARCH %s", key); err != nil {
		return err
	}
	if !s.searched {
		return nil
	}
	hit := map[uint32]bool{}
	for _, u := range s.hits {
		hit[u] = true
		if on, ok := known[u]; ok && !on {
			return wrong("UID SEARCH %s found UID %d of %v, which does not have it by what was told", key, u, s.box)
		}
	}
	for u, on := range known {
		if on && !hit[u] {
			return wrong("UID SEARCH %s did not find UID %d of %v, which has it by what was told", key, u, s.box)
		}
	}
	return nil
}

// idle waits a while for what happens.
func (s *session) idle() error {
	s.tag++
	tag := fmt.Sprintf("t%d", s.tag)
	s.begin("IDLE")
	if err := s.wire.send(tag + " IDLE\r\n"); err != nil {
		return err
	}
	for {
		l, err := s.wire.response()
		if err != nil {
			return err
		}
		if strings.HasPrefix(l.raw, "+") {
			break
		}
		if err := s.handle(l); err != nil {
			return err
		}
	}
	end := time.AfterFunc(time.Duration(s.rng.IntN(2500))*time.Millisecond, func() { io.WriteString(s.wire.w, "DONE\r\n") })
	defer end.Stop()
	_, err := s.finish(tag)
	return err
}

func (s *session) status() error {
	_, err := s.do("STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)", s.box.other.name)
	return err
}

// reselect leaves the mailbox and takes it up again, by QRESYNC where that is used.
func (s *session) reselect() error {
	if s.rng.IntN(2) == 0 {
		if _, err := s.do("UNSELECT"); err != nil {
			return err
		}
	}
	return s.selectBox(s.validity)
}

// leave ends the connection, mostly without good manners, and comes back.
func (s *session) leave() error {
	if s.rng.IntN(3) == 0 {
		if err := s.wire.send("bye LOGOUT\r\n"); err != nil {
			return err
		}
	}
	return s.open()
}

// changedSince asks for changes.
func (s *session) changedSince() error {
	if !s.condstore || s.modSeq == 0 {
		return s.list()
	}
	vanished := ""
	if s.resyncs {
		vanished = " VANISHED"
	}
	s.vanished = map[uint32]bool{}
	if _, err := s.do("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d%s)", s.modSeq, vanished); err != nil {
		return err
	}
	for _, u := range s.uids {
		if u != 0 && s.vanished[u] {
			return wrong("UID %d of %v is told of as VANISHED (EARLIER), but is there", u, s.box)
		}
	}
	return nil
}
