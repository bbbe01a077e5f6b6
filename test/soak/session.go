package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

// violation is something that must not be.
type violation struct{ error }

func wrong(format string, a ...any) error { return violation{fmt.Errorf(format, a...)} }

// asWrong makes a violation of what the truth objects to.
func asWrong(err error) error {
	if err == nil {
		return nil
	}
	return violation{err}
}

// session is an IMAP client with its model of the mailbox: what it was told, and
// nothing else.
type session struct {
	w    *world
	id   int
	rng  *rand.Rand
	box  *box
	wire *wire
	tag  int

	resyncs, condstore, compresses bool // what it uses
	readOnly                       bool // the mailbox was taken up by EXAMINE

	uids     []uint32         // by sequence number; 0: not told yet
	flags    map[uint32]flags // as last told
	validity uint32
	modSeq   uint64 // up to which all was told
	told     uint64 // the highest mod-sequence told

	// viewed is when the command began at whose end the view of now was made.
	// cleared is the same of the last one at whose end expunges could be told.
	viewed, cleared, started int64
	command                  string
	fetched                  map[uint32]seen // by the running command
	// asks tells of which messages the running command asks for the flags: the
	// first that come of each are those of the view, all changes of which were told.
	asks     func(n int, uid uint32) bool
	hits     []uint32 // of SEARCH
	searched bool
	vanished map[uint32]bool       // by VANISHED (EARLIER)
	coming   map[uint32]func(bool) // the copies that a COPY or MOVE makes, by source
	next     uint32
	highest  uint64
}

// hides are the commands during which nobody may be told of an expunge (RFC
// 9051, section 7.5.1).
func hides(command string) bool {
	for _, c := range []string{"FETCH", "STORE", "SEARCH"} {
		if strings.HasPrefix(command, c+" ") {
			return true
		}
	}
	return false
}

// quiet are the commands at whose end nothing of the mailbox is told.
func quiet(command string) bool {
	return command == "UNSELECT" || command == "CLOSE" || command == "COMPRESS DEFLATE"
}

// do runs a command and returns the tagged answer, which is OK or NO.
func (s *session) do(format string, a ...any) (*line, error) {
	s.tag++
	tag := fmt.Sprintf("t%d", s.tag)
	s.begin(fmt.Sprintf(format, a...))
	if err := s.wire.send(tag + " " + s.command + "\r\n"); err != nil {
		return nil, err
	}
	return s.finish(tag)
}

func (s *session) begin(command string) {
	s.command = command
	s.started = now()
	s.fetched, s.hits, s.searched = map[uint32]seen{}, nil, false
	s.w.count(command)
}

func (s *session) finish(tag string) (*line, error) {
	for {
		l, err := s.wire.response()
		if err != nil {
			return nil, err
		}
		if l.fields[0].S != tag {
			if err := s.handle(l); err != nil {
				return nil, err
			}
			continue
		}
		s.asks = nil
		switch l.word(1) {
		case "OK":
			if quiet(s.command) {
				return l, nil
			}
			if s.viewed = s.started; !hides(s.command) {
				s.cleared = s.started
			}
			if w, ok := l.code("HIGHESTMODSEQ"); ok {
				s.told = max(s.told, number(w[0]))
			}
			if !hides(s.command) && s.condstore {
				s.modSeq = max(s.modSeq, s.told)
			}
			return l, nil
		case "NO":
			if _, bad := l.code("SERVERBUG"); bad {
				return nil, wrong("%.80s: %s", s.command, l.raw)
			}
			s.w.refused(l.raw)
			return l, nil
		}
		return nil, wrong("%.80s: %s", s.command, l.raw)
	}
}

