// Package index is the file that remembers what a Maildir folder's file names
// cannot: UIDs, mod-sequences, sizes, dates, and what was expunged when. The
// format, its locks and its rules are in docs/internals/mailstore.md.
//
// Parse and the record functions are pure. File does the input and output;
// everything it writes is written under Lock.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"posthaste/pkg/mailbox"
)

// Names of the files beside a folder's new/, cur/ and tmp/.
const (
	Name      = "posthaste.index"
	LockName  = "posthaste.lock"
	CacheName = "posthaste.cache"
)

const (
	magic      = "PHINDEX1"
	HeaderSize = 4096
	slotSize   = 512
	slotUsed   = 144
	frameHead  = 8
	maxFrame   = 64 << 20
	// MaxKeywords is the most keywords that a folder knows; MaxKeyword the longest.
	MaxKeywords = 512
	MaxKeyword  = 250
	// Reservations: what may be given out before the next fsync.
	uidChunk    = 256
	modSeqChunk = 1 << 16
	// maxHistory is how many expunged messages are remembered.
	maxHistory = 1 << 16
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Header is the mutable part of the file. There are two copies in separate
// disk sectors, written in turn.
type Header struct {
	Seq           uint64 // of the writes of this header
	Gen           uint64 // random, another for each replacement of the file
	ID            uint64 // the folder's object id
	UIDValidity   uint32
	UIDNext       mailbox.UID
	UIDReserve    mailbox.UID // durable: no UID from here on was ever given
	Recent        mailbox.UID // messages from here on have been shown to no session
	HighestModSeq mailbox.ModSeq
	ModSeqReserve mailbox.ModSeq // durable
	Length        int64          // end of the last committed frame
	Boot          uint64         // which boot of the system wrote this, 0 if unknown
	Written       int64          // when, Unix nanoseconds
	// Modification times of new/ and cur/ for which the log is complete, in Unix
	// nanoseconds, 0 for none, and when they were looked at.
	New, Cur           int64
	NewLooked, CurLook int64
}

func (h *Header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	le := binary.LittleEndian
	for _, v := range []uint64{h.Seq, h.Gen, h.ID, uint64(h.UIDValidity)<<32 | uint64(h.UIDNext), uint64(h.UIDReserve)<<32 | uint64(h.Recent),
		uint64(h.HighestModSeq), uint64(h.ModSeqReserve), uint64(h.Length), h.Boot, uint64(h.Written),
		uint64(h.New), uint64(h.Cur), uint64(h.NewLooked), uint64(h.CurLook)} {
		b = le.AppendUint64(b, v)
	}
	for len(b)-start < slotUsed-4 {
		b = append(b, 0)
	}
	return le.AppendUint32(b, crc32.Checksum(b[start:], table))
}

func (h *Header) parse(b []byte) bool {
	if len(b) < slotUsed || string(b[:8]) != magic {
		return false
	}
	le := binary.LittleEndian
	if crc32.Checksum(b[:slotUsed-4], table) != le.Uint32(b[slotUsed-4:]) {
		return false
	}
	v := func(i int) uint64 { return le.Uint64(b[8+8*i:]) }
	*h = Header{Seq: v(0), Gen: v(1), ID: v(2), UIDValidity: uint32(v(3) >> 32), UIDNext: mailbox.UID(v(3)), UIDReserve: mailbox.UID(v(4) >> 32), Recent: mailbox.UID(v(4)),
		HighestModSeq: mailbox.ModSeq(v(5)), ModSeqReserve: mailbox.ModSeq(v(6)), Length: int64(v(7)), Boot: v(8), Written: int64(v(9)),
		New: int64(v(10)), Cur: int64(v(11)), NewLooked: int64(v(12)), CurLook: int64(v(13))}
	return h.UIDValidity != 0 && h.UIDNext != 0 && h.Length >= HeaderSize && h.UIDNext <= h.UIDReserve && h.HighestModSeq <= h.ModSeqReserve && h.ModSeqReserve < 1<<62
}

// ErrHeader says that the header is not usable, so that nothing can be said of
// the UIDs that were given out.
var ErrHeader = errors.New("index header is damaged")

// parseHeader returns the newer of the two copies; both is false if one of
// them is not readable.
func parseHeader(b []byte) (h Header, both bool, err error) {
	if len(b) < HeaderSize {
		return h, false, ErrHeader
	}
	var a, c Header
	okA, okC := a.parse(b), c.parse(b[slotSize:])
	switch {
	case okA && okC && a.Gen == c.Gen:
		if a.Seq > c.Seq {
			return a, true, nil
		}
		return c, true, nil
	case okA && !okC:
		return a, false, nil
	case okC && !okA:
		return c, false, nil
	}
	return h, false, ErrHeader
}

// Operations of the log.
const (
	opAdd     = 1 // a message
	opChange  = 2 // other flags, keywords and file name
	opExpunge = 3
	opKeyword = 4 // the next keyword of the folder
	opSize    = 5 // RFC822.SIZE became known; written no more
	opName    = 6 // other file name, nothing else
	opFloor   = 7 // expunges up to this mod-sequence are not all remembered
	opFacts   = 8 // RFC822.SIZE or the internal date became known
)

// Places of a message's file, the values of mailbox.Message.Place.
const (
	Cur uint8 = iota
	New
	Tmp // on its way to cur/: committed, but not yet renamed
)

// Log collects the records of one transaction.
type Log struct {
	b    []byte
	more []string // keywords that this transaction adds
}

// Len is the size in bytes.
func (l *Log) Len() int { return len(l.b) }

// Grow makes room for a record of each message of list.
func (l *Log) Grow(list []*mailbox.Message) {
	size := 0
	for _, m := range list {
		size += len(m.File) + 40 + 2*len(m.Keywords)
	}
	l.b = slices.Grow(l.b, size)
}

func (l *Log) uint(v uint64) { l.b = binary.AppendUvarint(l.b, v) }

func (l *Log) string(s string) {
	l.uint(uint64(len(s)))
	l.b = append(l.b, s...)
}

// keyword returns the number that a keyword has or will have.
func (l *Log) keyword(st *State, k string) (int, bool) {
	if i, ok := st.Keyword(k); ok {
		return i, true
	}
	for i, s := range l.more {
		if strings.EqualFold(s, k) {
			return len(st.Keywords) + i, true
		}
	}
	return 0, false
}

// know records the keywords that are new to the folder. Those beyond
// MaxKeywords are dropped.
func (l *Log) know(st *State, list []string) {
	for _, k := range list {
		if _, ok := l.keyword(st, k); ok || k == "" || len(k) > MaxKeyword || len(st.Keywords)+len(l.more) >= MaxKeywords {
			continue
		}
		l.b = append(l.b, opKeyword)
		l.string(k)
		l.more = append(l.more, k)
	}
}

func (l *Log) flags(st *State, m *mailbox.Message) {
	l.b = append(l.b, byte(m.Flags), 0)
	n := len(l.b) - 1
	for _, k := range m.Keywords {
		if i, ok := l.keyword(st, k); ok && l.b[n] < 255 {
			l.uint(uint64(i))
			l.b[n]++
		}
	}
}

// Add records a message.
func (l *Log) Add(st *State, m *mailbox.Message) {
	l.know(st, m.Keywords)
	l.b = append(l.b, opAdd)
	l.uint(uint64(m.UID))
	l.flags(st, m)
	l.uint(uint64(m.ModSeq))
	l.uint(uint64(m.Size + 1))
	l.b = binary.AppendVarint(l.b, m.Date)
	l.b = binary.AppendVarint(l.b, m.SaveDate)
	l.b = binary.LittleEndian.AppendUint64(l.b, m.EmailID)
	l.b = append(l.b, m.Place)
	l.string(m.File)
}

// Change records m's flags, keywords, mod-sequence and file name.
func (l *Log) Change(st *State, m *mailbox.Message) {
	l.know(st, m.Keywords)
	l.b = append(l.b, opChange)
	l.uint(uint64(m.UID))
	l.flags(st, m)
	l.uint(uint64(m.ModSeq))
	l.b = append(l.b, m.Place)
	l.string(m.File)
}

// Rename records m's file name.
func (l *Log) Rename(m *mailbox.Message) {
	l.b = append(l.b, opName)
	l.uint(uint64(m.UID))
	l.b = append(l.b, m.Place)
	l.string(m.File)
}

// Facts records m's size and date.
func (l *Log) Facts(m *mailbox.Message) {
	l.b = append(l.b, opFacts)
	l.uint(uint64(m.UID))
	l.uint(uint64(m.Size + 1))
	l.b = binary.AppendVarint(l.b, m.Date)
}

// Expunge records that a message is gone.
func (l *Log) Expunge(u mailbox.UID, s mailbox.ModSeq) {
	l.b = append(l.b, opExpunge)
	l.uint(uint64(u))
	l.uint(uint64(s))
}

func (l *Log) floor(s mailbox.ModSeq) {
	l.b = append(l.b, opFloor)
	l.uint(uint64(s))
}

// appendFrame closes the transaction.
func (l *Log) appendFrame(b []byte, gen uint64) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.b)))
	b = binary.LittleEndian.AppendUint32(b, frameSum(b[start:], l.b, gen))
	return append(b, l.b...)
}

