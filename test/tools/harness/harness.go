// Package harness runs whole mail systems for tests: a real master and all
// programs, with real sockets, each system in a private folder and on loopback.
// What goes wrong fails the test that the system belongs to.
package harness

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

// Bin is the folder of the built programs.
var Bin string

// Main is the TestMain of a package that runs systems: it finds the programs in
// POSTHASTE_BIN or builds them.
func Main(m *testing.M) int {
	if Bin = os.Getenv("POSTHASTE_BIN"); Bin == "" {
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
		Bin = dir
	}
	os.Chmod(Bin, 0755)
	return m.Run()
}

// Patience bounds every wait for something that should happen at once; a
// loaded machine must not fail a test.
const Patience = 30 * time.Second

// System is one private mail system.
type System struct {
	T    *testing.T
	Dir  string // everything of the system is below it
	Base int    // added to every port number
	Env  []string
	UID  int // run everything as this ordinary user; 0: as the user who tests
}

// New makes an instance for example.test with alice and bob; main holds
// further main.cf lines.
func New(t *testing.T, main ...string) *System {
	t.Helper()
	return NewAs(t, 0, main...)
}

// NewAs is New for a user without any rights; only root may.
func NewAs(t *testing.T, uid int, main ...string) *System {
	t.Helper()
	dir, err := os.MkdirTemp("", "posthaste-e2e")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0755)
	s := &System{T: t, Dir: filepath.Join(dir, "i"), Base: freeBase(t), UID: uid}
	if uid != 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(s.Dir, "log/mail.log"))
			if len(b) > 20000 {
				b = b[len(b)-20000:]
			}
			t.Logf("mail log:\n%s", b)
		}
		os.RemoveAll(dir)
	})
	s.Run("posthaste", "init", "--dir", s.Dir, "--domain", "example.test", "--user", "alice:secret", "--user", "bob:hunter2", "--port-base", fmt.Sprint(s.Base))
	s.Append("etc/main.cf", main...)
	return s
}

// Start starts the system and stops it when the test ends.
func Start(t *testing.T, main ...string) *System {
	t.Helper()
	s := New(t, main...)
	s.Start()
	return s
}

// Start starts the system and aborts it when the test ends.
func (s *System) Start() {
	s.T.Helper()
	s.Run("posthaste", "-c", s.Etc(), "start")
	s.T.Cleanup(func() {
		if _, err := s.Try("posthaste", "-c", s.Etc(), "status"); err == nil {
			s.Try("posthaste", "-c", s.Etc(), "abort")
		}
	})
}

// freeBase finds a port base whose ports are free.
func freeBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := 11000 + rand.IntN(20000)
		ok := true
		for _, p := range []int{25, 110, 143, 465, 587, 993, 995} {
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

func (s *System) Etc() string { return filepath.Join(s.Dir, "etc") }
func (s *System) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}
func (s *System) Addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", s.Base+port) }

// Append adds lines to a file of the instance.
func (s *System) Append(name string, lines ...string) {
	s.T.Helper()
	f, err := os.OpenFile(s.Path(name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		s.T.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		if _, err := fmt.Fprintln(f, l); err != nil {
			s.T.Fatal(err)
		}
	}
}

// Try runs one of our programs with this instance's configuration.
func (s *System) Try(name string, args ...string) (string, error) {
	return s.TryInput("", name, args...)
}

func (s *System) TryInput(in, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(Bin, name), args...)
	cmd.Env = append(append(os.Environ(), "MAIL_CONFIG="+s.Etc()), s.Env...)
	cmd.Stdin = strings.NewReader(in)
	if s.UID != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.UID)}}
		cmd.Dir = "/"
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *System) Run(name string, args ...string) string {
	s.T.Helper()
	return s.RunInput("", name, args...)
}

func (s *System) RunInput(in, name string, args ...string) string {
	s.T.Helper()
	out, err := s.TryInput(in, name, args...)
	if err != nil {
		s.T.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Until waits for a condition that other processes bring about.
func (s *System) Until(what string, ok func() bool) {
	s.T.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.T.Fatalf("after %v still not: %s", Patience, what)
		}
	}
}

// Log returns the mail log.
func (s *System) Log() string {
	b, err := os.ReadFile(s.Path("log/mail.log"))
	if err != nil {
		s.T.Fatal(err)
	}
	return string(b)
}

// WaitLog waits for a line that matches and returns its submatches.
func (s *System) WaitLog(pattern string) []string {
	s.T.Helper()
	re := regexp.MustCompile(pattern)
	var m []string
	s.Until("log line "+pattern, func() bool {
		m = re.FindStringSubmatch(s.Log())
		return m != nil
	})
	return m
}

// Mail returns the messages in a user's inbox, oldest first.
func (s *System) Mail(user string) []string {
	s.T.Helper()
	names, err := filepath.Glob(s.Path("mail", user, "Maildir/new/*"))
	if err != nil {
		s.T.Fatal(err)
	}
	sort.Strings(names)
	var l []string
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			s.T.Fatal(err)
		}
		l = append(l, string(b))
	}
	return l
}

// WaitMail waits until a user has n messages.
func (s *System) WaitMail(user string, n int) []string {
	s.T.Helper()
	var l []string
	s.Until(fmt.Sprintf("%d messages for %s", n, user), func() bool {
		l = s.Mail(user)
		return len(l) >= n
	})
	return l
}

// WaitQueue waits until mailq shows the given number of messages.
func (s *System) WaitQueue(n int) {
	s.T.Helper()
	want := fmt.Sprintf("in %d Request", n)
	if n == 0 {
		want = "Mail queue is empty"
	}
	s.Until("queue of "+fmt.Sprint(n), func() bool { return strings.Contains(s.Run("postqueue", "-p"), want) })
}

// Send delivers a message to the SMTP port without authentication.
func (s *System) Send(from string, to []string, msg string) error {
	c, err := smtp.Dial(s.Addr(25))
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

// Submit delivers a message to the submission port as alice.
func (s *System) Submit(from string, to []string, msg string) error {
	c, err := smtp.DialStartTLS(s.Addr(587), s.TLS())
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

// Message makes a small message with a subject.
func Message(subject string) string {
	return "From: Sender <sender@client.example>\r\nTo: someone\r\nSubject: " + subject + "\r\n\r\nbody of " + subject + "\r\n"
}

// Body returns what follows the header of a stored message.
func Body(msg string) string {
	_, b, _ := strings.Cut(msg, "\n\n")
	return b
}
