// Package rig runs a whole private mail system for a test, from the programs
// in bin/, and looks at it from outside: processes, queue, mailboxes, ledger.
// It ends only what it started.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

// Bin finds the folder of the built programs: $POSTHASTE_BIN, or bin/ in the
// working directory or above it.
func Bin() (string, error) {
	if b := os.Getenv("POSTHASTE_BIN"); b != "" {
		return filepath.Abs(b)
	}
	d, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b := filepath.Join(d, "bin")
		if _, err := os.Stat(filepath.Join(b, "posthaste")); err == nil {
			return b, nil
		}
		if d == filepath.Dir(d) {
			return "", errors.New("no bin/posthaste here or above: run make build")
		}
		d = filepath.Dir(d)
	}
}

// TempDir makes a folder that programs under other identities can pass
// through.
func TempDir(base, pattern string) (string, error) {
	d, err := os.MkdirTemp(base, pattern)
	if err != nil {
		return "", err
	}
	return d, os.Chmod(d, 0755)
}

// System is one instance of the mail system.
type System struct {
	Dir    string // its folder
	Bin    string // the programs
	Domain string
	Base   int // port base
	Queue  string
	Mail   string // folder of the mailboxes
	Log    string // log file
	Env    []string
}

// FreeBase finds a port base on which the ports of an instance are free, below
// the range from which the kernel gives ports to clients.
func FreeBase() (int, error) {
next:
	for range 200 {
		base := 11000 + rand.IntN(20500)
		for _, p := range []int{25, 110, 143, 465, 587, 993, 995} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+p)))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return base, nil
	}
	return 0, errors.New("no free ports")
}

// New makes an instance in dir, which must not exist or be empty, with users
// user0, user1, … whose password is "test". Port base 0 finds a free one.
func New(dir string, users, portBase int) (*System, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	if portBase == 0 {
		if portBase, err = FreeBase(); err != nil {
			return nil, err
		}
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &System{Dir: dir, Bin: bin, Domain: "local.test", Base: portBase, Queue: filepath.Join(dir, "spool"),
		Mail: filepath.Join(dir, "mail"), Log: filepath.Join(dir, "log", "mail.log")}
	list := dir + ".users"
	var b bytes.Buffer
	for i := range users {
		fmt.Fprintf(&b, "user%d:test\n", i)
	}
	if err := os.WriteFile(list, b.Bytes(), 0600); err != nil {
		return nil, err
	}
	defer os.Remove(list)
	if _, err := s.Run("posthaste", "init", "--dir", dir, "--domain", s.Domain, "--users", list, "--port-base", strconv.Itoa(portBase)); err != nil {
		return nil, err
	}
	return s, s.Set("mynetworks=127.0.0.0/8", "smtp_bind_address=127.0.0.1")
}

// Conf is the configuration directory.
func (s *System) Conf() string { return filepath.Join(s.Dir, "etc") }

// SMTP is the address of the server.
func (s *System) SMTP() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Base+25)) }

// Submission is the address of the submission service.
func (s *System) Submission() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Base+587)) }

// Submissions is the address of the submission service with TLS from the start.
func (s *System) Submissions() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Base+465)) }

// IMAP is the address of the IMAP service.
func (s *System) IMAP() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Base+143)) }

// POP3 is the address of the POP3 service.
func (s *System) POP3() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Base+110)) }

// Maildir is a user's mailbox.
func (s *System) Maildir(user string) string { return filepath.Join(s.Mail, user, "Maildir") }

// Set changes main.cf: each setting is "name=value".
func (s *System) Set(settings ...string) error {
	name := filepath.Join(s.Conf(), "main.cf")
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, x := range settings {
		n, _, ok := strings.Cut(x, "=")
		if !ok {
			return fmt.Errorf("setting %q: want name=value", x)
		}
		changed[strings.TrimSpace(n)] = true
	}
	var b strings.Builder
	drop := false
	for _, l := range strings.SplitAfter(string(old), "\n") {
		if l != "" && !strings.ContainsAny(l[:1], " \t#\n") {
			n, _, _ := strings.Cut(l, "=")
			drop = changed[strings.TrimSpace(n)]
		}
		if !drop {
			b.WriteString(l)
		}
	}
	for _, x := range settings {
		n, v, _ := strings.Cut(x, "=")
		fmt.Fprintf(&b, "%s = %s\n", strings.TrimSpace(n), strings.TrimSpace(v))
	}
	return os.WriteFile(name, []byte(b.String()), 0644)
}

