package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// File is a complete message on disk. It holds a read-only descriptor until
// Close or Release.
type File struct {
	s     *Spool
	queue string
	h     head
	fd    int // -1 after Release
	file  *os.File
	msg   envelope.Message
	attrs map[string]string
	mtime time.Time
	mode  uint32
	size  int64
	owner uint32

	few     []envelope.Recipient // all recipients if there are at most fewMax, else nil
	outs    int64                // where the outcomes start
	tail    int64                // where they end
	torn    bool                 // something unreadable follows tail
	content uint32               // CRC of the content
	marks   [markKinds]time.Time
	done    bitmap   // recipients with a final outcome
	last    []uint32 // hash of each recipient's last outcome, nil if there is none
	nDone   int
	nWith   int // recipients with some outcome
}

// fewMax is how many recipients a File keeps in memory.
const fewMax = 32

const chunkSize = 64 << 10

var chunkPool = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

type bitmap []uint64

func (b bitmap) has(i uint32) bool { return int(i>>6) < len(b) && b[i>>6]&(1<<(i&63)) != 0 }

func (b *bitmap) set(i, span uint32) {
	if *b == nil {
		*b = make(bitmap, (span+63)/64)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

// Load opens a message and reads its envelope, recipients and outcomes in
// bounded memory. It checks every checksum but that of a content longer than
// 64 KiB, for which there is Verify.
func (s *Spool) Load(queue, id string) (*File, error) {
	if !ValidID(id) {
		return nil, &FileError{Path: queue + "/" + id, Reason: "bad queue id", Err: ErrCorrupt}
	}
	f, err := s.load(queue, id, s.Path(queue, id))
	if errors.Is(err, unix.ENOENT) {
		if p := s.locate(queue, id); p != "" {
			if s.Rehome(queue, id) == nil {
				p = s.Path(queue, id)
			}
			return s.load(queue, id, p) // where it lies, for those who may only read
		}
	}
	return f, err
}

// LoadPath is Load for a file anywhere, as postcat(1) is asked for it.
func (s *Spool) LoadPath(path string) (*File, error) { return s.load("", "", path) }

func (s *Spool) load(queue, id, path string) (*File, error) {
	fd, err := s.ops.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, durable.Wrap("open", path, err)
	}
	f := &File{s: s, queue: queue, fd: fd}
	if err := f.read(id); err != nil {
		f.Close()
		var fe *FileError
		if errors.As(err, &fe) {
			fe.Path = path
			return nil, fe
		}
		return nil, durable.Wrap("read", path, err)
	}
	return f, nil
}

func incomplete(reason string) error { return &FileError{Reason: reason, Err: ErrIncomplete} }
func corrupt(reason string) error    { return &FileError{Reason: reason, Err: ErrCorrupt} }

// source reads a descriptor forward through a buffer of bounded size.
type source struct {
	fd   int
	buf  []byte // pooled
	at   int64  // file offset of buf[r]
	r, w int
	eof  bool
	err  error
}

// peek returns at least n buffered bytes, or fewer at the end of the file or
// after an error.
func (s *source) peek(n int) []byte {
	for s.w-s.r < n && !s.eof && s.err == nil {
		if s.r > 0 {
			copy(s.buf, s.buf[s.r:s.w])
			s.w -= s.r
			s.r = 0
		}
		if n > len(s.buf) {
			nb := make([]byte, n+4096)
			copy(nb, s.buf[:s.w])
			s.buf = nb
		}
		k, err := unix.Pread(s.fd, s.buf[s.w:], s.at+int64(s.w))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			s.err = err
			break
		}
		if k == 0 {
			s.eof = true
		}
		s.w += k
	}
	return s.buf[s.r:s.w]
}

func (s *source) skip(n int) {
	s.r += n
	s.at += int64(n)
}

// seek moves to a file offset, within the buffer where that holds it.
func (s *source) seek(off int64) {
	if d := off - s.at; d >= int64(-s.r) && d <= int64(s.w-s.r) {
		s.r += int(d)
		s.at = off
		return
	}
	s.at, s.r, s.w, s.eof = off, 0, 0, false
}

