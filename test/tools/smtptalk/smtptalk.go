// Package smtptalk is the smallest SMTP client that test programs need: it
// says what it is told to, knows exactly when the server took the message, and
// shares no code with the programs under test.
package smtptalk

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// Client is one session.
type Client struct {
	c net.Conn
	r *bufio.Reader
	w *bufio.Writer
	// Pipeline sends MAIL, RCPT and DATA in one flight.
	Pipeline bool
}

// ReplyError is an answer with another first digit than the expected one.
type ReplyError struct{ Line string }

func (e *ReplyError) Error() string { return "reply " + e.Line }

// Code is the reply's first three digits.
func (e *ReplyError) Code() string { return e.Line[:min(3, len(e.Line))] }

// Temporary tells whether trying again may help.
func (e *ReplyError) Temporary() bool { return strings.HasPrefix(e.Line, "4") }

// Dial connects and says EHLO. limit bounds the whole session.
func Dial(addr string, limit time.Duration) (*Client, error) {
	s := new(Client)
	return s, s.Open(addr, limit)
}

// Open is Dial for a Client whose buffers are used again.
func (s *Client) Open(addr string, limit time.Duration) error {
	c, err := net.DialTimeout("tcp", addr, min(limit, 30*time.Second))
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(limit))
	s.attach(c)
	if _, err = s.Reply('2'); err == nil {
		_, err = s.Cmd('2', "EHLO client.bench.test")
	}
	if err != nil {
		s.Close()
	}
	return err
}

func (s *Client) attach(c net.Conn) {
	s.c = c
	if s.r == nil {
		s.r, s.w = bufio.NewReaderSize(c, 4096), bufio.NewWriterSize(c, 16<<10)
	}
	s.r.Reset(c)
	s.w.Reset(c)
}

// Live tells whether the session is open.
func (s *Client) Live() bool { return s.c != nil }

// Conn is the connection, for those who want to misuse it.
func (s *Client) Conn() net.Conn { return s.c }

// Close hangs up.
func (s *Client) Close() {
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// Quit ends the session in good order.
func (s *Client) Quit() {
	if s.c != nil {
		s.Cmd('2', "QUIT")
		s.Close()
	}
}

// Reply reads one reply, of several lines perhaps, and returns its last line.
func (s *Client) Reply(want byte) (string, error) {
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) < 4 {
			return "", fmt.Errorf("short reply %q", line)
		}
		if line[3] == '-' {
			continue
		}
		if line[0] != want {
			return "", &ReplyError{strings.TrimRight(string(line), "\r\n")}
		}
		return string(line), nil
	}
}

// Cmd sends a line and reads the reply.
func (s *Client) Cmd(want byte, line string) (string, error) {
	s.w.WriteString(line)
	s.w.WriteString("\r\n")
	if err := s.w.Flush(); err != nil {
		return "", err
	}
	return s.Reply(want)
}

// StartTLS encrypts the session; the certificate is not looked at.
func (s *Client) StartTLS() error {
	if _, err := s.Cmd('2', "STARTTLS"); err != nil {
		return err
	}
	t := tls.Client(s.c, &tls.Config{InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		return err
	}
	s.attach(t)
	_, err := s.Cmd('2', "EHLO client.bench.test")
	return err
}

// Plain authenticates.
func (s *Client) Plain(user, password string) error {
	_, err := s.Cmd('2', "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	return err
}

// Result says how far one message got.
type Result struct {
	Acked   bool  // the server answered 2xx to the end of data
	Unknown bool  // the end of data was sent, but no answer came
	Refused bool  // the end of data was answered 4xx or 5xx
	Err     error // nil if Acked
}

// Send makes one transaction. The body is CRLF text with its dots stuffed, in
// as many parts as suit the caller.
func (s *Client) Send(from string, rcpts []string, body ...[]byte) Result {
	if err := s.envelope(from, rcpts); err != nil {
		return Result{Err: err}
	}
	for _, b := range body {
		if _, err := s.w.Write(b); err != nil {
			return Result{Err: err}
		}
	}
	s.w.WriteString(".\r\n")
	if err := s.w.Flush(); err != nil {
		return Result{Unknown: true, Err: err}
	}
	_, err := s.Reply('2')
	if err == nil {
		return Result{Acked: true}
	}
	_, answered := err.(*ReplyError)
	return Result{Unknown: !answered, Refused: answered, Err: err}
}

func (s *Client) envelope(from string, rcpts []string) error {
	if !s.Pipeline {
		if _, err := s.Cmd('2', "MAIL FROM:<"+from+">"); err != nil {
			return err
		}
		for _, r := range rcpts {
			if _, err := s.Cmd('2', "RCPT TO:<"+r+">"); err != nil {
				return err
			}
		}
		_, err := s.Cmd('3', "DATA")
		return err
	}
	s.w.WriteString("MAIL FROM:<" + from + ">\r\n")
	for _, r := range rcpts {
		s.w.WriteString("RCPT TO:<" + r + ">\r\n")
	}
	s.w.WriteString("DATA\r\n")
	s.w.Flush()
	for range len(rcpts) + 1 {
		if _, err := s.Reply('2'); err != nil {
			return err
		}
	}
	_, err := s.Reply('3')
	return err
}
