package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maildir/index"
)

// The cache file: a header of cacheHead bytes (magic, UIDVALIDITY), then
// records of cacheRecord bytes (UID, kind, length, checksum) and data. It is
// written without sync: a record that does not check ends it.
const (
	cacheMagic  = "PHCACHE1"
	cacheHead   = 16
	cacheRecord = 16
	maxBlob     = 1 << 20
	maxCache    = 4 << 30
	cacheFlush  = 256 << 10
)

type cacheKey uint64

func keyOf(u mailbox.UID, k mailbox.CacheKind) cacheKey { return cacheKey(u)<<8 | cacheKey(k) }

type cacheLoc struct {
	off int64
	len uint32
}

// cache is the open cache file of a folder and what waits to be written to it.
// It is guarded by folder.mu.
type cache struct {
	f        *os.File
	validity uint32
	locs     map[cacheKey]cacheLoc
	end      int64
	gen      int                   // of the file that f is
	pending  []byte                // of pendings
	waiting  map[cacheKey]cacheLoc // offsets in pending
}

// pendings are buffers for what waits. Nobody else has a part of one: see Cached.
var pendings = sync.Pool{New: func() any { b := make([]byte, 0, cacheFlush+64<<10); return &b }}

// window is a session's read-ahead in the cache file.
type window struct {
	c   *cache
	gen int
	off int64
	b   []byte
	buf []byte
	own []byte // a copy of what waits
}

var cacheTable = crc32.MakeTable(crc32.Castagnoli)

func putRecord(b []byte, u mailbox.UID, k mailbox.CacheKind, data []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(u))
	b = le.AppendUint32(b, uint32(k))
	b = le.AppendUint32(b, uint32(len(data)))
	sum := crc32.Update(crc32.Checksum(b[start:], cacheTable), cacheTable, data)
	b = le.AppendUint32(b, sum)
	return append(b, data...)
}

// scanCache calls fn for each intact record from the start of b, and returns how
// much of b they fill.
func scanCache(b []byte, fn func(k cacheKey, off, n int)) int {
	le := binary.LittleEndian
	pos := 0
	for len(b)-pos >= cacheRecord {
		h := b[pos : pos+cacheRecord]
		n := int(le.Uint32(h[8:]))
		if n > maxBlob || n > len(b)-pos-cacheRecord {
			break
		}
		data := b[pos+cacheRecord : pos+cacheRecord+n]
		if crc32.Update(crc32.Checksum(h[:12], cacheTable), cacheTable, data) != le.Uint32(h[12:]) {
			break
		}
		fn(keyOf(mailbox.UID(le.Uint32(h)), mailbox.CacheKind(le.Uint32(h[4:]))), pos+cacheRecord, n)
		pos += cacheRecord + n
	}
	return pos
}

// openCache opens the folder's cache, or makes it. f.mu is held. Without a
// usable one the result is a cache in memory only, of limited size.
func (f *folder) openCache() *cache {
	validity := f.idx.Header.UIDValidity
	if f.cache != nil && f.cache.validity == validity {
		return f.cache
	}
	f.closeCache()
	c := &cache{validity: validity, locs: map[cacheKey]cacheLoc{}, waiting: map[cacheKey]cacheLoc{}, end: cacheHead}
	f.cache = c
	file, err := os.OpenFile(f.dir+"/"+index.CacheName, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return c
	}
	c.f = file
	dead, ok := c.read(f.idx.State)
	if !ok || dead > 1<<20 && dead > c.end/2 {
		c.f.Close()
		c.f = nil
		if ok {
			f.rewriteCache(c)
			return c
		}
		c.locs, c.end = map[cacheKey]cacheLoc{}, cacheHead
	}
	return c
}

