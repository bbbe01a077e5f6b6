package main

import (
	"slices"
	"time"

	"posthaste/pkg/imapwire"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/mimepart"
)

// Limits of a SEARCH.
const (
	maxSearchKeys = 1000
	maxTextKeys   = 64
)

// What a key looks at, in the order of what it costs.
const (
	costNone = iota
	costDate // of the file, if nobody asked before
	costFields
	costText
)

// searchKey is one condition. Exactly one message satisfies or does not.
type searchKey struct {
	cost int
	ok   func(x *searching, seq uint32, m *mailbox.Message) bool
}

// searchArgs are a SEARCH's arguments, SORT's and THREAD's criteria too.
type searchArgs struct {
	key     searchKey
	modSeq  bool // MODSEQ is among the keys
	keys    int
	texts   int
	charset string
	// RETURN options
	extended             bool
	min, max, all, count bool
	save                 bool
}

type searchParser struct {
	*searchArgs
	s   *session
	p   *imapwire.Parser
	uid bool
	now time.Time
}

// parseReturnOptions takes RETURN (…) if it is next, with its space.
func (s *session) parseReturnOptions(p *imapwire.Parser, a *searchArgs) {
	rest := p.Rest()
	if len(rest) < 8 || imapwire.Upper(rest[:8]) != "RETURN (" {
		return
	}
	p.Keyword()
	p.SP()
	a.extended = true
	p.Open()
	for p.Err() == nil && p.Peek() != ')' {
		switch k := p.Keyword(); k {
		case "MIN":
			a.min = true
		case "MAX":
			a.max = true
		case "ALL":
			a.all = true
		case "COUNT":
			a.count = true
		case "SAVE":
			a.save = true
		default:
			p.Fail("unknown SEARCH return option %s", printable(k))
		}
		if !p.Try(' ') {
			break
		}
	}
	p.Close()
	if !a.min && !a.max && !a.all && !a.count && !a.save {
		a.all = true
	}
	p.SP()
}

// parseSearch takes the criteria up to the end of the command.
func (s *session) parseSearch(p *imapwire.Parser, a *searchArgs) {
	x := &searchParser{searchArgs: a, s: s, p: p, now: time.Now()}
	var list []searchKey
	for {
		list = append(list, x.key())
		if !p.Try(' ') || !p.More() {
			break
		}
	}
	p.End()
	a.key = all(list)
}

// all joins conditions, cheap ones first.
func all(list []searchKey) searchKey {
	if len(list) == 1 {
		return list[0]
	}
	slices.SortStableFunc(list, func(a, b searchKey) int { return a.cost - b.cost })
	cost := 0
	for _, k := range list {
		cost = max(cost, k.cost)
	}
	return searchKey{cost, func(x *searching, seq uint32, m *mailbox.Message) bool {
		for _, k := range list {
			if !k.ok(x, seq, m) {
				return false
			}
		}
		return true
	}}
}

func cheap(ok func(seq uint32, m *mailbox.Message) bool) searchKey {
	return searchKey{costNone, func(_ *searching, seq uint32, m *mailbox.Message) bool { return ok(seq, m) }}
}

func flagged(f, want mailbox.Flags) searchKey {
	return cheap(func(_ uint32, m *mailbox.Message) bool { return m.Flags&f == want })
}

func not(k searchKey) searchKey {
	return searchKey{k.cost, func(x *searching, seq uint32, m *mailbox.Message) bool { return !k.ok(x, seq, m) }}
}

var none = cheap(func(uint32, *mailbox.Message) bool { return false })

