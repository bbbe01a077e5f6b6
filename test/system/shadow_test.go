package system

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/privs"
	"posthaste/test/tools/harness"
)

// Hashes of passwords, made by openssl passwd -6.
const (
	hashOne = "$6$aaaaaaaa$4ytjk4CO0B599Bzc/7w5hKErpcKA2/MyBcv5dCFNBin3TPSd6cH/XpYf9ZeGd7ZsjNn2xxUXejVbPGVF.jYa6/" // "one"
	hashTwo = "$6$bbbbbbbb$Mv7wpljLsv1uYjfdR0/HbCiIgcp62Vg3tklc9YfHU6c8DGFlOphDACGFNqyBu2itRYkLGMqV8B4W9xSdKCYbR/" // "two"
)

// setShadow gives a user a line in /etc/shadow, by the way of the passwd command:
// a new file takes the place of the old one.
func setShadow(t *testing.T, user, rest string) {
	t.Helper()
	b, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for l := range strings.Lines(string(b)) {
		if !strings.HasPrefix(l, user+":") {
			out.WriteString(l)
		}
	}
	fmt.Fprintf(&out, "%s:%s\n", user, rest)
	if err := os.WriteFile("/etc/shadow+", []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("/etc/shadow+", "/etc/shadow"); err != nil {
		t.Fatal(err)
	}
}

// logIn logs in by IMAP, POP3 or SMTP under TLS and returns the server's verdict.
func logIn(t *testing.T, s *harness.System, port int, user, password string) string {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addr(port), s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	line := func() string {
		l, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(l)
	}
	line()
	if port == 465 {
		fmt.Fprint(c, "EHLO c\r\n")
		for strings.HasPrefix(line(), "250-") {
		}
		fmt.Fprintf(c, "AUTH PLAIN %s\r\n", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
		return line()
	}
	if port == 995 {
		fmt.Fprintf(c, "USER %s\r\nPASS %s\r\n", user, password)
		line()
		return line()
	}
	fmt.Fprintf(c, "a LOGIN %s \"%s\"\r\n", user, password)
	for {
		if l := line(); strings.HasPrefix(l, "a ") {
			return l
		}
	}
}

// TestSystemUsers: users of /etc/passwd log in with the password of /etc/shadow,
// and a change of that file counts at once.
func TestSystemUsers(t *testing.T) {
	needRoot(t)
	clean(t)
	day := time.Now().Unix() / 86400
	setShadow(t, "phann", fmt.Sprintf("%s:%d:0:99999:7:::", hashOne, day))
	setShadow(t, "phben", fmt.Sprintf("!%s:%d:0:99999:7:::", hashOne, day))
	s := harness.New(t, "auth_databases = passwd-file, shadow", "home_mailbox = Maildir/", "auth_failure_delay = 0s", "max_idle = 1000s", "smtpd_client_event_limit_exceptions =")
	s.Start()
	ok := func(user, password string) {
		t.Helper()
		for _, port := range []int{993, 995, 465} {
			if got := logIn(t, s, port, user, password); !strings.HasPrefix(got, "a OK") && !strings.HasPrefix(got, "+OK") && !strings.HasPrefix(got, "235 ") {
				t.Errorf("%s with %q at port %d: %s", user, password, port, got)
			}
		}
	}
	no := func(user, password string) {
		t.Helper()
		for _, port := range []int{993, 995, 465} {
			if got := logIn(t, s, port, user, password); !strings.HasPrefix(got, "a NO [AUTHENTICATIONFAILED]") && !strings.HasPrefix(got, "-ERR [AUTH]") && !strings.HasPrefix(got, "535 ") {
				t.Errorf("%s with %q at port %d: %s", user, password, port, got)
			}
		}
	}
	ok("phann", "one")
	ok("phann@example.test", "one")
	ok("alice", "secret")
	no("phann", "two")
	no("phben", "one")
	no("root", "one")
	no("nobody-here", "one")
	// Mail comes to where it is read.
	s.RunInput("Subject: to a system user\n\nx\n", "sendmail", "-f", "alice@example.test", "phann@localhost")
	s.WaitLog(`to=<phann@localhost>, .*status=sent`)
	if st, err := os.Stat(home("phann") + "/Maildir/new"); err != nil || !st.IsDir() {
		t.Error(err)
	}

	for _, pid := range s.Processes("shadow") {
		st, want := status(t, pid), uid(t, privs.Shadow)
		if st["Uid"] != fmt.Sprintf("%d %[1]d %[1]d %[1]d", want) || st["CapEff"] != "0000000000000000" || st["NoNewPrivs"] != "1" || st["Seccomp"] != "2" {
			t.Errorf("shadow: Uid %s, CapEff %s, NoNewPrivs %s, Seccomp %s", st["Uid"], st["CapEff"], st["NoNewPrivs"], st["Seccomp"])
		}
	}
	before := s.Processes("shadow")
	if len(before) != 1 {
		t.Errorf("%d processes of shadow", len(before))
	}

	setShadow(t, "phann", fmt.Sprintf("%s:%d:0:99999:7:::", hashTwo, day))
	no("phann", "one")
	ok("phann", "two")
	setShadow(t, "phann", fmt.Sprintf("!%s:%d:0:99999:7:::", hashTwo, day))
	no("phann", "two")
	setShadow(t, "phann", fmt.Sprintf("%s:%d:0:99999:7::%d:", hashTwo, day, day))
	no("phann", "two")
	setShadow(t, "phann", fmt.Sprintf("%s:%d:0:90:7:::", hashTwo, day-91))
	no("phann", "two")
	setShadow(t, "phann", fmt.Sprintf("%s:%d:0:90:7:::", hashTwo, day))
	ok("phann", "two")
	for _, want := range []string{
		`auth\[\d+\]: shadow\(phann,127\.0\.0\.1\): password mismatch \(service=imap, method=PLAIN\)`,
		`shadow\(phben,127\.0\.0\.1\): password is locked`,
		`shadow\(root,127\.0\.0\.1\): user ID 0 may not log in`,
		`shadow\(nobody-here,127\.0\.0\.1\): unknown user`,
		`shadow\(phann,127\.0\.0\.1\): account has expired`,
		`shadow\(phann,127\.0\.0\.1\): password has expired`,
	} {
		s.WaitLog(want)
	}
}
