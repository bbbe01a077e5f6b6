// Package maildir delivers into Maildirs. A message's file name is derived
// from its queue id and recipient number and so is the same in every attempt: a
// delivery that is repeated after a crash finds its own earlier copy and
// reports success without making a second one.
//
// The file is written in tmp/, renamed to new/ without replacing anything, and
// then file and directory are made durable together. (Maildir's own order,
// sync before rename, costs a second sync.) After a power cut new/ may
// therefore hold an incomplete file of a message that was not yet acknowledged;
// the repeated delivery compares what it finds with what it would write, and
// replaces what differs.
package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/clock"
	"posthaste/pkg/dsncode"
	"posthaste/pkg/durable"
	"posthaste/pkg/mailcopy"
)

// Store delivers messages. It is safe for concurrent use; the zero value is
// ready.
type Store struct {
	// Syncfs says when many deliveries share one syncfs, and Pace whether they wait
	// for each other: see durable.Options.
	Syncfs string
	Pace   durable.Pace
	// Found, if set, is told of each file system when it gets its first delivery.
	Found func(durable.FileSystem)

	mu     sync.Mutex
	byDev  map[uint64]*durable.Committer
	byPath map[string]*durable.Committer
	bare   map[string]version
}

// maxPaths bounds the memory of which file system a Maildir is on, and of what
// is not in it.
const maxPaths = 4096

// version tells states of a directory's entries apart.
type version struct {
	dev, ino     uint64
	mtime, ctime unix.Timespec
}

// versionOf returns the version of dir if it may be relied upon: two changes at
// nearly the same moment may leave the same times.
func versionOf(dir string) (v version, ok bool) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return v, false
	}
	return version{uint64(st.Dev), st.Ino, st.Mtim, st.Ctim}, time.Since(time.Unix(st.Mtim.Unix())) > time.Second
}

// isBare tells whether the Maildir, which is in this version, is known to have
// neither quota nor index: then nothing need be opened to learn that.
func (s *Store) isBare(dir string, v version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bare[dir] == v
}

func (s *Store) setBare(dir string, v version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bare == nil || len(s.bare) >= maxPaths {
		s.bare = map[string]version{}
	}
	s.bare[dir] = v
}

// committer returns the Committer of the file system that dir is on.
func (s *Store) committer(dir string) (*durable.Committer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byPath[dir]; c != nil {
		return c, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	c := s.byDev[st.Dev]
	if c == nil {
		var err error
		if c, err = durable.New(dir, durable.Options{Syncfs: s.Syncfs, Pace: s.Pace}); err != nil {
			return nil, err
		}
		if s.byDev == nil {
			s.byDev = map[uint64]*durable.Committer{}
		}
		s.byDev[st.Dev] = c
		if s.Found != nil {
			s.Found(c.FileSystem())
		}
	}
	if s.byPath == nil || len(s.byPath) >= maxPaths {
		s.byPath = map[string]*durable.Committer{}
	}
	s.byPath[dir] = c
	return c, nil
}

// Message is one delivery.
type Message struct {
	Dir     string            // the Maildir; created if missing
	Name    string            // from UniqueName
	Header  []byte            // lines to put in front, LF form
	Content *io.SectionReader // CRLF form
	Arrival time.Time         // when the message arrived, by package clock
	Limit   int64             // largest file in bytes, 0 for none
}

// Result says what a delivery did.
type Result struct {
	Path     string
	Size     int64
	Repeated bool // an earlier attempt's copy was there
}

// UniqueName derives a file name (without the ",S=size,W=wire size" that Deliver appends).
// It does not change between attempts.
func UniqueName(arrival time.Time, queueID string, num uint32, host string) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, arrival.Unix(), 10)
	b = append(b, ".Q"...)
	b = append(b, queueID...)
	b = append(b, 'R')
	b = strconv.AppendUint(b, uint64(num), 10)
	b = append(b, '.')
	return string(append(b, escape(host)...))
}

// EscapeHost makes a host name fit for a file name.
func EscapeHost(host string) string { return escape(host) }

// escape replaces what a Maildir name may not hold, as the format says.
func escape(host string) string {
	if !strings.ContainsAny(host, "/:,") {
		return host
	}
	return strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(host)
}

var buffers = sync.Pool{New: func() any { return &buffer{in: make([]byte, 16<<10), out: make([]byte, 0, 20<<10)} }}

type buffer struct{ in, out []byte }

// cannot wraps err for the report.
func cannot(what string, err error) error {
	var de *dsncode.Error
	if errors.As(err, &de) {
		return err
	}
	return dsncode.As(fmt.Errorf("%s: %w", what, err), "4.2.0")
}

