package mboxio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

// A journal holds what the end of an mbox file is about to be: a header of one
// block, the new end, and the checksums of the blocks that are overwritten. It is
// complete and durable under its name before the first byte of the file changes, and
// removed when the last one has. Integers are little-endian.
const (
	journalMagic = "PHMBOXJ1"
	jblock       = 4096
	chunk        = 256 << 10
)

// header is the journal's first block.
type header struct {
	dev, ino      uint64
	from, oldSize int64 // the file's, before
	length        int64 // of the new end
}

func (h *header) newSize() int64 { return h.from + h.length }

// sums is the number of checksums: of the parts of blocks that are replaced, and
// of those that are cut off.
func (h *header) sums() (n int64) {
	mid := min(h.oldSize, h.newSize())
	count := func(int64, int) error { n++; return nil }
	segments(h.from, mid, count)
	segments(mid, h.oldSize, count)
	return n
}

func (h *header) encode(data, sums uint32) []byte {
	b := make([]byte, 0, jblock)
	b = append(b, journalMagic...)
	for _, v := range []uint64{h.dev, h.ino, uint64(h.from), uint64(h.oldSize), uint64(h.length)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, data)
	b = binary.LittleEndian.AppendUint32(b, sums)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:jblock]
}

func parseHeader(b []byte) (h header, data, sums uint32, ok bool) {
	const used = 8 + 5*8 + 8
	le := binary.LittleEndian
	if len(b) < used+4 || string(b[:8]) != journalMagic || le.Uint32(b[used:]) != crc32.Checksum(b[:used], castagnoli) {
		return h, 0, 0, false
	}
	v := func(i int) uint64 { return le.Uint64(b[8+8*i:]) }
	h = header{v(0), v(1), int64(v(2)), int64(v(3)), int64(v(4))}
	return h, le.Uint32(b[48:]), le.Uint32(b[52:]), h.from >= 0 && h.from <= h.oldSize && h.length >= 0
}

// Tx replaces the end of an mbox file.
type Tx struct {
	path string // of the journal
	file *os.File
	j    *os.File
	w    *bufio.Writer
	h    header
	n    int64
	crc  uint32
	redo bool // the file is in the middle of an earlier change
}

// Step is called, in tests, at each place where a process may be killed. An error ends
// the work there.
var Step func(place string) error

func reached(name string) error {
	if Step == nil {
		return nil
	}
	return Step(name)
}