// handle holds an untagged response to the model.
func (s *session) handle(l *line) error {
	switch {
	case l.word(0) != "*":
		return wrong("unexpected response %.100q", l.raw)
	case l.word(1) == "BYE":
		return fmt.Errorf("%w: %s", errLost, l.raw)
	case l.word(1) == "SEARCH":
		s.searched = true
		for _, v := range l.fields[2:] {
			if !v.IsList { // (MODSEQ n)
				s.hits = append(s.hits, uint32(number(v.S)))
			}
		}
	case l.word(1) == "VANISHED":
		return s.handleVanished(l)
	case l.word(2) == "EXISTS":
		n := int(number(l.word(1)))
		if n < len(s.uids) {
			return wrong("%s, but there were %d", l.raw, len(s.uids))
		}
		s.uids = append(s.uids, make([]uint32, n-len(s.uids))...)
	case l.word(2) == "EXPUNGE":
		n := int(number(l.word(1)))
		switch {
		case hides(s.command):
			return wrong("%s during %.40s", l.raw, s.command)
		case s.resyncs:
			return wrong("%s after QRESYNC was enabled", l.raw)
		case n < 1 || n > len(s.uids):
			return wrong("%s of %d messages", l.raw, len(s.uids))
		}
		u := s.uids[n-1]
		s.uids = append(s.uids[:n-1], s.uids[n:]...)
		if u != 0 {
			delete(s.flags, u)
			return asWrong(s.box.expunged(u))
		}
	case l.word(2) == "FETCH":
		return s.handleFetch(l)
	case l.word(1) == "OK":
		if w, ok := l.code("UIDVALIDITY"); ok {
			s.validity = uint32(number(w[0]))
		}
		if w, ok := l.code("UIDNEXT"); ok {
			s.next = uint32(number(w[0]))
		}
		if w, ok := l.code("HIGHESTMODSEQ"); ok {
			s.highest = number(w[0])
		}
		if w, ok := l.code("COPYUID"); ok && strings.Contains(s.command, "MOVE ") {
			return s.copied(w)
		}
	}
	return nil
}

func (s *session) handleVanished(l *line) error {
	if !s.resyncs {
		return wrong("%s, but QRESYNC was not enabled", l.raw)
	}
	last := set(l.fields[len(l.fields)-1].S)
	if len(l.fields) == 4 { // (EARLIER)
		for _, u := range last {
			s.vanished[u] = true
		}
		return nil
	}
	if hides(s.command) {
		return wrong("%s during %.40s", l.raw, s.command)
	}
	for _, u := range last {
		if err := s.drop(u); err != nil {
			return wrong("%s: %w", l.raw, err)
		}
	}
	return nil
}

// drop takes a UID out of the model.
func (s *session) drop(u uint32) error {
	at, blank := -1, -1
	for i, x := range s.uids {
		if x == 0 {
			blank = i
		} else if x == u {
			at = i
			break
		} else if x > u {
			break
		} else {
			blank = -1
		}
	}
	if at < 0 {
		at = blank // one of those between its neighbours whose UIDs were not told yet
	}
	if at < 0 {
		return fmt.Errorf("UID %d was not in the mailbox", u)
	}
	s.uids = append(s.uids[:at], s.uids[at+1:]...)
	delete(s.flags, u)
	return s.box.expunged(u)
}