// Table writes a table's source into the configuration directory, compiles it
// and returns how main.cf names it.
func (s *System) Table(name, text string) (string, error) {
	path := filepath.Join(s.Conf(), name)
	if err := os.WriteFile(path, []byte(text), 0644); err != nil {
		return "", err
	}
	_, err := s.Run("postmap", "-c", s.Conf(), "hash:"+path)
	return "hash:" + path, err
}

// Run runs one of the programs, for at most a minute.
func (s *System) Run(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, program), args...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.WaitDelay = 2 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Control runs posthaste with the instance's configuration.
func (s *System) Control(verb string) (string, error) {
	return s.Run("posthaste", "-c", s.Conf(), verb)
}

// Start starts the system; it is ready when this returns.
func (s *System) Start() error {
	_, err := s.Control("start")
	return err
}

// Stop stops it, by force if it does not want to. It is no error if it does
// not run.
func (s *System) Stop() error {
	pid, ok := s.Master()
	if !ok {
		return nil
	}
	tree := s.Processes()
	_, err := s.Control("stop")
	if now, ok := s.Master(); ok && now == pid {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, p := range tree {
		if alive(p) {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	return err
}

// Master returns the process ID of master, if it runs.
func (s *System) Master() (int, bool) {
	b, err := os.ReadFile(filepath.Join(s.Queue, "pid", "master.pid"))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, false
	}
	p, ok := readProcess(pid)
	return pid, ok && p.Name == "master"
}

// Process is one running program.
type Process struct {
	PID, Parent int
	Name        string
	started     string
}

func readProcess(pid int) (Process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	text := string(b)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	f := strings.Fields(text[end+1:])
	if open < 0 || len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return Process{}, false
	}
	ppid, _ := strconv.Atoi(f[1])
	return Process{PID: pid, Parent: ppid, Name: text[open+1 : end], started: f[19]}, true
}

// alive tells whether p still runs, and that its number was not given to
// another process.
func alive(p Process) bool {
	now, ok := readProcess(p.PID)
	return ok && now.started == p.started
}

// Processes lists master's descendants, without master.
func (s *System) Processes() []Process {
	root, ok := s.Master()
	if !ok {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	all := map[int]Process{}
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if p, ok := readProcess(pid); ok {
			all[pid] = p
		}
	}
	var list []Process
	for _, p := range all {
		for up := p.Parent; up > 1; up = all[up].Parent {
			if up == root {
				list = append(list, p)
				break
			}
		}
	}
	return list
}

// Kill ends a process of the tree with SIGKILL; false if it is gone already.
func Kill(p Process) bool {
	return alive(p) && syscall.Kill(p.PID, syscall.SIGKILL) == nil
}

// Queued counts the files of each queue.
func (s *System) Queued() map[string]int {
	n := map[string]int{}
	for _, q := range queue.Names {
		filepath.WalkDir(filepath.Join(s.Queue, q), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n[q]++
			}
			return nil
		})
	}
	return n
}

// Waiting is the number of messages that are on their way.
func (s *System) Waiting() int {
	q := s.Queued()
	return q[queue.Maildrop] + q[queue.Incoming] + q[queue.Active] + q[queue.Deferred]
}

// Ledger asks qmgr what became of the mail.
func (s *System) Ledger() (*qmgr.Status, error) {
	c, err := qmgr.Dial(filepath.Join(s.Queue, qmgr.Service))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status()
}

// Until polls cond, which sees the outside world, until it holds.
func Until(limit time.Duration, what string, cond func() bool) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if cond() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
}

// Letters reads all messages of a Maildir, new and seen.
func Letters(maildir string) (map[string][]byte, error) {
	l := map[string][]byte{}
	for _, sub := range []string{"new", "cur"} {
		dir := filepath.Join(maildir, sub)
		es, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range es {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			l[e.Name()] = b
		}
	}
	return l, nil
}
