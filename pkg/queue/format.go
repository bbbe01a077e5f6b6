package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// The head of a queue file, big-endian:
//
//	 0  8  magic
//	 8  2  version
//	10  2  flags
//	12  2  Received: headers in the content
//	14  2  length of the id
//	16  4  recipients ever written
//	20  4  first recipient that is not cancelled
//	24  8  offset of the content
//	32  8  length of the content
//	40  8  offset of the END record; 0 until the writer commits
//	48 40  id, padded with NUL
//	88  4  CRC-32C of the bytes before
//
// The offset of the END record is the last thing that a writer fills in, but
// power may fail with any of a file's blocks on disk and others not, so that
// only the END record's checksums make a file complete.
const (
	magic     = "PHqueue\n"
	version   = 1
	headSize  = 92
	headIDMax = 40
)

const (
	flagDotLines = 1 << iota
	flagEightBit
)

// Record types. A record is its type, the length of its payload as a varint,
// and the payload.
const (
	recMessage   = 'M' // envelope.Message; the first record
	recAttr      = 'A' // name, value
	recRecipient = 'R' // envelope.Recipient
	recEnd       = 'E' // id, CRC of the records and the head, CRC of the content

	// After END, each with a CRC-32C of its own:
	recOutcome = 'O' // envelope.Outcome
	recMark    = 'K' // Mark, time
)

// maxRecord bounds a record's payload: an envelope has 22 texts of at most
// envelope.MaxText bytes.
const maxRecord = 256 << 10

