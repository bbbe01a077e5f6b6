package cdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ErrTooBig says that the data does not fit the format's 4 GiB.
var ErrTooBig = errors.New("database would be larger than 4 GiB")

// Duplicate says what Put does with a key that is there already.
type Duplicate int

const (
	KeepFirst Duplicate = iota // leave the first value, report true
	Replace                    // put the new value in its place, report true
	Allow                      // do not look
)

type entry struct{ hash, pos uint32 } // pos 0: replaced

// Writer builds a database. Nothing is visible under its name before Commit,
// and a failed or abandoned build leaves the old file as it was. A Writer is
// for one goroutine.
type Writer struct {
	path    string
	file    *renameio.PendingFile
	buf     []byte // not yet written
	flushed int64  // bytes in the file
	entries []entry
	index   []uint32 // open addressing, entry number + 1
	dead    int
	keybuf  []byte
	err     error
}

const bufSize = 256 << 10

// Create begins a database that Commit will put at path, with permissions
// mode (whatever the umask). The temporary file is made in the same directory.
func Create(path string, mode os.FileMode) (*Writer, error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode.Perm()))
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, file: f, buf: make([]byte, 0, bufSize)}
	w.buf = append(w.buf, make([]byte, headerSize)...)
	return w, nil
}

func (w *Writer) flush() error {
	if w.err == nil && len(w.buf) > 0 {
		if _, err := w.file.Write(w.buf); err != nil {
			w.err = err
		}
		w.flushed += int64(len(w.buf))
		w.buf = w.buf[:0]
	}
	return w.err
}

func (w *Writer) pos() int64 { return w.flushed + int64(len(w.buf)) }

// append writes one record and returns where.
func (w *Writer) append(key, value []byte) (uint32, error) {
	if w.err != nil {
		return 0, w.err
	}
	at := w.pos()
	need := 8 + int64(len(key)) + int64(len(value))
	// Records, and 16 bytes of table for each, must stay below 4 GiB.
	if at+need+16*int64(len(w.entries)+1) > math.MaxUint32 || len(key) > maxItem || len(value) > maxItem {
		w.err = ErrTooBig
		return 0, w.err
	}
	if int64(cap(w.buf)-len(w.buf)) < need {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(key)))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(value)))
	w.buf = append(append(w.buf, key...), value...)
	return uint32(at), nil
}

// Put adds a record. It reports whether the key was there before.
func (w *Writer) Put(key, value []byte, d Duplicate) (duplicate bool, err error) {
	h := hashBytes(key)
	if d == Allow {
		at, err := w.append(key, value)
		if err == nil {
			w.entries = append(w.entries, entry{h, at})
		}
		return false, err
	}
	w.grow()
	mask := uint32(len(w.index) - 1)
	i := h * 0x9E3779B1 >> 7 & mask
	for ; w.index[i] != 0; i = (i + 1) & mask {
		e := &w.entries[w.index[i]-1]
		if e.hash != h || e.pos == 0 {
			continue
		}
		same, err := w.sameKey(e.pos, key)
		if err != nil {
			return false, err
		}
		if !same {
			continue
		}
		if d == KeepFirst {
			return true, nil
		}
		e.pos = 0
		w.dead++
		duplicate = true
	}
	at, err := w.append(key, value)
	if err != nil {
		return duplicate, err
	}
	w.entries = append(w.entries, entry{h, at})
	w.index[i] = uint32(len(w.entries))
	return duplicate, nil
}

// grow keeps the index at most half full, and makes it when Put first needs it.
func (w *Writer) grow() {
	if len(w.index) > 0 && (len(w.entries)+1)*2 <= len(w.index) {
		return
	}
	n := 1024
	for n < (len(w.entries)+1)*4 {
		n *= 2
	}
	w.index = make([]uint32, n)
	mask := uint32(n - 1)
	for k, e := range w.entries {
		i := e.hash * 0x9E3779B1 >> 7 & mask
		for w.index[i] != 0 {
			i = (i + 1) & mask
		}
		w.index[i] = uint32(k + 1)
	}
}

