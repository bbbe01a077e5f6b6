package privs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary act as a confined program: its value is the
// program's name; the world it finds is in childWorld.
const (
	childEnv   = "PRIVS_TEST_ROLE"
	childWorld = "PRIVS_TEST_WORLD"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		captured(name, os.Getenv(childWorld))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// params stands in for the configuration in paths of the table.
func expand(world string) func(string) string {
	return strings.NewReplacer("$queue_directory", world+"/spool", "$config_directory", world+"/etc", "$virtual_mailbox_base", world+"/mail").Replace
}

// captured is a program in the hands of an attacker: confined as its row says,
// it tries everything that it should not be able to do and prints what worked.
func captured(name, world string) {
	r, ok := Find(name)
	if !ok {
		fmt.Println("BROKEN no such role")
		return
	}
	if os.Geteuid() == 0 && r.As != Superuser {
		ids, err := Users{Base: 62100}.IDs(r.As)
		if err == nil {
			err = ids.Become()
		}
		if err != nil {
			fmt.Println("BROKEN", err)
			return
		}
	}
	missing, err := r.Confine(expand(world))
	if err != nil {
		fmt.Println("BROKEN", err)
		return
	}
	for _, m := range missing {
		fmt.Println("MISSING", m)
	}
	// Landlock binds threads one by one: ask from many.
	try := func(what string, f func() error) {
		worked := false
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 40 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				if f() == nil {
					mu.Lock()
					worked = true
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		if worked {
			fmt.Println("WORKED", what)
		}
	}
	open := func(p string) func() error {
		return func() error {
			f, err := os.Open(filepath.Join(world, p))
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	try("read queue", open("spool/incoming/m"))
	try("read active", open("spool/active/m"))
	try("read mail", open("mail/alice/m"))
	try("read secret", open("secret"))
	try("read config", open("etc/main.cf"))
	try("write config", func() error { return os.WriteFile(filepath.Join(world, "etc/new"), nil, 0666) })
	try("write queue", func() error {
		f, err := os.OpenFile(filepath.Join(world, "spool/incoming/m"), os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err
	})
	try("exec", func() error {
		err := exec.Command("/bin/true").Run()
		return err
	})
	socket := func(domain, typ, proto int) func() error {
		return func() error {
			fd, err := unix.Socket(domain, typ, proto)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	try("tcp", socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try("udp", socket(unix.AF_INET6, unix.SOCK_DGRAM, 0))
	try("mptcp", socket(unix.AF_INET, unix.SOCK_STREAM, ipprotoMPTCP))
	try("packet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0))
	try("unix", socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	try("ptrace", func() error {
		_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()), 0, 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	})
	try("other's memory", func() error {
		f, err := os.Open(fmt.Sprintf("/proc/%d/mem", os.Getppid()))
		if err == nil {
			f.Close()
		}
		return err
	})
	try("chroot", func() error { return syscall.Chroot("/") })
	try("setuid", func() error {
		_, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0)
		if e != 0 || os.Geteuid() != 0 {
			return errors.New("no")
		}
		return nil
	})
	try("signal", func() error { return syscall.Kill(os.Getppid(), 0) })
}

// allowed lists what each role may do of the above; everything else is a hole.
// Superuser rows keep root's rights as dispatchers: they are tested through
// their workers.
var allowed = map[string]string{
	"smtpd":    "read config,unix",
	"cleanup":  "read config,unix,read queue,write queue",
	"qmgr":     "read config,unix,read queue,write queue,read active",
	"pickup":   "read config,unix",
	"showq":    "read config,unix,read queue,read active",
	"bounce":   "read config,unix",
	"verify":   "read config,unix",
	"error":    "unix",
	"discard":  "unix",
	"smtp":     "read config,unix,tcp,udp",
	"lmtp":     "read config,unix,tcp,udp",
	"auth":     "read config,unix",
	"shadow":   "unix",
	"anvil":    "unix",
	"login":    "read config,unix",
	"resolver": "unix,tcp,udp",
}

// TestRoles captures each program and sees what it can still do.
func TestRoles(t *testing.T) {
	root := os.Geteuid() == 0
	world, err := os.MkdirTemp("", "privs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(world)
	os.Chmod(world, 0755)
	for _, f := range []string{"spool/incoming/m", "spool/active/m", "mail/alice/m", "secret", "etc/main.cf"} {
		p := filepath.Join(world, f)
		if err := os.MkdirAll(filepath.Dir(p), 0777); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Dir(p), 0777)
		if err := os.WriteFile(p, []byte("x"), 0666); err != nil {
			t.Fatal(err)
		}
		os.Chmod(p, 0666) // only the sandbox is in the way
	}
	exe := world + "/test"
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, self, 0755); err != nil {
		t.Fatal(err)
	}
	for _, r := range Table {
		if r.As == Superuser || r.As == MailUser {
			continue // their reach is the user's, which the kernel bounds
		}
		t.Run(r.Program, func(t *testing.T) {
			want, ok := allowed[r.Program]
			if !ok {
				t.Fatalf("role %s has no expectations in this test", r.Program)
			}
			cmd := exec.Command(exe)
			cmd.Env = []string{childEnv + "=" + r.Program, childWorld + "=" + world}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			worked := map[string]bool{}
			for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				word, rest, _ := strings.Cut(l, " ")
				switch word {
				case "WORKED":
					worked[rest] = true
				case "MISSING":
					t.Skipf("SKIPPED: this kernel has no %s, the role cannot be tested", rest)
				case "":
				default:
					t.Fatalf("%s", out)
				}
			}
			if !root {
				// Landlock scopes signals only from ABI 6 on, and one user may
				// signal himself.
				delete(worked, "signal")
			}
			for _, w := range strings.Split(want, ",") {
				if !worked[w] {
					t.Errorf("cannot %s, which it needs", w)
				}
				delete(worked, w)
			}
			for w := range worked {
				t.Errorf("captured %s can: %s", r.Program, w)
			}
		})
	}
}
