package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/maildir/store"
)

// TestCutConnection: half a message is none, and nobody else notices.
func TestCutConnection(t *testing.T) {
	ts := newTestStore(t)
	other := ts.client()
	other.ok("SELECT INBOX")
	for _, sent := range []string{
		"T APPEND INBOX {1000+}\r\nSubject: half", "T APPEND INBOX {10+}\r\n0123456789", "T APPEND INBOX {5+}\r\nA: b\n {7+}\r\nC", "T SEARCH TEXT {10+}\r\nabc", "T NOO", "T IDLE\r\n",
	} {
		c := ts.client()
		c.send("%s", sent)
		c.c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c.r) // until the server has let go
	}
	has(t, other.ok("STATUS INBOX (MESSAGES)"), "* STATUS INBOX (MESSAGES 0)")
	other.append("INBOX", "", hello)
	has(t, other.ok("FETCH 1 UID"), "* 1 FETCH (UID 1)")
}

// TestDeafClient: a client that asks for much and reads nothing is served no
// faster than it reads, and nobody waits for it.
func TestDeafClient(t *testing.T) {
	ts := newTestStore(t)
	deaf, other := ts.client(), ts.client()
	text := "Subject: large\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 20000)
	for range 4 {
		other.append("INBOX", "", text)
	}
	deaf.ok("SELECT INBOX")
	for range 20 {
		deaf.send("T FETCH 1:* BODY.PEEK[]\r\n")
	}
	other.ok("SELECT INBOX")
	for i := range 4 {
		other.ok("STORE %d +FLAGS (\\Flagged)", i+1)
	}
	other.ok("STORE 4 +FLAGS (\\Deleted)")
	has(t, other.ok("EXPUNGE"), "* 4 EXPUNGE")
	other.ok("LOGOUT")
	deaf.c.Close()
}

// TestUTF8 is UTF8=ACCEPT: names and messages in UTF-8.
func TestUTF8(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	c.ok("ENABLE UTF8=ACCEPT")
	c.ok("CREATE \"会议/a&b\"")
	has(t, c.ok(`LIST "" "会议/*"`), `* LIST (\HasNoChildren) "/" "会议/a&b"`)
	msg := "Subject: 会议\r\n\r\nx\r\n"
	c.ok("APPEND \"会议/a&b\" UTF8 (~{%d+}\r\n%s)", len(msg), msg)
	c.ok("SELECT \"会议/a&b\"")
	has(t, c.ok("FETCH 1 BODY.PEEK[]"), fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)", len(msg), msg))
	has(t, c.ok("SEARCH SUBJECT \"会议\""), "* SEARCH 1")
	hasPrefix(t, c.ok("FETCH 1 ENVELOPE"), "* 1 FETCH (ENVELOPE (NIL {6}\r\n会议 ")
	other := ts.client()
	has(t, other.ok(`LIST "" "&TxqLrg-/*"`), `* LIST (\HasNoChildren) "/" &TxqLrg-/a&-b`)
	hasPrefix(t, other.do("SELECT &AC4ALg-"), "T NO")
}

// TestEnd: each session is told why it ends when the process must.
func TestEnd(t *testing.T) {
	ts := newTestStore(t)
	idle, quiet := ts.client(), ts.client()
	idle.ok("SELECT INBOX")
	idle.send("T IDLE\r\n")
	idle.response()
	quiet.ok("NOOP")
	ts.stop()
	for _, c := range []*client{idle, quiet} {
		c.c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if r := c.response(); !strings.HasPrefix(r, "* BYE [UNAVAILABLE]") {
			t.Error(r)
		}
	}
}

// TestLongSearch: a command that works for long says so, and stops when nobody
// is there to hear it.
func TestLongSearch(t *testing.T) {
	ts := newTestStore(t)
	c := ts.client()
	var b strings.Builder
	for i := range 300 {
		m := fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\nx\r\n", i, i)
		fmt.Fprintf(&b, " {%d+}\r\n%s", len(m), m)
	}
	c.ok("APPEND INBOX%s", b.String())
	ts.opt.progress = 0 // long is at once
	c = ts.client()
	c.ok("SELECT INBOX")
	for _, cmd := range []string{"SEARCH TEXT nothing", "SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL"} {
		out := c.ok("%s", cmd)
		has(t, out, "* OK Searched 21% of the mailbox")
		if n := len(out); n < 7 {
			t.Errorf("%s: %q", cmd, out)
		}
		name, _, _ := strings.Cut(strings.ToLower(cmd), " ")
		st, err := ts.m.Open(ts.root, store.UserOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mine, its := net.Pipe()
		s := newSession(ts.ctx, &ts.opt, its, nil, "anna", st)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run()
			its.Close()
			st.Close()
		}()
		gone := &client{t: t, c: mine, r: bufio.NewReader(mine), w: mine}
		gone.ok("SELECT INBOX")
		gone.send("T %s\r\n", cmd)
		if r := gone.response(); r != "* OK Searched 0% of the mailbox\r\n" {
			t.Errorf("%s: %q", cmd, r)
		}
		mine.Close()
		<-done
		if n := s.count[name]; n == nil || n.Total != 1 || n.OK != 0 {
			t.Errorf("%s of a client that is gone went on to its end: %+v", cmd, n)
		}
	}
}
