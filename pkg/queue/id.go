package queue

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// The alphabet of Postfix's long queue ids: no vowels, and "z" only as the
// separator, since the last part is in base 51.
const idAlphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

const (
	secChars  = 6
	usecChars = 4
	seqSpan   = 51 * 51 * 51 * 51 * 51 // five characters keep mailq's columns
	maxID     = 39                     // what the head of a file has room for
)

var idSeq atomic.Uint32

// idStart keeps processes that make ids in the same microsecond apart.
var idStart = sync.OnceValue(func() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint32(b[:])
})

// NewID returns a queue id in the form of Postfix's long ids: seconds in base
// 52 (6 characters or more), microseconds in base 52 (4), "z", and a number in
// base 51 that is counted up from a random start, where Postfix has the inode.
// Ids of equal length sort by time.
func NewID(t time.Time) string {
	var b [24]byte
	n := putBase(b[:0], uint64(t.Unix()), 52, secChars)
	n = putBase(n, uint64(t.Nanosecond()/1000), 52, usecChars)
	n = append(n, 'z')
	n = putBase(n, uint64((idStart()+idSeq.Add(1))%seqSpan), 51, 1)
	return string(n)
}

func putBase(b []byte, v uint64, base uint64, width int) []byte {
	var t [16]byte
	i := len(t)
	for v > 0 || width > 0 {
		i--
		t[i] = idAlphabet[v%base]
		v /= base
		width--
	}
	return append(b, t[i:]...)
}

// digits has the place of each character in idAlphabet plus one, else 0.
var digits = func() (t [256]byte) {
	for i := range len(idAlphabet) {
		t[idAlphabet[i]] = byte(i + 1)
	}
	return t
}()

// digit returns the value of a character, or -1.
func digit(c byte) int { return int(digits[c]) - 1 }

// ValidID tells whether id has the form that NewID gives. Nothing else is ever
// used as a file name.
func ValidID(id string) bool {
	if len(id) < secChars+usecChars+2 || len(id) > maxID {
		return false
	}
	z := -1
	for i := 0; i < len(id); i++ {
		switch d := digit(id[i]); {
		case d < 0:
			return false
		case d == 51:
			if i == len(id)-1 {
				return false
			}
			z = i
		}
	}
	if z < secChars+usecChars {
		return false
	}
	us, ok := idMicros(id)
	return ok && us < 1e6
}

// idMicros returns the microseconds in an id.
func idMicros(id string) (us uint32, ok bool) {
	z := len(id) - 1
	for z >= 0 && id[z] != 'z' {
		z--
	}
	if z < usecChars {
		return 0, false
	}
	for _, c := range []byte(id[z-usecChars : z]) {
		d := digit(c)
		if d < 0 {
			return 0, false
		}
		us = us*52 + uint32(d)
	}
	return us, true
}

// IDTime returns the time at which an id was made.
func IDTime(id string) (time.Time, bool) {
	if !ValidID(id) {
		return time.Time{}, false
	}
	us, _ := idMicros(id)
	z := len(id) - 1
	for id[z] != 'z' {
		z--
	}
	var sec int64
	for _, c := range []byte(id[:z-usecChars]) {
		sec = sec*52 + int64(digit(c))
	}
	return time.Unix(sec, int64(us)*1000), true
}
