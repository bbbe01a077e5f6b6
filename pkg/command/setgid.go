package command

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"posthaste/pkg/config"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
)

// Raised tells whether the process has rights that its caller lacks (set-gid
// postqueue and postdrop).
func Raised() bool {
	return os.Getuid() != 0 && (os.Getgid() != os.Getegid() || os.Getuid() != os.Geteuid())
}

// UserConfig is Config for set-gid programs: with raised rights, a directory
// other than the default must be listed in alternate_config_directories or
// multi_instance_directories of the default main.cf.
func (t *Tool) UserConfig(dir string) *config.Config {
	if dir == "" {
		dir = os.Getenv("MAIL_CONFIG")
	}
	if dir != "" && filepath.Clean(dir) != config.DefaultDir && Raised() {
		def := t.Config(config.DefaultDir)
		if !slices.Contains(append(params.AlternateConfigDirectories.List(def), params.MultiInstanceDirectories.List(def)...), dir) {
			t.Fatalf("%s/main.cf: alternate_config_directories does not list %s", config.DefaultDir, dir)
		}
	}
	return t.Config(dir)
}

// Authorized checks a list of user names (authorized_submit_users and the like)
// for the caller. The superuser is always allowed.
func Authorized(cfg *config.Config, p *config.String) error {
	uid := os.Getuid()
	if uid == 0 {
		return nil
	}
	list, err := lookup.OpenStringList(p.Name, p.In(cfg), &lookup.Env{Config: cfg})
	if err != nil {
		return err
	}
	defer list.Close()
	name := "unknown"
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	ok, err := list.Match(name)
	if err == nil && !ok {
		err = fmt.Errorf("user %s(%d) is not in %s", name, uid, p.Name)
	}
	return err
}
