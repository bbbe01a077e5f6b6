package privs

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// IDs is a user and group by number.
type IDs struct{ UID, GID int }

// Users finds the numbers of identities and of named users. Base, if not
// zero, is role_uid_base: identity n then is Base+n, and needs no entry in
// /etc/passwd. Owner is mail_owner, the name of the Queue identity.
type Users struct {
	Base  int
	Owner string
}

// IDs returns the numbers of an identity, or an error that says how to make
// the user.
func (u Users) IDs(id Identity) (IDs, error) {
	if id == Superuser {
		return IDs{}, nil
	}
	if u.Base != 0 {
		for i, x := range Identities {
			if x == id {
				return IDs{u.Base + i, u.Base + i}, nil
			}
		}
		return IDs{}, fmt.Errorf("identity %q is not in the table", id)
	}
	name := string(id)
	if id == Queue && u.Owner != "" {
		name = u.Owner
	}
	ids, err := LookupUser(name)
	if err != nil {
		return IDs{}, fmt.Errorf("%w (the package's installation makes it: see systemd-sysusers; or set role_uid_base)", err)
	}
	return ids, nil
}

// LookupUser finds a user by name or number in /etc/passwd.
func LookupUser(name string) (IDs, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return IDs{n, n}, nil
	}
	f, err := scanID("/etc/passwd", name)
	if err != nil {
		return IDs{}, fmt.Errorf("user %q: %w", name, err)
	}
	uid, err1 := strconv.Atoi(f[2])
	gid := -1
	var err2 error
	if len(f) > 3 {
		gid, err2 = strconv.Atoi(f[3])
	}
	if err1 != nil || err2 != nil || gid < 0 {
		return IDs{}, fmt.Errorf("user %q: malformed /etc/passwd entry", name)
	}
	return IDs{uid, gid}, nil
}

// LookupGroup finds a group by name or number in /etc/group.
func LookupGroup(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	f, err := scanID("/etc/group", name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return strconv.Atoi(f[2])
}

func scanID(file, name string) ([]string, error) {
	fh, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer fh.Close()
	sc := bufio.NewScanner(fh)
	for sc.Scan() {
		if l := sc.Text(); strings.HasPrefix(l, name+":") {
			if f := strings.Split(l, ":"); len(f) >= 3 {
				return f, nil
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("not in %s", file)
}

// Become changes the identity of the whole process, all threads, for good.
func (i IDs) Become() error {
	if err := syscall.Setgroups([]int{i.GID}); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(i.GID, i.GID, i.GID); err != nil {
		return fmt.Errorf("setresgid %d: %w", i.GID, err)
	}
	if err := syscall.Setresuid(i.UID, i.UID, i.UID); err != nil {
		return fmt.Errorf("setresuid %d: %w", i.UID, err)
	}
	return nil
}
