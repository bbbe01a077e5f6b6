package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// pop3 is a POP3 client that is told each line.
type pop3 struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialPOP3(t *testing.T, s *harness.System, wrapper bool) *pop3 {
	t.Helper()
	port := 110
	if wrapper {
		port = 995
	}
	c, err := net.Dial("tcp", s.Addr(port))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	if wrapper {
		c = tls.Client(c, s.TLS())
	}
	t.Cleanup(func() { c.Close() })
	p := &pop3{t, c, bufio.NewReader(c)}
	if l := p.line(); !strings.HasPrefix(l, "+OK") {
		t.Fatal(l)
	}
	return p
}

func (p *pop3) line() string {
	l, err := p.r.ReadString('\n')
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimRight(l, "\r\n")
}

// say sends a command and returns the first line of the answer.
func (p *pop3) say(cmd string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.c, cmd+"\r\n"); err != nil {
		p.t.Error(err)
	}
	return p.line()
}

// want sends a command whose answer must begin with prefix.
func (p *pop3) want(prefix, cmd string) {
	p.t.Helper()
	if got := p.say(cmd); !strings.HasPrefix(got, prefix) {
		p.t.Fatalf("%s: got %q, want %q", cmd, got, prefix)
	}
}

// all sends a command and returns the lines of its long answer.
func (p *pop3) all(cmd string) (l []string) {
	p.t.Helper()
	p.want("+OK", cmd)
	for {
		s := p.line()
		if s == "." || strings.HasPrefix(s, "(") {
			return l
		}
		l = append(l, strings.TrimPrefix(s, "."))
	}
}

func (p *pop3) login(user, password string) {
	p.t.Helper()
	p.want("+OK", "USER "+user)
	p.want("+OK Logged in.", "PASS "+password)
}

// TestPOP3 reads mail as root's system and as an ordinary user's.
func TestPOP3(t *testing.T) { readPOP3(t, harness.Start(t)) }

func TestPOP3OrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: TestPOP3 has run as an ordinary user already")
	}
	s := harness.NewAs(t, 65534)
	s.Start()
	readPOP3(t, s)
}

func readPOP3(t *testing.T, s *harness.System) {
	for i := range 3 {
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message(fmt.Sprint("message ", i))); err != nil {
			t.Fatal(err)
		}
		s.WaitMail("bob", i+1)
	}
	p := dialPOP3(t, s, false)
	p.login("bob", "hunter2")
	ids := p.all("UIDL")
	msg := strings.Join(p.all("RETR 2"), "\n")
	if len(ids) != 3 || !strings.Contains(msg, "\nSubject: message 1\n") || !strings.Contains(msg, "\n\nbody of message 1") {
		t.Errorf("%q %q", ids, msg)
	}

	// One session at a time, by whatever name and port.
	q := dialPOP3(t, s, true)
	q.want("+OK", "USER bob@example.test")
	q.want("-ERR [IN-USE]", "PASS hunter2")

	// A killed session program deletes nothing, and the next login has another.
	p.want("+OK", "DELE 1")
	if n := s.Kill("pop3d"); n != 1 {
		t.Errorf("%d processes of pop3d", n)
	}
	if l := p.line(); !strings.HasPrefix(l, "(") {
		t.Errorf("after the kill: %q", l)
	}
	s.Until("a new session program", func() bool { // master may pause after a failure
		p = dialPOP3(t, s, true)
		p.want("+OK", "USER BOB@example.test")
		return p.say("PASS hunter2") == "+OK Logged in."
	})
	if got := p.all("UIDL"); strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("unique identifiers %q became %q", ids, got)
	}

	// A session under TLS outlives a reload.
	s.Reload()
	p.want("+OK", "DELE 3")
	p.want("+OK Logging out.", "QUIT")
	if l := p.line(); l != "(EOF)" {
		t.Errorf("after QUIT: %q", l)
	}
	p = dialPOP3(t, s, false)
	p.want("+OK", "STLS")
	p.c = tls.Client(p.c, s.TLS())
	p.r = bufio.NewReader(p.c)
	p.login("bob", "hunter2")
	if got := p.all("UIDL"); strings.Join(got, " ") != strings.Join(ids[:2], " ") {
		t.Errorf("after deletion: %q, want %q", got, ids[:2])
	}
	p.want("+OK", "QUIT")

	p = dialPOP3(t, s, false)
	p.want("+OK", "USER bob")
	p.want("-ERR [AUTH]", "PASS wrong")
	p.c.Close()
	s.WaitLog(`dovecot\[\d+\]: pop3-login: Login: user=<bob>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, TLS`)
	s.WaitLog(`dovecot\[\d+\]: pop3-login: Disconnected: Connection closed \(auth failed, 1 attempts in \d+ secs\): user=<bob>, method=PLAIN, rip=127.0.0.1`)
	s.WaitLog(`postfix/auth\[\d+\]: passwd-file\(bob,127.0.0.1\): password mismatch \(service=pop3, method=PLAIN\)`)
	s.WaitLog(`dovecot\[\d+\]: pop3\(bob(@example.test)?\): Disconnected: Logged out top=0/0, retr=0/0, del=1/3, size=\d+`)
}
