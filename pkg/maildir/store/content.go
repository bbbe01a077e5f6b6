package store

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
)

// wholeLimit is the largest file that is read into memory at once.
const wholeLimit = 1 << 20

// whole is a message in memory.
type whole struct {
	b   []byte // in wire form
	buf *contentBuffer
}

type contentBuffer struct{ raw, wire []byte }

var contentBuffers = sync.Pool{New: func() any { return &contentBuffer{} }}

func (w *whole) Size() int64 { return int64(len(w.b)) }

func (w *whole) Bytes() []byte { return w.b }

func (w *whole) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, os.ErrInvalid
	}
	if off >= int64(len(w.b)) {
		return 0, io.EOF
	}
	n := copy(p, w.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (w *whole) WriteTo(to io.Writer) (int64, error) {
	n, err := to.Write(w.b)
	return int64(n), err
}

func (w *whole) Close() error {
	if w.buf != nil {
		w.b = nil
		contentBuffers.Put(w.buf)
		w.buf = nil
	}
	return nil
}

// appendCRLF appends p with CRLF for each LF that has no CR before it; last is
// the byte before p.
func appendCRLF(dst, p []byte, last byte) []byte {
	for {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			return append(dst, p...)
		}
		if n > 0 {
			last = p[n-1]
		}
		if last == '\r' {
			dst = append(dst, p[:n+1]...)
		} else {
			dst = append(append(dst, p[:n]...), '\r', '\n')
		}
		last = '\n'
		p = p[n+1:]
	}
}

// countBare counts the LFs without CR in p.
func countBare(p []byte, last byte) (n int64) {
	n = int64(bytes.Count(p, []byte{'\n'}) - bytes.Count(p, []byte("\r\n")))
	if len(p) > 0 && p[0] == '\n' && last == '\r' {
		n--
	}
	return n
}

const block = 64 << 10

// large is a message that is read by blocks. marks[i] is where the file's block i
// begins in the wire form.
type large struct {
	f        *os.File
	size     int64 // of the wire form
	physical int64
	verbatim bool
	marks    []int64
	lasts    []byte // the byte before each block
	at       int    // the block in wire; -1 for none
	raw      []byte
	wire     []byte
}

