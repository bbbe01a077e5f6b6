package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/masterlink"
	"posthaste/pkg/params"
)

// child is one running process of a service.
type child struct {
	svc      *service
	pid      int
	program  string
	ctl      *masterlink.Control
	started  time.Time
	ready    bool
	leaving  bool // was told to drain, or said that it leaves
	solitary bool

	// Of session processes.
	key      sessionKey
	handover chan handover
	detach   chan struct{}
}

// environment is what children inherit, by import_environment.
func environment(cfg *config.Config) []string {
	env := []string{"MAIL_CONFIG=" + cfg.Dir()}
	for _, n := range params.ImportEnvironment.List(cfg) {
		name, value, set := strings.Cut(n, "=")
		if !set {
			if value, set = os.LookupEnv(name); !set {
				continue
			}
		}
		if name != "MAIL_CONFIG" && name != masterlink.EnvVar {
			env = append(env, name+"="+value)
		}
	}
	for _, name := range []string{"POSTHASTE_CLOCK_OFFSET", "GODEBUG"} {
		if v := os.Getenv(name); v != "" && os.Geteuid() != 0 {
			env = append(env, name+"="+v)
		}
	}
	if v := os.Getenv("POSTHASTE_CLOCK_OFFSET"); v != "" && os.Geteuid() == 0 {
		env = append(env, "POSTHASTE_CLOCK_OFFSET="+v)
	}
	// With more, threads wake each other for little. Programs that may need more
	// see to it themselves (service.Spec.Frugal).
	return append(env, "GOMAXPROCS=2")
}

// argv is a child's command line: ours first, then the command of master.cf.
func (s *service) argv(cfg *config.Config) []string {
	e := s.entry
	a := []string{e.Command, "-C", cfg.Dir(), "-n", e.Name, "-t", e.Type}
	if e.Chroot {
		a = append(a, "-c")
	}
	return append(a, e.Args...)
}

// spawn starts a process of a service with sockets.
func (m *master) spawn(s *service) error {
	c, err := m.exec(s, s.fds, nil, false)
	if err == nil {
		s.starting, s.again = c, false
	}
	return err
}

// exec starts a program with the given sockets, as another user if cred says
// so. The descriptors are handed over as numbers, so that nothing changes the
// shared sockets to blocking mode.
func (m *master) exec(s *service, sockets []int, cred *syscall.Credential, session bool) (*child, error) {
	path := filepath.Join(params.DaemonDirectory.In(m.cfg), s.entry.Command)
	ctl, theirs, err := masterlink.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	logFD := m.null.Fd()
	if m.logFile != nil {
		logFD = m.logFile.Fd()
	}
	files := []uintptr{m.null.Fd(), m.stderrW.Fd(), m.stderrW.Fd(), theirs.Fd(), logFD}
	for _, fd := range sockets {
		files = append(files, uintptr(fd))
	}
	start := masterlink.Start{Listeners: len(sockets), Session: session, HasLog: m.logFile != nil, Root: m.root, Limit: s.limit(m.cfg), Pos: posWord(s.entry.Pos)}
	env := append(environment(m.cfg), masterlink.EnvVar+"="+start.String())
	pid, err := syscall.ForkExec(path, s.argv(m.cfg), &syscall.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Credential: cred}})
	if err != nil {
		ctl.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := &child{svc: s, pid: pid, program: path, ctl: ctl, started: time.Now()}
	m.children[pid] = c
	heard := make(chan struct{})
	go func() {
		m.listenTo(c)
		close(heard)
	}()
	go m.reap(c, heard)
	return c, nil
}

func posWord(p config.Position) string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// listenTo forwards the child's words to the loop.
func (m *master) listenTo(c *child) {
	for {
		w, err := c.ctl.Receive()
		if err != nil {
			return
		}
		m.events <- func() { m.word(c, w) }
	}
}

// reap waits for the child's end. What the child said before counts first: one
// that dies right after its Ready has not failed to start.
func (m *master) reap(c *child, heard <-chan struct{}) {
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.pid, &ws, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	<-heard
	m.events <- func() { m.exited(c, ws) }
}
