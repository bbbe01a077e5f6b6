// Package inflate unpacks a DEFLATE stream (RFC 1951) that never ends, such as
// that of IMAP's COMPRESS (RFC 4978).
//
// It gives out everything that can be known from what has come before it waits
// for more. compress/flate does so only behind an empty stored block, zlib's
// Z_SYNC_FLUSH; clients that flush with Z_PARTIAL_FLUSH, as RFC 4978 allows,
// would wait for their answer for ever.
package inflate

import (
	"errors"
	"io"
)

// ErrCorrupt says that the stream is none. There is no way on.
var ErrCorrupt = errors.New("corrupt compressed data")

const (
	windowSize = 32 << 10
	maxMatch   = 258
)

// errPending interrupts the work: there is output, and no input.
var errPending = errors.New("output is pending")

// states say what comes next in the stream.
type state uint8

const (
	blockHeader state = iota
	storedLength
	storedData
	treeSizes
	treeCodes
	treeLengths
	symbols
	ended
)

// Reader is an io.Reader of the unpacked data. An error of the source is passed
// on, and a later Read goes on where it came; other errors stay.
type Reader struct {
	src      io.Reader
	in       [1024]byte
	pos, end int
	bits     uint64 // not yet used, the next one lowest
	n        uint   // how many bits

	window [windowSize]byte
	at     int // where the next octet goes
	past   int // octets before it, at most a window
	unread int // octets before it that Read has not given

	state   state
	final   bool
	left    int // of a stored block
	err     error
	literal *tree
	dist    *tree
	// While trees are read:
	codes                 int // code length codes
	literals, lengths     int // of both trees
	index                 int
	size                  [286 + 30]uint8
	codeTree              tree
	literalTree, distTree tree
}

// NewReader reads from src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Read waits for the source only if it has nothing to give.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for z.unread == 0 {
		if z.err != nil {
			return 0, z.err
		}
		if err := z.run(); err == ErrCorrupt || err == io.EOF {
			z.err = err
		} else if err != nil && err != errPending && z.unread == 0 {
			return 0, err
		}
	}
	from := (z.at - z.unread + windowSize) % windowSize
	n := copy(p, z.window[from:min(windowSize, from+z.unread)])
	z.unread -= n
	return n, nil
}

// run unpacks until the window is full of unread data, or something prevents it.
func (z *Reader) run() (err error) {
	for err == nil && z.unread <= windowSize-maxMatch {
		switch z.state {
		case blockHeader:
			err = z.header()
		case storedLength:
			err = z.storedLength()
		case storedData:
			err = z.stored()
		case treeSizes:
			err = z.treeSizes()
		case treeCodes:
			err = z.treeCodes()
		case treeLengths:
			err = z.treeLengths()
		case symbols:
			err = z.symbol()
		case ended:
			err = io.EOF
		}
	}
	return err
}

// need makes at least k bits available, k up to 48. It consumes none, so that
// the step that failed can be taken again.
func (z *Reader) need(k uint) error {
	for z.n < k {
		if z.pos == z.end {
			if z.unread > 0 {
				return errPending
			}
			n, err := z.src.Read(z.in[:])
			z.pos, z.end = 0, n
			if n == 0 {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				if err != nil {
					return err
				}
				continue
			}
		}
		for z.n <= 56 && z.pos < z.end {
			z.bits |= uint64(z.in[z.pos]) << z.n
			z.n += 8
			z.pos++
		}
	}
	return nil
}

// take consumes k bits that are there.
func (z *Reader) take(k uint) int {
	v := z.bits & (1<<k - 1)
	z.bits >>= k
	z.n -= k
	return int(v)
}

func (z *Reader) put(c byte) {
	z.window[z.at] = c
	z.at = (z.at + 1) % windowSize
	z.past = min(z.past+1, windowSize)
	z.unread++
}

func (z *Reader) header() error {
	if err := z.need(3); err != nil {
		return err
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.take(z.n % 8)
		z.state = storedLength
	case 1:
		z.literal, z.dist = &fixedLiteral, &fixedDist
		z.state = symbols
	case 2:
		z.state = treeSizes
	default:
		return ErrCorrupt
	}
	return nil
}

func (z *Reader) endBlock() {
	z.state = blockHeader
	if z.final {
		z.state = ended
	}
}

