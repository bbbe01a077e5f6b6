package queue

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/envelope"
	"posthaste/pkg/wire"
)

// spillSize is how much of a file is put together in memory; up to that it is
// written by one system call, and a message that is refused before leaves no
// trace on disk.
const spillSize = 64 << 10

// MaxAttr bounds the length of an attribute's name and value together.
const MaxAttr = 64 << 10

// Writer makes one queue file. Nothing that it wrote counts until Commit
// returns nil; after an error only Abort is left.
type Writer struct {
	s     *Spool
	queue string
	h     head
	buf   []byte
	fd    int   // -1: nothing on disk yet
	off   int64 // bytes on disk
	part  int   // 0 envelope, 1 content, 2 trailer
	scan  contentScan
	recs  uint32 // CRC of the records so far, without the head
	body  uint32 // CRC of the content so far
	mark  int    // buf[mark:] is in neither CRC yet
	enc   wire.Encoder
	err   error
}

var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, spillSize+8<<10); return &b }}

// Create starts the file of m, whose ID names it, in a queue. The name appears
// on disk with the first write, which is the last for a small message; an id
// that is taken is reported then, as os.ErrExist.
func (s *Spool) Create(queue string, m *envelope.Message) (*Writer, error) {
	if !ValidID(m.ID) {
		return nil, fmt.Errorf("bad queue id %.40q", m.ID)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	w := &Writer{s: s, queue: queue, fd: -1, buf: (*bufPool.Get().(*[]byte))[:headSize]}
	clear(w.buf)
	w.h.id = m.ID
	w.mark = headSize
	w.h.hops = uint16(min(max(m.Hops, 0), 0xffff))
	m.Encode(&w.enc)
	w.buf = appendRecord(w.buf, recMessage, w.enc.B)
	return w, nil
}

// sum brings the running checksum of the current part up to date.
func (w *Writer) sum() {
	p := w.buf[w.mark:]
	if w.part == 1 {
		w.scan.add(p)
		w.body = crcAdd(w.body, p)
		w.h.length += int64(len(p))
	} else {
		w.recs = crcAdd(w.recs, p)
	}
	w.mark = len(w.buf)
}

// enter moves on to a later part of the file.
func (w *Writer) enter(part int) {
	for w.part < part {
		w.sum()
		w.part++
		if w.part == 1 {
			w.h.content = w.off + int64(len(w.buf))
		}
	}
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// room makes sure that the buffer does not grow without bound.
func (w *Writer) room(n int) error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf)+n <= spillSize {
		return nil
	}
	return w.flush()
}

func (w *Writer) open() error {
	if w.fd >= 0 {
		return nil
	}
	perm := uint32(0o600)
	if w.queue == Maildrop {
		// Users' files there are read by pickup(8), which is somebody else; nobody
		// but its owner can search the directory.
		perm = 0o644
	}
	err := w.s.inFolder(w.queue, w.h.id, func(path string) error {
		fd, err := w.s.ops.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, perm)
		if err == nil {
			w.fd = fd
		}
		return err
	})
	return durable.Wrap("create", w.path(), err)
}

func (w *Writer) path() string { return w.s.Path(w.queue, w.h.id) }

func (w *Writer) flush() error {
	w.sum()
	if err := w.open(); err != nil {
		return w.fail(err)
	}
	if err := w.s.ops.WriteAll(w.fd, w.buf); err != nil {
		return w.fail(durable.Wrap("write", w.path(), err))
	}
	w.off += int64(len(w.buf))
	w.buf, w.mark = w.buf[:0], 0
	return nil
}

