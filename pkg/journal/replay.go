package journal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

const markSuffix = ".mark"

// Old is a journal that its process has left behind.
type Old struct {
	Name       string
	ops        *durable.Ops
	data, mark string
	lock       int
}

// Abandoned returns the journals in dir that no process has, locked for the caller
// until Close or Remove.
func Abandoned(dir string, ops *durable.Ops) ([]*Old, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var l []*Old
	seen := map[string]bool{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), markSuffix)
		if b, err := hex.DecodeString(name); err != nil || len(b) != 8 || seen[name] {
			continue
		}
		seen[name] = true
		o := &Old{Name: name, ops: ops.Fill(), data: dir + "/" + name, mark: dir + "/" + name + markSuffix}
		free, err := o.take()
		if err != nil {
			for _, o := range l {
				o.Close()
			}
			return nil, err
		}
		if free {
			l = append(l, o)
		}
	}
	return l, nil
}

// take locks the journal, and tells whether nobody else has it.
func (o *Old) take() (bool, error) {
	path := o.mark
	fd, err := o.ops.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		path = o.data // somebody has removed the mark
		fd, err = o.ops.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	}
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, durable.Wrap("open", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		o.ops.Close(fd)
		if err == unix.EWOULDBLOCK {
			return false, nil
		}
		return false, durable.Wrap("lock", path, err)
	}
	o.lock = fd
	return true, nil
}

// Each calls fn with every content that the journal holds, some of them long
// checkpointed. created tells that the file system knows of the file's creation, so
// that a file that is not there was removed. It ends with the first error.
func (o *Old) Each(fn func(content []byte, created bool) error) error {
	fd, err := o.ops.Open(o.data, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return durable.Wrap("open", o.data, err)
	}
	f := os.NewFile(uintptr(fd), o.data)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	buf := make([]byte, maxBatch)
	epoch, _, content, err := readBatch(f, 0, buf)
	if err != nil {
		return err
	}
	if content == nil || hex.EncodeToString(epoch[8:]) != o.Name {
		return nil // nobody was promised anything before this was there
	}
	last := o.created(epoch)
	for off := int64(block); off < st.Size(); {
		e, seq, content, err := readBatch(f, off, buf)
		if err != nil {
			return err
		}
		if content == nil || e != epoch {
			off += block
			continue
		}
		off += (int64(headSize+len(content)) + block - 1) &^ (block - 1)
		if err := each(content, func(p []byte) error { return fn(p, seq <= last) }); err != nil {
			return err
		}
	}
	return nil
}

// created is the number of the last batch whose files have been created, as the
// mark says.
func (o *Old) created(epoch [16]byte) uint32 {
	var st unix.Stat_t
	if unix.Lstat(o.mark, &st) != nil || st.Mtim.Sec < 0 || st.Mtim.Sec > maxSeq {
		return 0
	}
	seq := uint32(st.Mtim.Sec)
	if st.Mtim.Nsec != marked(epoch, seq).Nsec {
		return 0 // better twice than never
	}
	return seq
}

// readBatch reads what may be a batch. content is nil if it is none, and in buf.
func readBatch(f *os.File, off int64, buf []byte) (epoch [16]byte, seq uint32, content []byte, err error) {
	b := buf[:block]
	n, err := f.ReadAt(b, off)
	if n < headSize {
		return epoch, 0, nil, notEOF(err)
	}
	be := binary.BigEndian
	length := int64(be.Uint32(b[28:]))
	if string(b[:8]) != magic || length > maxBatch-headSize {
		return epoch, 0, nil, notEOF(err)
	}
	b = buf[:headSize+length]
	if len(b) > n {
		if _, err := f.ReadAt(b[n:], off+int64(n)); err != nil {
			return epoch, 0, nil, notEOF(err)
		}
	}
	if be.Uint32(b[crcAt:]) != sum(b) {
		return epoch, 0, nil, nil
	}
	copy(epoch[:], b[8:])
	return epoch, be.Uint32(b[24:]), b[headSize:], nil
}

func notEOF(err error) error {
	if err == nil || errors.Is(err, os.ErrClosed) {
		return err
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return durable.Wrap("read", pe.Path, pe.Err)
	}
	return nil // the end of the file
}

// each calls fn for each content of a batch.
func each(b []byte, fn func([]byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) {
			return fmt.Errorf("journal: bad batch")
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		if err := fn(b[4:n:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// RemoveData removes the contents, when they are no longer needed.
func (o *Old) RemoveData() error {
	if err := o.ops.Unlink(o.data); err != nil && err != unix.ENOENT {
		return durable.Wrap("unlink", o.data, err)
	}
	return nil
}

// Remove removes the journal.
func (o *Old) Remove() error {
	defer o.Close()
	if err := o.RemoveData(); err != nil {
		return err
	}
	if err := o.ops.Unlink(o.mark); err != nil && err != unix.ENOENT {
		return durable.Wrap("unlink", o.mark, err)
	}
	return nil
}

// Close leaves the journal for the next time.
func (o *Old) Close() {
	if o.lock >= 0 {
		o.ops.Close(o.lock)
		o.lock = -1
	}
}
