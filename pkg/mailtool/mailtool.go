// Package mailtool is `posthaste mailbox`: it lists, verifies, rebuilds, fills
// and hands over the mail stores of package maildir/store.
package mailtool

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir/store"
)

// Usage is the text for the command line.
const Usage = `usage: posthaste mailbox list MAIL
       posthaste mailbox verify MAIL [FOLDER ...]
       posthaste mailbox rebuild MAIL [FOLDER ...]
       posthaste mailbox import [-into FOLDER] MAIL MAILDIR-OR-MBOX
       posthaste mailbox export MAIL [FOLDER ...]
MAIL is the path of a Maildir, or a location as in mail_location
`

// ErrUsage asks for Usage to be shown.
var ErrUsage = errors.New("wrong arguments")

// ErrProblems says that verify found something; it has been written already.
var ErrProblems = errors.New("problems were found")

// Options are what the program knows.
type Options struct {
	// Find finds a user's mail by login name; nil if only paths are
	// understood. What has a slash is a path, or a location.
	Find  func(user string) (location.Location, error)
	Store store.Options
	Out   io.Writer
}

// Run does what args, the words after "posthaste mailbox", say. A caller with
// root's rights becomes the owner of the Maildir first, and stays so.
func Run(args []string, o Options) error {
	if len(args) < 2 {
		return ErrUsage
	}
	verb := args[0]
	fs := flag.NewFlagSet("posthaste mailbox "+verb, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	into := fs.String("into", mailbox.Inbox, "")
	if fs.Parse(args[1:]) != nil || fs.NArg() == 0 {
		return ErrUsage
	}
	run, ok := map[string]func(*tool, []string) error{
		"list": (*tool).list, "verify": (*tool).verify, "rebuild": (*tool).rebuild, "import": (*tool).load, "export": (*tool).export,
	}[verb]
	if !ok || verb == "list" && fs.NArg() != 1 || verb == "import" && fs.NArg() != 2 || verb != "import" && *into != mailbox.Inbox {
		return ErrUsage
	}
	at, err := o.find(fs.Arg(0))
	if err != nil {
		return err
	}
	home := at.Root // whose owner the mail belongs to
	switch _, err := os.Stat(at.Root + "/cur"); {
	case at.Mbox && owner(at.Root) == 0 && owner(at.Inbox) > 0:
		home = at.Inbox // else not: its group is often that of all mail
	case at.Mbox && verb != "import" && !exists(at.Root) && !exists(at.Inbox):
		return fmt.Errorf("%s: there is no mail", at)
	case !at.Mbox && verb != "import" && err != nil:
		return fmt.Errorf("%s: not a Maildir: %w", at.Root, err)
	}
	if err := become(home); err != nil {
		return err
	}
	m, err := store.NewManager(o.Store)
	if err != nil {
		return err
	}
	defer m.Close()
	admin, err := m.Admin(at)
	if err != nil {
		return err
	}
	return run(&tool{m: m, at: at, admin: admin, out: o.Out, into: *into}, fs.Args()[1:])
}

// owner is the user ID of a file, or of the nearest directory above that exists.
func owner(path string) int {
	for {
		if st, err := os.Stat(path); err == nil {
			return int(st.Sys().(*syscall.Stat_t).Uid)
		}
		if path == filepath.Dir(path) {
			return 0
		}
		path = filepath.Dir(path)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (o *Options) find(arg string) (location.Location, error) {
	if o.Find != nil && !strings.Contains(arg, "/") {
		return o.Find(arg)
	}
	if strings.HasPrefix(arg, "mbox:") || strings.HasPrefix(arg, "maildir:") {
		return location.Parse(arg, "", "")
	}
	path, err := filepath.Abs(arg)
	return location.Location{Root: path}, err
}

// become gives up root's rights for good: the owner can put anything, such as
// links to others' files, into the directories that are worked on.
func become(root string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir := root
	for {
		st, err := os.Stat(dir)
		if err == nil {
			s := st.Sys().(*syscall.Stat_t)
			if s.Uid == 0 {
				return nil
			}
			if err := syscall.Setgroups([]int{int(s.Gid)}); err != nil {
				return fmt.Errorf("become the owner of %s: %w", dir, err)
			}
			if err := syscall.Setresgid(int(s.Gid), int(s.Gid), int(s.Gid)); err != nil {
				return fmt.Errorf("become the owner of %s: %w", dir, err)
			}
			if err := syscall.Setresuid(int(s.Uid), int(s.Uid), int(s.Uid)); err != nil {
				return fmt.Errorf("become the owner of %s: %w", dir, err)
			}
			return nil
		}
		if dir == filepath.Dir(dir) {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

type tool struct {
	m     *store.Manager
	at    location.Location
	admin store.Admin
	out   io.Writer
	into  string
}

// folders returns those that are named, or all.
func (t *tool) folders(args []string) ([]string, error) {
	if len(args) == 0 {
		return t.admin.Folders()
	}
	for i, a := range args {
		n, err := mailbox.CheckName(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		args[i] = n
	}
	return args, nil
}

func (t *tool) list([]string) error {
	s, err := t.m.OpenAt(t.at, store.UserOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.List()
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%8s %8s %10s %10s %10s  %s\n", "messages", "unseen", "uidnext", "validity", "bytes", "folder")
	for _, f := range all {
		if !f.Selectable {
			continue
		}
		st, err := s.Status(f.Name, true)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		name := f.Name
		if f.Use != "" {
			name += " (" + string(f.Use) + ")"
		}
		fmt.Fprintf(t.out, "%8d %8d %10d %10d %10d  %s\n", st.Messages, st.Unseen, st.UIDNext, st.UIDValidity, st.Size, name)
	}
	q, err := s.Quota()
	if err == nil && (q.BytesLimit > 0 || q.MessagesLimit > 0) {
		of := func(limit int64) string {
			if limit == 0 {
				return ""
			}
			return fmt.Sprintf(" of %d", limit)
		}
		fmt.Fprintf(t.out, "quota: %d%s bytes, %d%s messages\n", q.Bytes, of(q.BytesLimit), q.Messages, of(q.MessagesLimit))
	}
	return err
}

func (t *tool) verify(args []string) error {
	names, err := t.folders(args)
	if err != nil {
		return err
	}
	found := 0
	for _, n := range names {
		list, err := t.admin.Verify(n)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		for _, p := range list {
			fmt.Fprintf(t.out, "%s: %s\n", n, p)
		}
		found += len(list)
	}
	if found > 0 {
		return ErrProblems
	}
	return nil
}

func (t *tool) rebuild(args []string) error {
	names, err := t.folders(args)
	if err != nil {
		return err
	}
	for _, n := range names {
		kept, err := t.admin.Rebuild(n)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if kept {
			fmt.Fprintf(t.out, "%s: rebuilt with its UIDs\n", n)
		} else {
			fmt.Fprintf(t.out, "%s: built anew\n", n)
		}
	}
	return nil
}

func (t *tool) export(args []string) error {
	names, err := t.folders(args)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := t.admin.Export(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

func (t *tool) load(args []string) error {
	src, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	st, err := os.Stat(src)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		n, err := t.loadMbox(src)
		fmt.Fprintf(t.out, "%s: %d messages\n", t.into, n)
		return err
	}
	list, err := t.admin.ImportMaildir(src, t.into)
	for _, im := range list {
		kept := ""
		if im.UIDs {
			kept = ", with their UIDs"
		}
		fmt.Fprintf(t.out, "%s: %d messages%s\n", im.Name, im.Messages, kept)
	}
	return err
}
