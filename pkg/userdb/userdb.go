// Package userdb looks up users and groups in the files passwd(5) and
// group(5). The parsed files are kept until their time of change, size or inode
// differs, so that a look-up costs one stat; os/user would parse the whole file
// each time. Only files are consulted, no name service.
package userdb

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// User is one line of passwd(5).
type User struct {
	Name     string
	UID, GID uint32
	Gecos    string
	Home     string
	Shell    string
}

// FullName is the name in Gecos, up to the first comma, with & replaced by the
// capitalised login name as finger does.
func (u *User) FullName() string {
	n, _, _ := strings.Cut(u.Gecos, ",")
	if !strings.Contains(n, "&") || u.Name == "" {
		return n
	}
	return strings.ReplaceAll(n, "&", strings.ToUpper(u.Name[:1])+u.Name[1:])
}

// DB is a pair of files. It is safe for concurrent use.
type DB struct {
	passwd, group file
	mu            sync.RWMutex
	users         map[string]*User
	byUID         map[uint32]*User
	groups        map[string]uint32
	members       map[string][]uint32 // supplementary groups by user name
}

type file struct {
	path  string
	stamp stamp
}

type stamp struct {
	mtim  syscall.Timespec
	ino   uint64
	size  int64
	valid bool
}

// New returns a DB of the two files; "" means /etc/passwd and /etc/group.
// Nothing is read before the first look-up.
func New(passwd, group string) *DB {
	if passwd == "" {
		passwd = "/etc/passwd"
	}
	if group == "" {
		group = "/etc/group"
	}
	return &DB{passwd: file{path: passwd}, group: file{path: group}}
}

// Lookup returns the user of that name, or nil if there is none. The error is
// trouble with the file, and temporary. The result must not be changed.
func (d *DB) Lookup(name string) (*User, error) {
	if err := d.refresh(); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[name], nil
}

// LookupUID returns the first user with that number, or nil.
func (d *DB) LookupUID(uid uint32) (*User, error) {
	if err := d.refresh(); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byUID[uid], nil
}

// LookupGroup returns a group's number; ok is false if there is none.
func (d *DB) LookupGroup(name string) (gid uint32, ok bool, err error) {
	if err := d.refresh(); err != nil {
		return 0, false, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	gid, ok = d.groups[name]
	return gid, ok, nil
}

// Groups returns what initgroups(3) would set for u: its own group first, then
// those that list it as a member.
func (d *DB) Groups(u *User) ([]uint32, error) {
	if err := d.refresh(); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := []uint32{u.GID}
	for _, g := range d.members[u.Name] {
		if g != u.GID {
			out = append(out, g)
		}
	}
	return out, nil
}

// Generation changes whenever either file does; kept worker processes compare
// it to notice that their groups are old.
func (d *DB) Generation() (string, error) {
	if err := d.refresh(); err != nil {
		return "", err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, g := d.passwd.stamp, d.group.stamp
	return fmt.Sprint(p.ino, p.size, p.mtim.Nano(), g.ino, g.size, g.mtim.Nano()), nil
}

func (f *file) current() (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(f.path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	return stamp{st.Mtim, st.Ino, st.Size, true}, nil
}

// refresh reads again what changed. A missing group file counts as empty.
func (d *DB) refresh() error {
	ps, err := d.passwd.current()
	if err != nil {
		return err
	}
	gs, err := d.group.current()
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	d.mu.RLock()
	same := d.users != nil && ps == d.passwd.stamp && gs == d.group.stamp
	d.mu.RUnlock()
	if same {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil || ps != d.passwd.stamp {
		b, err := os.ReadFile(d.passwd.path)
		if err != nil {
			return err
		}
		d.users, d.byUID = parsePasswd(string(b))
		d.passwd.stamp = ps
	}
	if d.groups == nil || gs != d.group.stamp {
		var b []byte
		if gs.valid {
			if b, err = os.ReadFile(d.group.path); err != nil {
				return err
			}
		}
		d.groups, d.members = parseGroup(string(b))
		d.group.stamp = gs
	}
	return nil
}

// parsePasswd reads passwd(5); malformed lines, NIS lines and comments are
// skipped, and the first line of a name or number wins, as in the C library.
func parsePasswd(s string) (map[string]*User, map[uint32]*User) {
	users, byUID := map[string]*User{}, map[uint32]*User{}
	for line := range strings.Lines(s) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) != 7 || f[0] == "" || strings.ContainsAny(f[0][:1], "#+-") {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil || uid == 1<<32-1 || gid == 1<<32-1 {
			continue
		}
		u := &User{Name: f[0], UID: uint32(uid), GID: uint32(gid), Gecos: f[4], Home: f[5], Shell: f[6]}
		if users[u.Name] == nil {
			users[u.Name] = u
		}
		if byUID[u.UID] == nil {
			byUID[u.UID] = u
		}
	}
	return users, byUID
}

func parseGroup(s string) (map[string]uint32, map[string][]uint32) {
	groups, members := map[string]uint32{}, map[string][]uint32{}
	for line := range strings.Lines(s) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) != 4 || f[0] == "" || strings.ContainsAny(f[0][:1], "#+-") {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || gid == 1<<32-1 {
			continue
		}
		if _, ok := groups[f[0]]; !ok {
			groups[f[0]] = uint32(gid)
		}
		for _, m := range strings.Split(f[3], ",") {
			if m != "" {
				members[m] = append(members[m], uint32(gid))
			}
		}
	}
	return groups, members
}