// frameSum covers the length and the generation, so that what an earlier file
// left on the disk is not taken for this one's.
func frameSum(length, payload []byte, gen uint64) uint32 {
	var g [12]byte
	binary.LittleEndian.PutUint64(g[:], gen)
	copy(g[8:], length)
	return crc32.Update(crc32.Checksum(g[:], table), table, payload)
}

// nextFrame returns the payload of the frame at the start of b and the
// frame's length; ok is false when it is incomplete or damaged.
func nextFrame(b []byte, gen uint64) (payload []byte, n int, ok bool) {
	if len(b) < frameHead {
		return nil, 0, false
	}
	size := binary.LittleEndian.Uint32(b)
	if size == 0 || size > maxFrame || int(size) > len(b)-frameHead {
		return nil, 0, false
	}
	payload = b[frameHead : frameHead+int(size)]
	if frameSum(b[:4], payload, gen) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0, false
	}
	return payload, frameHead + int(size), true
}

// decoder reads a payload. s is the same bytes as a string, so that file names
// need no copy each.
type decoder struct {
	b   []byte
	s   string
	pos int
	bad bool
}

func (d *decoder) byte() byte {
	if d.pos >= len(d.b) {
		d.bad = true
		return 0
	}
	d.pos++
	return d.b[d.pos-1]
}

