package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/params"
	"posthaste/pkg/sasl/passwd"
)

const userUsage = `usage: posthaste [-c config_directory] user list
       posthaste [-c config_directory] user add NAME[@DOMAIN]      (the password is read from standard input)
       posthaste [-c config_directory] user passwd NAME[@DOMAIN]
       posthaste [-c config_directory] user del NAME[@DOMAIN]      (the mail stays)
`

// user manages the password file, and the mailbox table beside it where that
// is an indexed table with a source file.
func (c *control) user(args []string) {
	if len(args) == 0 || args[0] == "list" != (len(args) == 1) || len(args) > 2 {
		fmt.Fprint(os.Stderr, userUsage)
		os.Exit(1)
	}
	f, err := openUsers(params.AuthPasswdFile.In(c.cfg))
	if err != nil {
		tool.Fatalf("auth_passwd_file: %v", err)
	}
	defer f.lock.Close()
	if args[0] == "list" {
		for _, u := range f.users {
			fmt.Printf("%s\t%s\t%s\t%s\n", u.Name, u.UID, u.Home, u.Scheme)
		}
		return
	}
	name := args[1]
	if strings.ContainsAny(name, ": \t\r\n/") || name == "" || name[0] == '#' || name[0] == '.' {
		tool.Fatalf("user name %q: blanks, slashes, colons and a leading # or dot are not possible", name)
	}
	switch args[0] {
	case "add":
		err = c.addUser(f, name)
	case "passwd":
		err = f.change(name, func(fields []string) []string {
			fields[1] = readHash()
			return fields
		})
	case "del":
		if err = f.change(name, nil); err == nil {
			err = c.mailboxTable(name, "")
		}
	default:
		fmt.Fprint(os.Stderr, userUsage)
		os.Exit(1)
	}
	if err != nil {
		tool.Fatalf("%v", err)
	}
}

// addUser appends a user whose identity and home follow those of the users who
// are there, or virtual_uid_maps and virtual_mailbox_base.
func (c *control) addUser(f *usersFile, name string) error {
	for _, u := range f.users {
		if u.Name == name {
			return fmt.Errorf("user %q exists already: %s, line %d", name, f.path, u.Line)
		}
	}
	uid, ok1 := strings.CutPrefix(params.VirtualUidMaps.In(c.cfg), "static:")
	gid, ok2 := strings.CutPrefix(params.VirtualGidMaps.In(c.cfg), "static:")
	base := params.VirtualMailboxBase.In(c.cfg)
	if !ok1 || !ok2 || base == "" {
		return errors.New("virtual_uid_maps and virtual_gid_maps are not static:NUMBER, or virtual_mailbox_base is not set: add the user's line by hand")
	}
	local, _, _ := strings.Cut(name, "@")
	home := filepath.Join(base, local)
	line := strings.Join([]string{name, readHash(), uid, gid, "", home, "", ""}, ":")
	if err := f.replace(append(f.lines, []byte(line))); err != nil {
		return err
	}
	return c.mailboxTable(name, local+"/Maildir/")
}

// mailboxTable sets or, with an empty value, removes the mailbox of a user in
// virtual_mailbox_maps, if that is one indexed table with a source.
func (c *control) mailboxTable(name, value string) error {
	spec := params.VirtualMailboxMaps.In(c.cfg)
	typ, file, _ := strings.Cut(spec, ":")
	if (typ != "hash" && typ != "cdb" && typ != "btree") || strings.ContainsAny(file, ", \t") {
		if spec != "" {
			tool.Warningf("virtual_mailbox_maps = %s: change it by hand", spec)
		}
		return nil
	}
	if !strings.Contains(name, "@") {
		d := params.VirtualMailboxDomains.List(c.cfg)
		if len(d) != 1 {
			tool.Warningf("virtual_mailbox_domains is not one domain: change %s by hand", file)
			return nil
		}
		name += "@" + d[0]
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var out [][]byte
	for _, l := range bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n")) {
		if f := bytes.Fields(l); len(f) == 0 || string(f[0]) != name {
			out = append(out, l)
		}
	}
	if value != "" {
		out = append(out, []byte(name+" "+value))
	}
	if err := replaceFile(file, out); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(params.CommandDirectory.In(c.cfg), "postmap"), "-c", c.cfg.Dir(), spec)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("postmap %s: %w\n%s", spec, err, msg)
	}
	return nil
}