func newLarge(f *os.File, physical int64, verbatim bool) (*large, error) {
	l := &large{f: f, physical: physical, verbatim: verbatim, size: physical, at: -1}
	if verbatim {
		return l, nil
	}
	l.raw = make([]byte, block)
	var last byte
	l.size = 0
	for off := int64(0); off < physical; off += block {
		n, err := f.ReadAt(l.raw[:min(block, physical-off)], off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		l.marks = append(l.marks, l.size)
		l.lasts = append(l.lasts, last)
		l.size += int64(n) + countBare(l.raw[:n], last)
		if n > 0 {
			last = l.raw[n-1]
		}
	}
	return l, nil
}

func (l *large) Size() int64 { return l.size }

func (l *large) Bytes() []byte { return nil }

// load converts one block.
func (l *large) load(i int) error {
	if l.at == i {
		return nil
	}
	off := int64(i) * block
	n, err := l.f.ReadAt(l.raw[:min(block, l.physical-off)], off)
	if err != nil && err != io.EOF {
		return err
	}
	l.wire = appendCRLF(l.wire[:0], l.raw[:n], l.lasts[i])
	l.at = i
	return nil
}

func (l *large) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, os.ErrInvalid
	}
	if l.verbatim {
		return l.f.ReadAt(p, off)
	}
	done := 0
	i := 0
	for lo, hi := 0, len(l.marks); lo < hi; {
		mid := (lo + hi) / 2
		if l.marks[mid] <= off {
			i, lo = mid, mid+1
		} else {
			hi = mid
		}
	}
	for ; done < len(p) && i < len(l.marks); i++ {
		if err := l.load(i); err != nil {
			return done, err
		}
		skip := off + int64(done) - l.marks[i]
		if skip < int64(len(l.wire)) {
			done += copy(p[done:], l.wire[skip:])
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (l *large) WriteTo(to io.Writer) (n int64, err error) {
	if l.verbatim {
		return io.Copy(to, io.NewSectionReader(l.f, 0, l.physical))
	}
	for i := range l.marks {
		if err := l.load(i); err != nil {
			return n, err
		}
		k, err := to.Write(l.wire)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (l *large) Close() error { return l.f.Close() }

// openFile opens a message's file wherever it is now.
func (b *box) openFile(m *mailbox.Message) (int, *mailbox.Message, error) {
	const how = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f := b.f
	path := f.path(m)
	for try := 0; ; try++ {
		fd, err := unix.Open(path, how, 0)
		switch {
		case err == nil:
			return fd, m, nil
		case err == unix.EINTR:
			continue
		case err != unix.ENOENT:
			return -1, nil, &os.PathError{Op: "open", Path: path, Err: err}
		case try > 3:
			return -1, nil, mailbox.ErrExpunged
		case try > 1:
			// The index cannot follow: its disk is full, or somebody is very busy.
			base, _ := splitName(m.File)
			if path = findBase(f.where(), base); path == "" {
				return -1, nil, mailbox.ErrExpunged
			}
			continue
		}
		// The session's View may be behind; the folder's may be, too.
		f.mu.Lock()
		if try > 0 {
			f.force = true
		}
		err = f.check()
		var now *mailbox.Message
		if err == nil && f.view.UIDValidity == b.view.UIDValidity {
			now = f.idx.State.Get(m.UID)
		}
		if now != nil {
			m, path = now, f.path(now)
		}
		f.mu.Unlock()
		if err != nil {
			return -1, nil, err
		}
		if now == nil {
			return -1, nil, mailbox.ErrExpunged
		}
	}
}

func (b *box) Content(m *mailbox.Message) (mailbox.Content, error) {
	if b.closed {
		return nil, mailbox.ErrClosed
	}
	if b.f.mb != nil {
		return b.mboxContent(m)
	}
	fd, m, err := b.openFile(m)
	if err != nil {
		return nil, err
	}
	c, date, err := b.content(fd, m)
	if err == nil && (m.Size < 0 || m.Date == mailbox.NoDate) {
		b.note(m.UID, fact{c.Size(), date})
	}
	return c, err
}

// content reads the message from its open file, which also tells its date.
func (b *box) content(fd int, m *mailbox.Message) (c mailbox.Content, date int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, 0, fmt.Errorf("%s: not a plain file", b.f.path(m))
	}
	verbatim := isVerbatim(m.File, st.Size)
	if st.Size > wholeLimit {
		f := os.NewFile(uintptr(fd), m.File)
		l, err := newLarge(f, st.Size, verbatim)
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return l, st.Mtim.Sec, nil
	}
	defer unix.Close(fd)
	buf := contentBuffers.Get().(*contentBuffer)
	if int64(cap(buf.raw)) < st.Size {
		buf.raw = make([]byte, st.Size+st.Size/4)
	}
	raw := buf.raw[:st.Size]
	for n := 0; n < len(raw); {
		k, err := unix.Read(fd, raw[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			contentBuffers.Put(buf)
			return nil, 0, &os.PathError{Op: "read", Path: b.f.path(m), Err: err}
		}
		if k == 0 {
			raw = raw[:n]
		}
		n += k
	}
	w := &whole{b: raw, buf: buf}
	if !verbatim {
		if need := len(raw) + len(raw)/16 + 64; cap(buf.wire) < need {
			buf.wire = make([]byte, 0, need)
		}
		buf.wire = appendCRLF(buf.wire[:0], raw, 0)
		w.b = buf.wire
	}
	return w, st.Mtim.Sec, nil
}

// isVerbatim tells whether the file is the wire form already: see incoming.
func isVerbatim(file string, size int64) bool {
	base, _ := splitName(file)
	w, ok := field(base, "W")
	s, ok2 := field(base, "S")
	return ok && ok2 && w == s && s == size
}
