package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/check"
	"posthaste/pkg/config"
	"posthaste/pkg/instance"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/masterlink"
	"posthaste/pkg/params"
)

// control acts on the system of one configuration directory.
type control struct {
	cfg *config.Config
	log *maillog.Logger
	pid string // file
}

func newControl(dir string) *control {
	cfg := tool.Config(dir)
	sink := maillog.Tee{maillog.StderrSink{Program: tool.Name}, maillog.OpenSink(cfg, tool.Name)}
	return &control{cfg: cfg, log: maillog.New(params.SyslogName.In(cfg)+"/postfix-script", sink),
		pid: filepath.Join(params.QueueDirectory.In(cfg), "pid", "master.pid")}
}

// running returns the process ID of master, if the system runs: master holds
// a lock on its pid file.
func (c *control) running() (int, bool) {
	f, err := os.Open(c.pid)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, false
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

func (c *control) mustRun() int {
	pid, ok := c.running()
	if !ok {
		c.log.Fatalf("the Posthaste mail system is not running")
		os.Exit(1)
	}
	return pid
}

// prepare refuses to start with a configuration that has mistakes.
func (c *control) prepare() *exec.Cmd {
	if pid, ok := c.running(); ok {
		c.log.Fatalf("the Posthaste mail system is already running: PID: %d", pid)
		os.Exit(1)
	}
	if bad := c.report(); bad > 0 {
		c.log.Fatalf("not started: the configuration has %d error(s)", bad)
		os.Exit(1)
	}
	if err := instance.Prepare(c.cfg); err != nil {
		c.log.Fatalf("%v", err)
		os.Exit(1)
	}
	return exec.Command(filepath.Join(params.DaemonDirectory.In(c.cfg), "master"), "-C", c.cfg.Dir())
}

func (c *control) start() {
	cmd := c.prepare()
	r, w, err := os.Pipe()
	if err != nil {
		tool.Fatalf("%v", err)
	}
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), "POSTHASTE_READY_FD=3")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.log.Infof("starting the Posthaste mail system")
	if err := cmd.Start(); err != nil {
		c.log.Fatalf("%v", err)
		os.Exit(1)
	}
	w.Close()
	b, _ := io.ReadAll(r)
	if string(b) != "ok" {
		if len(b) == 0 {
			b = []byte("master died at start")
		}
		c.log.Fatalf("%s", b)
		os.Exit(1)
	}
}

func (c *control) startForeground() {
	cmd := c.prepare()
	c.log.Infof("starting the Posthaste mail system")
	if err := syscall.Exec(cmd.Path, cmd.Args, os.Environ()); err != nil {
		c.log.Fatalf("%s: %v", cmd.Path, err)
		os.Exit(1)
	}
}

func (c *control) stop() {
	pid := c.mustRun()
	c.log.Infof("stopping the Posthaste mail system")
	c.end(pid, syscall.SIGTERM, 20*time.Second)
}

func (c *control) abort() {
	pid := c.mustRun()
	c.log.Infof("aborting the Posthaste mail system")
	c.end(pid, syscall.SIGABRT, 5*time.Second)
}

// end signals master and waits until it has left.
func (c *control) end(pid int, sig syscall.Signal, patience time.Duration) {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		tool.Fatalf("signal process %d: %v", pid, err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, ok := c.running(); !ok {
			return
		}
	}
	c.log.Warningf("process %d does not stop: killing it", pid)
	syscall.Kill(pid, syscall.SIGKILL)
}

// reloadWait bounds how long reload waits for master, which may be slow to ask for
// host names that its services listen on.
const reloadWait = 20 * time.Second

func (c *control) reload() {
	pid := c.mustRun()
	if bad := c.report(); bad > 0 {
		c.log.Fatalf("not reloaded: the configuration has %d error(s)", bad)
		os.Exit(1)
	}
	c.log.Infof("refreshing the Posthaste mail system")
	answer := filepath.Join(params.QueueDirectory.In(c.cfg), filepath.FromSlash(masterlink.ReloadFile))
	os.Remove(answer)
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		tool.Fatalf("signal process %d: %v", pid, err)
	}
	// What only master finds out, such as a port that is taken, is an error here, too.
	for end := time.Now().Add(reloadWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(answer)
		switch {
		case err != nil:
		case string(b) == "ok":
			return
		default:
			tool.Fatalf("not reloaded: %s", b) // master has logged it
		}
	}
	tool.Warningf("process %d has not said whether it has reloaded: see the log", pid)
}

func (c *control) flush() {
	c.mustRun()
	c.run("postqueue", "-f")
}

func (c *control) run(name string, args ...string) {
	cmd := exec.Command(filepath.Join(params.CommandDirectory.In(c.cfg), name), append([]string{"-c", c.cfg.Dir()}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		tool.Fatalf("%s: %v", name, err)
	}
}

// check prints every problem and exits with 1 if one of them is an error.
func (c *control) check() {
	if c.report() > 0 {
		os.Exit(1)
	}
}

// report prints the configuration's problems and returns how many are errors.
func (c *control) report() int {
	env := &lookup.Env{Config: c.cfg}
	bad := 0
	for _, p := range check.Run(c.cfg.Dir(), check.Openers{
		Table: func(spec string) error {
			t, err := lookup.Open(spec, env)
			if err != nil {
				return err
			}
			return t.Close()
		},
		List: func(param, elements string, plain bool) (bad, idle []string) {
			return lookup.ListProblems(param, elements, c.cfg, plain)
		},
	}) {
		fmt.Fprintf(os.Stderr, "posthaste: %s\n", p)
		if p.Severity == check.Error {
			bad++
		}
	}
	return bad
}
