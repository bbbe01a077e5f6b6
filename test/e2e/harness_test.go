// Package e2e runs whole mail systems: a real master and all programs, with
// real sockets, as the user who runs the tests. Each test has a private
// instance on loopback.
package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// bin is the folder of the built programs.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if bin = os.Getenv("POSTHASTE_BIN"); bin == "" {
		dir, err := os.MkdirTemp("", "posthaste-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		cmd := exec.Command("make", "-C", "../..", "build", "BIN="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "make build: %v\n%s", err, out)
			return 1
		}
		bin = dir
	}
	os.Chmod(bin, 0755)
	return m.Run()
}

// patience bounds every wait for something that should happen at once; a
// loaded machine must not fail a test.
const patience = 30 * time.Second

// system is one private mail system.
type system struct {
	t    *testing.T
	dir  string
	base int
	env  []string
	uid  int // run everything as this ordinary user; 0: as the user who tests
}

// newSystem makes an instance for example.test with alice and bob; main holds
// further main.cf lines.
func newSystem(t *testing.T, main ...string) *system {
	t.Helper()
	return newSystemAs(t, 0, main...)
}

// newSystemAs is newSystem for a user without any rights; only root may.
func newSystemAs(t *testing.T, uid int, main ...string) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "posthaste-e2e")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0755)
	s := &system{t: t, dir: filepath.Join(dir, "i"), base: freeBase(t), uid: uid}
	if uid != 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(s.dir, "log/mail.log"))
			if len(b) > 20000 {
				b = b[len(b)-20000:]
			}
			t.Logf("mail log:\n%s", b)
		}
		os.RemoveAll(dir)
	})
	s.run("posthaste", "init", "--dir", s.dir, "--domain", "example.test", "--user", "alice:secret", "--user", "bob:hunter2", "--port-base", fmt.Sprint(s.base))
	s.append("etc/main.cf", main...)
	return s
}

// start starts the system and stops it when the test ends.
func start(t *testing.T, main ...string) *system {
	t.Helper()
	s := newSystem(t, main...)
	s.start()
	return s
}

func (s *system) start() {
	s.t.Helper()
	s.run("posthaste", "-c", s.etc(), "start")
	s.t.Cleanup(func() {
		if _, err := s.try("posthaste", "-c", s.etc(), "status"); err == nil {
			s.try("posthaste", "-c", s.etc(), "abort")
		}
	})
}

// freeBase finds a port base whose three ports are free.
func freeBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := 11000 + rand.IntN(20000)
		ok := true
		for _, p := range []int{25, 465, 587} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+p))
			if err != nil {
				ok = false
				break
			}
			l.Close()
		}
		if ok {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

func (s *system) etc() string { return filepath.Join(s.dir, "etc") }
func (s *system) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}
func (s *system) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", s.base+port) }

// append adds lines to a file of the instance.
func (s *system) append(name string, lines ...string) {
	s.t.Helper()
	f, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		if _, err := fmt.Fprintln(f, l); err != nil {
			s.t.Fatal(err)
		}
	}
}

// try runs one of our programs with this instance's configuration.
func (s *system) try(name string, args ...string) (string, error) {
	return s.tryInput("", name, args...)
}

func (s *system) tryInput(in, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Env = append(append(os.Environ(), "MAIL_CONFIG="+s.etc()), s.env...)
	cmd.Stdin = strings.NewReader(in)
	if s.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
		cmd.Dir = "/"
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *system) run(name string, args ...string) string {
	s.t.Helper()
	return s.runInput("", name, args...)
}

func (s *system) runInput(in, name string, args ...string) string {
	s.t.Helper()
	out, err := s.tryInput(in, name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// until waits for a condition that other processes bring about.
func (s *system) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// log returns the mail log.
func (s *system) log() string {
	b, err := os.ReadFile(s.path("log/mail.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// waitLog waits for a line that matches and returns its submatches.
func (s *system) waitLog(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	var m []string
	s.until("log line "+pattern, func() bool {
		m = re.FindStringSubmatch(s.log())
		return m != nil
	})
	return m
}

// mail returns the messages in a user's inbox, oldest first.
func (s *system) mail(user string) []string {
	s.t.Helper()
	names, err := filepath.Glob(s.path("mail", user, "Maildir/new/*"))
	if err != nil {
		s.t.Fatal(err)
	}
	sort.Strings(names)
	var l []string
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			s.t.Fatal(err)
		}
		l = append(l, string(b))
	}
	return l
}

// waitMail waits until a user has n messages.
func (s *system) waitMail(user string, n int) []string {
	s.t.Helper()
	var l []string
	s.until(fmt.Sprintf("%d messages for %s", n, user), func() bool {
		l = s.mail(user)
		return len(l) >= n
	})
	return l
}

// waitQueue waits until mailq shows the given number of messages.
func (s *system) waitQueue(n int) {
	s.t.Helper()
	want := fmt.Sprintf("in %d Request", n)
	if n == 0 {
		want = "Mail queue is empty"
	}
	s.until("queue of "+fmt.Sprint(n), func() bool { return strings.Contains(s.run("postqueue", "-p"), want) })
}

// send delivers a message to the SMTP port without authentication.
func (s *system) send(from string, to []string, msg string) error {
	c, err := smtp.Dial(s.addr(25))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("client.example"); err != nil {
		return err
	}
	if err := c.SendMail(from, to, strings.NewReader(msg)); err != nil {
		return err
	}
	return c.Quit()
}

// submit delivers a message to the submission port as alice.
func (s *system) submit(from string, to []string, msg string) error {
	c, err := smtp.DialStartTLS(s.addr(587), s.tls())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", "alice", "secret")); err != nil {
		return err
	}
	if err := c.SendMail(from, to, strings.NewReader(msg)); err != nil {
		return err
	}
	return c.Quit()
}

// message makes a small message with a subject.
func message(subject string) string {
	return "From: Sender <sender@client.example>\r\nTo: someone\r\nSubject: " + subject + "\r\n\r\nbody of " + subject + "\r\n"
}

// body returns what follows the header of a stored message.
func body(msg string) string {
	_, b, _ := strings.Cut(msg, "\n\n")
	return b
}