// Recipient adds a recipient and sets its Num. It may be called before and
// after the content.
func (w *Writer) Recipient(r *envelope.Recipient) error {
	if w.err != nil {
		return w.err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if w.h.rcpts >= MaxRecipients {
		return fmt.Errorf("more than %d recipients", MaxRecipients)
	}
	if w.part == 1 {
		w.enter(2)
	}
	r.Num = w.h.rcpts
	w.h.rcpts++
	w.enc.B = w.enc.B[:0]
	r.Encode(&w.enc)
	w.buf = appendRecord(w.buf, recRecipient, w.enc.B)
	return w.room(0)
}

// CancelRecipients makes the recipients written so far void: a redirection
// found in the content replaces them.
func (w *Writer) CancelRecipients() { w.h.firstOK = w.h.rcpts }

// Recipients is how many recipients the message has, without the cancelled
// ones.
func (w *Writer) Recipients() int { return int(w.h.rcpts - w.h.firstOK) }

// Attr records a named attribute; the last one of a name wins. See the
// Attr constants.
func (w *Writer) Attr(name, value string) error {
	if w.err != nil {
		return w.err
	}
	if len(name)+len(value) > MaxAttr || strings.ContainsAny(name+value, "\r\n\x00") {
		return fmt.Errorf("bad attribute %.40q", name)
	}
	if w.part == 1 {
		w.enter(2)
	}
	w.enc.B = w.enc.B[:0]
	w.enc.String(name)
	w.enc.String(value)
	w.buf = appendRecord(w.buf, recAttr, w.enc.B)
	return w.room(0)
}

// Attributes of a message.
const (
	// AttrFilter is the transport:nexthop of content_filter or of a FILTER
	// action, to which qmgr sends all recipients.
	AttrFilter = "content_filter"
)

// Write adds content: CRLF line ends, no dot-stuffing. All content comes
// before recipients and attributes that are found later.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.part == 2 {
		return 0, w.fail(errors.New("queue file: content after its trailer"))
	}
	w.enter(1)
	for done := 0; done < len(p); {
		if err := w.room(1); err != nil {
			return done, err
		}
		n := min(len(p)-done, max(spillSize-len(w.buf), 0))
		w.buf = append(w.buf, p[done:done+n]...)
		done += n
	}
	return len(p), nil
}

// SetHops records the number of Received: headers in the content.
func (w *Writer) SetHops(n int) { w.h.hops = uint16(min(max(n, 0), 0xffff)) }

// Size is the number of content bytes so far.
func (w *Writer) Size() int64 {
	if w.part == 1 {
		return w.h.length + int64(len(w.buf)-w.mark)
	}
	return w.h.length
}

// SetQueue changes the queue in which the file will be: Hold, when a rule found
// in the content says so.
func (w *Writer) SetQueue(queue string) error {
	if w.err != nil {
		return w.err
	}
	if w.fd >= 0 && queue != w.queue {
		from := w.path()
		err := w.s.inFolder(queue, w.h.id, func(to string) error { return w.s.ops.Rename(from, to) })
		if err != nil {
			return w.fail(durable.Wrap("rename", from, err))
		}
	}
	w.queue = queue
	return nil
}

// Commit completes the file and returns nil when it and its name are on stable
// storage. After an error the file is gone, and the message was not accepted.
func (w *Writer) Commit() error {
	if w.err == nil {
		w.err = w.commit()
	}
	if w.err != nil {
		w.Abort()
		return w.err
	}
	w.release()
	w.err = errors.New("queue file: already committed")
	return nil
}

func (w *Writer) commit() error {
	w.enter(2)
	w.sum()
	if w.scan.dots {
		w.h.flags |= flagDotLines
	}
	if w.scan.eightBit {
		w.h.flags |= flagEightBit
	}
	w.h.end = w.off + int64(len(w.buf))
	var hb [headSize]byte
	w.h.put(hb[:])
	w.buf = appendEnd(w.buf, w.h.id, crcAdd(w.recs, hb[:]), w.body)
	if w.off == 0 {
		copy(w.buf, hb[:])
	}
	if err := w.open(); err != nil {
		return err
	}
	if err := w.s.ops.WriteAll(w.fd, w.buf); err != nil {
		return durable.Wrap("write", w.path(), err)
	}
	if w.off > 0 {
		if err := w.s.ops.PwriteAll(w.fd, hb[:], 0); err != nil {
			return durable.Wrap("write", w.path(), err)
		}
	}
	if w.off == 0 && w.queue == Incoming && w.s.journaled(w.buf, w.fd) {
		w.close()
		return nil
	}
	dir, err := w.s.syncFD(w.s.folder(w.queue, w.h.id))
	whole := false
	if errors.Is(err, unix.EACCES) {
		// postdrop(1) may write to maildrop but not open it.
		dir, whole, err = -1, true, nil
	}
	if err != nil {
		return err
	}
	if err := w.s.commit.CommitFD(w.fd, dir, w.path()); err != nil {
		return err
	}
	if whole {
		if err := w.s.ops.Syncfs(w.fd); err != nil {
			return durable.Wrap("syncfs", w.path(), err)
		}
	}
	w.close()
	return nil
}

// close closes a file that is on stable storage: if that fails, nothing is lost.
func (w *Writer) close() {
	w.s.ops.Close(w.fd)
	w.fd = -1
}

// Abort removes what was written. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.fd >= 0 {
		w.s.ops.Unlink(w.path())
		w.s.ops.Close(w.fd)
		w.fd = -1
	}
	w.fail(os.ErrClosed)
	w.release()
}

func (w *Writer) release() {
	if w.buf != nil && cap(w.buf) <= 2*spillSize {
		b := w.buf[:0]
		bufPool.Put(&b)
	}
	w.buf = nil
}
