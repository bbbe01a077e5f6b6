// Package system tests what only root can set up: identities, confinement,
// chroot, and delivery to the users of a system. It works in a mount namespace
// of its own with a copy of /etc, in which it makes users; the machine's own
// files are not touched.
package system

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// Variables of the processes that the tests make of their own binary.
const (
	inside = "POSTHASTE_SYSTEM_INSIDE" // the folder of this run, in the namespace
	probe  = "POSTHASTE_SYSTEM_PROBE"  // what to try, as another user
)

// The users that exist in the namespace.
const (
	annUID, annGID = 62301, 62311
	benUID, benGID = 62302, 62312
	stranger       = 62399 // has no entry in /etc/passwd
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(probe) != "":
		os.Exit(tryThings(strings.Fields(os.Getenv(probe))))
	case os.Getenv(inside) != "":
		if err := furnish(os.Getenv(inside)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(harness.Main(m))
	case os.Geteuid() == 0:
		os.Exit(enter())
	}
	os.Exit(m.Run()) // all is skipped
}

// enter runs the tests in a new mount namespace.
func enter() int {
	dir, err := os.MkdirTemp("", "posthaste-system")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintf(os.Stderr, "SKIPPED: all of test/system: no mount namespace: %v\n", err)
		return 0
	}
	return cmd.ProcessState.ExitCode()
}

// furnish gives the namespace an /etc with two users and the group of the
// set-gid commands.
func furnish(dir string) error {
	if err := os.Chmod(dir, 0755); err != nil {
		return err
	}
	etc := filepath.Join(dir, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w\n%s", err, out)
	}
	for _, u := range []struct {
		name     string
		uid, gid int
	}{{"phann", annUID, annGID}, {"phben", benUID, benGID}} {
		home := filepath.Join(dir, "home", u.name)
		if err := os.MkdirAll(home, 0755); err != nil {
			return err
		}
		if err := os.Chown(home, u.uid, u.gid); err != nil {
			return err
		}
		if err := appendTo(filepath.Join(etc, "passwd"), fmt.Sprintf("%s:x:%d:%d:Test User:%s:/bin/sh\n", u.name, u.uid, u.gid, home)); err != nil {
			return err
		}
		if err := appendTo(filepath.Join(etc, "group"), fmt.Sprintf("%s:x:%d:\n", u.name, u.gid)); err != nil {
			return err
		}
	}
	if b, err := os.ReadFile(filepath.Join(etc, "group")); err != nil {
		return err
	} else if !bytes.Contains(b, []byte("\npostdrop:")) {
		if err := appendTo(filepath.Join(etc, "group"), "postdrop:x:62320:\n"); err != nil {
			return err
		}
	}
	// The tests' own binary, where any user can start it.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "probe"), self, 0755); err != nil {
		return err
	}
	return syscall.Mount(etc, "/etc", "", syscall.MS_BIND, "")
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// needRoot skips a test loudly.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("SKIPPED: needs root")
	}
}

// home is the home directory of a user.
func home(user string) string { return filepath.Join(os.Getenv(inside), "home", user) }

// as runs the probe as another user and returns its answers by what was tried.
func as(t *testing.T, uid int, dir string, things ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(filepath.Join(os.Getenv(inside), "probe"))
	cmd.Env = []string{probe + "=" + strings.Join(things, " ")}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("probe as %d: %v\n%s", uid, err, out)
	}
	m := map[string]string{}
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		k, v, _ := strings.Cut(l, " ")
		m[k] = v
	}
	return m
}

// tryThings is the probe: each thing is dial:SOCKET, read:FILE or list:DIRECTORY.
// All at once, since an admitted dial ends only after a while.
func tryThings(things []string) int {
	answers := make(chan string)
	for _, thing := range things {
		go func() {
			kind, path, _ := strings.Cut(thing, ":")
			var err error
			switch kind {
			case "dial":
				err = dial(path)
			case "read":
				_, err = os.ReadFile(path)
			case "list":
				_, err = os.ReadDir(path)
			}
			if err != nil {
				answers <- thing + " refused: " + err.Error()
			} else {
				answers <- thing + " ok"
			}
		}()
	}
	for range things {
		fmt.Println(<-answers)
	}
	return 0
}

// dial connects and finds out whether the other side keeps the connection: who
// is not admitted is hung up on at once.
func dial(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err = c.Read(make([]byte, 1)); err == nil {
		return nil
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return nil
	} else if err == io.EOF {
		return fmt.Errorf("hung up")
	}
	return err
}

// owner returns the owner of a file and its permissions.
func owner(t *testing.T, path string) (uid, gid uint32, mode os.FileMode) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid, fi.Mode() & (os.ModePerm | os.ModeSticky)
}