// read takes in what was added to the file since c.end. dead is how much of it is
// of no use any more.
func (c *cache) read(st *index.State) (dead int64, ok bool) {
	info, err := c.f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxCache {
		return 0, false
	}
	var head [cacheHead]byte
	if _, err := c.f.ReadAt(head[:], 0); err != nil || string(head[:8]) != cacheMagic || binary.LittleEndian.Uint32(head[8:]) != c.validity {
		return 0, false
	}
	if c.end >= info.Size() {
		return 0, true
	}
	buf := make([]byte, 0, min(info.Size()-c.end, 4<<20+maxBlob))
	for c.end < info.Size() {
		n, err := c.f.ReadAt(buf[:min(int64(cap(buf)), info.Size()-c.end)], c.end)
		if err != nil && err != io.EOF {
			return dead, false
		}
		used := scanCache(buf[:n], func(k cacheKey, off, n int) {
			if st != nil && st.Get(mailbox.UID(k>>8)) == nil {
				dead += int64(n) + cacheRecord
				return
			}
			if old, ok := c.locs[k]; ok {
				dead += int64(old.len) + cacheRecord
			}
			c.locs[k] = cacheLoc{c.end + int64(off), uint32(n)}
		})
		if used == 0 {
			break
		}
		c.end += int64(used)
	}
	return dead, true
}

// rewriteCache leaves out the dead. On trouble the cache begins anew.
func (f *folder) rewriteCache(c *cache) {
	old, err := os.Open(f.dir + "/" + index.CacheName)
	if err != nil {
		c.locs, c.end = map[cacheKey]cacheLoc{}, cacheHead
		return
	}
	defer old.Close()
	l, err := index.TryLock(f.dir, false)
	if err != nil {
		c.f, _ = os.OpenFile(f.dir+"/"+index.CacheName, os.O_RDWR|unix.O_NOFOLLOW, 0)
		return
	}
	defer l.Release()
	locs := c.locs
	c.locs, c.end = map[cacheKey]cacheLoc{}, cacheHead
	if c.create(f.dir) != nil {
		return
	}
	var out []byte
	flush := func() bool {
		_, err := c.f.WriteAt(out, c.end)
		c.end += int64(len(out))
		out = out[:0]
		return err == nil
	}
	data := make([]byte, 0, 64<<10)
	for _, m := range f.idx.State.Messages {
		for k := mailbox.CacheKind(1); k < 16; k++ {
			loc, ok := locs[keyOf(m.UID, k)]
			if !ok {
				continue
			}
			if int(loc.len) > cap(data) {
				data = make([]byte, 0, loc.len)
			}
			if _, err := old.ReadAt(data[:loc.len], loc.off); err != nil {
				continue
			}
			c.locs[keyOf(m.UID, k)] = cacheLoc{c.end + int64(len(out)) + cacheRecord, loc.len}
			out = putRecord(out, m.UID, k, data[:loc.len])
			if len(out) > 1<<20 && !flush() {
				return
			}
		}
	}
	flush()
}

// create makes an empty cache file in place of any that is there.
func (c *cache) create(dir string) error {
	tmp := fmt.Sprintf("%s/tmp/%s.%016x", dir, index.CacheName, rand.Uint64())
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	var head [cacheHead]byte
	copy(head[:], cacheMagic)
	binary.LittleEndian.PutUint32(head[8:], c.validity)
	_, err = f.WriteAt(head[:], 0)
	if err == nil {
		err = os.Rename(tmp, dir+"/"+index.CacheName)
	}
	if err != nil {
		f.Close()
		os.Remove(tmp)
		return err
	}
	c.f, c.end = f, cacheHead
	return nil
}