// Begin starts to replace what the file has from offset from on. What is written
// to the Tx takes its place when Commit is called. journal is the path of the
// journal, in a directory of the user's.
func Begin(journal string, file *os.File, from int64) (*Tx, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	j, err := os.OpenFile(journal+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	t := &Tx{path: journal, file: file, j: j, h: header{uint64(st.Dev), st.Ino, from, st.Size, 0}}
	if _, err := j.Seek(jblock, io.SeekStart); err != nil {
		t.Abort()
		return nil, err
	}
	t.w = bufio.NewWriterSize(j, chunk)
	return t, nil
}

// Write adds to the new end.
func (t *Tx) Write(p []byte) (int, error) {
	t.crc = crc32.Update(t.crc, castagnoli, p)
	t.n += int64(len(p))
	return t.w.Write(p)
}

// Offset is where in the file the next byte that is written will be.
func (t *Tx) Offset() int64 { return t.h.from + t.n }

// Abort leaves the file as it was. After Commit it does nothing.
func (t *Tx) Abort() {
	if t.j != nil {
		t.j.Close()
		t.j = nil
		os.Remove(t.path + ".new")
	}
}

// Commit makes the change. When it fails the file is as it was, or, if
// Pending, a Recover is needed, which the next one with the lock does.
func (t *Tx) Commit() error {
	defer t.Abort()
	t.h.length = t.n
	if err := t.seal(); err != nil {
		return err
	}
	if err := reached("journal"); err != nil {
		return err
	}
	if err := os.Rename(t.path+".new", t.path); err != nil {
		return err
	}
	j := t.j
	t.j = nil
	defer j.Close()
	if err := syncDir(filepath.Dir(t.path)); err != nil {
		os.Remove(t.path)
		return err
	}
	if err := reached("commit"); err != nil {
		return err
	}
	return apply(t.path, t.file, j, &t.h, t.redo)
}

// seal completes the journal's file.
func (t *Tx) seal() error {
	var sums []byte
	b := make([]byte, jblock)
	sum := func(at int64, n int) error {
		_, err := t.file.ReadAt(b[:n], at)
		sums = binary.LittleEndian.AppendUint32(sums, crc32.Checksum(b[:n], castagnoli))
		return err
	}
	mid := min(t.h.oldSize, t.h.newSize())
	err := segments(t.h.from, mid, sum)
	if err == nil {
		err = segments(mid, t.h.oldSize, sum)
	}
	if err != nil {
		return err
	}
	if _, err = t.w.Write(sums); err == nil {
		err = t.w.Flush()
	}
	if err == nil {
		_, err = t.j.WriteAt(t.h.encode(t.crc, crc32.Checksum(sums, castagnoli)), 0)
	}
	if err == nil {
		err = durable.Sync(t.j)
	}
	return err
}

// apply does what a complete journal says. Room is taken first: if there is none,
// nothing has happened, unless this is to redo a change; then the journal stays.
func apply(path string, file, j *os.File, h *header, redo bool) error {
	if grow := h.newSize() - h.oldSize; grow > 0 {
		if err := extend(file, h.oldSize, grow); err != nil {
			file.Truncate(h.oldSize)
			if !redo {
				os.Remove(path)
			}
			return err
		}
		if err := reached("extend"); err != nil {
			return err
		}
	}
	buf := make([]byte, chunk)
	for done := int64(0); done < h.length; {
		// Whole blocks: the kernel takes pages whole, killed or not.
		size := int64(chunk)
		if Step != nil {
			size = jblock // more places to stop at
		}
		n := min(size-(h.from+done)%jblock, h.length-done)
		if _, err := j.ReadAt(buf[:n], jblock+done); err != nil {
			return err
		}
		if _, err := file.WriteAt(buf[:n], h.from+done); err != nil {
			return err
		}
		done += n
		if err := reached("write"); err != nil {
			return err
		}
	}
	if h.newSize() < h.oldSize {
		if err := file.Truncate(h.newSize()); err != nil {
			return err
		}
		if err := reached("truncate"); err != nil {
			return err
		}
	}
	if err := durable.Sync(file); err != nil {
		return err
	}
	if err := reached("sync"); err != nil {
		return err
	}
	return os.Remove(path)
}

// extend makes a file longer, with blocks on the disk behind it.
func extend(f *os.File, size, grow int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, size, grow)
		switch err {
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP, unix.ENOSYS:
			// Zeros take the blocks as well, where blocks can be taken.
			zero := make([]byte, chunk)
			for n := int64(0); n < grow; {
				k, err := f.WriteAt(zero[:min(chunk, grow-n)], size+n)
				if n += int64(k); err != nil {
					return err
				}
			}
			return nil
		case nil:
			return nil
		}
		return &os.PathError{Op: "extend", Path: f.Name(), Err: err}
	}
}

// Pending tells whether a change was begun and not completed.
func Pending(journal string) bool {
	_, err := os.Lstat(journal)
	return err == nil
}