// Deliver puts m into the Maildir and returns once it is durable. Errors are
// *dsncode.Error.
func (s *Store) Deliver(m *Message) (*Result, error) {
	if m.Limit > 0 && m.Content.Size()+int64(len(m.Header)) > m.Limit {
		// The file is no larger than the queued form; look closer only when that is too large.
		if n := m.size(); n > m.Limit {
			return nil, dsncode.New("5.2.2", "message of %d bytes exceeds the mailbox limit of %d", n, m.Limit)
		}
	}
	r, err := s.findRead(m)
	if r != nil || err != nil {
		return r, err
	}
	var quota *quota
	v, reliable := versionOf(m.Dir)
	bare := reliable && s.isBare(m.Dir, v)
	if !bare {
		if quota, err = openQuota(m.Dir, m.Content.Size()+int64(len(m.Header))); err != nil {
			return nil, err
		}
	}
	// Unlike the final name, this one is new each time: two agents may be
	// delivering the same message, one of them for a qmgr that is no more.
	tmp := m.Dir + "/tmp/" + m.Name + ".X" + strconv.FormatUint(rand.Uint64(), 16)
	fd, err := s.create(m.Dir, tmp)
	if err != nil {
		return nil, cannot("create maildir file "+tmp, err)
	}
	defer unix.Close(fd)
	size, wire, err := write(fdWriter(fd), m)
	if err != nil {
		os.Remove(tmp)
		var re *mailcopy.ReadError
		if errors.As(err, &re) {
			return nil, dsncode.New("4.3.0", "%w", err)
		}
		return nil, cannot("error writing message", err)
	}
	name := m.Name + ",S=" + strconv.FormatInt(size, 10) + ",W=" + strconv.FormatInt(wire, 10)
	final := m.Dir + "/new/" + name
	r = &Result{Path: final, Size: size}
	indexed := false
	if bare {
		err = rename(tmp, final)
	} else {
		indexed, err = publish(m.Dir, tmp, name, wire)
	}
	if err == unix.ENOENT {
		if err = Make(m.Dir); err == nil {
			indexed, err = publish(m.Dir, tmp, name, wire)
		}
	}
	switch {
	case err == unix.EEXIST:
		if same(final, m) {
			os.Remove(tmp)
			return s.confirm(m, final)
		}
		// Torn by a power cut before it was acknowledged.
		err = os.Rename(tmp, final)
		if err != nil {
			os.Remove(tmp)
			return nil, cannot("create maildir file "+final, err)
		}
	case err != nil:
		os.Remove(tmp)
		return nil, cannot("create maildir file "+final, err)
	}
	if err := s.commit(fd, m.Dir, "new"); err != nil {
		// Whether it will survive is unknown: leave it for the next attempt to find.
		return nil, cannot("sync maildir file "+final, err)
	}
	quota.add(size)
	if reliable && !bare && !indexed && quota == nil && unix.Access(m.Dir+"/"+quotaFile, 0) == unix.ENOENT {
		s.setBare(m.Dir, v)
	}
	return r, nil
}

func (m *Message) rewind() io.Reader { return io.NewSectionReader(m.Content, 0, m.Content.Size()) }

// size computes the size of the file.
func (m *Message) size() int64 {
	n, _ := mailcopy.Copy(io.Discard, m.rewind(), m.Header, mailcopy.Maildir, "\n")
	return n
}

// Commit makes a file and its name in dir/sub durable, together with what
// others commit at the time. The name may be there already.
func (s *Store) Commit(fd int, dir, sub string) error { return s.commit(fd, dir, sub) }