// handleFetch takes a FETCH response, asked for or not.
func (s *session) handleFetch(l *line) error {
	n := int(number(l.word(1)))
	if n < 1 || n > len(s.uids) {
		return wrong("%.60s of %d messages", l.raw, len(s.uids))
	}
	if len(l.fields) < 4 || !l.fields[3].IsList || len(l.fields[3].List)%2 != 0 {
		return wrong("odd response %.200q", l.raw)
	}
	items := l.fields[3].List
	uid := s.uids[n-1]
	for i := 0; i < len(items); i += 2 {
		if strings.EqualFold(items[i].S, "UID") {
			u := uint32(number(items[i+1].S))
			if uid != 0 && uid != u {
				return wrong("message %d had UID %d and now %d", n, uid, u)
			}
			uid = u
		}
	}
	if uid == 0 {
		return nil // flags of a message whose UID we have not asked for yet
	}
	s.uids[n-1] = uid
	if err := s.ordered(n); err != nil {
		return err
	}
	if err := s.box.there(uid, s.cleared); err != nil {
		return asWrong(err)
	}
	var x seen
	for i := 0; i < len(items); i += 2 {
		v := items[i+1]
		switch name := strings.ToUpper(items[i].S); {
		case name == "FLAGS":
			f, ok := parseFlags(v.List)
			if !ok {
				return wrong("UID %d of %v has a flag from nowhere: %.200s", uid, s.box, l.raw)
			}
			x.flags, x.hasFlags = f, true
		case name == "MODSEQ":
			if !v.IsList || len(v.List) != 1 {
				return wrong("odd response %.200q", l.raw)
			}
			x.modSeq = number(v.List[0].S)
			s.told = max(s.told, x.modSeq)
		case name == "INTERNALDATE":
			x.date = v.S
		case name == "RFC822.SIZE":
			x.size = number(v.S)
		case name == "EMAILID" && len(v.List) == 1:
			x.emailID = v.List[0].S
		case strings.HasPrefix(name, "BODY[HEADER.FIELDS"):
			if err := s.box.bind(uid, tokenOf(v.S), s.viewed); err != nil {
				return asWrong(err)
			}
		case name == "BODY[]":
			if err := s.box.octets(uid, v.S); err != nil {
				return asWrong(err)
			}
		}
	}
	asked := s.fetched[uid].hasFlags
	s.fetched[uid] = x
	if x.hasFlags {
		old, known := s.flags[uid]
		if known && old != x.flags && s.asks != nil && s.asks(n, uid) && !asked {
			return wrong("UID %d of %v: the flags last told were %v, and are now found to be %v", uid, s.box, old, x.flags)
		}
		s.flags[uid] = x.flags
	}
	return asWrong(s.box.observe(uid, x, s.viewed))
}

// ordered checks that UIDs ascend around sequence number n.
func (s *session) ordered(n int) error {
	u := s.uids[n-1]
	for i := n - 2; i >= 0; i-- {
		if v := s.uids[i]; v != 0 {
			if v >= u {
				return wrong("messages %d and %d have UIDs %d and %d", i+1, n, v, u)
			}
			break
		}
	}
	for i := n; i < len(s.uids); i++ {
		if v := s.uids[i]; v != 0 {
			if v <= u {
				return wrong("messages %d and %d have UIDs %d and %d", n, i+1, u, v)
			}
			break
		}
	}
	return nil
}

// learn asks for what is not known of the messages of the view, and reads the
// tokens of those that nobody has read yet.
func (s *session) learn() error {
	lo := 0
	for i, u := range s.uids {
		if u == 0 {
			lo = i + 1
			break
		}
	}
	if lo == 0 {
		return nil
	}
	items := "UID FLAGS INTERNALDATE RFC822.SIZE EMAILID"
	if s.condstore {
		items += " MODSEQ"
	}
	count := len(s.uids)
	s.asks = func(n int, _ uint32) bool { return n >= lo && n <= count }
	if _, err := s.do("FETCH %d:%d (%s)", lo, count, items); err != nil {
		return err
	}
	var ask []uint32
	s.box.mu.Lock()
	for _, u := range s.uids[lo-1 : min(count, len(s.uids))] {
		if m := s.box.msgs[u]; u != 0 && (m == nil || m.token == "") {
			ask = append(ask, u)
		}
	}
	s.box.mu.Unlock()
	if len(ask) == 0 {
		return nil
	}
	_, err := s.do("UID FETCH %s (BODY.PEEK[HEADER.FIELDS (X-Token)])", join(ask))
	return err
}

// whole tells whether all UIDs are known.
func (s *session) whole() bool {
	for _, u := range s.uids {
		if u == 0 {
			return false
		}
	}
	return true
}

// pick returns up to n UIDs that the session and the world know.
func (s *session) pick(n int) (out []uint32) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if len(s.uids) == 0 {
		return nil
	}
	i := s.rng.IntN(len(s.uids))
	for ; i < len(s.uids) && len(out) < n; i += 1 + s.rng.IntN(3) {
		if u := s.uids[i]; u != 0 && s.box.msgs[u] != nil && s.box.msgs[u].token != "" {
			out = append(out, u)
		}
	}
	return out
}

