// Package journal makes small new files durable before their file system does.
//
// A new file is on stable storage when its content, its inode, its directory entry
// and the maps of free blocks are, for which a file system commits its journal: several
// writes, a flush, and a thread of the kernel to wait for. A Journal is a file of
// fixed size whose blocks are there already. The contents of new files are written
// to it one after the other, those that come while a write is under way together in
// the next one, and nothing but those blocks need reach the disk. The files
// themselves are left to the file system, and most queue files are gone before it
// gets to them.
//
// # What must be done in which order
//
// The caller creates a file, writes its content, and calls Add with the content.
// When Add has returned nil the file may be used, moved and removed like any other.
// After a power failure, or when the process was killed, Abandoned finds the journal.
//
// A power failure leaves a file system as it was at some earlier moment, as far as
// names and sizes go: ext4 with a journal and xfs carry out changes to them in order.
// A file of the journal that is not there was either created after that moment,
// and must be made anew, or removed before it, and must not. To tell these apart
// each batch of contents has a number, and before a batch is written its number
// becomes the modification time of a file beside the journal, the mark, which is a
// change to the same file system. It comes after the creation of the batch's files
// and before the removal of any. So a file that is missing has been removed if its
// batch's number is not above the mark's, and else has not been created.
//
// A file that is there may lack its content, which a file system writes when it
// likes. The journal has it.
//
// # Checkpoints
//
// The journal is used round and round. Before contents are overwritten a checkpoint
// has put the files themselves on disk, those that are still there: by a sync of the
// whole file system, or of each file. When it fails, the journal is left as it is, for
// Abandoned.
package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
)

const (
	// block is what is written at once at least, and aligned to.
	block = 4096
	// Size is the length of a journal.
	Size = 8 << 20
	// MaxContent bounds what one Add takes.
	MaxContent = 128 << 10

	maxBatch = 512 << 10
	maxFiles = 1024         // descriptors that are kept for a checkpoint
	ring     = Size - block // the first block says what the file is
)

// Errors of Add that are no failure: the file must be made durable in another way.
var (
	ErrFull    = errors.New("journal: full until the next checkpoint")
	ErrTooLong = errors.New("journal: content too long")
	ErrClosed  = errors.New("journal: closed")
)

// Options tell Create what to do.
type Options struct {
	// Checkpoint puts the files that were added since the last one on stable storage,
	// and with them the changes to names that were made before it was called. files
	// are their descriptors, if Keep is set; the last one is the mark's. Those whose
	// files have been removed do not matter.
	Checkpoint func(files []int) error
	Keep       bool
	// Interval is how long after an Add the next checkpoint is, at the latest. What a
	// power failure undoes of other changes, which nobody syncs, is no older.
	Interval time.Duration
	// Idle is how long nothing is added before the journal is closed.
	Idle time.Duration
	// Failed is told, once, why the journal cannot be used any longer.
	Failed func(error)
	Ops    *durable.Ops // nil for the real ones
}

// Journal is a journal that this process writes. It is safe for concurrent use.
type Journal struct {
	o          Options
	ops        *durable.Ops
	data, mark string // paths
	fd, lock   int    // of data and of mark
	epoch      [16]byte

	wake chan struct{} // something was added after a while without
	half chan struct{} // half of the room is used
	quit chan struct{}
	gone chan struct{} // closed when run has returned

	mu         sync.Mutex
	cond       sync.Cond
	err        error // why nothing can be added any more
	next       *batch
	running    bool
	seq        uint32
	head, tail int64 // positions in an endless file: where to write, and what is not checkpointed
	files      []int // kept for the next checkpoint
	spare      [][]byte
	stop       sync.Once
}

type batch struct {
	done  chan struct{}
	buf   []byte
	files []int
	err   error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The head of a journal, in its first block, and of a batch, big-endian:
//
//	 0  8  magic
//	 8 16  epoch, random for each journal
//	24  4  number of the batch; 0 in the first block
//	28  4  length of the contents
//	32  4  CRC-32C of the bytes before and of the contents
//
// The contents follow, each after its length in four bytes.
const (
	magic    = "PHjrnl1\n"
	headSize = 36
	crcAt    = 32
)

func putHead(b []byte, epoch [16]byte, seq uint32) {
	be := binary.BigEndian
	copy(b, magic)
	copy(b[8:], epoch[:])
	be.PutUint32(b[24:], seq)
	be.PutUint32(b[28:], uint32(len(b)-headSize))
	be.PutUint32(b[crcAt:], sum(b))
}

// sum is the checksum of a head and the contents behind it.
func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, b[headSize:])
}