func (f *File) source(off int64) (*source, func()) {
	bp := chunkPool.Get().(*[]byte)
	s := &source{fd: f.fd, buf: *bp, at: off}
	return s, func() { chunkPool.Put(bp) }
}

// read checks the file and fills f. id is what the head must name, "" for any.
func (f *File) read(id string) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return corrupt("not a regular file")
	}
	f.size, f.mode, f.owner = st.Size, st.Mode, st.Uid
	f.mtime = time.Unix(st.Mtim.Unix())
	src, put := f.source(0)
	defer put()
	hb := src.peek(headSize)
	if src.err != nil {
		return src.err
	}
	h, inc, reason := parseHead(hb)
	if inc {
		return incomplete(reason)
	}
	if reason != "" {
		return corrupt(reason)
	}
	f.h = h
	if !ValidID(h.id) || id != "" && h.id != id {
		return corrupt("belongs to another message")
	}
	if st.Size < h.end+int64(endSize(h.id)) {
		return incomplete("ends before its END record")
	}
	return f.check(src, append([]byte(nil), hb[:headSize]...))
}

// check reads the records and compares the checksums.
func (f *File) check(src *source, headBytes []byte) error {
	src.seek(headSize)
	sum := uint32(0)
	n, err := f.records(src, f.h.content, &sum, 0)
	if err != nil {
		return err
	}
	var content uint32
	whole := f.h.length <= chunkSize
	if whole {
		p := src.peek(int(f.h.length))
		if src.err != nil {
			return src.err
		}
		if int64(len(p)) < f.h.length {
			return incomplete("ends within the content")
		}
		content = crcAdd(0, p[:f.h.length])
	}
	src.seek(f.h.content + f.h.length)
	n2, err := f.records(src, f.h.end, &sum, n)
	if err != nil {
		return err
	}
	if n+n2 != f.h.rcpts {
		return corrupt("wrong number of recipients")
	}
	e := src.peek(endSize(f.h.id))
	if src.err != nil {
		return src.err
	}
	if len(e) < endSize(f.h.id) {
		return incomplete("ends within its END record")
	}
	e = e[:endSize(f.h.id)]
	if allZero(e) {
		return incomplete("END record was never written")
	}
	typ, payload, k := splitRecord(e)
	eid, recs, body, ok := parseEnd(payload)
	if k <= 0 || typ != recEnd || !ok || eid != f.h.id {
		return corrupt("bad END record")
	}
	if recs != crcAdd(sum, headBytes) {
		return corrupt("bad checksum of the envelope")
	}
	if whole && body != content {
		return corrupt("bad checksum of the content")
	}
	f.content = body
	src.skip(k)
	f.outs = src.at
	f.msg.Hops = int(f.h.hops)
	return f.readLog(src)
}

// records reads the records up to a file offset, adds them to the checksum and
// returns how many recipients they hold.
func (f *File) records(src *source, end int64, sum *uint32, before uint32) (rcpts uint32, err error) {
	for src.at < end {
		b := src.peek(16)
		typ, p, n := splitRecord(b[:min(int64(len(b)), end-src.at)])
		if n == 0 {
			b = src.peek(int(min(maxRecord+16, end-src.at)))
			typ, p, n = splitRecord(b[:min(int64(len(b)), end-src.at)])
		}
		if src.err != nil {
			return 0, src.err
		}
		if n <= 0 {
			return 0, corrupt(fmt.Sprintf("bad record at offset %d", src.at))
		}
		*sum = crcAdd(*sum, src.buf[src.r:src.r+n])
		switch typ {
		case recMessage:
			if src.at != headSize {
				return 0, corrupt("second message record")
			}
			d := wire.NewDecoder(p)
			f.msg.Decode(d)
			if d.Done() != nil || f.msg.Validate() != nil || f.msg.ID != f.h.id {
				return 0, corrupt("bad message record")
			}
		case recRecipient:
			r, err := decodeRecipient(p)
			if err != nil || r.Num != before+rcpts || r.Num >= f.h.rcpts {
				return 0, corrupt(fmt.Sprintf("bad recipient at offset %d", src.at))
			}
			if f.h.rcpts <= fewMax && r.Num >= f.h.firstOK {
				f.few = append(f.few, r)
			}
			rcpts++
		case recAttr:
			d := wire.NewDecoder(p)
			name, value := d.String(), d.String()
			if d.Done() != nil {
				return 0, corrupt("bad attribute")
			}
			if f.attrs == nil {
				f.attrs = map[string]string{}
			}
			if len(f.attrs) < 64 {
				f.attrs[name] = value
			}
		default:
			return 0, corrupt(fmt.Sprintf("unknown record type %q at offset %d", typ, src.at))
		}
		src.skip(n)
	}
	if src.at != end || f.msg.ID == "" {
		return 0, corrupt("records do not end where they should")
	}
	return rcpts, nil
}

