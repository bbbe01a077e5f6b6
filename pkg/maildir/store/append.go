package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/durable"
	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir"
	"posthaste/pkg/maildir/index"
)

// keptOpen is how many files an append leaves to be synced together.
const keptOpen = 256

// inMemory is how much of an appended message is kept in memory before its
// file is begun.
const inMemory = 1 << 20

// appender writes messages to tmp/ and brings them in together.
type appender struct {
	f     *folder
	items []*incoming
	cur   *incoming
	over  bool
}

// incoming is one message. Maildir files have LF line ends; a message whose line
// ends are not all CRLF is kept byte for byte, and its name says so by S=
// and W= being the same.
type incoming struct {
	a     *appender
	info  mailbox.AppendInfo
	add   addition
	buf   []byte
	file  *os.File // with all that was written, as it came, once it is too much for buf
	path  string
	size  int64
	pure  bool // all line ends so far are CRLF, without another CR before them
	lines int64
	last  [2]byte
}

func (s *userStore) Append(name string) (mailbox.Appender, error) {
	if s.closed {
		return nil, mailbox.ErrClosed
	}
	f, err := s.m.byName(s.root, name)
	if err != nil {
		return nil, err
	}
	return &appender{f: f}, nil
}

var errSequence = errors.New("append: calls out of order")

func (a *appender) Begin(info mailbox.AppendInfo) (io.Writer, error) {
	if a.over {
		return nil, errSequence
	}
	if err := a.finish(); err != nil {
		return nil, err
	}
	kw, err := checkKeywords(info.Keywords)
	if err != nil {
		return nil, err
	}
	info.Keywords = kw
	if a.f.mb == nil && a.f.counts() && info.Size > 0 {
		if err := maildir.CheckQuota(a.f.root, info.Size, 1); err != nil {
			if errors.Is(err, maildir.ErrOverQuota) {
				err = mailbox.ErrQuota
			}
			return nil, err
		}
	}
	a.cur = &incoming{a: a, info: info, pure: true}
	if info.Size > 0 && info.Size <= inMemory {
		a.cur.buf = make([]byte, 0, info.Size)
	}
	a.items = append(a.items, a.cur)
	return a.cur, nil
}

func (i *incoming) Write(p []byte) (int, error) {
	if i.a.cur != i {
		return 0, errSequence
	}
	i.inspect(p)
	i.size += int64(len(p))
	if i.file == nil && len(i.buf)+len(p) <= inMemory {
		i.buf = append(i.buf, p...)
		return len(p), nil
	}
	if i.file == nil {
		if err := i.create(); err != nil {
			return 0, err
		}
		if _, err := i.file.Write(i.buf); err != nil {
			return 0, err
		}
		i.buf = nil
	}
	return i.file.Write(p)
}

// inspect keeps count of line ends.
func (i *incoming) inspect(p []byte) {
	for off := 0; i.pure; {
		n := bytes.IndexByte(p[off:], '\n')
		if n < 0 {
			break
		}
		n += off
		at := func(k int) byte {
			if k >= 0 {
				return p[k]
			}
			return i.last[2+k]
		}
		if at(n-1) != '\r' || at(n-2) == '\r' {
			i.pure = false
		}
		i.lines++
		off = n + 1
	}
	switch {
	case len(p) >= 2:
		i.last = [2]byte{p[len(p)-2], p[len(p)-1]}
	case len(p) == 1:
		i.last = [2]byte{i.last[1], p[0]}
	}
}