// readHash reads a password from standard input, without echo on a terminal,
// and hashes it.
func readHash() string {
	if old, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		fmt.Fprint(os.Stderr, "Password: ")
		quiet := *old
		quiet.Lflag &^= unix.ECHO
		unix.IoctlSetTermios(0, unix.TCSETS, &quiet)
		defer func() {
			unix.IoctlSetTermios(0, unix.TCSETS, old)
			fmt.Fprintln(os.Stderr)
		}()
	}
	pw, err := bufio.NewReader(os.Stdin).ReadString('\n')
	pw = strings.TrimRight(pw, "\r\n")
	if pw == "" {
		if err == nil {
			tool.Fatalf("the password is empty")
		}
		tool.Fatalf("no password on standard input (%v)", err)
	}
	h, err := passwd.HashScram(pw)
	if err != nil {
		tool.Fatalf("password: %v", err)
	}
	return h
}

// usersFile is a password file under a lock.
type usersFile struct {
	path  string
	lock  *os.File
	lines [][]byte
	users []*passwd.User
}

func openUsers(path string) (*usersFile, error) {
	lock, err := os.Open(filepath.Dir(path)) // the file itself is replaced
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, users, problems, err := passwd.Parse(path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		fmt.Fprintf(os.Stderr, "posthaste: warning: %v\n", p)
	}
	f := &usersFile{path: path, lock: lock, users: users}
	if len(b) > 0 {
		f.lines = bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	}
	return f, nil
}

// change replaces the fields of a user's line, or removes it if edit is nil.
func (f *usersFile) change(name string, edit func([]string) []string) error {
	var out [][]byte
	found := false
	for _, l := range f.lines {
		fields := strings.Split(string(l), ":")
		if len(fields) < 2 || fields[0] != name {
			out = append(out, l)
			continue
		}
		found = true
		if edit != nil {
			out = append(out, []byte(strings.Join(edit(fields), ":")))
		}
	}
	if !found {
		return fmt.Errorf("%s has no user %q", f.path, name)
	}
	return f.replace(out)
}

func (f *usersFile) replace(lines [][]byte) error { return replaceFile(f.path, lines) }

// replaceFile writes a file anew, atomically and durably, with the owner and
// mode that it has.
func replaceFile(path string, lines [][]byte) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	p, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(st.Mode().Perm()), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if sys := st.Sys().(*syscall.Stat_t); os.Geteuid() == 0 {
		if err := p.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if _, err := p.Write(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
		return err
	}
	if err := p.CloseAtomicallyReplace(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// location finds a user's mail for the mailbox command: as auth(8) and the session
// programs do, and without a line in the password file by the system's.
func (c *control) location(name string) (location.Location, error) {
	find := location.New(c.cfg)
	path := params.AuthPasswdFile.In(c.cfg)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return location.Location{}, err
	}
	users, _, _, err := passwd.Parse(path, bytes.NewReader(b))
	if err != nil {
		return location.Location{}, err
	}
	u := users[name]
	if local, _, ok := strings.Cut(name, "@"); u == nil && ok {
		u = users[local]
	}
	if u == nil {
		sys, err := find.Users.Lookup(name)
		if err == nil && sys == nil {
			err = fmt.Errorf("no user %q", name)
		}
		if err != nil {
			return location.Location{}, err
		}
		return find.Find(name, sys.Home, "", sys.UID)
	}
	mail := ""
	for _, e := range u.Extra {
		if v, ok := strings.CutPrefix(e, "userdb_mail="); ok {
			mail = v
		}
	}
	uid := uint64(math.MaxUint32) // nobody's
	if sys, err := find.Users.Lookup(u.UID); err == nil && sys != nil {
		uid = uint64(sys.UID)
	} else if n, err := strconv.ParseUint(u.UID, 10, 32); err == nil {
		uid = n
	}
	return find.Find(u.Name, u.Home, mail, uint32(uid))
}