// Recover completes a change that a killed process had begun, also if mail was
// appended since. If another program has rewritten the file meanwhile,
// the messages of the journal that the file lacks are appended, so that nothing is lost.
func Recover(journal string, file *os.File) error {
	j, err := os.OpenFile(journal, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer j.Close()
	h, sums, ok := readJournal(j)
	if !ok {
		// Damaged after it was complete: it can help nobody. Kept for a person.
		return os.Rename(journal, journal+".damaged")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	var state fileState
	if uint64(st.Dev) == h.dev && st.Ino == h.ino {
		if state, err = compare(file, j, &h, sums, st.Size); err != nil {
			return err
		}
	}
	switch {
	case !state.known:
		return rescue(journal, file, j, &h, st.Size)
	case state.complete:
		if err := durable.Sync(file); err != nil {
			return err
		}
		return os.Remove(journal)
	case state.foreign < st.Size:
		return redo(journal, file, j, &h, state.foreign, st.Size)
	}
	h.oldSize = st.Size
	return apply(journal, file, j, &h, true)
}

// readJournal checks a journal and returns its header and checksums.
func readJournal(j *os.File) (h header, sums []byte, ok bool) {
	var b [jblock]byte
	if _, err := j.ReadAt(b[:], 0); err != nil {
		return h, nil, false
	}
	h, data, sum, ok := parseHeader(b[:])
	st, err := j.Stat()
	if !ok || err != nil || st.Size() != jblock+h.length+4*h.sums() {
		return h, nil, false
	}
	c := crc32.New(castagnoli)
	if _, err := io.Copy(c, io.NewSectionReader(j, jblock, h.length)); err != nil || c.Sum32() != data {
		return h, nil, false
	}
	sums = make([]byte, 4*h.sums())
	if _, err := j.ReadAt(sums, jblock+h.length); err != nil && err != io.EOF {
		return h, nil, false
	}
	return h, sums, crc32.Checksum(sums, castagnoli) == sum
}

// segments calls fn for the parts of [from, to) that lie in one block each.
func segments(from, to int64, fn func(at int64, n int) error) error {
	for from < to {
		n := min(jblock-from%jblock, to-from)
		if err := fn(from, int(n)); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// fileState is what a file is, compared with a journal. foreign is where
// that begins which others have appended since.
type fileState struct {
	known, complete bool
	foreign         int64
}

// compare finds out how far a change came. The old end falls into what is
// replaced and, if the file becomes shorter, what is cut off at last; a longer file was
// extended at first, with zeros.
func compare(file, j *os.File, h *header, sums []byte, size int64) (s fileState, err error) {
	a, b := make([]byte, jblock), make([]byte, jblock)
	next := func() uint32 {
		v := binary.LittleEndian.Uint32(sums)
		sums = sums[4:]
		return v
	}
	mid := min(h.oldSize, h.newSize())
	if size < mid {
		return s, nil
	}
	allOld, allNew, known := true, true, true
	if err := segments(h.from, mid, func(at int64, n int) error {
		if _, err := file.ReadAt(a[:n], at); err != nil {
			return err
		}
		if _, err := j.ReadAt(b[:n], jblock+at-h.from); err != nil {
			return err
		}
		isNew, isOld := bytes.Equal(a[:n], b[:n]), crc32.Checksum(a[:n], castagnoli) == next()
		allOld, allNew, known = allOld && isOld, allNew && isNew, known && (isOld || isNew)
		return nil
	}); err != nil || !known {
		return s, err
	}
	if h.newSize() <= h.oldSize {
		uncut := size >= h.oldSize
		if err := segments(h.newSize(), h.oldSize, func(at int64, n int) error {
			if uncut {
				if _, err := file.ReadAt(a[:n], at); err != nil {
					return err
				}
				uncut = crc32.Checksum(a[:n], castagnoli) == next()
			}
			return nil
		}); err != nil {
			return s, err
		}
		if uncut {
			return fileState{known: true, foreign: h.oldSize}, nil
		}
		return fileState{known: allNew, complete: allNew}, nil
	}
	// Longer: is that which is behind the old end ours?
	extended, written := true, size >= h.newSize()
	if err := segments(h.oldSize, min(size, h.newSize()), func(at int64, n int) error {
		if _, err := file.ReadAt(a[:n], at); err != nil {
			return err
		}
		if _, err := j.ReadAt(b[:n], jblock+at-h.from); err != nil {
			return err
		}
		isNew := bytes.Equal(a[:n], b[:n])
		written = written && isNew
		extended = extended && (isNew || len(bytes.Trim(a[:n], "\x00")) == 0)
		return nil
	}); err != nil {
		return s, err
	}
	s = fileState{known: true, complete: allNew && written, foreign: h.oldSize}
	if extended {
		s.foreign = min(size, h.newSize())
	}
	return s, nil
}

// redo completes a change of a file that others have appended to since: what
// they appended goes behind the new end.
func redo(journal string, file, j *os.File, h *header, foreign, size int64) error {
	t, err := Begin(journal, file, h.from)
	if err != nil {
		return err
	}
	t.redo = true
	defer t.Abort()
	if _, err := io.Copy(t, io.NewSectionReader(j, jblock, h.length)); err != nil {
		return err
	}
	if _, err := io.Copy(t, io.NewSectionReader(file, foreign, size-foreign)); err != nil {
		return err
	}
	return t.Commit()
}

// rescue appends the journal's messages that the file lacks.
func rescue(journal string, file, j *os.File, h *header, size int64) error {
	have := map[uint64]int{}
	if err := Scan(file, 0, size, func(m *Message) error {
		have[m.Sum]++
		return nil
	}); err != nil {
		return fmt.Errorf("%s was changed while a change of ours was under way: %w", file.Name(), err)
	}
	t, err := Begin(journal, file, size)
	if err != nil {
		return err
	}
	t.redo = true // what the journal has is nowhere else
	defer t.Abort()
	tail := io.NewSectionReader(j, jblock, h.length)
	err = Scan(tail, 0, h.length, func(m *Message) error {
		if have[m.Sum]--; have[m.Sum] >= 0 {
			return nil
		}
		_, err := io.Copy(t, io.NewSectionReader(tail, m.Off, m.End-m.Off))
		return err
	})
	if err != nil {
		return err
	}
	return t.Commit()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return durable.Sync(d)
}
