package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// programs builds master and the test daemon once.
var programs struct{ dir string }

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "master-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0755)
	programs.dir = dir
	for name, pkg := range map[string]string{"master": ".", "discard": "./testdata/daemon"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	for _, name := range []string{"qmgr", "imapd"} {
		if err := os.Link(filepath.Join(dir, "discard"), filepath.Join(dir, name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// world is a running master with a configuration of its own.
type world struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
}

func newWorld(t *testing.T, masterCF string, main ...string) *world {
	t.Helper()
	// Socket paths have a length limit: keep the directory short.
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0755)
	w := &world{t: t, dir: dir}
	for _, d := range []string{"etc", "q/pid", "q/public", "q/private", "lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("etc/master.cf", masterCF)
	w.write("etc/main.cf", fmt.Sprintf("compatibility_level = 3.6\nqueue_directory = %[1]s/q\ndata_directory = %[1]s/lib\ndaemon_directory = %[2]s\nmaillog_file = %[1]s/log\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = m.example.test\nrole_uid_base = 62100\n%[3]s\n",
		dir, programs.dir, strings.Join(main, "\n")))
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start() *world {
	w.t.Helper()
	r, wr, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	w.cmd = exec.Command(filepath.Join(programs.dir, "master"), "-C", filepath.Join(w.dir, "etc"))
	w.cmd.ExtraFiles = []*os.File{wr}
	w.cmd.Env = append(os.Environ(), readyFD+"=3")
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	wr.Close()
	w.t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			w.cmd.Process.Signal(syscall.SIGABRT)
			w.cmd.Wait()
		}
		if w.t.Failed() {
			w.t.Logf("log:\n%s", w.log())
		}
	})
	b := make([]byte, 1000)
	n, _ := r.Read(b)
	if got := string(b[:n]); got != "ok" {
		w.t.Fatalf("master does not start: %s", got)
	}
	return w
}

func (w *world) log() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "log"))
	return string(b)
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

func (w *world) waitLog(pattern string) {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	w.until("log line "+pattern, func() bool { return re.MatchString(w.log()) })
}

// client is one session with the test daemon.
type client struct {
	w *world
	c net.Conn
	r *bufio.Reader
}

func (w *world) dial(service string) *client {
	w.t.Helper()
	c, err := net.Dial("unix", filepath.Join(w.dir, "q/private", service))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{w, c, bufio.NewReader(c)}
}

func (c *client) ask(q string) string {
	c.w.t.Helper()
	fmt.Fprintln(c.c, q)
	l, err := c.r.ReadString('\n')
	if err != nil {
		c.w.t.Fatalf("%s: %v", q, err)
	}
	return strings.TrimSpace(l)
}

func (w *world) askOnce(service, q string) string {
	w.t.Helper()
	c := w.dial(service)
	defer c.c.Close()
	return c.ask(q)
}

// alive tells whether a process runs; one that only waits to be reaped does
// not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

const oneService = "discard unix - - n - 10 discard -o mail_name=x flags=D {two words}\n"

