package harness

import (
	"bufio"
	"net"
	"strings"
	"time"
)

// Banner returns the greeting of the SMTP port.
func (s *System) Banner() string {
	c, err := net.DialTimeout("tcp", s.Addr(25), Patience)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(Patience))
	l, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(l, "\r\n")
}

// Dialogue is an SMTP session typed by hand.
type Dialogue struct {
	s *System
	c net.Conn
	r *bufio.Reader
}

// Talk opens a session to the SMTP port, reads the greeting and says EHLO.
func (s *System) Talk() *Dialogue {
	s.T.Helper()
	d, reply := s.Connect()
	if !strings.HasPrefix(reply, "220 ") {
		s.T.Fatalf("greeting: %s", reply)
	}
	d.Want("250", "EHLO client.example")
	return d
}

// Connect opens a session to the SMTP port and returns the greeting.
func (s *System) Connect() (*Dialogue, string) {
	s.T.Helper()
	c, err := net.DialTimeout("tcp", s.Addr(25), Patience)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * Patience))
	d := &Dialogue{s: s, c: c, r: bufio.NewReader(c)}
	return d, d.reply()
}

// reply reads one reply and returns its last line, or what went wrong.
func (d *Dialogue) reply() string {
	for {
		l, err := d.r.ReadString('\n')
		if err != nil {
			return "no reply: " + err.Error()
		}
		if len(l) < 4 || l[3] != '-' {
			return strings.TrimRight(l, "\r\n")
		}
	}
}

// Send writes lines and waits for nothing.
func (d *Dialogue) Send(lines ...string) {
	// An error shows in the reply that does not come.
	d.c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
}

// Say sends a line (or several, as after DATA) and returns the last line of the reply.
func (d *Dialogue) Say(lines ...string) string {
	d.Send(lines...)
	return d.reply()
}

// Want says something and fails the test unless the reply begins with want.
func (d *Dialogue) Want(want string, lines ...string) {
	d.s.T.Helper()
	if got := d.Say(lines...); !strings.HasPrefix(got, want) {
		if len(lines) > 1 {
			lines = lines[len(lines)-1:]
		}
		d.s.T.Fatalf("%.200s: got %q, want %s", lines, got, want)
	}
}

// Close ends the session without QUIT.
func (d *Dialogue) Close() { d.c.Close() }