// key takes one key.
func (x *searchParser) key() searchKey {
	p := x.p
	if x.keys++; x.keys > maxSearchKeys {
		p.Fail("more than %d search keys", maxSearchKeys)
	}
	if p.Err() != nil {
		return none
	}
	switch c := p.Peek(); {
	case c == '(':
		var list []searchKey
		p.List(func() { list = append(list, x.key()) })
		return all(list)
	case c == '*' || c == '$' || '0' <= c && c <= '9':
		return x.set(false)
	}
	name := p.Keyword()
	if f, ok := searchFlags[name]; ok {
		return flagged(f.flag, f.want)
	}
	switch name {
	case "ALL":
		return cheap(func(uint32, *mailbox.Message) bool { return true })
	case "NOT":
		p.SP()
		p.Enter()
		k := x.key()
		p.Leave()
		return not(k)
	case "OR":
		return x.or()
	case "NEW", "OLD", "RECENT":
		return x.recent(name)
	case "KEYWORD", "UNKEYWORD":
		p.SP()
		word := p.Flag()
		k := cheap(func(_ uint32, m *mailbox.Message) bool { return m.HasKeyword(word) })
		if name == "UNKEYWORD" {
			return not(k)
		}
		return k
	case "UID":
		p.SP()
		return x.set(true)
	case "LARGER", "SMALLER":
		p.SP()
		return size(name == "LARGER", int64(p.Number64()))
	case "MODSEQ":
		return x.modSeqKey()
	case "EMAILID", "THREADID":
		p.SP()
		return x.objectID(name, string(p.AString()))
	}
	if k, ok := x.dateKey(name); ok {
		return k
	}
	if k, ok := x.textKey(name); ok {
		return k
	}
	p.Fail("unknown search key %s", printable(name))
	return none
}

var searchFlags = map[string]struct{ flag, want mailbox.Flags }{
	"ANSWERED": {mailbox.Answered, mailbox.Answered}, "UNANSWERED": {mailbox.Answered, 0},
	"DELETED": {mailbox.Deleted, mailbox.Deleted}, "UNDELETED": {mailbox.Deleted, 0},
	"DRAFT": {mailbox.Draft, mailbox.Draft}, "UNDRAFT": {mailbox.Draft, 0},
	"FLAGGED": {mailbox.Flagged, mailbox.Flagged}, "UNFLAGGED": {mailbox.Flagged, 0},
	"SEEN": {mailbox.Seen, mailbox.Seen}, "UNSEEN": {mailbox.Seen, 0},
}

// or takes the operands of OR. Where they are ORs again, as clients write a choice
// among many, all are one list: that is no nesting.
func (x *searchParser) or() searchKey {
	p := x.p
	p.Enter()
	defer p.Leave()
	var list []searchKey
	for missing := 2; missing > 0 && p.Err() == nil; {
		p.SP()
		if rest := p.Rest(); len(rest) > 3 && imapwire.Upper(rest[:3]) == "OR " && x.keys < maxSearchKeys {
			p.Keyword()
			x.keys++
			missing++
			continue
		}
		list = append(list, x.key())
		missing--
	}
	slices.SortStableFunc(list, func(a, b searchKey) int { return a.cost - b.cost })
	cost := 0
	for _, k := range list {
		cost = max(cost, k.cost)
	}
	return searchKey{cost, func(s *searching, seq uint32, m *mailbox.Message) bool {
		return slices.ContainsFunc(list, func(k searchKey) bool { return k.ok(s, seq, m) })
	}}
}

func (x *searchParser) recent(name string) searchKey {
	box := x.s.box
	return cheap(func(_ uint32, m *mailbox.Message) bool {
		r := box.Recent(m.UID)
		switch name {
		case "NEW":
			return r && m.Flags&mailbox.Seen == 0
		case "OLD":
			return !r
		}
		return r
	})
}

// set takes a set of sequence numbers or UIDs.
func (x *searchParser) set(uid bool) searchKey {
	set := x.p.Set(true)
	if x.p.Err() != nil {
		return none
	}
	if set.Saved { // "$" stands for messages whatever the command counts in
		saved := x.s.saved
		return cheap(func(_ uint32, m *mailbox.Message) bool { return imapwire.Contains(saved, uint32(m.UID)) })
	}
	v := x.s.box.View()
	if uid {
		r := set.Resolve(uint32(v.MaxUID()))
		return cheap(func(_ uint32, m *mailbox.Message) bool { return imapwire.Contains(r, uint32(m.UID)) })
	}
	r := set.Resolve(uint32(len(v.Messages)))
	return cheap(func(seq uint32, _ *mailbox.Message) bool { return imapwire.Contains(r, seq) })
}

func size(larger bool, n int64) searchKey {
	return searchKey{costNone, func(x *searching, _ uint32, m *mailbox.Message) bool {
		have := m.Size
		if have < 0 {
			var err error
			if have, err = x.s.box.Size(m); err != nil {
				x.trouble(err)
				return false
			}
		}
		return larger && have > n || !larger && have < n
	}}
}

