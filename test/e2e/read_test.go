package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// reader is a session with login and the session program behind it.
type reader struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
	n int
}

func dialReader(t *testing.T, s *harness.System, port int) *reader {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addr(port), s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r := &reader{t: t, c: c, r: bufio.NewReader(c)}
	r.line()
	return r
}

func (r *reader) line() string {
	r.t.Helper()
	l, err := r.r.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimRight(l, "\r\n")
}

// imap runs a command and returns all that answers it; the command must
// succeed.
func (r *reader) imap(format string, a ...any) string {
	r.t.Helper()
	r.n++
	tag := "t" + strconv.Itoa(r.n)
	fmt.Fprintf(r.c, tag+" "+format+"\r\n", a...)
	var all strings.Builder
	for {
		l := r.line()
		all.WriteString(l + "\n")
		if m := regexp.MustCompile(`\{(\d+)\}$`).FindStringSubmatch(l); m != nil {
			n, _ := strconv.Atoi(m[1])
			b := make([]byte, n)
			if _, err := io.ReadFull(r.r, b); err != nil {
				r.t.Fatal(err)
			}
			all.Write(b)
		}
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				r.t.Fatalf("%s: %s", fmt.Sprintf(format, a...), rest)
			}
			return all.String()
		}
	}
}

// pop3 runs a command and returns its answer, which must be positive.
func (r *reader) pop3(cmd string, multi bool) string {
	r.t.Helper()
	fmt.Fprintf(r.c, "%s\r\n", cmd)
	all := r.line()
	if !strings.HasPrefix(all, "+OK") {
		r.t.Fatalf("%s: %s", cmd, all)
	}
	for multi {
		l := r.line()
		if l == "." {
			break
		}
		all += "\n" + l
	}
	return all
}

// TestRead: what went in by SMTP comes out by IMAP and POP3; a session in IDLE
// hears of new mail; Chinese is found in any charset.
func TestRead(t *testing.T) { reading(t, harness.Start(t)) }

// TestReadOrdinaryUser is the same for a user without any rights.
func TestReadOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: TestRead has run as an ordinary user already")
	}
	s := harness.NewAs(t, 65534)
	s.Start()
	reading(t, s)
}

func reading(t *testing.T, s *harness.System) {
	gb := "From: a@client.example\r\nTo: bob@example.test\r\nSubject: =?GB18030?B?u+HS6Q==?=\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xbb\xe1\xd2\xe9\xbc\xcd\xd2\xaa\r\n"
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, gb); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)

	i := dialReader(t, s, 993)
	i.imap("LOGIN bob hunter2")
	if got := i.imap("SELECT INBOX"); !strings.Contains(got, "* 1 EXISTS") {
		t.Errorf("SELECT: %s", got)
	}
	for _, q := range []string{"TEXT", "SUBJECT", "BODY"} {
		if got := i.imap("SEARCH CHARSET UTF-8 %s {6+}\r\n会议", q); !strings.Contains(got, "* SEARCH 1\n") {
			t.Errorf("SEARCH %s: %s", q, got)
		}
	}
	if got := i.imap("FETCH 1 (BODY.PEEK[TEXT] BODYSTRUCTURE)"); !strings.Contains(got, "\xbb\xe1\xd2\xe9\xbc\xcd\xd2\xaa\r\n") || !strings.Contains(strings.ToLower(got), `"charset" "gb2312"`) {
		t.Errorf("FETCH: %q", got)
	}
	fmt.Fprintf(i.c, "idle IDLE\r\n")
	if l := i.line(); !strings.HasPrefix(l, "+") {
		t.Fatalf("IDLE: %s", l)
	}
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("while idle")); err != nil {
		t.Fatal(err)
	}
	for l := ""; l != "* 2 EXISTS"; l = i.line() {
	}
	fmt.Fprintf(i.c, "DONE\r\n")
	for l := ""; !strings.HasPrefix(l, "idle OK"); l = i.line() {
	}
	i.imap(`STORE 2 +FLAGS (\Deleted)`)
	i.imap("EXPUNGE")
	i.imap("LOGOUT")

	p := dialReader(t, s, 995)
	p.pop3("USER bob@example.test", false) // with the domain as well as without
	p.pop3("PASS hunter2", false)
	if got := p.pop3("STAT", false); !strings.HasPrefix(got, "+OK 1 ") {
		t.Errorf("STAT: %s", got)
	}
	if got := p.pop3("RETR 1", true); !strings.Contains(got, "\xbb\xe1\xd2\xe9\xbc\xcd\xd2\xaa") {
		t.Errorf("RETR: %q", got)
	}
	p.pop3("DELE 1", false)
	p.c.Close() // without QUIT nothing is deleted
	s.Until("the message can be had again", func() bool {
		p := dialReader(t, s, 995)
		fmt.Fprint(p.c, "USER bob\r\nPASS hunter2\r\n")
		p.line()
		if !strings.HasPrefix(p.line(), "+OK") {
			return false // [IN-USE]: the cut session is not over yet
		}
		stat := p.pop3("STAT", false)
		p.pop3("DELE 1", false)
		p.pop3("QUIT", false)
		return strings.HasPrefix(stat, "+OK 1 ")
	})
	s.Until("the mailbox is empty", func() bool {
		i := dialReader(t, s, 993)
		i.imap("LOGIN bob hunter2")
		return strings.Contains(i.imap("SELECT INBOX"), "* 0 EXISTS")
	})
}
