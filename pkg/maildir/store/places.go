package store

import (
	"os"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// places are descriptors of a folder's tmp/, new/ and cur/, for many operations
// in a row: by path each of them walks down from the root, which the sandbox
// checks on the way, too. A place without descriptor is -1.
type places struct {
	f   *folder
	fds [3]int
}

// many is from how many operations on opening the directories pays.
const many = 16

// places opens the directories if n operations are worth it.
func (f *folder) places(n int) (*places, error) {
	p := &places{f: f, fds: [3]int{-1, -1, -1}}
	if n < many {
		return p, nil
	}
	for _, place := range []uint8{index.New, index.Cur, index.Tmp} {
		dir := f.where() + "/" + placeName(place)
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT && place == index.Tmp {
			continue // some programs remove an empty one
		}
		if err != nil {
			p.close()
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		p.fds[place] = fd
	}
	return p, nil
}

func (p *places) close() {
	for i, fd := range p.fds {
		if fd >= 0 {
			unix.Close(fd)
			p.fds[i] = -1
		}
	}
}

// at is how to name the file of m to the *at system calls.
func (p *places) at(m *mailbox.Message) (dirfd int, name string) {
	if fd := p.fds[m.Place]; fd >= 0 {
		return fd, m.File
	}
	return unix.AT_FDCWD, p.f.path(m)
}

// rename gives the file of one message the name and place of the other.
func (p *places) rename(from, to *mailbox.Message) error {
	fromFD, fromName := p.at(from)
	toFD, toName := p.at(to)
	return unix.Renameat(fromFD, fromName, toFD, toName)
}

// unlink removes the file of a message.
func (p *places) unlink(m *mailbox.Message) error {
	fd, name := p.at(m)
	return unix.Unlinkat(fd, name, 0)
}
