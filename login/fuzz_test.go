package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/sasl/dovecot"
)

// scripted is a connection on which a client says all at once and listens.
type scripted struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 143} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

// fuzz runs one session of whatever in holds; every line that comes back must be a
// response.
func fuzz(f *testing.F, protocol string, ok func(line string) bool) {
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &server{protocol: protocol, program: protocol + "d", greeting: "ready", timeout: time.Hour, plaintextOff: true, sessionFailures: 10,
			log: maillog.New("t", maillog.Discard{}), auth: dovecot.NewClient("/nonexistent/auth"), anvil: anvil.NewClient("/nonexistent/anvil"), waiting: newRegistry(0, 0), trim: time.NewTimer(time.Hour)}
		c := &scripted{in: bytes.NewReader(in)}
		s.serve(context.Background(), nil, c)
		if s.waiting.all != 0 || s.waiting.waiting.Len() != 0 {
			t.Fatal("connections left in the registry")
		}
		out := c.out.String()
		if !strings.HasSuffix(out, "\r\n") {
			t.Fatalf("output ends in the middle of a line: %q", out)
		}
		for _, l := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if strings.ContainsAny(l, "\r\n\x00") || !ok(l) {
				t.Fatalf("%q answered with %q", in, l)
			}
		}
		if len(out) > 3000+300*len(in) {
			t.Fatalf("%d bytes answered with %d", len(in), len(out))
		}
	})
}

func FuzzLoginIMAP(f *testing.F) {
	for _, s := range []string{
		"a LOGIN {4}\r\nanna {6+}\r\nsecret\r\n", "a AUTHENTICATE PLAIN\r\n*\r\n", "a CAPABILITY\r\nb LOGOUT\r\n", "a ID (\"a\" NIL)\r\n",
		"a LOGIN {99999999999999999999+}\r\n", "\x00\r\n", "a LOGIN \"\\\"\" x\r\n", "a STARTTLS\r\n", strings.Repeat("x", 9000) + "\r\n",
	} {
		f.Add([]byte(s))
	}
	fuzz(f, "imap", func(l string) bool {
		_, rest, _ := strings.Cut(l, " ")
		for _, w := range []string{"OK", "NO", "BAD", "BYE", "CAPABILITY", "ID"} {
			if rest == w || strings.HasPrefix(rest, w+" ") {
				return true
			}
		}
		return strings.HasPrefix(l, "+ ")
	})
}

func FuzzLoginPOP3(f *testing.F) {
	for _, s := range []string{
		"USER a\r\nPASS b\r\n", "AUTH PLAIN\r\n*\r\n", "AUTH\r\n", "CAPA\r\nQUIT\r\n", "STLS\r\n", "UTF8\r\n", strings.Repeat("x", 9000) + "\r\n", "AUTH PLAIN !!\r\n",
	} {
		f.Add([]byte(s))
	}
	capa := false
	fuzz(f, "pop3", func(l string) bool {
		if l == "CAPA" {
			capa = true
		}
		if capa {
			capa = l != "."
			return true
		}
		return strings.HasPrefix(l, "+OK") || strings.HasPrefix(l, "-ERR") || strings.HasPrefix(l, "+ ")
	})
}