// commit makes fd and its name in dir/sub durable.
func (s *Store) commit(fd int, dir, sub string) error {
	c, err := s.committer(dir)
	if err != nil {
		return err
	}
	if !c.SyncsDirectories() {
		return c.CommitFD(fd, -1, dir)
	}
	d, err := open(dir+"/"+sub, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	return c.CommitFD(fd, d, dir)
}

// fdWriter writes to a descriptor. Package os would add five system calls to
// each file it opens.
type fdWriter int

func (f fdWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := unix.Write(int(f), p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

func open(path string, how int) (int, error) {
	for {
		fd, err := unix.Open(path, how|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// create opens the temporary file, making the Maildir first if need be.
func (s *Store) create(dir, tmp string) (int, error) {
	const how = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
	fd, err := open(tmp, how)
	if err != unix.ENOENT {
		return fd, err
	}
	if err := Make(dir); err != nil {
		return -1, err
	}
	return open(tmp, how)
}

// Make creates a Maildir with mode 0700 and durable directory entries. What
// exists is left alone.
func Make(dir string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := makeDirs(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

func makeDirs(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	parent := filepath.Dir(dir)
	if errors.Is(err, unix.ENOENT) && parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	// A parent that we may write but not read cannot be synced; the file system's journal has to do.
	if d, err := os.Open(parent); err == nil {
		defer d.Close()
		return d.Sync()
	}
	return nil
}

// write writes header and content, in one system call if they are small. It
// returns the file's size and that of its wire form, with CRLF line ends.
func write(f fdWriter, m *Message) (size, wire int64, err error) {
	n := m.Content.Size()
	if n > 256<<10 {
		w := &countingWriter{fd: f}
		size, err = mailcopy.Copy(w, m.rewind(), m.Header, mailcopy.Maildir, "\n")
		return size, size + w.c.n, err
	}
	b := buffers.Get().(*buffer)
	defer func() {
		if cap(b.out) <= 512<<10 {
			buffers.Put(b)
		}
	}()
	if int64(len(b.in)) < n {
		b.in = make([]byte, n)
	}
	in := b.in[:n]
	if k, err := m.Content.ReadAt(in, 0); int64(k) < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, dsncode.New("4.3.0", "error reading message: %w", err)
	}
	c := mailcopy.NewConverter(mailcopy.Maildir, "\n")
	b.out = c.Finish(c.Append(append(b.out[:0], m.Header...), in))
	bare := int64(bytes.Count(b.out, []byte{'\n'}) - bytes.Count(b.out, []byte("\r\n")))
	k, err := f.Write(b.out)
	return int64(k), int64(k) + bare, err
}

// rename moves without replacing. File systems that cannot do so get a link
// and an unlink, which comes to the same.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	if err := unix.Link(from, to); err != nil {
		return err
	}
	return unix.Unlink(from)
}

// clockSlack covers the granularity of file times.
const clockSlack = 100 * time.Millisecond

// findRead looks for an earlier copy that a reader has moved to cur/. The
// directory is searched only if it changed since the message arrived: otherwise
// nothing of this message can have been moved there.
func (s *Store) findRead(m *Message) (*Result, error) {
	var st unix.Stat_t
	cur := m.Dir + "/cur"
	if err := unix.Stat(cur, &st); err != nil || time.Unix(st.Mtim.Unix()).Before(m.Arrival.Add(-clock.Offset()-clockSlack)) {
		return nil, nil
	}
	d, err := os.Open(cur)
	if err != nil {
		return nil, nil // tmp/ will tell what is wrong
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		for _, n := range names {
			if !strings.HasPrefix(n, m.Name) || len(n) > len(m.Name) && n[len(m.Name)] != ',' && n[len(m.Name)] != ':' {
				continue
			}
			path := cur + "/" + n
			if same(path, m) {
				return s.confirm(m, path)
			}
			os.Remove(path) // torn by a power cut before it was acknowledged
		}
		if err != nil || len(names) == 0 {
			return nil, nil
		}
	}
}

// confirm makes an earlier copy, which is the same, durable. Its attempt may have
// failed to do so: then the copy may be in the page cache alone, where it counts
// as clean, and to sync it would mean nothing. So it is written once more.
func (s *Store) confirm(m *Message, path string) (*Result, error) {
	fd, err := open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, cannot("open earlier copy "+path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, cannot("open earlier copy "+path, err)
	}
	size, _, err := write(fdWriter(fd), m)
	if err != nil {
		return nil, cannot("error writing message", err)
	}
	// The time of arrival stays, for readers; it does no harm if that fails.
	unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	if err := s.commit(fd, m.Dir, filepath.Base(filepath.Dir(path))); err != nil {
		return nil, cannot("sync maildir file "+path, err)
	}
	return &Result{Path: path, Size: size, Repeated: true}, nil
}

// same tells whether the file holds exactly what would be written for m.
func same(path string, m *Message) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	c := &comparer{r: f}
	n, err := mailcopy.Copy(c, m.rewind(), m.Header, mailcopy.Maildir, "\n")
	return err == nil && n == st.Size()
}

type comparer struct {
	r   io.Reader
	buf []byte
}

var errDiffers = errors.New("differs")

func (c *comparer) Write(p []byte) (int, error) {
	if cap(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	b := c.buf[:len(p)]
	if _, err := io.ReadFull(c.r, b); err != nil || !bytes.Equal(b, p) {
		return 0, errDiffers
	}
	return len(p), nil
}