// marked is the modification time of the mark for the number of a batch. The
// fraction tells a mark from a file that was given its time by something else.
func marked(epoch [16]byte, seq uint32) unix.Timespec {
	return unix.Timespec{Sec: int64(seq), Nsec: int64(binary.BigEndian.Uint32(epoch[:])%999_999_999) + 1}
}

// maxSeq is as far as every file system's times go.
const maxSeq = 1<<31 - 1

// alignedBuffer returns a buffer that may be written without the page cache.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+block)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (block - 1))
	return b[skip : skip+n : skip+n]
}

// Create makes a journal in dir, which must be on ext4 with a journal or on xfs.
func Create(dir string, o Options) (*Journal, error) {
	j := &Journal{o: o, ops: o.Ops.Fill(), fd: -1, lock: -1,
		wake: make(chan struct{}, 1), half: make(chan struct{}, 1), quit: make(chan struct{}), gone: make(chan struct{})}
	j.cond.L = &j.mu
	rand.Read(j.epoch[:])
	j.data = dir + "/" + hex.EncodeToString(j.epoch[8:])
	j.mark = j.data + markSuffix
	if err := j.create(); err != nil {
		j.remove()
		return nil, err
	}
	go j.run()
	return j, nil
}

func (j *Journal) create() (err error) {
	// The mark is there as long as the data is, and its lock says whose they are.
	if j.lock, err = j.ops.Open(j.mark, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600); err != nil {
		return durable.Wrap("create", j.mark, err)
	}
	if err := unix.Flock(j.lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return durable.Wrap("lock", j.mark, err)
	}
	if err := j.setMark(0); err != nil {
		return err
	}
	fd, err := j.ops.Open(j.data, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return durable.Wrap("create", j.data, err)
	}
	defer j.ops.Close(fd)
	b := make([]byte, maxBatch)
	putHead(b[:headSize], j.epoch, 0)
	for off := int64(0); off < Size; off += maxBatch {
		if err := j.ops.PwriteAll(fd, b, off); err != nil {
			return durable.Wrap("write", j.data, err)
		}
		clear(b[:headSize])
	}
	for path, fd := range map[string]int{j.mark: j.lock, j.data: fd} {
		err := j.ops.Fsync(fd)
		if err == nil {
			err = j.ops.Alive(fd)
		}
		if err != nil {
			return durable.Wrap("fsync", path, err)
		}
	}
	const flags = unix.O_WRONLY | unix.O_DSYNC | unix.O_NOFOLLOW
	j.fd, err = j.ops.Open(j.data, flags|unix.O_DIRECT, 0)
	if err == unix.EINVAL {
		j.fd, err = j.ops.Open(j.data, flags, 0) // by the page cache, then
	}
	if err != nil {
		return durable.Wrap("open", j.data, err)
	}
	// Somebody may have taken it for abandoned before it was locked.
	var st unix.Stat_t
	if err := unix.Fstat(j.lock, &st); err != nil || st.Nlink == 0 {
		return fmt.Errorf("%s: removed by somebody else", j.mark)
	}
	return nil
}

func (j *Journal) setMark(seq uint32) error {
	t := marked(j.epoch, seq)
	return durable.Wrap("set time of", j.mark, unix.UtimesNanoAt(unix.AT_FDCWD, j.mark, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW))
}

// remove removes the files, the data first.
func (j *Journal) remove() error {
	var errs []error
	if err := j.ops.Unlink(j.data); err != nil && err != unix.ENOENT {
		errs = append(errs, durable.Wrap("unlink", j.data, err))
	} else if err := j.ops.Unlink(j.mark); err != nil && err != unix.ENOENT {
		errs = append(errs, durable.Wrap("unlink", j.mark, err))
	}
	j.release()
	return errors.Join(errs...)
}

// release closes the files, and lets Abandoned have them.
func (j *Journal) release() {
	for _, fd := range []*int{&j.fd, &j.lock} {
		if *fd >= 0 {
			j.ops.Close(*fd)
			*fd = -1
		}
	}
}

func (j *Journal) closeFiles(files []int) {
	for _, fd := range files {
		j.ops.Close(fd)
	}
}