func (d *decoder) uint(max uint64) uint64 {
	v, n := binary.Uvarint(d.b[d.pos:])
	if n <= 0 || v > max {
		d.bad = true
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b[d.pos:])
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.b)-d.pos < 8 {
		d.bad = true
		return 0
	}
	d.pos += 8
	return binary.LittleEndian.Uint64(d.b[d.pos-8:])
}

func (d *decoder) string(max int) string {
	n := int(d.uint(uint64(max)))
	if d.bad || n > len(d.b)-d.pos {
		d.bad = true
		return ""
	}
	d.pos += n
	return d.s[d.pos-n : d.pos]
}

const maxModSeq = 1 << 62

// fileName reads place and name. A name with a slash would lead elsewhere.
func (d *decoder) fileName() (uint8, string) {
	p := d.byte()
	s := d.string(255)
	if p > Tmp || s == "" || s[0] == '.' {
		d.bad = true
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '/' || s[i] == 0 {
			d.bad = true
		}
	}
	return p, s
}

// apply brings a payload into the state. An error leaves the state in need of
// being built anew.
func (st *State) apply(payload []byte) error {
	d := &decoder{b: payload, s: string(payload)}
	for d.pos < len(d.b) && !d.bad {
		st.record(d)
	}
	st.flush()
	if d.bad {
		return fmt.Errorf("index record at %d of %d is damaged", d.pos, len(d.b))
	}
	return nil
}

func (st *State) flags(d *decoder) (mailbox.Flags, []string) {
	f := mailbox.Flags(d.byte())
	n := int(d.byte())
	if n == 0 {
		return f, nil
	}
	start := d.pos
	idx := make([]int, 0, 8)
	for range n {
		i := int(d.uint(MaxKeywords))
		if i >= len(st.Keywords) {
			d.bad = true
			return f, nil
		}
		idx = append(idx, i)
	}
	return f, st.keywordSet(d.s[start:d.pos], idx)
}

// keywordSet returns the one slice for these keywords.
func (st *State) keywordSet(key string, idx []int) []string {
	if s, ok := st.sets[key]; ok {
		return s
	}
	s := make([]string, 0, len(idx))
	for _, i := range idx {
		s = append(s, st.Keywords[i])
	}
	slices.Sort(s)
	s = slices.Compact(s)
	if st.sets == nil || len(st.sets) > 4096 {
		st.sets = map[string][]string{}
	}
	st.sets[key] = s
	return s
}

func (st *State) record(d *decoder) {
	op := d.byte()
	switch op {
	case opAdd:
		m := st.alloc()
		m.UID = mailbox.UID(d.uint(1<<32 - 2))
		m.Flags, m.Keywords = st.flags(d)
		m.ModSeq = mailbox.ModSeq(d.uint(maxModSeq))
		m.Size = int64(d.uint(1<<62)) - 1
		m.Date, m.SaveDate, m.EmailID = d.int(), d.int(), d.uint64()
		m.Place, m.File = d.fileName()
		if m.UID < st.UIDNext {
			d.bad = true // also catches 0
		}
		if !d.bad {
			st.add(m)
		}
	case opChange, opName, opSize, opFacts:
		u := mailbox.UID(d.uint(1<<32 - 2))
		i, ok := st.find(u)
		if !ok {
			d.bad = true
			return
		}
		m := st.alloc()
		*m = *st.Messages[i]
		switch op {
		case opChange:
			m.Flags, m.Keywords = st.flags(d)
			m.ModSeq = mailbox.ModSeq(d.uint(maxModSeq))
			m.Place, m.File = d.fileName()
		case opName:
			m.Place, m.File = d.fileName()
		case opSize:
			m.Size = int64(d.uint(1<<62)) - 1
		case opFacts:
			m.Size = int64(d.uint(1<<62)) - 1
			m.Date = d.int()
		}
		if !d.bad {
			st.replace(i, m)
		}
	case opExpunge:
		u, s := mailbox.UID(d.uint(1<<32-2)), mailbox.ModSeq(d.uint(maxModSeq))
		if !d.bad {
			st.expunge(u, s)
		}
	case opKeyword:
		k := d.string(MaxKeyword)
		if _, known := st.Keyword(k); d.bad || k == "" || known || len(st.Keywords) >= MaxKeywords {
			d.bad = true
			return
		}
		st.Keywords = append(st.Keywords, string([]byte(k)))
	case opFloor:
		st.Floor = max(st.Floor, mailbox.ModSeq(d.uint(maxModSeq)))
	default:
		d.bad = true
	}
}