// Verify reads the content and compares its checksum. A power failure can
// leave a file whose END record reached the disk and some of whose content did
// not; nobody was told that such a message was accepted. It is enough to ask
// for files that were in incoming when the system started.
func (f *File) Verify() error {
	fd, err := f.FD()
	if err != nil {
		return err
	}
	bp := chunkPool.Get().(*[]byte)
	defer chunkPool.Put(bp)
	r := io.NewSectionReader(fdReader(fd), f.h.content, f.h.length)
	sum, n := uint32(0), int64(0)
	for n < f.h.length {
		k, err := r.Read(*bp)
		sum = crcAdd(sum, (*bp)[:k])
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return durable.Wrap("read", f.Path(), err)
		}
	}
	if n < f.h.length || sum != f.content {
		return &FileError{Path: f.Path(), Reason: "bad checksum of the content", Err: ErrCorrupt}
	}
	return nil
}

// fdReader reads a descriptor at offsets.
type fdReader int

func (r fdReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(int(r), p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// ID is the queue id.
func (f *File) ID() string { return f.h.id }

// Queue is the queue where the file was loaded, or moved to by Move.
func (f *File) Queue() string { return f.queue }

// Path is where the file lies.
func (f *File) Path() string { return f.s.Path(f.queue, f.h.id) }

// Message is the envelope. Its Hops field is what cleanup counted.
func (f *File) Message() *envelope.Message { return &f.msg }

// Attr returns an attribute, "" if there is none.
func (f *File) Attr(name string) string { return f.attrs[name] }

// Filter is the transport:nexthop that all recipients go to, "" if none.
func (f *File) Filter() string { return f.attrs[AttrFilter] }

// ContentOffset is where the content starts.
func (f *File) ContentOffset() int64 { return f.h.content }

// ContentLength is the content's length in its CRLF form.
func (f *File) ContentLength() int64 { return f.h.length }

// DotLines tells whether some line of the content starts with ".".
func (f *File) DotLines() bool { return f.h.flags&flagDotLines != 0 }

// EightBit tells whether some byte of the content is above 127.
func (f *File) EightBit() bool { return f.h.flags&flagEightBit != 0 }

// ModTime is the file's modification time: when it was written, or for a
// deferred message when it is to be tried next.
func (f *File) ModTime() time.Time { return f.mtime }

// Owner is the uid that owns the file: for a file in maildrop the user who
// submitted it.
func (f *File) Owner() int { return int(f.owner) }

// ForceExpire tells whether postsuper -e marked the file.
func (f *File) ForceExpire() bool { return f.mode&modeForceExpire != 0 }

// RecipientCount is how many recipients the message has, done or not.
func (f *File) RecipientCount() int { return int(f.h.rcpts - f.h.firstOK) }

// Pending is how many recipients have no final outcome yet.
func (f *File) Pending() int { return f.RecipientCount() - f.nDone }

// Attempted tells whether some recipient has an outcome: the message has been
// tried before.
func (f *File) Attempted() bool { return f.nWith > 0 }

// Done tells whether a recipient has a final outcome.
func (f *File) Done(num uint32) bool { return f.done.has(num) }

// FD returns the read-only descriptor of the file, for reading and for passing
// to a delivery agent; it belongs to f. After Release it opens the file again.
func (f *File) FD() (int, error) {
	if f.fd < 0 {
		fd, err := f.s.ops.Open(f.Path(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return -1, durable.Wrap("open", f.Path(), err)
		}
		f.fd = fd
	}
	return f.fd, nil
}

// File returns the descriptor as an os.File that belongs to f; nil if the file
// cannot be opened again after Release.
func (f *File) File() *os.File {
	if f.file == nil {
		fd, err := f.FD()
		if err != nil {
			return nil
		}
		f.file = os.NewFile(uintptr(fd), f.Path())
	}
	return f.file
}

// Content reads the content.
func (f *File) Content() (*io.SectionReader, error) {
	fd, err := f.FD()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(fdReader(fd), f.h.content, f.h.length), nil
}

// Release closes the descriptor and keeps the rest, for messages that wait in
// memory.
func (f *File) Release() {
	if f.file != nil {
		f.file.Close()
	} else if f.fd >= 0 {
		unix.Close(f.fd)
	}
	f.fd, f.file = -1, nil
}

// Close releases the file.
func (f *File) Close() error {
	f.Release()
	return nil
}

// Cursor is a place in the list of a message's recipients; the zero value is
// its start.
type Cursor struct {
	off int64
	num uint32
	end bool
}

// AtEnd tells whether Recipients has nothing more for the cursor.
func (c *Cursor) AtEnd() bool { return c.end }

// Recipients returns up to max recipients without a final outcome, from the
// cursor on and in file order, and moves the cursor. None and no error means
// the end.
func (f *File) Recipients(c *Cursor, max int) ([]envelope.Recipient, error) {
	return f.list(c, max, false)
}

// AllRecipients is Recipients with those that are done.
func (f *File) AllRecipients(c *Cursor, max int) ([]envelope.Recipient, error) {
	return f.list(c, max, true)
}

func (f *File) list(c *Cursor, max int, all bool) ([]envelope.Recipient, error) {
	if c.end || max <= 0 {
		return nil, nil
	}
	var l []envelope.Recipient
	if f.h.rcpts <= fewMax {
		for i := range f.few {
			r := &f.few[i]
			if r.Num < c.num || !all && f.done.has(r.Num) {
				continue
			}
			if len(l) == max {
				return l, nil
			}
			l = append(l, *r)
			c.num = r.Num + 1
		}
		c.end = true
		return l, nil
	}
	if _, err := f.FD(); err != nil {
		return nil, err
	}
	if c.off == 0 {
		c.off = headSize
	}
	src, put := f.source(c.off)
	defer put()
	for len(l) < max {
		if c.off == f.h.content {
			c.off = f.h.content + f.h.length
			src.seek(c.off)
		}
		if c.off >= f.h.end || c.num >= f.h.rcpts {
			c.end = true
			return l, nil
		}
		b := src.peek(16)
		typ, p, n := splitRecord(b)
		if n == 0 {
			typ, p, n = splitRecord(src.peek(maxRecord + 16))
		}
		if src.err != nil {
			return l, durable.Wrap("read", f.Path(), src.err)
		}
		if n <= 0 {
			return l, &FileError{Path: f.Path(), Reason: fmt.Sprintf("bad record at offset %d", c.off), Err: ErrCorrupt}
		}
		if typ == recRecipient {
			r, err := decodeRecipient(p)
			if err != nil {
				return l, &FileError{Path: f.Path(), Reason: fmt.Sprintf("bad recipient at offset %d", c.off), Err: ErrCorrupt}
			}
			c.num = r.Num + 1
			if r.Num >= f.h.firstOK && (all || !f.done.has(r.Num)) {
				l = append(l, r)
			}
		}
		src.skip(n)
		c.off += int64(n)
	}
	return l, nil
}
