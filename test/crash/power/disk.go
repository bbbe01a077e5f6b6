package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// entry is one event in the life of the recorded disk, in order.
type entry struct {
	kind byte // write, flush or mark
	off  int64
	data []byte // what was written; a mark's text
}

const (
	write = 'W'
	flush = 'F'
	mark  = 'M'
)

// recorder is a disk in memory that remembers every write and every flush, and
// the marks that the test puts between them.
type recorder struct {
	fs.Inode
	mu   sync.Mutex
	disk []byte
	log  []entry

	forget bool     // nothing is recorded
	ill    *illness // what fails
	rng    *rand.Rand
}

// mark notes that something happened, after all writes that the disk has seen.
func (r *recorder) mark(text string) {
	r.mu.Lock()
	r.note(entry{kind: mark, data: []byte(text)})
	r.mu.Unlock()
}

// position is mark, and returns where the record goes on.
func (r *recorder) position(text string) int {
	r.mark(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.log)
}

func (r *recorder) Getattr(ctx context.Context, f fs.FileHandle, o *fuse.AttrOut) syscall.Errno {
	o.Mode = 0600
	o.Size = uint64(len(r.disk))
	return 0
}

func (r *recorder) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, o *fuse.AttrOut) syscall.Errno {
	return r.Getattr(ctx, f, o)
}

func (r *recorder) Open(ctx context.Context, fl uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (r *recorder) Read(ctx context.Context, f fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails(read, nil) {
		return nil, syscall.EIO
	}
	if off >= int64(len(r.disk)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(b[:copy(b, r.disk[off:])]), 0
}

func (r *recorder) Write(ctx context.Context, f fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off+int64(len(b)) > int64(len(r.disk)) {
		return 0, syscall.ENOSPC
	}
	if r.fails(write, b) {
		return 0, syscall.EIO
	}
	copy(r.disk[off:], b)
	if !r.forget {
		r.log = append(r.log, entry{write, off, append([]byte(nil), b...)})
	}
	return uint32(len(b)), 0
}

// Fsync is how the loop device passes a flush on.
func (r *recorder) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails(flush, nil) {
		return syscall.EIO
	}
	r.note(entry{kind: flush})
	return 0
}

func (r *recorder) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode&2 == 0 { // only holes are punched
		return syscall.EOPNOTSUPP
	}
	_, e := r.Write(ctx, f, make([]byte, size), int64(off))
	return e
}

const block = 4096

// image is a disk as a power cut left it. What the file system that is mounted
// on it writes lies over it and is forgotten by reset.
type image struct {
	fs.Inode
	mu   sync.Mutex
	base []byte
	over map[int64][]byte // by block number
}

func (m *image) Getattr(ctx context.Context, f fs.FileHandle, o *fuse.AttrOut) syscall.Errno {
	o.Mode = 0600
	o.Size = uint64(len(m.base))
	return 0
}

func (m *image) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, o *fuse.AttrOut) syscall.Errno {
	return m.Getattr(ctx, f, o)
}

func (m *image) Open(ctx context.Context, fl uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (m *image) Read(ctx context.Context, f fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.base)) {
		return fuse.ReadResultData(nil), 0
	}
	n := copy(b, m.base[off:])
	for at := off / block * block; at < off+int64(n); at += block {
		if o := m.over[at/block]; o != nil {
			if at < off {
				copy(b[:n], o[off-at:])
			} else {
				copy(b[at-off:n], o)
			}
		}
	}
	return fuse.ReadResultData(b[:n]), 0
}

func (m *image) Write(ctx context.Context, f fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+int64(len(b)) > int64(len(m.base)) {
		return 0, syscall.ENOSPC
	}
	m.put(b, off)
	return uint32(len(b)), 0
}

// put writes over the base.
func (m *image) put(b []byte, off int64) {
	for len(b) > 0 {
		n := off / block
		o := m.over[n]
		if o == nil {
			o = make([]byte, block)
			copy(o, m.base[n*block:])
			m.over[n] = o
		}
		k := copy(o[off-n*block:], b)
		b, off = b[k:], off+int64(k)
	}
}

func (m *image) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno { return 0 }

func (m *image) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode&2 == 0 {
		return syscall.EOPNOTSUPP
	}
	_, e := m.Write(ctx, f, make([]byte, size), int64(off))
	return e
}

// reset forgets what was written over the base.
func (m *image) reset() {
	m.mu.Lock()
	m.over = map[int64][]byte{}
	m.mu.Unlock()
}

// advance makes a write part of the base.
func (m *image) advance(e entry) {
	m.mu.Lock()
	copy(m.base[e.off:], e.data)
	m.mu.Unlock()
}

// apply makes a write part of this state only.
func (m *image) apply(data []byte, off int64) {
	m.mu.Lock()
	m.put(data, off)
	m.mu.Unlock()
}

// device is the mounted pair of disks.
type device struct {
	fs.Inode
	rec *recorder
	img *image
	dir string
	srv *fuse.Server

	minor uint32 // the connection's number for the kernel
}

func (d *device) OnAdd(ctx context.Context) {
	d.AddChild("disk", d.NewPersistentInode(ctx, d.rec, fs.StableAttr{Mode: fuse.S_IFREG, Ino: 2}), true)
	d.AddChild("crash", d.NewPersistentInode(ctx, d.img, fs.StableAttr{Mode: fuse.S_IFREG, Ino: 3}), true)
}

// newDevice mounts both disks as files in dir.
func newDevice(dir string, size int64) (*device, error) {
	d := &device{dir: dir, rec: &recorder{disk: make([]byte, size)}, img: &image{base: make([]byte, size), over: map[int64][]byte{}}}
	srv, err := fs.Mount(dir, d, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, MaxWrite: 1 << 20, FsName: "powercut"}})
	if err != nil {
		return nil, err
	}
	d.srv = srv
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, err
	}
	d.minor = unix.Minor(st.Dev)
	// Programs that we start must not keep the server's end open.
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, f := range fds {
		if n, err := strconv.Atoi(f.Name()); err == nil && n > 2 {
			unix.CloseOnExec(n)
		}
	}
	return d, nil
}

// abort has the kernel fail everything that waits for the disks.
func (d *device) abort() {
	const ctl = "/sys/fs/fuse/connections"
	if _, err := os.Stat(fmt.Sprintf("%s/%d", ctl, d.minor)); err != nil {
		if unix.Mount("fusectl", ctl, "fusectl", 0, "") != nil {
			return
		}
		defer unix.Unmount(ctl, 0)
	}
	os.WriteFile(fmt.Sprintf("%s/%d/abort", ctl, d.minor), []byte("1"), 0)
}
