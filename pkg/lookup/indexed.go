package lookup

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/pkg/address"
	"posthaste/pkg/cdb"
)

// IndexSuffix is what an index file's name adds to that of its source,
// whatever the type is called.
const IndexSuffix = ".cdb"

// IsIndexed says whether a type is an index that postmap builds: cdb, or a
// name that stands for it.
func IsIndexed(typ string) bool {
	switch typ {
	case "cdb", "hash", "btree", "lmdb", "dbm", "sdbm":
		return true
	}
	return false
}

// indexed is a cdb file that may be replaced while it is in use.
type indexed struct {
	name, path string
	env        *Env
	nofold     bool
	file       bool
	bulk       bool
	cur        atomic.Pointer[version]
	mu         sync.Mutex // opening
	retry      atomic.Int64
	lastErr    string
}

// version is one opened file. Look-ups hold it while they read, so that it is
// closed when nobody does.
type version struct {
	r     *cdb.Reader
	w     *watch
	nul   bool         // keys and values end in NUL (postmap -N)
	users atomic.Int64 // look-ups under way, +1 while it is current

	asked atomic.Int64               // look-ups of a bulk user
	whole atomic.Pointer[cdb.Reader] // the file in memory, once that pays
}

const (
	// bulkAfter is from how many look-ups on a bulk user gets the file mapped.
	bulkAfter = 100
	// bulkLimit is the largest file that is mapped.
	bulkLimit = 512 << 20
)

// reader is where to look up. A file that cannot be read as a whole, for
// whatever reason, is read in pieces as before.
func (v *version) reader(bulk bool) *cdb.Reader {
	if !bulk {
		return v.r
	}
	if w := v.whole.Load(); w != nil {
		return w
	}
	if v.asked.Add(1) == bulkAfter {
		if w, err := v.r.Mapped(bulkLimit); err == nil && w != nil {
			v.whole.Store(w)
			return w
		}
	}
	return v.r
}

func (v *version) release() {
	if v.users.Add(-1) == 0 {
		v.r.Close()
	}
}

func openIndexed(typ, name string, env *Env, o Options) (Table, error) {
	t := &indexed{name: typ + ":" + name, path: name + IndexSuffix, env: env, nofold: o.NoFold, file: o.File, bulk: o.Bulk}
	if err := t.open(); err != nil {
		t.trouble(err)
	}
	return t, nil
}

// open opens the file that has the name now, and makes it current.
func (t *indexed) open() error {
	r, err := cdb.Open(t.path)
	if err != nil {
		return err
	}
	w, err := newWatch(t.path, r.File())
	if err != nil {
		r.Close()
		return err
	}
	first, err := r.First()
	if err != nil {
		r.Close()
		return err
	}
	v := &version{r: r, w: w, nul: len(first) > 0 && first[len(first)-1] == 0}
	v.users.Store(1)
	if old := t.cur.Swap(v); old != nil {
		old.release()
	}
	return nil
}

// trouble logs an error once until it changes.
func (t *indexed) trouble(err error) {
	if s := err.Error(); s != t.lastErr {
		t.lastErr = s
		t.env.warn("table %s is unavailable: %v", t.name, err)
	}
}

// acquire returns the current version, having looked for a newer one.
func (t *indexed) acquire() (*version, error) {
	for {
		v := t.cur.Load()
		if v == nil {
			return t.reopen()
		}
		if v.users.Add(1) <= 1 { // it was closed meanwhile
			v.users.Add(-1)
			if t.cur.Load() == v {
				return nil, errors.New("table is closed")
			}
			continue
		}
		if yes, gone := v.w.changed(); yes {
			t.refresh(v, gone)
			if n := t.cur.Load(); n != v {
				v.release()
				continue
			}
		}
		return v, nil
	}
}

// reopen tries, once in retryEvery, to open a table that could not be opened.
func (t *indexed) reopen() (*version, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().UnixNano()
	if t.cur.Load() == nil {
		if now < t.retry.Load() {
			return nil, fmt.Errorf("is unavailable: %s", t.lastErr)
		}
		t.retry.Store(now + retryEvery)
		if err := t.open(); err != nil {
			t.trouble(err)
			return nil, err
		}
	}
	v := t.cur.Load()
	v.users.Add(1)
	return v, nil
}

// refresh replaces v, whose file changed on disk, or asks for a new process if
// that cannot be done from here.
func (t *indexed) refresh(v *version, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cur.Load() != v {
		return
	}
	err := errors.New("its file cannot be reached from here")
	if !gone {
		if err = t.open(); err == nil {
			return
		}
	}
	if v.w.stale.CompareAndSwap(false, true) {
		if t.env != nil && t.env.Stale != nil {
			t.env.Stale(t.name)
		} else {
			t.env.warn("table %s has changed, and %v: using the old content", t.name, err)
		}
	}
}

func (t *indexed) Get(key string) (string, bool, error) {
	v, err := t.acquire()
	if err != nil {
		return "", false, &Error{t.name, err}
	}
	defer v.release()
	if !t.nofold {
		key = address.Fold(key)
	}
	if v.nul {
		key += "\x00"
	}
	val, ok, err := v.reader(t.bulk).Get(key)
	if err != nil {
		return "", false, &Error{t.name, err}
	}
	if !ok {
		return "", false, nil
	}
	if n := len(val); v.nul && n > 0 && val[n-1] == 0 {
		val = val[:n-1]
	}
	if t.file {
		return decodeFile(t.name, val)
	}
	return val, true, nil
}

func (t *indexed) Name() string  { return t.name }
func (t *indexed) Partial() bool { return true }

func (t *indexed) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.cur.Load(); v != nil {
		v.release()
	}
	return nil
}

// Each calls fn with every entry (postmap -s).
func (t *indexed) Each(fn func(key, value string) error) error {
	v, err := t.acquire()
	if err != nil {
		return &Error{t.name, err}
	}
	defer v.release()
	return v.r.Each(func(k, val []byte) error {
		ks, vs := string(k), string(val)
		if n := len(ks); n > 0 && ks[n-1] == 0 {
			ks = ks[:n-1]
		}
		if n := len(vs); n > 0 && vs[n-1] == 0 {
			vs = vs[:n-1]
		}
		if t.file {
			d, _, err := decodeFile(t.name, vs)
			if err != nil {
				return err
			}
			vs = d
		}
		return fn(ks, vs)
	})
}
