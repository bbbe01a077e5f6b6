package imapwire

import (
	"slices"
	"strconv"
)

// MaxRanges is how many ranges a set of a command may have.
const MaxRanges = 65536

// Star stands for "*" in a Range: the largest number in use. No message has the
// number 0, whereas 4294967295 is a number as others are.
const Star = 0

// Range is a range of message numbers or UIDs, both ends included. In a Set
// that was parsed an end may be Star.
type Range struct{ Lo, Hi uint32 }

// Set is a sequence set.
type Set struct {
	Ranges []Range
	Saved  bool // "$": the result that SEARCH saved (RFC 5182)
}

// Set takes a sequence set; "$" only if saved.
func (p *Parser) Set(saved bool) (s Set) {
	if saved && p.Try('$') {
		return Set{Saved: true}
	}
	for p.err == nil {
		lo := p.setNumber()
		hi := lo
		if p.Try(':') {
			hi = p.setNumber()
		}
		if len(s.Ranges) >= MaxRanges {
			p.Fail("set of more than %d ranges", MaxRanges)
			return Set{}
		}
		s.Ranges = append(s.Ranges, Range{lo, hi})
		if !p.Try(',') {
			break
		}
	}
	if p.err != nil {
		return Set{}
	}
	return s
}

func (p *Parser) setNumber() uint32 {
	if p.Try('*') {
		return Star
	}
	n := p.Number()
	if n == 0 && p.err == nil {
		p.Fail("0 in a set")
	}
	return n
}

// Resolve returns the ranges of the set in ascending order without overlap, with
// Star being largest. RFC 3501: "*" counts even if the other end is above it.
// Where nothing is in use (largest is 0), "*" alone stands for nothing.
func (s Set) Resolve(largest uint32) []Range {
	out := make([]Range, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if r.Lo == Star {
			r.Lo = largest
		}
		if r.Hi == Star {
			r.Hi = largest
		}
		if r.Lo > r.Hi {
			r.Lo, r.Hi = r.Hi, r.Lo
		}
		if r.Hi == 0 {
			continue
		}
		r.Lo = max(r.Lo, 1)
		out = append(out, r)
	}
	return Normalize(out)
}

// Normalize sorts ranges and joins those that touch, in place.
func Normalize(r []Range) []Range {
	if !slices.IsSortedFunc(r, compareRange) {
		slices.SortFunc(r, compareRange)
	}
	n := 0
	for _, x := range r {
		if n > 0 && (r[n-1].Hi == 1<<32-1 || x.Lo <= r[n-1].Hi+1) {
			r[n-1].Hi = max(r[n-1].Hi, x.Hi)
			continue
		}
		r[n] = x
		n++
	}
	return r[:n]
}

func compareRange(a, b Range) int {
	if a.Lo < b.Lo {
		return -1
	}
	if a.Lo > b.Lo {
		return 1
	}
	return 0
}

// Contains tells whether normalized ranges hold n.
func Contains(r []Range, n uint32) bool {
	lo, hi := 0, len(r)
	for lo < hi {
		m := (lo + hi) / 2
		if r[m].Hi < n {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(r) && r[lo].Lo <= n
}

// Ranges joins ascending numbers to ranges.
func Ranges(nums []uint32) []Range {
	var out []Range
	for _, n := range nums {
		if k := len(out); k > 0 && out[k-1].Hi+1 == n {
			out[k-1].Hi = n
			continue
		}
		out = append(out, Range{n, n})
	}
	return out
}

// AppendRanges writes ranges as a sequence set, in their order.
func AppendRanges(b []byte, r []Range) []byte {
	for i, x := range r {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(x.Lo), 10)
		if x.Hi != x.Lo {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(x.Hi), 10)
		}
	}
	return b
}