// Add returns nil when p, the content of the file fd that was created and written
// before, is on stable storage. After an error p may be there all the same; if the
// file is removed then, it stays so.
func (j *Journal) Add(p []byte, fd int) error {
	if len(p) > MaxContent {
		return ErrTooLong
	}
	if j.o.Keep {
		var err error
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return ErrFull // of descriptors
		}
	}
	j.mu.Lock()
	for j.err == nil && j.next != nil && len(j.next.buf)+4+len(p) > maxBatch {
		j.cond.Wait()
	}
	if err := j.err; err != nil {
		j.mu.Unlock()
		if j.o.Keep {
			j.ops.Close(fd)
		}
		return err
	}
	b, leads := j.next, false
	if b == nil {
		b, leads = &batch{done: make(chan struct{}), buf: j.buffer()[:headSize]}, true
		j.next = b
	}
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(p)))
	b.buf = append(b.buf, p...)
	if j.o.Keep {
		b.files = append(b.files, fd)
	}
	if !leads {
		j.mu.Unlock()
		<-b.done
		return b.err
	}
	for j.running {
		j.cond.Wait()
	}
	j.next = nil
	j.running = true
	off, err := j.place(b)
	seq := j.seq
	j.mu.Unlock()

	if err == nil {
		err = j.write(b.buf, off, seq)
	}
	b.err = err

	j.mu.Lock()
	j.running = false
	if err != nil && err != ErrFull && j.err == nil {
		j.fail(err)
	}
	if len(j.spare) < 2 {
		j.spare = append(j.spare, b.buf[:0])
	}
	j.cond.Broadcast()
	j.mu.Unlock()
	close(b.done)
	return b.err
}

func (j *Journal) buffer() []byte {
	if n := len(j.spare); n > 0 {
		b := j.spare[n-1]
		j.spare = j.spare[:n-1]
		return b
	}
	return alignedBuffer(maxBatch)[:0]
}

// place takes room for a batch, and its number. j.mu is held.
func (j *Journal) place(b *batch) (off int64, err error) {
	n := int64(len(b.buf)+block-1) &^ (block - 1)
	pos := j.head
	if at := pos % ring; at+n > ring {
		pos += ring - at
	}
	switch {
	case j.err != nil:
		err = j.err
	case j.seq == maxSeq:
		err = ErrClosed
	case pos+n-j.tail > ring, len(j.files)+len(b.files) > maxFiles:
		signal(j.half)
		err = ErrFull
	}
	if err != nil {
		j.closeFiles(b.files)
		return 0, err
	}
	j.seq++
	j.head = pos + n
	j.files = append(j.files, b.files...)
	if j.head-j.tail > ring/2 || len(j.files) > maxFiles/2 {
		signal(j.half)
	}
	signal(j.wake)
	return block + pos%ring, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write completes a batch and puts it on disk, its number first.
func (j *Journal) write(b []byte, off int64, seq uint32) error {
	putHead(b, j.epoch, seq)
	n := (len(b) + block - 1) &^ (block - 1)
	clear(b[len(b):n])
	if err := j.setMark(seq); err != nil {
		return err
	}
	return durable.Wrap("write", j.data, j.ops.PwriteAll(j.fd, b[:n], off))
}

// fail ends the use of the journal, whose contents stay. j.mu is held.
func (j *Journal) fail(err error) {
	j.err = err
	j.cond.Broadcast()
	j.stop.Do(func() { close(j.quit) })
}

// run makes the checkpoints, and ends the journal.
func (j *Journal) run() {
	defer close(j.gone)
	err := j.checkpoints()
	j.mu.Lock()
	if j.err == nil {
		j.err = err
	}
	if j.err == nil {
		j.err = ErrClosed
	}
	err = j.err
	j.cond.Broadcast()
	for j.running || j.next != nil {
		j.cond.Wait()
	}
	j.spare = nil
	j.mu.Unlock()
	if err == ErrClosed {
		if err = j.checkpoint(); err == nil {
			err = j.remove()
		}
	}
	j.closeFiles(j.files)
	j.release()
	if err != nil && j.o.Failed != nil {
		j.o.Failed(err)
	}
}

// checkpoints returns when nothing was added for a while, or when the journal is
// closed or has failed, or with the error of a checkpoint.
func (j *Journal) checkpoints() error {
	idle := time.NewTimer(j.o.Idle)
	defer idle.Stop()
	for {
		select {
		case <-j.quit:
			return nil
		case <-idle.C:
			return nil
		case <-j.wake:
		}
		soon := time.NewTimer(j.o.Interval)
		select {
		case <-j.quit:
			soon.Stop()
			return nil
		case <-j.half:
		case <-soon.C:
		}
		soon.Stop()
		if err := j.checkpoint(); err != nil {
			return err
		}
		idle.Reset(j.o.Idle)
	}
}

// checkpoint makes the room of what has been added so far free.
func (j *Journal) checkpoint() error {
	j.mu.Lock()
	head, files := j.head, j.files // the files were written before they were added
	j.files = nil
	j.mu.Unlock()
	defer j.closeFiles(files)
	if err := j.o.Checkpoint(append(files, j.lock)); err != nil {
		return err
	}
	j.mu.Lock()
	j.tail = head
	j.mu.Unlock()
	return nil
}

// Close ends the journal. What was added is made durable in the file system, and
// the journal's files are removed; where that fails they stay, for Abandoned.
func (j *Journal) Close() {
	j.stop.Do(func() { close(j.quit) })
	<-j.gone
}
