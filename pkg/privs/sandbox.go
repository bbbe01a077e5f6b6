package privs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Confine closes the sandbox around the calling process: no core dumps, not
// dumpable, no new privileges, Landlock with the row's paths (expand resolves
// $name in them), seccomp with what no daemon needs and, by row, neither
// Internet sockets nor program execution. It must come after the change of
// identity. What the kernel does not have is reported in missing, not as an
// error.
func (r Role) Confine(expand func(string) string) (missing []string, err error) {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return nil, fmt.Errorf("core limit: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("dumpable: %w", err)
	}
	if r.As == Superuser && os.Geteuid() == 0 {
		// A dispatcher that forks workers of other users keeps its rights; the
		// workers confine themselves.
		return nil, nil
	}
	if err := noNewPrivs(); err != nil {
		return nil, err
	}
	if !contains(r.Read, "/") {
		if err := r.landlock(expand); err != nil {
			if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EOPNOTSUPP) {
				return nil, fmt.Errorf("landlock: %w", err)
			}
			missing = append(missing, "landlock")
		}
	}
	if err := r.seccomp(); err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("seccomp: %w", err)
		}
		missing = append(missing, "seccomp")
	}
	return missing, nil
}

func contains(l []string, s string) bool {
	for _, x := range l {
		if x == s {
			return true
		}
	}
	return false
}

// noNewPrivs sets the flag on every thread: prctl binds the calling one only.
func noNewPrivs() error {
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e == syscall.ENOTSUP {
		return errors.New("this program was built with cgo, with which Go cannot change all threads: build it with make, or with CGO_ENABLED=0")
	} else if e != 0 {
		return fmt.Errorf("no_new_privs: %w", e)
	}
	return nil
}

const (
	landRead = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// landAll is every right of ABI 1; later ABIs add to it.
	landAll = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | landRead |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landWrite = landRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// landlock restricts every thread to the row's paths. The rights handled
// follow the kernel's ABI version.
func (r Role) landlock(expand func(string) string) error {
	abi, _, e := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e == syscall.ENOSYS || e == syscall.EOPNOTSUPP {
		return errors.ErrUnsupported
	} else if e != 0 {
		return e
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landAll}
	size := uintptr(8) // of the structure as this ABI version knows it
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 && !r.Network {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size = 16
	}
	if abi >= 7 {
		// Scoping of signals came with ABI 6, but before 7 it also hits the
		// signals by which the Go runtime preempts its own threads.
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = 24
	}
	fd, _, e := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return e
	}
	defer syscall.Close(int(fd))
	add := func(paths []string, rights uint64) error {
		for _, p := range paths {
			if p = expand(p); p == "" || !filepath.IsAbs(p) {
				continue
			}
			if err := addPath(int(fd), p, rights&attr.Handled_access_fs); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		return nil
	}
	if err := add(r.Read, landRead); err != nil {
		return err
	}
	if err := add(r.Write, landWrite); err != nil {
		return err
	}
	if r.Exec {
		if err := add([]string{"/bin", "/usr", "/lib", "/lib64", "/proc/self/exe"}, landRead|unix.LANDLOCK_ACCESS_FS_EXECUTE); err != nil {
			return err
		}
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return e
	}
	return nil
}

func addPath(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil // nothing there to be let in to
	} else if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= landFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, e := syscall.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); e != 0 {
		return e
	}
	runtime.KeepAlive(&attr)
	return nil
}

// Socket protocol of Multipath TCP: Landlock's TCP rules do not see it.
const ipprotoMPTCP = 262

// neverNeeded are system calls that no daemon of ours makes: what a captured
// process would reach for. A list of what is denied survives upgrades of the Go
// runtime, which one of what is allowed does not.
var neverNeeded = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
	unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERSONALITY, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_MKNODAT, unix.SYS_SYSLOG,
}

// seccomp installs the filter on all threads (TSYNC).
func (r Role) seccomp() error {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return errors.ErrUnsupported
	}
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	const (
		ld   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
		offA = 16 // seccomp_data.args[0], low word
	)
	deny := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	allow := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}
	f := []unix.SockFilter{
		{Code: ld, K: 4}, // arch
		{Code: jeq, K: arch, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: ld, K: 0}, // number
	}
	if runtime.GOARCH == "amd64" {
		// The x32 numbers would bypass the list.
		f = append(f, unix.SockFilter{Code: jge, K: 0x40000000, Jf: 1}, deny)
	}
	denied := append([]uint32(nil), neverNeeded...)
	if !r.Exec {
		denied = append(denied, unix.SYS_EXECVE, unix.SYS_EXECVEAT)
	}
	for _, n := range denied {
		f = append(f, unix.SockFilter{Code: jeq, K: n, Jf: 1}, deny)
	}
	// socket(2): by domain, and never Multipath TCP.
	sock := []unix.SockFilter{{Code: ld, K: offA}}
	if r.Network {
		sock = append(sock, unix.SockFilter{Code: jeq, K: unix.AF_PACKET, Jf: 1}, deny,
			unix.SockFilter{Code: ld, K: offA + 16},
			unix.SockFilter{Code: jeq, K: ipprotoMPTCP, Jf: 1}, deny, allow)
	} else {
		sock = append(sock, unix.SockFilter{Code: jeq, K: unix.AF_UNIX, Jt: 1}, deny, allow)
	}
	f = append(f, unix.SockFilter{Code: jeq, K: unix.SYS_SOCKET, Jf: uint8(len(sock))})
	f = append(f, sock...)
	f = append(f, allow)
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(f)
	if e == syscall.ENOSYS || e == syscall.EINVAL {
		return errors.ErrUnsupported
	} else if e != 0 {
		return e
	}
	return nil
}

// Describe renders the row for the manual.
func (r Role) Describe() string {
	list := func(l []string) string {
		if len(l) == 0 {
			return "-"
		}
		return strings.Join(l, " ")
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\tnetwork=%t exec=%t", r.Program, r.As, list(r.Read), list(r.Write), list(r.Dial), list(r.Callers), r.Network, r.Exec)
}
