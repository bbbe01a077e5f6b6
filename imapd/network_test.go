package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
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
