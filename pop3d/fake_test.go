package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/service"
)

// fakeBox is an inbox in memory.
type fakeBox struct {
	mu      sync.Mutex
	view    *mailbox.View
	text    map[mailbox.UID]string
	flags   map[mailbox.UID]mailbox.Flags
	gone    map[mailbox.UID]bool // removed by somebody else
	fail    error                // of Expunge
	torn    bool                 // contents break off
	closed  int
	expunge int
}

func newBox(texts ...string) *fakeBox {
	b := &fakeBox{view: &mailbox.View{UIDValidity: 0xabcd}, text: map[mailbox.UID]string{}, flags: map[mailbox.UID]mailbox.Flags{}, gone: map[mailbox.UID]bool{}}
	for i, s := range texts {
		u := mailbox.UID(10 * (i + 1))
		m := &mailbox.Message{UID: u, Size: int64(len(s))}
		if i%2 == 1 {
			m.Size = -1
		}
		b.view.Messages = append(b.view.Messages, m)
		b.text[u] = s
	}
	return b
}

// selected is the folder as a Mailbox.
type selected struct {
	mailbox.Mailbox
	b *fakeBox
}

func (s selected) View() *mailbox.View { return s.b.view }
func (s selected) Close() error        { s.b.closed++; return nil }
func (s selected) Size(m *mailbox.Message) (int64, error) {
	return int64(len(s.b.text[m.UID])), nil
}

func (s selected) Content(m *mailbox.Message) (mailbox.Content, error) {
	if s.b.gone[m.UID] {
		return nil, mailbox.ErrExpunged
	}
	return content{strings.NewReader(s.b.text[m.UID]), s.b.torn}, nil
}

func (s selected) Store(uids []mailbox.UID, c mailbox.StoreChange) (mailbox.Stored, error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, u := range uids {
		s.b.flags[u] |= c.Flags
	}
	return mailbox.Stored{}, nil
}

func (s selected) Expunge(uids []mailbox.UID) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.expunge++
	if s.b.fail != nil {
		return s.b.fail
	}
	for _, u := range uids {
		if s.b.flags[u]&mailbox.Deleted != 0 {
			delete(s.b.text, u)
		}
	}
	return nil
}

type content struct {
	*strings.Reader
	torn bool
}

func (content) Bytes() []byte { return nil }
func (content) Close() error  { return nil }
func (c content) WriteTo(w io.Writer) (int64, error) {
	n, err := c.Reader.WriteTo(w)
	if err == nil && c.torn {
		err = errors.New("input/output error")
	}
	return n, err
}

// fakeStore opens the one box.
type fakeStore struct {
	mailbox.Store
	b *fakeBox
}

func (s fakeStore) Open(name string, readOnly bool) (mailbox.Mailbox, error) {
	if name != mailbox.Inbox || readOnly {
		return nil, mailbox.ErrNotFound
	}
	return selected{b: s.b}, nil
}
func (s fakeStore) Close() error { s.b.closed++; return nil }

type sink struct {
	mu    sync.Mutex
	lines []string
}

func (s *sink) Write(_ maillog.Severity, _ string, _ int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, text)
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// peer is a client with a session on a box.
type peer struct {
	t    testing.TB
	c    net.Conn
	r    *bufio.Reader
	done chan struct{} // closed when the session program is done
	log  *sink
	stop context.CancelFunc
}

func open(t testing.TB, b *fakeBox, input string, timeout time.Duration) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	srv, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	x := &peer{t: t, c: c, r: bufio.NewReader(c), done: make(chan struct{}), log: &sink{}, stop: cancel}
	p := &program{timeout: timeout, log: maillog.New("dovecot", x.log)}
	p.open = func(*service.Session) (mailbox.Store, func(), error) { return fakeStore{b: b}, func() {}, nil }
	go func() {
		defer close(x.done)
		defer srv.Close()
		p.session(ctx, nil, &service.Session{Grant: session.Grant{User: "anna"}, Open: session.Open{Input: []byte(input)}, Conn: srv})
	}()
	t.Cleanup(func() { cancel(); c.Close(); <-x.done })
	return x
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, s); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) line() string {
	l, err := p.r.ReadString('\n')
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimSuffix(l, "\r\n")
}

// talk plays a dialogue: "C: " is sent, "S: " must come; "…" at the end stands
// for anything, EOF for the end of the connection.
func (p *peer) talk(script string) {
	p.t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(script), "\n") {
		l = strings.TrimLeft(l, " \t")
		if s, ok := strings.CutPrefix(l, "C: "); ok {
			p.send(s + "\r\n")
			continue
		}
		got := p.line()
		want := strings.TrimPrefix(l, "S: ")
		if l == "EOF" {
			want = "(EOF)"
		}
		if head, dots := strings.CutSuffix(want, "…"); got != want && !(dots && strings.HasPrefix(got, head)) {
			p.t.Errorf("got %q, want %q", got, want)
			p.c.Close()
			return
		}
	}
}
