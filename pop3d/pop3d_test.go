package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/service"
)

const (
	one   = "Subject: one\r\n\r\nfirst\r\n.\r\n..second\r\n"
	two   = "Subject: two\r\n\r\nno line end"
	three = "Subject: three\r\n\r\n"
)

func TestSession(t *testing.T) {
	b := newBox(one, two, three)
	p := open(t, b, "", time.Minute)
	p.talk(`
		S: +OK Logged in.
		C: STAT
		S: +OK 3 81
		C: LIST
		S: +OK 3 messages:
		S: 1 36
		S: 2 27
		S: 3 18
		S: .
		C: LIST 2
		S: +OK 2 27
		C: uidl
		S: +OK
		S: 1 0000000a0000abcd
		S: 2 000000140000abcd
		S: 3 0000001e0000abcd
		S: .
		C: UIDL 3
		S: +OK 3 0000001e0000abcd
		C: RETR 1
		S: +OK 36 octets
		S: Subject: one
		S: 
		S: first
		S: ..
		S: ...second
		S: .
		C: RETR 2
		S: +OK 27 octets
		S: Subject: two
		S: 
		S: no line end
		S: .
		C: TOP 1 1
		S: +OK
		S: Subject: one
		S: 
		S: first
		S: .
		C: TOP 1 0
		S: +OK
		S: Subject: one
		S: 
		S: .
		C: NOOP
		S: +OK
		C: DELE 1
		S: +OK Marked to be deleted.
		C: RETR 1
		S: -ERR There's no message 1.
		C: DELE 1
		S: -ERR There's no message 1.
		C: STAT
		S: +OK 2 45
		C: LIST
		S: +OK 2 messages:
		S: 2 27
		S: 3 18
		S: .
		C: RSET
		S: +OK
		C: STAT
		S: +OK 3 81
		C: DELE 3
		S: +OK …
		C: CAPA
		S: +OK
		S: CAPA
		S: TOP
		S: UIDL
		S: RESP-CODES
		S: PIPELINING
		S: AUTH-RESP-CODE
		S: EXPIRE NEVER
		S: USER
		S: UTF8 USER
		S: IMPLEMENTATION Posthaste
		S: .
		C: QUIT
		S: +OK Logging out.
		EOF`)
	<-p.done
	if len(b.text) != 2 || b.text[30] != "" {
		t.Errorf("left: %v", b.text)
	}
	if b.flags[10] != mailbox.Seen || b.flags[20] != mailbox.Seen || b.flags[30] != mailbox.Deleted {
		t.Errorf("flags: %v", b.flags)
	}
	if want := "pop3(anna): Disconnected: Logged out top=2/39, retr=2/63, del=1/3, size=81"; p.log.text() != want {
		t.Errorf("got  %s\nwant %s", p.log.text(), want)
	}
	if b.closed != 2 {
		t.Errorf("store and mailbox closed %d times", b.closed)
	}
}

func TestBadCommands(t *testing.T) {
	p := open(t, newBox(one), "", time.Minute)
	p.talk(`
		S: +OK …
		C: RETR
		S: -ERR …
		C: RETR 0
		S: -ERR There's no message 0.
		C: RETR 2
		S: -ERR There's no message 2.
		C: RETR -1
		S: -ERR …
		C: RETR 1 1
		S: -ERR …
		C: RETR 99999999999999999999
		S: -ERR …
		C: TOP 1
		S: -ERR …
		C: TOP 1 x
		S: -ERR …
		C: LAST
		S: -ERR Unknown command
		C: UTF8
		S: -ERR …
		C: USER anna
		S: -ERR …
		C: STLS
		S: -ERR …
		C: ` + strings.Repeat("x", 3000) + `
		S: -ERR Command line is too long
		C: ` + "a\x00b" + `
		S: -ERR Malformed command
		C: ` + strings.Repeat("NOOP ", 200) + `
		S: -ERR …
		C: STAT
		S: +OK 1 36`)
	p.send(strings.Repeat("BOGUS\r\n", 8))
	b, _ := io.ReadAll(p.r)
	if !strings.HasSuffix(string(b), "-ERR Too many bad commands\r\n") {
		t.Errorf("%q", b)
	}
	<-p.done
}

