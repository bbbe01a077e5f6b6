// Package cdb reads and writes constant databases in D. J. Bernstein's cdb
// format, the one that tinycdb and Postfix's cdb: tables use. A file is written
// once, atomically and durably, and never changed: a reader that has it open
// keeps its content whatever happens to the name.
//
// The format is limited to 4 GiB. Duplicate keys are left to the caller of
// Writer.Put; a Reader finds the first record of a key.
package cdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	headerSize = 2048
	// wholeFile is the size up to which a database is read into memory at once.
	// Larger ones are read record by record: unlike a mapping that survives a file
	// that is cut short under us, and memory stays flat. But see Mapped.
	wholeFile = 128 << 10
	// maxItem bounds one key or value, against damaged files.
	maxItem = 64 << 20
)

// ErrCorrupt is in the chain of errors about damaged files.
var ErrCorrupt = errors.New("not a cdb file, or damaged")

// Reader looks keys up. It is safe for concurrent use.
type Reader struct {
	f    *os.File // nil for NewReader
	data []byte   // the whole file, or its header
	size int64

	mapped bool // data is a mapping of the file
}

// Open opens a database.
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := FromFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// FromFile makes a Reader of an open file, which belongs to the Reader from
// then on (unless there is an error).
func FromFile(f *os.File) (*Reader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := &Reader{f: f, size: st.Size()}
	if r.size < headerSize || r.size > 1<<32-1 {
		return nil, ErrCorrupt
	}
	n := int64(headerSize)
	if r.size <= wholeFile {
		n = r.size
	}
	r.data = make([]byte, n)
	if _, err := f.ReadAt(r.data, 0); err != nil {
		return nil, err
	}
	return r, nil
}

// NewReader makes a Reader of a database in memory.
func NewReader(data []byte) (*Reader, error) {
	if len(data) < headerSize || int64(len(data)) > 1<<32-1 {
		return nil, ErrCorrupt
	}
	return &Reader{data: data, size: int64(len(data))}, nil
}

// Mapped maps the whole file into memory, for many look-ups in a row; nil if it
// has more than limit bytes. The Reader that it returns gives ErrCorrupt when the
// file is cut short under it. It need not be closed: the mapping stays as long as
// the process.
func (r *Reader) Mapped(limit int64) (*Reader, error) {
	if r.size > limit || r.f == nil {
		return nil, nil
	}
	data, err := unix.Mmap(int(r.f.Fd()), 0, int(r.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	m, err := NewReader(data)
	if err == nil {
		m.mapped = true
	}
	return m, err
}

// File is the open file, nil for a Reader made by NewReader.
func (r *Reader) File() *os.File { return r.f }

// Close closes the file.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// view returns n bytes at off, in buf if they are not in memory.
func (r *Reader) view(off, n int64, buf *[]byte) ([]byte, error) {
	if off < 0 || n < 0 || off+n > r.size {
		return nil, ErrCorrupt
	}
	if off+n <= int64(len(r.data)) {
		return r.data[off : off+n], nil
	}
	if r.f == nil {
		return nil, ErrCorrupt
	}
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	b := (*buf)[:n]
	if _, err := r.f.ReadAt(b, off); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = ErrCorrupt
		}
		return nil, err
	}
	return b, nil
}

func hash(key string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(key); i++ {
		h = (h<<5 + h) ^ uint32(key[i])
	}
	return h
}

func hashBytes(key []byte) uint32 {
	h := uint32(5381)
	for _, c := range key {
		h = (h<<5 + h) ^ uint32(c)
	}
	return h
}

type buffers struct{ slots, rec []byte }

var pool = sync.Pool{New: func() any { return &buffers{make([]byte, 64), make([]byte, 512)} }}

// Get returns the value of key.
func (r *Reader) Get(key string) (value string, ok bool, err error) {
	if r.mapped {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			switch e := recover().(type) {
			case nil:
			case interface{ Addr() uintptr }: // of a fault: the file is shorter than it was
				value, ok, err = "", false, ErrCorrupt
			default:
				panic(e)
			}
		}()
	}
	return r.get(key)
}