// open connects, logs in and selects the mailbox.
func (s *session) open() error {
	s.wire.close()
	var err error
	if s.wire, err = dial(s.w.s.IMAP()); err != nil {
		return err
	}
	past := s.validity
	s.viewed = now()
	s.told = s.modSeq // what came within a command that was cut off does not count
	if _, err := s.wire.response(); err != nil {
		return err
	}
	if l, err := s.do("LOGIN %s test", s.box.user); err != nil || l.word(1) != "OK" {
		if err == nil {
			err = fmt.Errorf("%w: %s", errLost, l.raw) // no session program, for the moment
		}
		return err
	}
	if s.resyncs {
		if _, err := s.do("ENABLE QRESYNC"); err != nil {
			return err
		}
	}
	if s.compresses {
		if _, err := s.do("COMPRESS DEFLATE"); err != nil {
			return err
		}
		s.wire.compress()
	}
	return s.selectBox(past)
}

// selectBox selects the mailbox, taking up what was known of it under the
// UIDVALIDITY past if that is not 0.
func (s *session) selectBox(past uint32) error {
	before := s.uids
	s.uids, s.vanished, s.next, s.highest = nil, map[uint32]bool{}, 0, 0
	s.viewed, s.cleared = now(), now()
	param := ""
	resync := s.resyncs && past != 0 && s.modSeq > 0
	switch {
	case resync:
		param = fmt.Sprintf(" (QRESYNC (%d %d", past, s.modSeq)
		if known := nonzero(before); len(known) > 0 && s.rng.IntN(2) == 0 {
			param += " " + join(known)
		}
		param += "))"
		s.w.stats.resyncs.Add(1)
	case s.condstore:
		param = " (CONDSTORE)"
	}
	if !resync {
		s.flags = map[uint32]flags{}
	}
	at := now()
	verb, want := "SELECT", "READ-WRITE"
	if s.readOnly = s.rng.IntN(12) == 0; s.readOnly {
		verb, want = "EXAMINE", "READ-ONLY"
	}
	l, err := s.do("%s %s%s", verb, s.box.name, param)
	if err != nil {
		return err
	}
	if _, ok := l.code(want); !ok && l.word(1) == "OK" {
		return wrong("%s: %s", verb, l.raw)
	}
	if l.word(1) != "OK" {
		return fmt.Errorf("%w: %s", errLost, l.raw)
	}
	if err := s.box.selected(s.validity, s.next, s.highest, at); err != nil {
		return asWrong(err)
	}
	s.told = s.highest
	since := s.modSeq
	s.modSeq = 0
	if resync {
		if err := s.resynced(before, since); err != nil {
			return err
		}
	}
	s.modSeq = s.highest
	if err := s.learn(); err != nil {
		return err
	}
	return s.complete(at)
}

func nonzero(uids []uint32) (out []uint32) {
	for _, u := range uids {
		if u != 0 {
			out = append(out, u)
		}
	}
	return out
}

// resynced checks that what QRESYNC told makes what was known before into what
// is there: all is asked for now, and must be no news.
func (s *session) resynced(before []uint32, since uint64) error {
	if len(s.uids) > 0 {
		s.asks = func(int, uint32) bool { return true }
		if _, err := s.do("FETCH 1:%d (UID FLAGS MODSEQ)", len(s.uids)); err != nil {
			return err
		}
	}
	has := map[uint32]bool{}
	for _, u := range s.uids {
		has[u] = true
	}
	for u := range s.vanished {
		if has[u] {
			return wrong("UID %d of %v vanished by QRESYNC, but is there", u, s.box)
		}
		delete(s.flags, u)
	}
	for _, u := range before {
		if u != 0 && !has[u] && !s.vanished[u] {
			return wrong("UID %d of %v is gone since mod-sequence %d, but QRESYNC did not say so", u, s.box, since)
		}
		if u != 0 && s.vanished[u] {
			if err := s.box.expunged(u); err != nil {
				return asWrong(err)
			}
		}
	}
	return nil
}

// complete holds the view, which the session looked at after from, to what
// others know.
func (s *session) complete(from int64) error {
	if !s.whole() {
		return nil
	}
	has := map[uint32]bool{}
	for _, u := range s.uids {
		has[u] = true
	}
	return asWrong(s.box.missing(has, from))
}

// isLost tells whether the connection ended, which is no violation.
func isLost(err error) bool { return errors.Is(err, errLost) }
