// Package instance makes and checks the directories of a mail system: the
// queue with its owners and modes, and whole private instances for trials and
// tests.
package instance

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
	"posthaste/pkg/privs"
)

// dir is one directory below queue_directory.
type dir struct {
	name  string
	mode  os.FileMode
	owned bool // by the Queue identity; else by the user that runs master
	group bool // of setgid_group
}

var layout = []dir{
	{"pid", 0755, false, false},
	{"incoming", 0700, true, false}, {"active", 0700, true, false}, {"deferred", 0700, true, false},
	{"hold", 0700, true, false}, {"corrupt", 0700, true, false}, {"journal", 0700, true, false},
	{"maildrop", 0730 | os.ModeSticky, true, true},
	{"public", 0711, false, false},
	{"private", 0711, false, false},
}

// Prepare creates what is missing of the queue directory and corrects owners
// and modes. It is safe beside a running system.
func Prepare(cfg *config.Config) error {
	queue := params.QueueDirectory.In(cfg)
	if err := os.MkdirAll(queue, 0755); err != nil {
		return fmt.Errorf("queue_directory: %w", err)
	}
	if err := os.MkdirAll(params.DataDirectory.In(cfg), 0755); err != nil {
		return fmt.Errorf("data_directory: %w", err)
	}
	ids := privs.IDs{UID: os.Geteuid(), GID: os.Getegid()}
	setgid := ids.GID
	root := os.Geteuid() == 0
	if root {
		users := privs.Users{Base: params.RoleUidBase.In(cfg), Owner: params.MailOwner.In(cfg)}
		var err error
		if ids, err = users.IDs(privs.Queue); err != nil {
			return fmt.Errorf("mail_owner: %w", err)
		}
		if setgid, err = privs.LookupGroup(params.SetgidGroup.In(cfg)); err != nil {
			if params.RoleUidBase.In(cfg) == 0 {
				return fmt.Errorf("setgid_group: %w", err)
			}
			setgid = ids.GID
		}
	}
	for _, d := range layout {
		path := filepath.Join(queue, d.name)
		if err := os.Mkdir(path, 0700); err != nil && !os.IsExist(err) {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s: not a directory", path)
		}
		uid, gid := os.Geteuid(), os.Getegid()
		if d.owned {
			uid, gid = ids.UID, ids.GID
		}
		if d.group {
			gid = setgid
		}
		if sys := st.Sys().(*syscall.Stat_t); int(sys.Uid) != uid || int(sys.Gid) != gid {
			if err := os.Chown(path, uid, gid); err != nil {
				return err
			}
		}
		if st.Mode()&(os.ModePerm|os.ModeSticky) != d.mode {
			if err := os.Chmod(path, d.mode); err != nil {
				return err
			}
		}
	}
	return nil
}