// sameKey reads a record's key back.
func (w *Writer) sameKey(pos uint32, key []byte) (bool, error) {
	off := int64(pos)
	n := 8 + len(key)
	if off >= w.flushed {
		b := w.buf[off-w.flushed:]
		return int(binary.LittleEndian.Uint32(b)) == len(key) && bytes.Equal(b[8:n], key), nil
	}
	if cap(w.keybuf) < n {
		w.keybuf = make([]byte, n)
	}
	b := w.keybuf[:n]
	got, err := w.file.ReadAt(b, off)
	if err != nil && (err != io.EOF || got < 8) {
		w.err = err
		return false, err
	}
	b = b[:got]
	return int(binary.LittleEndian.Uint32(b)) == len(key) && bytes.Equal(b[8:], key), nil
}

// Len is the number of keys so far.
func (w *Writer) Len() int { return len(w.entries) - w.dead }

// compact rewrites the records without those that were replaced, since the
// format has no mark for a deleted record.
func (w *Writer) compact() error {
	if err := w.flush(); err != nil {
		return err
	}
	n, err := Create(w.path, 0o600)
	if err != nil {
		return err
	}
	if st, err := w.file.Stat(); err == nil {
		err = n.file.Chmod(st.Mode().Perm())
		if err != nil {
			n.Abort()
			return err
		}
	}
	var head [8]byte
	var rec []byte
	for _, e := range w.entries {
		if e.pos == 0 {
			continue
		}
		if _, err := w.file.ReadAt(head[:], int64(e.pos)); err != nil {
			n.Abort()
			return err
		}
		kn, vn := int(binary.LittleEndian.Uint32(head[:])), int(binary.LittleEndian.Uint32(head[4:]))
		if cap(rec) < kn+vn {
			rec = make([]byte, kn+vn)
		}
		rec = rec[:kn+vn]
		if _, err := w.file.ReadAt(rec, int64(e.pos)+8); err != nil {
			n.Abort()
			return err
		}
		if _, err := n.Put(rec[:kn], rec[kn:], Allow); err != nil {
			n.Abort()
			return err
		}
	}
	w.file.Cleanup()
	*w = *n
	return nil
}

// tables writes the 256 hash tables and returns the header that points to
// them.
func (w *Writer) tables() ([]byte, error) {
	header := make([]byte, headerSize)
	var count [257]int
	for _, e := range w.entries {
		count[e.hash%256+1]++
	}
	for i := 1; i <= 256; i++ {
		count[i] += count[i-1]
	}
	sorted := make([]entry, len(w.entries))
	next := count
	for _, e := range w.entries {
		sorted[next[e.hash%256]] = e
		next[e.hash%256]++
	}
	var table []entry
	for i := 0; i < 256; i++ {
		part := sorted[count[i]:count[i+1]]
		n := uint32(len(part)) * 2
		binary.LittleEndian.PutUint32(header[i*8:], uint32(w.pos()))
		binary.LittleEndian.PutUint32(header[i*8+4:], n)
		if n == 0 {
			continue
		}
		if cap(table) < int(n) {
			table = make([]entry, n)
		}
		table = table[:n]
		clear(table)
		for _, e := range part {
			at := e.hash >> 8 % n
			for table[at].pos != 0 {
				if at++; at == n {
					at = 0
				}
			}
			table[at] = e
		}
		for _, e := range table {
			if cap(w.buf)-len(w.buf) < 8 {
				if err := w.flush(); err != nil {
					return nil, err
				}
			}
			w.buf = binary.LittleEndian.AppendUint32(w.buf, e.hash)
			w.buf = binary.LittleEndian.AppendUint32(w.buf, e.pos)
		}
	}
	return header, w.flush()
}

// Commit completes the file, makes it durable, puts it in the place of the old
// one and makes that durable. The Writer is finished, also after an error.
func (w *Writer) Commit() error {
	if w.err == nil && w.dead > 0 {
		w.err = w.compact()
	}
	if w.err != nil {
		w.Abort()
		return w.err
	}
	header, err := w.tables()
	if err == nil {
		_, err = w.file.WriteAt(header, 0)
	}
	if err == nil {
		err = w.file.CloseAtomicallyReplace()
	}
	if err != nil {
		w.Abort()
		return err
	}
	d, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", d.Name(), err)
	}
	return nil
}

// Chown gives the file that is being made to another user.
func (w *Writer) Chown(uid, gid int) error { return w.file.Chown(uid, gid) }

// Abort throws the build away.
func (w *Writer) Abort() { w.file.Cleanup() }