// TestCut: only QUIT deletes.
func TestCut(t *testing.T) {
	for name, end := range map[string]func(*peer){
		"closed":   func(p *peer) { p.c.Close() },
		"half":     func(p *peer) { p.send("QUI"); p.c.Close() },
		"stopped":  func(p *peer) { p.stop(); p.talk("S: -ERR [SYS/TEMP] Server is shutting down\nEOF") },
		"too long": func(p *peer) { p.talk("S: -ERR Disconnected for inactivity\nEOF") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(one, two)
			timeout := time.Minute
			if name == "too long" {
				timeout = 200 * time.Millisecond
			}
			p := open(t, b, "", timeout)
			p.talk("S: +OK…\nC: DELE 1\nS: +OK…\nC: TOP 2 0\nS: +OK\nS: Subject: two\nS: \nS: .")
			end(p)
			<-p.done
			if len(b.text) != 2 || b.expunge != 0 || b.flags[10] != 0 {
				t.Errorf("left: %v, flags %v", b.text, b.flags)
			}
			if l := p.log.text(); !strings.Contains(l, "del=0/2") || strings.Contains(l, "Logged out") {
				t.Error(l)
			}
		})
	}
}

// TestPipelined: commands that login had read already come first, and answers
// are in order.
func TestPipelined(t *testing.T) {
	p := open(t, newBox(one, two), "STAT\r\nDELE 1\r\nLI", time.Minute)
	p.send("ST 1\r\nLIST 2\r\nQUIT\r\n")
	p.talk("S: +OK Logged in.\nS: +OK 2 63\nS: +OK…\nS: -ERR There's no message 1.\nS: +OK 2 27\nS: +OK Logging out.\nEOF")
}

func TestTrouble(t *testing.T) {
	b := newBox(one, two)
	b.gone[10] = true
	b.fail = errors.New("read-only file system")
	p := open(t, b, "", time.Minute)
	p.talk(`
		S: +OK …
		C: RETR 1
		S: -ERR [SYS/PERM] …
		C: DELE 2
		S: +OK …
		C: QUIT
		S: -ERR [SYS/TEMP] Some deleted messages were not removed.
		EOF`)
	<-p.done
	if l := p.log.text(); !strings.Contains(l, "pop3(anna): deleting messages: read-only file system") {
		t.Error(l)
	}
	// A message that breaks off must not look whole.
	b = newBox(one)
	b.torn = true
	p = open(t, b, "", time.Minute)
	p.line()
	p.send("RETR 1\r\n")
	out, _ := io.ReadAll(p.r)
	if bytes.HasSuffix(out, []byte("\r\n.\r\n")) || !bytes.HasPrefix(out, []byte("+OK 36")) {
		t.Errorf("%q", out)
	}
	<-p.done
	if l := p.log.text(); !strings.Contains(l, "input/output error") || b.flags[10] != 0 {
		t.Error(l, b.flags)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errInUse, "-ERR [IN-USE] Mailbox is locked by another POP3 session."},
		{mailbox.ErrBusy, "-ERR [IN-USE] Mailbox is locked by another POP3 session."},
		{errors.New("permission denied"), "-ERR [SYS/TEMP] Mailbox cannot be opened, try again later."},
	} {
		c, buf := &memory{}, &sink{}
		p := &program{timeout: time.Minute, log: maillog.New("t", buf)}
		p.open = func(*service.Session) (mailbox.Store, func(), error) { return nil, nil, tt.err }
		p.session(t.Context(), nil, &service.Session{Grant: session.Grant{User: "anna"}, Conn: c})
		if got := c.out.String(); got != tt.want+"\r\n" || !strings.HasPrefix(buf.text(), "pop3(anna): ") && !strings.Contains(buf.text(), "warning: pop3(anna): ") {
			t.Errorf("%v: %q, logged %q", tt.err, got, buf.text())
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); !errors.Is(err, errInUse) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	if unlock, err = lock(dir); err != nil {
		t.Errorf("after the first session: %v", err)
	} else {
		unlock()
	}
	if _, err := lock(dir + "/nothing"); err == nil || errors.Is(err, errInUse) {
		t.Error(err)
	}
}

// TestLarge: a big mailbox, fetched with pipelining.
func TestLarge(t *testing.T) {
	var texts []string
	for i := range 2000 {
		texts = append(texts, fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat(".line\r\n", 400)))
	}
	b := newBox(texts...)
	p := open(t, b, "", time.Minute)
	go func() {
		var s strings.Builder
		for i := range texts {
			fmt.Fprintf(&s, "RETR %d\r\nDELE %d\r\n", i+1, i+1)
		}
		io.WriteString(p.c, s.String()+"QUIT\r\n")
	}()
	out, err := io.ReadAll(p.r)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, s := range texts {
		want += len(s) + 400
	}
	if len(out) < want || len(b.text) != 0 || !bytes.HasSuffix(out, []byte("+OK Logging out.\r\n")) {
		t.Errorf("%d bytes, want %d and the answers; %d messages left", len(out), want, len(b.text))
	}
}