func TestOnDemand(t *testing.T) {
	w := newWorld(t, oneService).start()
	if _, err := os.Stat(filepath.Join(w.dir, "q/pid/master.pid")); err != nil {
		t.Error(err)
	}
	a := w.dial("discard")
	if got, want := a.ask("who"), "discard discard unix 10 flags=D|two words"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := a.ask("get mail_name"); got != "x" {
		t.Errorf("-o mail_name: got %q", got)
	}
	// One process serves many sessions.
	b := w.dial("discard")
	if a.ask("pid") != b.ask("pid") {
		t.Error("two sessions, two processes")
	}
	// A second master must not touch the first one's queue.
	cmd := exec.Command(filepath.Join(programs.dir, "master"), "-C", filepath.Join(w.dir, "etc"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "already running") {
		t.Errorf("second master: %v, %s", err, out)
	}
}

// TestImplied: a master.cf of Postfix's has no resolver, which programs without
// Internet sockets need.
func TestImplied(t *testing.T) {
	w := newWorld(t, oneService, "auth_passwd_file = /nonexistent").start()
	for _, name := range []string{"resolver", "auth"} {
		c, err := net.Dial("unix", filepath.Join(w.dir, "q/private", name))
		if err != nil {
			t.Error(err)
			continue
		}
		c.Close()
	}
	// Without a password file of ours, private/auth may be another program's.
	w = newWorld(t, oneService)
	other, err := net.Listen("unix", filepath.Join(w.dir, "q/private/auth"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	w.start()
	c, err := net.Dial("unix", filepath.Join(w.dir, "q/private/auth"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := other.Accept(); err != nil {
		t.Error(err)
	}
}

func TestSessionLimit(t *testing.T) {
	w := newWorld(t, "discard unix - - n - 2 discard\n").start()
	a, b, c := w.dial("discard"), w.dial("discard"), w.dial("discard")
	a.ask("pid")
	b.ask("pid")
	w.waitLog(`has reached its process limit "2"`)
	c.c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	fmt.Fprintln(c.c, "pid")
	if _, err := c.r.ReadString('\n'); err == nil {
		t.Fatal("a third session was served")
	}
	a.c.Close()
	c.c.SetDeadline(time.Now().Add(patience))
	if l, err := c.r.ReadString('\n'); err != nil || l == "" {
		t.Errorf("the waiting client is not served when there is room: %v", err)
	}
}

func TestCrash(t *testing.T) {
	w := newWorld(t, oneService).start()
	c := w.dial("discard")
	pid := c.ask("pid")
	fmt.Fprintln(c.c, "die")
	w.waitLog(`warning: process \S+/discard pid ` + pid + ` exit status 3`)
	if again := w.askOnce("discard", "pid"); again == pid {
		t.Error("same process")
	}
	c = w.dial("discard")
	pid = c.ask("pid")
	n, _ := strconv.Atoi(pid)
	syscall.Kill(n, syscall.SIGKILL)
	w.waitLog(`pid ` + pid + ` killed by signal 9`)
	w.askOnce("discard", "pid")
}

func TestThrottle(t *testing.T) {
	w := newWorld(t, "discard unix - - n - 10 discard -o mail_name=broken\n", "service_throttle_time = 1s").start()
	w.dial("discard")
	w.waitLog(`postfix/discard\[\d+\]: fatal: told to fail`)
	w.waitLog(`bad command startup -- throttling`)
	w.write("etc/master.cf", oneService)
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.waitLog(`reload -- version`)
	w.askOnce("discard", "pid")
}

// TestReload: the successor serves before the predecessor leaves, and open
// sessions go on.
func TestReload(t *testing.T) {
	w := newWorld(t, oneService, "mynetworks_style = host").start()
	c := w.dial("discard")
	old := c.ask("pid")
	w.write("etc/master.cf", strings.Replace(oneService, "mail_name=x", "mail_name=y", 1))
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.until("new configuration", func() bool { return w.askOnce("discard", "get mail_name") == "y" })
	if got := c.ask("get mail_name"); got != "x" {
		t.Errorf("the old session sees %q", got)
	}
	c.c.Close()
	pid, _ := strconv.Atoi(old)
	w.until("end of the old process", func() bool { return !alive(pid) })

	// What cannot be read changes nothing.
	w.write("etc/master.cf", "discard unix bogus\n")
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.waitLog(`error: reload refused, .*master.cf`)
	if got := w.askOnce("discard", "get mail_name"); got != "y" {
		t.Errorf("got %q", got)
	}
}

func TestIdle(t *testing.T) {
	w := newWorld(t, oneService, "max_idle = 1s").start()
	c := w.dial("discard")
	pid := c.ask("pid")
	fmt.Fprintln(c.c, "idle") // a kept connection does not hold the process
	n, _ := strconv.Atoi(pid)
	// The process stops accepting, so the next client gets another one.
	w.until("another process", func() bool { return w.askOnce("discard", "pid") != pid })
	c.c.Close()
	w.until("end of the idle process", func() bool { return !alive(n) })
}

func TestWakeup(t *testing.T) {
	w := newWorld(t, "discard unix - - n 1 10 discard\nqmgr unix - - n 1? 10 qmgr\n").start()
	w.until("two wakeups", func() bool { n, _ := strconv.Atoi(w.askOnce("discard", "wakeups")); return n >= 2 })
	if strings.Contains(w.log(), "qmgr") {
		t.Error("a service that nobody used was woken")
	}
	if n, _ := strconv.Atoi(w.askOnce("qmgr", "wakeups")); n > 0 {
		t.Errorf("%d wakeups before the first use", n)
	}
	w.until("wakeup after use", func() bool { n, _ := strconv.Atoi(w.askOnce("qmgr", "wakeups")); return n >= 1 })
}

// TestSolitary: never two processes at a time, across a reload too.
func TestSolitary(t *testing.T) {
	w := newWorld(t, "qmgr unix - - n - 10 qmgr\n").start()
	old := w.askOnce("qmgr", "pid")
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.until("another process", func() bool { return w.askOnce("qmgr", "pid") != old })
	n, _ := strconv.Atoi(old)
	if alive(n) {
		t.Error("the predecessor is still there")
	}
}

// TestMasterKilled: children do not survive their master for long, and a new
// master takes over.
func TestMasterKilled(t *testing.T) {
	w := newWorld(t, oneService).start()
	pid, _ := strconv.Atoi(w.askOnce("discard", "pid"))
	w.cmd.Process.Kill()
	w.cmd.Wait()
	w.until("end of the child", func() bool { return !alive(pid) })
	w.start()
	w.askOnce("discard", "pid")
}

func TestStop(t *testing.T) {
	w := newWorld(t, oneService).start()
	w.askOnce("discard", "pid")
	w.cmd.Process.Signal(syscall.SIGTERM)
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("master: %v", err)
	}
	if _, err := net.Dial("unix", filepath.Join(w.dir, "q/private/discard")); err == nil {
		t.Error("the socket is still there")
	}
	if !strings.Contains(w.log(), "terminating on signal 15") {
		t.Error("no log line")
	}
}

// TestThrottledService: a service that has work without anybody asking for it
// comes back by itself when its throttle ends, long before its next wakeup.
func TestThrottledService(t *testing.T) {
	w := newWorld(t, "qmgr unix - - n 300 1 qmgr -o mail_name=broken\n", "service_throttle_time = 1s").start()
	w.until("two starts", func() bool { return strings.Count(w.log(), "fatal: told to fail") >= 2 })
}