func (z *Reader) storedLength() error {
	if err := z.need(32); err != nil {
		return err
	}
	z.left = z.take(16)
	if z.take(16) != z.left^0xffff {
		return ErrCorrupt
	}
	z.state = storedData
	return nil
}

func (z *Reader) stored() error {
	if z.left == 0 {
		z.endBlock()
		return nil
	}
	if err := z.need(8); err != nil {
		return err
	}
	z.left--
	z.put(byte(z.take(8)))
	return nil
}

// The trees of a block (section 3.2.7).

func (z *Reader) treeSizes() error {
	if err := z.need(14); err != nil {
		return err
	}
	z.literals = z.take(5) + 257
	z.lengths = z.literals + z.take(5) + 1
	z.codes = z.take(4) + 4
	if z.literals > 286 || z.lengths-z.literals > 30 {
		return ErrCorrupt
	}
	z.index = 0
	z.size = [286 + 30]uint8{}
	z.state = treeCodes
	return nil
}

var codeOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (z *Reader) treeCodes() error {
	for z.index < z.codes {
		if err := z.need(3); err != nil {
			return err
		}
		z.size[codeOrder[z.index]] = uint8(z.take(3))
		z.index++
	}
	if !z.codeTree.build(z.size[:19]) {
		return ErrCorrupt
	}
	z.index = 0
	z.size = [286 + 30]uint8{}
	z.state = treeLengths
	return nil
}

func (z *Reader) treeLengths() error {
	for z.index < z.lengths {
		sym, used, err := z.peek(&z.codeTree, 0)
		if err != nil {
			return err
		}
		if sym < 16 {
			z.take(used)
			z.size[z.index] = uint8(sym)
			z.index++
			continue
		}
		extra, times, value := uint(2), 3, uint8(0)
		switch sym {
		case 16:
			if z.index == 0 {
				return ErrCorrupt
			}
			value = z.size[z.index-1]
		case 17:
			extra = 3
		case 18:
			extra, times = 7, 11
		}
		if err := z.need(used + extra); err != nil {
			return err
		}
		z.take(used)
		times += z.take(extra)
		if z.index+times > z.lengths {
			return ErrCorrupt
		}
		for ; times > 0; times-- {
			z.size[z.index] = value
			z.index++
		}
	}
	if !z.literalTree.build(z.size[:z.literals]) || !z.distTree.build(z.size[z.literals:z.lengths]) {
		return ErrCorrupt
	}
	z.literal, z.dist = &z.literalTree, &z.distTree
	z.state = symbols
	return nil
}

// peek finds the symbol behind the next skip bits, and how many bits there are
// to its end. It asks for no bit beyond that.
func (z *Reader) peek(t *tree, skip uint) (sym int, end uint, err error) {
	for k := skip + 1; ; k = z.n + 1 {
		if err := z.need(k); err != nil {
			return 0, 0, err
		}
		sym, used := t.find(z.bits>>skip, min(z.n-skip, maxCode))
		if used > 0 {
			return sym, skip + used, nil
		}
		if z.n-skip >= maxCode {
			return 0, 0, ErrCorrupt
		}
	}
}

// Bases and extra bits of lengths and distances (section 3.2.5).
var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbol takes one symbol, whole with its distance or not at all.
func (z *Reader) symbol() error {
	sym, used, err := z.peek(z.literal, 0)
	if err != nil {
		return err
	}
	if sym < 256 {
		z.take(used)
		z.put(byte(sym))
		return nil
	}
	if sym == 256 {
		z.take(used)
		z.endBlock()
		return nil
	}
	if sym -= 257; sym >= len(lengthBase) {
		return ErrCorrupt
	}
	start, extra := used, uint(lengthExtra[sym])
	d, used, err := z.peek(z.dist, start+extra)
	if err != nil {
		return err
	}
	if d >= len(distBase) {
		return ErrCorrupt
	}
	if err := z.need(used + uint(distExtra[d])); err != nil {
		return err
	}
	z.take(start)
	length := int(lengthBase[sym]) + z.take(extra)
	z.take(used - start - extra)
	dist := int(distBase[d]) + z.take(uint(distExtra[d]))
	if dist > z.past {
		return ErrCorrupt
	}
	for ; length > 0; length-- {
		z.put(z.window[(z.at-dist+windowSize)%windowSize])
	}
	return nil
}
