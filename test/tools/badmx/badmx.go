// Package badmx is an SMTP server that misbehaves as a test tells it to, and
// remembers what it was given. Without further instructions it takes all mail.
package badmx

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Mail is one message that the server said 250 to.
type Mail struct {
	From  string
	To    []string // the recipients that were accepted
	Data  []byte   // CRLF form, dots unstuffed
	TLS   bool
	Trial int // number of the connection, from 1
}

// Script says how the server answers. Each function may be nil; an empty
// answer means the usual one, and Hangup closes the connection without any.
// They are called from many goroutines.
type Script struct {
	Greeting func(conn int) string
	Mail     func(conn int, from string) string
	Rcpt     func(conn int, to string) string
	// Data answers the DATA command.
	Data func(conn int) string
	// Done answers the end of data. It is called before the answer is sent, and
	// Sent after it was.
	Done func(conn int, m *Mail) string
	Sent func(m *Mail)
	// CutAfter hangs up within the data, after so many bytes; 0 never does.
	CutAfter func(conn int) int
	// Interval is the pause before each byte of an answer.
	Interval time.Duration
	// RTT is the pause before each flight of answers, PerAnswer that before each
	// single one.
	RTT, PerAnswer time.Duration
	// TLS, if set, is offered by STARTTLS.
	TLS *tls.Config
	// NoPipelining leaves PIPELINING out of the EHLO answer.
	NoPipelining bool
	// UTF8 offers SMTPUTF8 (RFC 6531).
	UTF8 bool
	// Forget leaves Mail.Data and Mails empty, for load tests.
	Forget bool
}

// Hangup is the answer that is none.
const Hangup = "\x00hangup"

// Server is a running server.
type Server struct {
	Addr   string
	script Script

	l     net.Listener
	over  chan bool // closed by Close
	mu    sync.Mutex
	mails []*Mail
	conns map[net.Conn]bool
	total int
	wg    sync.WaitGroup
}

// Start listens on addr; port 0 picks a free one.
func Start(addr string, s Script) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &Server{Addr: l.Addr().String(), script: s, l: l, conns: map[net.Conn]bool{}, over: make(chan bool)}
	srv.wg.Add(1)
	go srv.accept()
	return srv, nil
}

// Port is the server's port number in decimal.
func (s *Server) Port() string {
	_, p, _ := net.SplitHostPort(s.Addr)
	return p
}

// Close stops the server and cuts its sessions.
func (s *Server) Close() {
	s.l.Close()
	s.mu.Lock()
	select {
	case <-s.over:
	default:
		close(s.over)
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// pause sleeps, but not longer than the server lives.
func (s *Server) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.over:
	}
}

// Mails returns what was taken so far.
func (s *Server) Mails() []*Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Mail(nil), s.mails...)
}

// Count returns how many messages each recipient got.
func (s *Server) Count() map[string]int {
	n := map[string]int{}
	for _, m := range s.Mails() {
		for _, r := range m.To {
			n[r]++
		}
	}
	return n
}

// Connections counts all connections so far.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.total++
		n := s.total
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			x := &session{s: s, n: n}
			x.attach(c)
			x.serve()
			x.c.Close()
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

// session is one connection.
type session struct {
	s   *Server
	n   int
	c   net.Conn
	r   *bufio.Reader
	out bytes.Buffer
	tls bool
	m   *Mail
}

func (x *session) attach(c net.Conn) {
	x.c = c
	x.r = bufio.NewReaderSize(c, 32<<10)
}

// say answers; false ends the session.
func (x *session) say(custom, usual string) bool {
	if custom == Hangup {
		return false
	}
	if custom == "" {
		custom = usual
	}
	x.s.pause(x.s.script.PerAnswer)
	x.out.WriteString(custom)
	x.out.WriteString("\r\n")
	return x.r.Buffered() > 0 || x.flush()
}

func (x *session) flush() bool {
	sc := &x.s.script
	x.s.pause(sc.RTT)
	b := x.out.Bytes()
	for sc.Interval > 0 && len(b) > 0 {
		x.s.pause(sc.Interval)
		if _, err := x.c.Write(b[:1]); err != nil {
			return false
		}
		b = b[1:]
	}
	x.out.Reset()
	if len(b) == 0 {
		return true
	}
	_, err := x.c.Write(b)
	return err == nil
}