// flush writes what waits. If the lock is taken it waits on, within bounds.
// f.mu is held.
func (c *cache) flush(f *folder) {
	if len(c.pending) == 0 {
		return
	}
	l, err := index.TryLock(f.dir, false)
	if err != nil {
		if len(c.pending) > 8*cacheFlush {
			c.forget()
		}
		return
	}
	defer l.Release()
	if c.f != nil {
		// Another process may have replaced the file, or added to it.
		var now, mine unix.Stat_t
		if unix.Stat(f.dir+"/"+index.CacheName, &now) != nil || unix.Fstat(int(c.f.Fd()), &mine) != nil || now.Ino != mine.Ino {
			c.f.Close()
			c.f = nil
			c.locs = map[cacheKey]cacheLoc{}
		}
	}
	if c.f == nil {
		c.end = cacheHead
		c.gen++
		c.f, err = os.OpenFile(f.dir+"/"+index.CacheName, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil || !c.again() {
			if c.f != nil {
				c.f.Close()
				c.f = nil
			}
			if c.create(f.dir) != nil {
				c.forget()
				return
			}
		}
	} else if !c.again() {
		c.forget()
		return
	}
	if c.end > maxCache-16*cacheFlush || c.f.Truncate(c.end) != nil {
		c.forget()
		return
	}
	if n, err := c.f.WriteAt(c.pending, c.end); err != nil {
		if n > 0 {
			c.f.Truncate(c.end)
		}
		c.forget()
		return
	}
	for k, loc := range c.waiting {
		c.locs[k] = cacheLoc{c.end + loc.off, loc.len}
	}
	c.end += int64(len(c.pending))
	c.forget()
}

func (c *cache) again() bool {
	_, ok := c.read(nil)
	return ok
}

func (c *cache) forget() {
	if b := c.pending[:0]; cap(b) > 0 && cap(b) <= 2*cacheFlush {
		pendings.Put(&b)
	}
	c.pending = nil
	clear(c.waiting)
}

func (f *folder) closeCache() {
	if f.cache != nil {
		if f.idx != nil && f.cache.validity == f.idx.Header.UIDValidity {
			f.cache.flush(f)
		}
		if f.cache.f != nil {
			f.cache.f.Close()
		}
		f.cache = nil
	}
}

func (b *box) Cached(u mailbox.UID, k mailbox.CacheKind) ([]byte, bool) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.closed || f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		return nil, false
	}
	c := f.openCache()
	key := keyOf(u, k)
	if loc, ok := c.waiting[key]; ok {
		b.win.own = append(b.win.own[:0], c.pending[loc.off:loc.off+int64(loc.len)]...)
		return b.win.own, true
	}
	loc, ok := c.locs[key]
	if !ok || c.f == nil {
		return nil, false
	}
	w := &b.win
	if w.c == c && w.gen == c.gen && loc.off >= w.off && loc.off+int64(loc.len) <= w.off+int64(len(w.b)) {
		return w.b[loc.off-w.off : loc.off-w.off+int64(loc.len)], true
	}
	// A session that asks for one message more often asks for its neighbours next.
	size := max(int(loc.len), 32<<10)
	if cap(w.buf) < size {
		w.buf = make([]byte, size)
	}
	n, err := c.f.ReadAt(w.buf[:size], loc.off)
	if n < int(loc.len) || err != nil && err != io.EOF {
		return nil, false
	}
	w.c, w.gen, w.off, w.b = c, c.gen, loc.off, w.buf[:n]
	return w.b[:loc.len], true
}

func (b *box) SetCached(values ...mailbox.CacheValue) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.closed || f.idx == nil || f.idx.Header.UIDValidity != b.view.UIDValidity {
		return
	}
	c := f.openCache()
	for _, v := range values {
		if len(v.Value) > maxBlob || f.idx.State.Get(v.UID) == nil {
			continue
		}
		if c.pending == nil {
			c.pending = *pendings.Get().(*[]byte)
		}
		off := len(c.pending) + cacheRecord
		c.pending = putRecord(c.pending, v.UID, v.Kind, v.Value)
		c.waiting[keyOf(v.UID, v.Kind)] = cacheLoc{int64(off), uint32(len(v.Value))}
		if len(c.pending) > cacheFlush {
			c.flush(f)
		}
	}
}