func (r *Reader) get(key string) (value string, ok bool, err error) {
	h := hash(key)
	e := r.data[h%256*8:]
	pos, n := int64(binary.LittleEndian.Uint32(e)), int64(binary.LittleEndian.Uint32(e[4:]))
	if n == 0 {
		return "", false, nil
	}
	if pos < headerSize || pos+n*8 > r.size {
		return "", false, ErrCorrupt
	}
	b := pool.Get().(*buffers)
	defer pool.Put(b)
	slot := int64(h>>8) % n
	for seen := int64(0); seen < n; {
		run := min(8, n-slot)
		s, err := r.view(pos+slot*8, run*8, &b.slots)
		if err != nil {
			return "", false, err
		}
		for ; len(s) > 0 && seen < n; s, seen = s[8:], seen+1 {
			at := int64(binary.LittleEndian.Uint32(s[4:]))
			if at == 0 {
				return "", false, nil
			}
			if binary.LittleEndian.Uint32(s) != h {
				continue
			}
			if value, ok, err = r.record(at, key, b); ok || err != nil {
				return value, ok, err
			}
		}
		if slot += run; slot == n {
			slot = 0
		}
	}
	return "", false, nil
}

// record returns the value of the record at an offset if it has that key.
func (r *Reader) record(at int64, key string, b *buffers) (string, bool, error) {
	first := min(int64(cap(b.rec)), r.size-at)
	if first < 8 {
		return "", false, ErrCorrupt
	}
	rec, err := r.view(at, first, &b.rec)
	if err != nil {
		return "", false, err
	}
	kn, vn := int64(binary.LittleEndian.Uint32(rec)), int64(binary.LittleEndian.Uint32(rec[4:]))
	if kn != int64(len(key)) {
		return "", false, nil
	}
	if vn > maxItem || kn > maxItem || at+8+kn+vn > r.size {
		return "", false, ErrCorrupt
	}
	if 8+kn+vn > first {
		var big []byte
		if rec, err = r.view(at, 8+kn+vn, &big); err != nil {
			return "", false, err
		}
	}
	if string(rec[8:8+kn]) != key {
		return "", false, nil
	}
	return string(rec[8+kn : 8+kn+vn]), true, nil
}

// Each calls fn with every record in the order in which they were written,
// until fn returns an error, which Each returns. The slices are valid during
// the call only.
func (r *Reader) Each(fn func(key, value []byte) error) error {
	end := r.size
	for i := 0; i < 256; i++ {
		if p := int64(binary.LittleEndian.Uint32(r.data[i*8:])); p < end {
			end = p
		}
	}
	if end < headerSize {
		return ErrCorrupt
	}
	var buf []byte
	br := &window{r: r}
	for at := int64(headerSize); at < end; {
		head, err := br.view(at, 8, &buf)
		if err != nil {
			return err
		}
		kn, vn := int64(binary.LittleEndian.Uint32(head)), int64(binary.LittleEndian.Uint32(head[4:]))
		if kn > maxItem || vn > maxItem || at+8+kn+vn > end {
			return ErrCorrupt
		}
		rec, err := br.view(at+8, kn+vn, &buf)
		if err != nil {
			return err
		}
		if err := fn(rec[:kn:kn], rec[kn:]); err != nil {
			return err
		}
		at += 8 + kn + vn
	}
	return nil
}

// First returns the key of the first record, nil for an empty database.
func (r *Reader) First() ([]byte, error) {
	var buf []byte
	end := r.size
	for i := 0; i < 256; i++ {
		end = min(end, int64(binary.LittleEndian.Uint32(r.data[i*8:])))
	}
	if end < headerSize+8 {
		return nil, nil
	}
	head, err := r.view(headerSize, 8, &buf)
	if err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head))
	if n > maxItem {
		return nil, ErrCorrupt
	}
	var key []byte
	return r.view(headerSize+8, n, &key)
}

// window reads ahead for a scan.
type window struct {
	r   *Reader
	buf []byte
	off int64
}

func (w *window) view(off, n int64, big *[]byte) ([]byte, error) {
	const size = 256 << 10
	if off+n <= int64(len(w.r.data)) || n > size/2 {
		return w.r.view(off, n, big)
	}
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		b, err := w.r.view(off, min(size, w.r.size-off), &w.buf)
		if err != nil {
			return nil, err
		}
		w.buf, w.off = b, off
	}
	if off+n > w.off+int64(len(w.buf)) {
		return nil, ErrCorrupt
	}
	return w.buf[off-w.off : off-w.off+n], nil
}