func (x *searchParser) modSeqKey() searchKey {
	p := x.p
	p.SP()
	if p.Peek() == '"' { // an entry's name and type, of which there are none
		p.String()
		p.SP()
		switch p.Keyword() {
		case "PRIV", "SHARED", "ALL":
		default:
			p.Fail("entry type must be priv, shared or all")
		}
		p.SP()
	}
	n := mailbox.ModSeq(p.Number64())
	x.modSeq = true
	return cheap(func(_ uint32, m *mailbox.Message) bool { return m.ModSeq >= n })
}

func (x *searchParser) objectID(name, id string) searchKey {
	if name == "THREADID" {
		return none
	}
	validity := x.s.box.View().UIDValidity
	return cheap(func(_ uint32, m *mailbox.Message) bool { return emailID(m, validity) == id })
}

// dateKey takes the keys that look at a date.
func (x *searchParser) dateKey(name string) (searchKey, bool) {
	p := x.p
	day := func(t int64) int64 { // days since 1970, UTC as INTERNALDATE tells it
		if t < 0 {
			t -= 86399
		}
		return t / 86400
	}
	internal := func(s *searching, m *mailbox.Message) (int64, bool) {
		t, ok := s.date(m)
		return day(t), ok
	}
	saved := func(_ *searching, m *mailbox.Message) (int64, bool) { return day(m.SaveDate), m.SaveDate != 0 }
	get, op := internal, name
	switch name {
	case "BEFORE", "ON", "SINCE":
	case "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE":
		get, op = saved, name[len("SAVED"):]
	case "SENTBEFORE", "SENTON", "SENTSINCE":
		p.SP()
		want := day(p.Date().Unix())
		op = name[len("SENT"):]
		return searchKey{costFields, func(s *searching, _ uint32, m *mailbox.Message) bool {
			t, ok := mimepart.ParseDate(string(s.field(m, "DATE")))
			if !ok {
				return false
			}
			y, mon, d := t.Date() // the day at its sender's
			return compareDay(op, day(time.Date(y, mon, d, 0, 0, 0, 0, time.UTC).Unix()), want)
		}}, true
	case "SAVEDATESUPPORTED":
		return cheap(func(uint32, *mailbox.Message) bool { return true }), true
	case "YOUNGER", "OLDER":
		p.SP()
		seconds := p.Number()
		if seconds == 0 { // RFC 5032, section 3
			p.Fail("%s needs a number of seconds above 0", name)
		}
		limit := x.now.Unix() - int64(seconds)
		return searchKey{costDate, func(s *searching, _ uint32, m *mailbox.Message) bool {
			t, ok := s.date(m)
			return ok && (name == "YOUNGER" && t >= limit || name == "OLDER" && t <= limit)
		}}, true
	default:
		return none, false
	}
	p.SP()
	want := day(p.Date().Unix())
	return searchKey{costDate, func(s *searching, _ uint32, m *mailbox.Message) bool {
		d, ok := get(s, m)
		return ok && compareDay(op, d, want)
	}}, true
}

func compareDay(op string, d, want int64) bool {
	switch op {
	case "BEFORE":
		return d < want
	case "ON":
		return d == want
	}
	return d >= want
}

// textKey takes the keys that look for text.
func (x *searchParser) textKey(name string) (searchKey, bool) {
	p := x.p
	field := name
	switch name {
	case "BCC", "CC", "FROM", "SUBJECT", "TO", "BODY", "TEXT":
		p.SP()
	case "HEADER":
		p.SP()
		field = imapwire.Upper(p.AString())
		p.SP()
	default:
		return none, false
	}
	if x.texts++; x.texts > maxTextKeys {
		p.Fail("more than %d search keys for text", maxTextKeys)
	}
	raw := p.AString()
	if p.Err() != nil {
		return none, true
	}
	needle := mimepart.Fold(nil, mimepart.ToUTF8(x.charset, raw))
	switch name {
	case "BODY":
		return searchKey{costText, func(s *searching, _ uint32, m *mailbox.Message) bool { return s.body(m, needle) }}, true
	case "TEXT":
		return searchKey{costText, func(s *searching, _ uint32, m *mailbox.Message) bool {
			return s.header(m, needle) || s.body(m, needle)
		}}, true
	}
	return searchKey{costFields, func(s *searching, _ uint32, m *mailbox.Message) bool {
		return s.fieldContains(m, field, needle)
	}}, true
}
