package system

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// talk runs a session of POP3 or IMAP: it sends each line when the answer to the one
// before is complete, and returns all answers.
func talk(s *harness.System, port int, lines ...string) string {
	s.T.Helper()
	c, err := tls.Dial("tcp", s.Addr(port), s.TLS())
	if err != nil {
		s.T.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	var all strings.Builder
	answer := func(end string) {
		for {
			l, err := r.ReadString('\n')
			all.WriteString(l)
			if err != nil {
				s.T.Fatalf("%v\n%s", err, all.String())
			}
			if strings.HasPrefix(l, end) {
				return
			}
		}
	}
	answer(map[bool]string{true: "* OK", false: "+OK"}[port == 993])
	for i, l := range lines {
		end := "+OK"
		switch {
		case port == 993:
			end = fmt.Sprintf("t%d OK", i)
			l = fmt.Sprintf("t%d %s", i, l)
		case l == "UIDL" || strings.HasPrefix(l, "RETR"):
			end = ".\r\n"
		}
		fmt.Fprintf(c, "%s\r\n", l)
		answer(end)
	}
	return all.String()
}

// TestSpoolIsRead: users of the system find what local delivers to the mail spool, whose
// directory they may not write, by POP3 and IMAP, without any setting.
func TestSpoolIsRead(t *testing.T) {
	needRoot(t)
	clean(t)
	s := harness.New(t)
	spool := s.Path("mail-spool")
	if err := os.Mkdir(spool, 0755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(spool, 0755)
	s.Append("etc/main.cf", "mail_spool_directory = "+spool)
	s.Append("etc/users", fmt.Sprintf("phann:{PLAIN}secret:%d:%d::%s::", annUID, annGID, home("phann")))
	s.Start()
	for i := range 2 {
		send(t, s, fmt.Sprintf("spool %d", i), "phann@localhost")
	}
	box := filepath.Join(spool, "phann")
	s.Until("two messages", func() bool { return strings.Count(content(s, box), "\nSubject: spool ") == 2 })
	s.WaitQueue(0)

	uidl := func(out string) (l []string) {
		for _, line := range strings.Split(out, "\r\n") {
			if f := strings.Fields(line); len(f) == 2 && len(f[1]) == 16 {
				l = append(l, f[1])
			}
		}
		return l
	}
	first := uidl(talk(s, 995, "USER phann", "PASS secret", "UIDL", "QUIT"))
	if len(first) != 2 {
		t.Fatalf("%v", first)
	}
	out := talk(s, 993, "LOGIN phann secret", "SELECT INBOX", `STORE 2 +FLAGS (\Flagged red)`, "CREATE Lists/golang", "COPY 2 Lists/golang", `STORE 1 +FLAGS (\Deleted)`, "EXPUNGE", "LOGOUT")
	if !strings.Contains(out, "* 2 EXISTS") || !strings.Contains(out, "* 1 EXPUNGE") {
		t.Errorf("%s", out)
	}
	send(t, s, "spool 2", "phann@localhost")
	s.Until("the third message", func() bool { return strings.Contains(content(s, box), "\nSubject: spool 2") })
	out = talk(s, 995, "USER phann", "PASS secret", "UIDL", "RETR 2", "QUIT")
	if now := uidl(out); len(now) != 2 || now[0] != first[1] || !strings.Contains(out, "\r\nSubject: spool 2\r\n") || strings.Contains(out, "X-UID") {
		t.Errorf("%v, was %v\n%s", now, first, out)
	}
	// The session writes them when it has answered QUIT.
	s.Until("flags and UIDs are in the file", func() bool {
		b := content(s, box)
		return strings.Contains(b, "\nX-Status: F\nX-Keywords: red ") && strings.Count(b, "\nX-UID: ") == 2
	})
	if u, _, m := owner(t, box); u != annUID || m&0007 != 0 {
		t.Errorf("%s: user %d, %v", box, u, m)
	}
	if b := content(s, filepath.Join(home("phann"), "mail/Lists/golang")); !strings.Contains(b, "\nX-Keywords: red ") {
		t.Errorf("%s", b)
	}
}
