package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/service"
)

// memory is a connection whose client has said everything already.
type memory struct {
	net.Conn
	in  bytes.Reader
	out bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)       { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)      { return m.out.Write(p) }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// FuzzPOP3Session: whatever a client sends, the answers are well-formed, the
// same for every split of the input, and nothing is deleted without QUIT.
func FuzzPOP3Session(f *testing.F) {
	for _, s := range []string{"STAT\r\nLIST\r\nUIDL\r\n", "RETR 1\r\nTOP 2 1\r\nDELE 1\r\nQUIT\r\n", "DELE 1\r\nRSET\r\nDELE 2\r\nQUIT\n", "CAPA\r\n", "TOP 1 999999999\r\n",
		"RETR 1\nRETR 2\nRETR 3\n", strings.Repeat("x", 2000) + "\r\nDELE 2\r\n", "\r\n\x00\r\n"} {
		f.Add([]byte(s), 5)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		run := func(input, rest []byte) (string, *fakeBox) {
			b := newBox(one, two, three)
			p := &program{timeout: time.Minute, log: maillog.New("t", maillog.Discard{})}
			p.open = func(*service.Session) (mailbox.Store, func(), error) { return fakeStore{b: b}, func() {}, nil }
			c := &memory{}
			c.in.Reset(rest)
			p.session(t.Context(), nil, &service.Session{Grant: session.Grant{User: "a"}, Open: session.Open{Input: input}, Conn: c})
			return c.out.String(), b
		}
		if cut < 0 || cut > len(in) {
			cut = len(in)
		}
		out, b := run(in[:cut], in[cut:])
		if again, _ := run(nil, in); again != out {
			t.Fatalf("%q: %q, split %q", in, again, out)
		}
		if !strings.HasPrefix(out, "+OK Logged in.\r\n") || !strings.HasSuffix(out, "\r\n") {
			t.Fatalf("%q: %q", in, out)
		}
		if !strings.Contains(strings.ToUpper(string(in)), "QUIT") && (len(b.text) != 3 || b.expunge > 0) {
			t.Fatalf("%q deleted without QUIT", in)
		}
		if len(out) > 100+len(in)*200 {
			t.Fatalf("%d bytes for %q", len(out), in)
		}
	})
}
