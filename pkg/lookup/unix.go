package lookup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"posthaste/pkg/address"
)

// maxAccounts bounds an account file, in bytes.
const maxAccounts = 256 << 20

// accounts is unix:passwd.byname or unix:group.byname: /etc/passwd or
// /etc/group, read again when the file changed. The value is the line.
type accounts struct {
	name, path string
	env        *Env
	nofold     bool
	mu         sync.Mutex
	cur        atomic.Pointer[accountFile]
}

type accountFile struct {
	w     *watch
	lines map[string]string
}

// accountDir is where the files are; tests put another in its place.
var accountDir = "/etc/"

func openUnix(typ, name string, env *Env, o Options) (Table, error) {
	t := &accounts{name: typ + ":" + name, env: env, nofold: o.NoFold}
	switch name {
	case "passwd.byname":
		t.path = accountDir + "passwd"
	case "group.byname":
		t.path = accountDir + "group"
	default:
		return nil, fmt.Errorf("unknown table: %s:%s", typ, name)
	}
	if err := t.load(); err != nil {
		env.warn("table %s is unavailable: %v", t.name, err)
	}
	return t, nil
}

func (t *accounts) load() error {
	f, err := os.Open(t.path)
	if err != nil {
		return err
	}
	w, err := newWatch(t.path, f)
	if err != nil {
		f.Close()
		return err
	}
	a := &accountFile{w: w, lines: map[string]string{}}
	sc := bufio.NewScanner(io.LimitReader(f, maxAccounts))
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := sc.Text()
		i := strings.IndexByte(line, ':')
		if i <= 0 || line[0] == '#' || line[0] == '+' || line[0] == '-' {
			continue
		}
		if _, ok := a.lines[line[:i]]; !ok {
			a.lines[line[:i]] = line
		}
	}
	if err := sc.Err(); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", t.path, err)
	}
	if old := t.cur.Swap(a); old != nil {
		old.w.f.Close()
	}
	return nil
}

// current returns the accounts, read anew if the file changed.
func (t *accounts) current() (*accountFile, error) {
	a := t.cur.Load()
	if a != nil && !t.due(a) {
		return a, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.cur.Load(); n != a {
		return n, nil
	}
	err := t.load()
	if err == nil {
		return t.cur.Load(), nil
	}
	if a == nil {
		return nil, err
	}
	if a.w.stale.CompareAndSwap(false, true) && t.env != nil && t.env.Stale != nil {
		t.env.Stale(t.name)
	}
	return a, nil
}

func (t *accounts) due(a *accountFile) bool {
	// The descriptor must not be closed by load while it is asked.
	if !t.mu.TryLock() {
		return false
	}
	defer t.mu.Unlock()
	if t.cur.Load() != a {
		return false
	}
	yes, _ := a.w.changed()
	return yes
}

func (t *accounts) Get(key string) (string, bool, error) {
	a, err := t.current()
	if err != nil {
		return "", false, &Error{t.name, errors.Join(errors.New("cannot access the account file"), err)}
	}
	if !t.nofold {
		key = address.Fold(key)
	}
	v, ok := a.lines[key]
	return v, ok, nil
}
func (t *accounts) Name() string  { return t.name }
func (t *accounts) Partial() bool { return true }

func (t *accounts) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.cur.Load(); a != nil {
		return a.w.f.Close()
	}
	return nil
}