// MaxRecipients is the most recipients that one file holds.
const MaxRecipients = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcAdd(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

type head struct {
	flags          uint16
	hops           uint16
	id             string
	rcpts, firstOK uint32
	content        int64
	length         int64
	end            int64
}

func (h *head) put(b []byte) {
	_ = b[headSize-1]
	clear(b[:headSize])
	copy(b, magic)
	be := binary.BigEndian
	be.PutUint16(b[8:], version)
	be.PutUint16(b[10:], h.flags)
	be.PutUint16(b[12:], h.hops)
	be.PutUint16(b[14:], uint16(len(h.id)))
	be.PutUint32(b[16:], h.rcpts)
	be.PutUint32(b[20:], h.firstOK)
	be.PutUint64(b[24:], uint64(h.content))
	be.PutUint64(b[32:], uint64(h.length))
	be.PutUint64(b[40:], uint64(h.end))
	copy(b[48:48+headIDMax], h.id)
	be.PutUint32(b[88:], crcAdd(0, b[:88]))
}

// parseHead reads a head. incomplete tells that the writer never got to fill it
// in; otherwise a non-empty reason tells what is wrong.
func parseHead(b []byte) (h head, incomplete bool, reason string) {
	if len(b) < headSize {
		return h, true, "shorter than its head"
	}
	b = b[:headSize]
	if allZero(b) {
		return h, true, "head was never written"
	}
	if string(b[:8]) != magic {
		return h, false, "not a queue file"
	}
	be := binary.BigEndian
	if v := be.Uint16(b[8:]); v != version {
		return h, false, fmt.Sprintf("version %d", v)
	}
	if be.Uint32(b[88:]) != crcAdd(0, b[:88]) {
		return h, false, "bad checksum of the head"
	}
	n := int(be.Uint16(b[14:]))
	if n > headIDMax {
		return h, false, "bad id"
	}
	h = head{flags: be.Uint16(b[10:]), hops: be.Uint16(b[12:]), id: string(b[48 : 48+n]),
		rcpts: be.Uint32(b[16:]), firstOK: be.Uint32(b[20:]),
		content: int64(be.Uint64(b[24:])), length: int64(be.Uint64(b[32:])), end: int64(be.Uint64(b[40:]))}
	if h.end == 0 {
		return h, true, "not committed"
	}
	if h.content < headSize || h.length < 0 || h.content > 1<<50 || h.length > 1<<50 || h.end < h.content+h.length || h.end > 1<<51 {
		return h, false, "bad offsets"
	}
	if h.rcpts > MaxRecipients || h.firstOK > h.rcpts {
		return h, false, "bad recipient count"
	}
	return h, false, ""
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// appendRecord appends a record.
func appendRecord(b []byte, typ byte, payload []byte) []byte {
	b = append(b, typ)
	b = binary.AppendUvarint(b, uint64(len(payload)))
	return append(b, payload...)
}

// splitRecord takes the record at the start of b. n is the bytes that it
// takes; 0 means that b ends within it, and -1 that it cannot be a record.
func splitRecord(b []byte) (typ byte, payload []byte, n int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	l, k := binary.Uvarint(b[1:min(len(b), 11)])
	if k < 0 || k > 4 || l > maxRecord {
		return 0, nil, -1
	}
	if k == 0 {
		if len(b) > 5 {
			return 0, nil, -1
		}
		return 0, nil, 0
	}
	n = 1 + k + int(l)
	if n > len(b) {
		return 0, nil, 0
	}
	return b[0], b[1+k : n : n], n
}

// appendEnd appends the END record.
func appendEnd(b []byte, id string, records, content uint32) []byte {
	var e wire.Encoder
	e.String(id)
	e.B = binary.BigEndian.AppendUint32(e.B, records)
	e.B = binary.BigEndian.AppendUint32(e.B, content)
	return appendRecord(b, recEnd, e.B)
}

// endSize is the length of the END record of an id.
func endSize(id string) int { return 1 + 1 + 1 + len(id) + 8 }

func parseEnd(p []byte) (id string, records, content uint32, ok bool) {
	d := wire.NewDecoder(p)
	id = d.String()
	r := d.Rest()
	if d.Err() != nil || len(r) != 8 {
		return "", 0, 0, false
	}
	return id, binary.BigEndian.Uint32(r), binary.BigEndian.Uint32(r[4:]), true
}

// appendLog appends a record of the part after END.
func appendLog(b []byte, typ byte, payload []byte) []byte {
	at := len(b)
	b = appendRecord(b, typ, payload)
	return binary.BigEndian.AppendUint32(b, crcAdd(0, b[at:]))
}

// splitLog takes the record at the start of b; n is as for splitRecord, and -1
// also for a bad checksum.
func splitLog(b []byte) (typ byte, payload []byte, n int) {
	typ, payload, n = splitRecord(b)
	if n <= 0 {
		return 0, nil, n
	}
	if len(b) < n+4 {
		return 0, nil, 0
	}
	if binary.BigEndian.Uint32(b[n:]) != crcAdd(0, b[:n]) {
		return 0, nil, -1
	}
	return typ, payload, n + 4
}

// decodeRecipient parses and checks a recipient record.
func decodeRecipient(p []byte) (r envelope.Recipient, err error) {
	d := wire.NewDecoder(p)
	r.Decode(d)
	if err := d.Done(); err != nil {
		return r, err
	}
	return r, r.Validate()
}

// decodeOutcome parses and checks an outcome record.
func decodeOutcome(p []byte) (o envelope.Outcome, err error) {
	d := wire.NewDecoder(p)
	o.Decode(d)
	if err := d.Done(); err != nil {
		return o, err
	}
	return o, o.Validate()
}

// contentScan finds out what the content's flags need, over chunks.
type contentScan struct {
	mid      bool // the last chunk ended within a line
	dots     bool
	eightBit bool
}

func (s *contentScan) add(p []byte) {
	if len(p) == 0 {
		return
	}
	if !s.dots {
		if !s.mid && p[0] == '.' || bytes.Contains(p, []byte("\n.")) {
			s.dots = true
		}
		s.mid = p[len(p)-1] != '\n'
	}
	if !s.eightBit {
		s.eightBit = hasHigh(p)
	}
}

// hasHigh tells whether some byte is above 127, eight bytes at a time.
func hasHigh(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|
			binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&high != 0 {
			return true
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