func call[A any](f func(int, A) string, n int, a A) string {
	if f == nil {
		return ""
	}
	return f(n, a)
}

func (x *session) serve() {
	x.c.SetDeadline(time.Now().Add(10 * time.Minute))
	greeting := ""
	if x.s.script.Greeting != nil {
		greeting = x.s.script.Greeting(x.n)
	}
	if !x.say(greeting, "220 badmx.test ESMTP") {
		return
	}
	for {
		line, err := x.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if !x.command(strings.TrimRight(string(line), "\r\n")) {
			x.flush()
			return
		}
	}
}

// address takes what is between the angle brackets.
func address(line string) string {
	_, a, _ := strings.Cut(line, "<")
	a, _, _ = strings.Cut(a, ">")
	return a
}

func (x *session) command(line string) bool {
	sc := &x.s.script
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "HELO":
		return x.say("", "250 badmx.test")
	case "EHLO":
		return x.say("", x.ehlo())
	case "STARTTLS":
		return x.startTLS()
	case "MAIL":
		answer := call(sc.Mail, x.n, address(line))
		if answer == "" || answer[0] == '2' {
			x.m = &Mail{From: address(line), TLS: x.tls, Trial: x.n}
		}
		return x.say(answer, "250 2.1.0 Ok")
	case "RCPT":
		if x.m == nil {
			return x.say("", "503 5.5.1 MAIL first")
		}
		answer := call(sc.Rcpt, x.n, address(line))
		if answer == "" || answer[0] == '2' {
			x.m.To = append(x.m.To, address(line))
		}
		return x.say(answer, "250 2.1.5 Ok")
	case "DATA":
		return x.data()
	case "RSET":
		x.m = nil
		return x.say("", "250 2.0.0 Ok")
	case "NOOP":
		return x.say("", "250 2.0.0 Ok")
	case "QUIT":
		x.say("", "221 2.0.0 Bye")
		return false
	}
	return x.say("", "502 5.5.2 What?")
}

func (x *session) ehlo() string {
	t := "250-badmx.test\r\n"
	if !x.s.script.NoPipelining {
		t += "250-PIPELINING\r\n"
	}
	if x.s.script.TLS != nil && !x.tls {
		t += "250-STARTTLS\r\n"
	}
	if x.s.script.UTF8 {
		t += "250-SMTPUTF8\r\n"
	}
	return t + "250-SIZE 104857600\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME"
}

func (x *session) startTLS() bool {
	if x.s.script.TLS == nil || x.tls {
		return x.say("", "502 5.5.1 no")
	}
	if !x.say("", "220 2.0.0 Go ahead") {
		return false
	}
	t := tls.Server(x.c, x.s.script.TLS)
	if t.Handshake() != nil {
		return false
	}
	x.attach(t)
	x.tls, x.m = true, nil
	return true
}

func (x *session) data() bool {
	sc := &x.s.script
	if x.m == nil || len(x.m.To) == 0 {
		return x.say("", "554 5.5.1 No valid recipients")
	}
	answer := ""
	if sc.Data != nil {
		answer = sc.Data(x.n)
	}
	if !x.say(answer, "354 Go ahead") {
		return false
	}
	if answer != "" && answer[0] != '3' {
		return true
	}
	cut := 0
	if sc.CutAfter != nil {
		cut = sc.CutAfter(x.n)
	}
	m := x.m
	x.m = nil
	atStart, size := true, 0
	for {
		part, err := x.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if atStart && len(part) > 0 && part[0] == '.' {
			if string(part) == ".\r\n" {
				break
			}
			part = part[1:]
		}
		atStart = err == nil
		if !sc.Forget {
			m.Data = append(m.Data, part...)
		}
		size += len(part)
		if cut > 0 && size >= cut {
			return false
		}
	}
	answer = call(sc.Done, x.n, m)
	if answer == "" || answer[0] == '2' {
		x.s.keep(m)
	}
	ok := x.say(answer, fmt.Sprintf("250 2.0.0 Ok: queued as %d", x.n))
	if ok && sc.Sent != nil {
		sc.Sent(m)
	}
	return ok
}

func (s *Server) keep(m *Mail) {
	if s.script.Forget {
		return
	}
	s.mu.Lock()
	s.mails = append(s.mails, m)
	s.mu.Unlock()
}
