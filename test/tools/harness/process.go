package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Master is the process ID of the system's master.
func (s *System) Master() int {
	s.T.Helper()
	b, err := os.ReadFile(s.Path("spool/pid/master.pid"))
	if err != nil {
		s.T.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		s.T.Fatal(err)
	}
	return pid
}

// Processes returns the running processes of a program: the children of
// master with that name. It needs no rights.
func (s *System) Processes(program string) []int {
	s.T.Helper()
	return Children(s.Master(), program)
}

// Children returns the children of a process that run a program; "" means all.
func Children(parent int, program string) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var l []int
	for _, d := range dirs {
		b, err := os.ReadFile(d + "/stat")
		if err != nil {
			continue // it has just ended
		}
		// pid (comm) state ppid …; a name may hold parentheses.
		i, k := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
		if i < 0 || k < i {
			continue
		}
		f := strings.Fields(string(b[k+1:]))
		if len(f) < 2 || f[0] == "Z" || f[1] != fmt.Sprint(parent) || program != "" && string(b[i+1:k]) != program {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(d))
		l = append(l, pid)
	}
	return l
}

// Kill kills all processes of a program with SIGKILL and returns how many
// there were.
func (s *System) Kill(program string) int {
	s.T.Helper()
	l := s.Processes(program)
	for _, pid := range l {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			s.T.Fatalf("kill %s: %v", program, err)
		}
	}
	return len(l)
}

// Stop ends the system and waits until all its processes are gone.
func (s *System) Stop() {
	s.T.Helper()
	s.Run("posthaste", "-c", s.Etc(), "stop")
}

// Restart stops the system and starts it again.
func (s *System) Restart() {
	s.T.Helper()
	s.Stop()
	s.Run("posthaste", "-c", s.Etc(), "start")
}

// Later restarts the system with its clock put forward by a Go duration.
func (s *System) Later(offset string) {
	s.T.Helper()
	s.Env = append(s.Env, "POSTHASTE_CLOCK_OFFSET="+offset)
	s.Restart()
}

// Reload reads the configuration again and waits until master has.
func (s *System) Reload() {
	s.T.Helper()
	n := strings.Count(s.Log(), ": reload ")
	s.Run("posthaste", "-c", s.Etc(), "reload")
	s.Until("reload", func() bool { return strings.Count(s.Log(), ": reload ") > n })
}
