package inflate

import "math/bits"

const (
	maxCode  = 15 // bits of the longest code
	fastCode = 9  // codes up to this are found at once
)

// tree is a canonical Huffman code (section 3.2.2).
type tree struct {
	count  [maxCode + 1]uint16   // codes of each length
	symbol [288]uint16           // by length, then value
	fast   [1 << fastCode]uint16 // by the next bits: symbol<<4 | length; 0 for longer codes
}

var fixedLiteral, fixedDist = fixed()

// fixed are the trees of section 3.2.6.
func fixed() (l, d tree) {
	var size [288]uint8
	for i := range size {
		switch {
		case i < 144:
			size[i] = 8
		case i < 256:
			size[i] = 9
		case i < 280:
			size[i] = 7
		default:
			size[i] = 8
		}
	}
	l.build(size[:])
	for i := range 32 {
		size[i] = 5
	}
	d.build(size[:32])
	return l, d
}

// build makes the tree from the length of each symbol's code. Codes must be
// complete, but for a tree of no code, whose use is the error, and one of a
// single code of one bit.
func (t *tree) build(size []uint8) bool {
	*t = tree{}
	longest := 0
	for _, s := range size {
		t.count[s]++
		longest = max(longest, int(s))
	}
	t.count[0] = 0
	if longest == 0 {
		return true
	}
	var next [maxCode + 2]int // place in symbol
	var code [maxCode + 2]int // next code
	for l := 1; l <= maxCode; l++ {
		next[l+1] = next[l] + int(t.count[l])
		code[l+1] = (code[l] + int(t.count[l])) << 1
		if code[l]+int(t.count[l]) > 1<<l {
			return false
		}
	}
	if all := code[longest] + int(t.count[longest]); all != 1<<longest && !(longest == 1 && all == 1) {
		return false
	}
	for sym, s := range size {
		if s == 0 {
			continue
		}
		t.symbol[next[s]] = uint16(sym)
		next[s]++
		if s <= fastCode {
			for i := int(bits.Reverse16(uint16(code[s])) >> (16 - s)); i < len(t.fast); i += 1 << s {
				t.fast[i] = uint16(sym)<<4 | uint16(s)
			}
		}
		code[s]++
	}
	return true
}

// find decodes the next symbol from n bits, n at most maxCode; used 0 means that
// they hold none.
func (t *tree) find(b uint64, n uint) (sym int, used uint) {
	if e := t.fast[b&(1<<fastCode-1)]; e != 0 {
		if l := uint(e & 15); l <= n {
			return int(e >> 4), l
		}
		return 0, 0
	}
	code, first, place := 0, 0, 0
	for l := uint(1); l <= n; l++ {
		code |= int(b & 1)
		b >>= 1
		k := int(t.count[l])
		if code-first < k {
			return int(t.symbol[place+code-first]), l
		}
		place += k
		first = (first + k) << 1
		code <<= 1
	}
	return 0, 0
}