// create begins a file in tmp/.
func (i *incoming) create() error {
	if i.add.base == "" {
		i.add.base = i.a.f.m.uniqueName()
	}
	i.path = i.a.f.where() + "/tmp/" + i.add.base
	var err error
	i.file, err = os.OpenFile(i.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if isNotExist(err) {
		if err = maildir.Make(i.a.f.where()); err == nil {
			i.file, err = os.OpenFile(i.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		}
	}
	return err
}

// finish completes the file of the message that is being written.
func (a *appender) finish() error {
	i := a.cur
	if i == nil {
		return nil
	}
	a.cur = nil
	physical := i.size
	switch {
	case i.file == nil:
		if i.pure {
			i.buf = bytes.ReplaceAll(i.buf, []byte("\r\n"), []byte("\n"))
			physical = int64(len(i.buf))
		}
		if err := i.create(); err != nil {
			return err
		}
		if _, err := i.file.Write(i.buf); err != nil {
			return err
		}
		i.buf = nil
	case i.pure && i.lines > 0:
		if err := i.convert(); err != nil {
			return err
		}
		physical = i.size - i.lines
	}
	date := i.info.Date
	if date.IsZero() {
		date = time.Now()
	}
	if len(a.items) > keptOpen {
		// Descriptors are scarce: this one is made durable at once.
		defer func() {
			i.file.Close()
			i.file = nil
		}()
	}
	if err := unix.Futimes(int(i.file.Fd()), []unix.Timeval{unix.NsecToTimeval(date.UnixNano()), unix.NsecToTimeval(date.UnixNano())}); err != nil {
		return &os.PathError{Op: "utimes", Path: i.path, Err: err}
	}
	id := i.add.m.EmailID
	if id == 0 {
		id = index.EmailID(i.add.base)
	}
	i.add.lines = i.lines > 0
	i.add.base += fmt.Sprintf(",S=%d,W=%d", physical, i.size)
	i.add.tmp, i.add.bytes, i.add.uid = i.path, physical, i.info.UID
	i.add.m = mailbox.Message{Flags: i.info.Flags, Keywords: i.info.Keywords, Size: i.size, Date: date.Unix(), SaveDate: time.Now().Unix(), EmailID: id}
	if len(a.items) > keptOpen {
		return durable.Sync(i.file)
	}
	return nil
}

// convert writes a large file anew, with LF line ends.
func (i *incoming) convert() error {
	old, oldPath := i.file, i.path
	defer func() {
		old.Close()
		os.Remove(oldPath)
	}()
	if _, err := old.Seek(0, io.SeekStart); err != nil {
		return err
	}
	i.add.base = i.a.f.m.uniqueName()
	if err := i.create(); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	cr := false
	for {
		n, err := old.Read(buf[1:])
		if n > 0 {
			b := buf[1 : 1+n]
			if cr {
				buf[0] = '\r'
				b = buf[:1+n]
			}
			if cr = b[len(b)-1] == '\r'; cr {
				b = b[:len(b)-1] // it may belong to the next piece's LF
			}
			if _, err := i.file.Write(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))); err != nil {
				return err
			}
		}
		if err == io.EOF {
			if cr {
				_, err := i.file.Write([]byte("\r"))
				return err
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (a *appender) Commit() (mailbox.Appended, error) {
	if a.over {
		return mailbox.Appended{}, errSequence
	}
	if err := a.finish(); err != nil {
		return mailbox.Appended{}, err
	}
	list := make([]*addition, 0, len(a.items))
	for _, i := range a.items {
		list = append(list, &i.add)
	}
	many := len(list) > 1
	switch {
	case len(list) == 0:
		return mailbox.Appended{}, errSequence
	case many && a.f.mb == nil:
		// Durable before the commit makes them all visible.
		if err := a.sync(); err != nil {
			return mailbox.Appended{}, err
		}
	}
	out, err := a.f.add(list)
	if err != nil {
		return out, err
	}
	if a.f.mb != nil {
		a.Abort() // what was written is in the mbox, durably
		return out, nil
	}
	if many {
		err = syncDir(a.f.where() + "/cur")
	} else {
		err = a.f.m.deliver.Commit(int(a.items[0].file.Fd()), a.f.where(), "cur")
	}
	if err != nil {
		return out, err
	}
	for _, i := range a.items {
		i.add.tmp, i.path = "", ""
	}
	a.Abort()
	return out, nil
}

// sync puts all files on stable storage, some at a time, so that the file
// system's journal takes them together.
func (a *appender) sync() error {
	const workers = 16
	n := min(workers, len(a.items))
	errs := make([]error, n)
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := w; i < len(a.items) && errs[w] == nil && a.items[i].file != nil; i += n {
				errs[w] = a.f.m.deliver.Commit(int(a.items[i].file.Fd()), a.f.where(), "tmp")
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (a *appender) Abort() {
	if a.over {
		return
	}
	a.over = true
	a.cur = nil
	for _, i := range a.items {
		if i.file != nil {
			i.file.Close()
		}
		switch {
		case i.add.tmp != "":
			os.Remove(i.add.tmp)
		case i.path != "":
			os.Remove(i.path)
		}
	}
	a.f.m.release(a.f)
}
