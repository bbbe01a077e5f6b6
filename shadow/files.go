package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posthaste/pkg/clock"
	"posthaste/pkg/proto/shadow"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/userdb"
)

// errStale says that a file was replaced: this process has the old one.
var errStale = errors.New("has been replaced")

// file is one file, opened while that was allowed. What a program writes into
// it is seen; a new file in its place only a new process can open.
type file struct {
	path string
	dir  *os.File // its directory, to look who has the name now
	f    *os.File
	id   stamp
}

type stamp struct {
	dev, ino uint64
	size     int64
	mtim     unix.Timespec
}

func stampOf(st *unix.Stat_t) stamp { return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim} }

// maxFile bounds what is read.
const maxFile = 64 << 20

func openFile(path string) (*file, error) {
	d, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		d.Close()
		return nil, err
	}
	return &file{path: path, dir: d, f: f}, nil
}

// changed tells whether the file has changed since the last read.
func (f *file) changed() (bool, error) {
	var now, own unix.Stat_t
	if err := unix.Fstatat(int(f.dir.Fd()), filepath.Base(f.path), &now, 0); err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	if err := unix.Fstat(int(f.f.Fd()), &own); err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	if now.Dev != own.Dev || now.Ino != own.Ino {
		return false, fmt.Errorf("%s: %w", f.path, errStale)
	}
	return stampOf(&own) != f.id, nil
}

func (f *file) read() (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.f.Fd()), &st); err != nil {
		return "", fmt.Errorf("%s: %w", f.path, err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f.f, 0, maxFile))
	if err != nil {
		return "", err
	}
	f.id = stampOf(&st)
	return string(b), nil
}

// database is the pair of files, as last read. It is safe for concurrent use.
type database struct {
	passwd, shadow *file

	mu     sync.Mutex
	users  map[string]*userdb.User
	hashes map[string]*userdb.Shadow
	dummy  passwd.User // what a check of a user without password costs
}

// openDatabase opens and reads both files.
func openDatabase(passwdPath, shadowPath string) (*database, error) {
	d := &database{}
	var err error
	if d.passwd, err = openFile(passwdPath); err != nil {
		return nil, err
	}
	if d.shadow, err = openFile(shadowPath); err != nil {
		return nil, err
	}
	_, _, _, err = d.find("")
	return d, err
}

// find returns a user and his shadow entry, nil for what there is not.
func (d *database) find(name string) (*userdb.User, *userdb.Shadow, passwd.User, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range [...]*file{d.passwd, d.shadow} {
		changed, err := f.changed()
		if err != nil {
			return nil, nil, d.dummy, err
		}
		if !changed {
			continue
		}
		text, err := f.read()
		if err != nil {
			return nil, nil, d.dummy, err
		}
		if f == d.passwd {
			d.users = userdb.ParsePasswd(text)
		} else {
			d.hashes = userdb.ParseShadow(text)
			d.dummy = dummyOf(text, d.hashes)
		}
	}
	u := d.users[name]
	if u == nil {
		name = strings.ToLower(name)
		u = d.users[name]
	}
	return u, d.hashes[name], d.dummy, nil
}

// dummyOf is a user with the hash of the first one that has one, so that the
// check of a name that does not exist costs the same.
func dummyOf(text string, hashes map[string]*userdb.Shadow) passwd.User {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		if s := hashes[name]; s != nil && strings.HasPrefix(s.Hash, "$") {
			return passwd.User{Scheme: "CRYPT", Hash: s.Hash}
		}
	}
	return passwd.User{Scheme: "CRYPT", Hash: "$6$" + rand.Text()[:16] + "$" + strings.Repeat("x", 86)}
}

// verify judges a password. Whatever the verdict, one hash is computed.
func (d *database) verify(q *shadow.Query) *shadow.Reply {
	u, s, dummy, err := d.find(q.User)
	if errors.Is(err, errStale) {
		return &shadow.Reply{Status: shadow.Stale}
	} else if err != nil {
		return &shadow.Reply{Status: shadow.Trouble, Detail: err.Error()}
	}
	no := func(s shadow.Status) *shadow.Reply {
		dummy.Match(q.Password) // only its time matters
		return &shadow.Reply{Status: s}
	}
	switch {
	case u == nil || s == nil:
		return no(shadow.Unknown)
	case u.UID == 0:
		return no(shadow.Superuser)
	case s.Hash == "" || s.Hash[0] == '!' || s.Hash[0] == '*':
		return no(shadow.Locked)
	}
	ok, err := (&passwd.User{Name: u.Name, Scheme: "CRYPT", Hash: s.Hash}).Match(q.Password)
	if err != nil {
		return &shadow.Reply{Status: shadow.Trouble, Detail: fmt.Sprintf("%s, user %q: %v", d.shadow.path, u.Name, err)}
	}
	if !ok {
		return &shadow.Reply{Status: shadow.Mismatch}
	}
	switch s.Expiry(clock.Now().Unix() / int64(24*time.Hour/time.Second)) {
	case userdb.AccountExpired:
		return &shadow.Reply{Status: shadow.AccountExpired}
	case userdb.PasswordExpired:
		return &shadow.Reply{Status: shadow.PasswordExpired}
	}
	return &shadow.Reply{Status: shadow.OK, Name: u.Name, UID: u.UID, GID: u.GID, Home: u.Home}
}
