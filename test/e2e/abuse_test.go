package e2e

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/test/tools/harness"
)

// peakMemory is the most memory, in KiB, that the processes of a program that
// run now have had resident, all together, and how many they are.
func peakMemory(s *harness.System, program string) (kib, processes int) {
	s.T.Helper()
	for _, pid := range s.Processes(program) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(b), "VmHWM:")
		var n int
		if _, err := fmt.Sscan(rest, &n); err != nil {
			s.T.Fatal(err)
		}
		kib += n
		processes++
	}
	return kib, processes
}

// abused makes a system whose readers may come in numbers from one address and
// do not cost a hash each.
func abused(t *testing.T, main ...string) *harness.System {
	s := harness.New(t, append(main, "login_disable_plaintext_auth = no", "login_client_connection_count_limit = 0")...)
	name := s.Path("etc/users")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i, l := range lines {
		if f := strings.SplitN(l, ":", 3); len(f) == 3 && f[0] == "bob" {
			lines[i] = f[0] + ":{PLAIN}hunter2:" + f[2]
		}
	}
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start()
	return s
}

// plain is a reader without TLS, past the greeting.
func plain(t *testing.T, s *harness.System, port int) *reader {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	r := &reader{t: t, c: c, r: bufio.NewReader(c)}
	r.line()
	return r
}

func loggedIn(t *testing.T, s *harness.System) *reader {
	t.Helper()
	r := plain(t, s, 143)
	r.imap("LOGIN bob hunter2")
	return r
}

// pour writes n octets without a line end, until the server has had enough, and
// returns what it says.
func (r *reader) pour(n int) string {
	block := []byte(strings.Repeat("x", 1<<20))
	for ; n > 0; n -= len(block) {
		if _, err := r.c.Write(block); err != nil {
			break
		}
	}
	if c, ok := r.c.(*net.TCPConn); ok {
		c.CloseWrite()
	}
	b, _ := io.ReadAll(r.r)
	return string(b)
}

// TestAbuseBeforeLogin: a thousand connections that do not get on, and commands
// without end, cost little, and a user gets in beside them.
func TestAbuseBeforeLogin(t *testing.T) {
	t.Parallel()
	s := abused(t)
	plain(t, s, 143).imap("NOOP")
	before, _ := peakMemory(s, "login")
	const crowd = 1000
	var held [crowd]net.Conn
	for i := range held {
		port := 143
		if i%4 == 3 {
			port = 110
		}
		c, err := net.Dial("tcp", s.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held[i] = c
		fmt.Fprintf(c, "a LOGIN bob {200+}\r\n%s", strings.Repeat("x", 100))
	}
	for _, a := range []struct {
		port       int
		what, want string
	}{
		{143, "a LOGIN {9223372036854775808}\r\nb NOOP\r\n", "a BAD "},
		{143, "a LOGIN {4294967295+}\r\n" + strings.Repeat("x", 1<<20), "* BYE "},
		{143, "a APPEND INBOX {1000000+}\r\n" + strings.Repeat("x", 1000000) + "\r\n", "* BYE "},
		{143, "a AUTHENTICATE PLAIN\r\n" + strings.Repeat("x", 1<<20) + "\r\n", ""},
		{143, strings.Repeat("x\r\n", 5000), "* BYE Too many invalid commands"},
		{143, "a LOGIN ../../etc/passwd x\r\nb LOGOUT\r\n", "a NO "},
		{143, "a LOGIN \"bob\x00\" hunter2\r\nb LOGOUT\r\n", "a BAD "},
		{110, "USER ../bob\r\nPASS x\r\nQUIT\r\n", "-ERR "},
		{110, "USER " + strings.Repeat("x", 1<<20) + "\r\n", "-ERR "},
		{110, strings.Repeat("x\r\n", 5000), "-ERR "},
	} {
		r := plain(t, s, a.port)
		io.WriteString(r.c, a.what) // it may be cut off within
		r.c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(r.r)
		if !strings.Contains("\r\n"+string(got), "\r\n"+a.want) {
			t.Errorf("%.60q: %.300q, want %s", a.what, got, a.want)
		}
	}
	for _, port := range []int{143, 110, 993} {
		c, err := net.Dial("tcp", s.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		(&reader{t: t, c: c, r: bufio.NewReader(c)}).pour(64 << 20)
	}
	victim := loggedIn(t, s)
	victim.imap("SELECT INBOX")
	victim.imap("LOGOUT")
	after, n := peakMemory(s, "login")
	t.Logf("login: %d KiB before, %d KiB in %d processes with %d connections", before, after, n, crowd)
	if most := n*16<<10 + crowd*32; after > most {
		t.Errorf("%d processes of login took %d KiB for %d connections, %d would be right", n, after, crowd, most)
	}
}

// bombs are messages that are hard to take apart.
func bombs() []string {
	var deep strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return []string{
		deep.String(),
		strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10000),
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n", 100000),
		strings.Repeat("To: "+strings.Repeat("a@b, ", 20)+"\r\n", 25000) + "\r\nx\r\n",
		"Subject: " + strings.Repeat("=?utf-8?b?4pyT?= ", 50000) + "\r\n\r\nx\r\n",
		"Subject: long line\r\n\r\n" + strings.Repeat("x", 8<<20) + "\r\n",
	}
}

// TestAbuseOfMailboxes: what one user's clients ask for stays within bounds of
// memory, whatever it is, and his other clients are served meanwhile.
func TestAbuseOfMailboxes(t *testing.T) {
	t.Parallel()
	s := abused(t)
	victim := loggedIn(t, s)
	victim.imap("SELECT INBOX")
	for _, b := range bombs() {
		victim.imap("APPEND INBOX {%d+}\r\n%s", len(b), b)
	}
	first := s.Processes("imapd")
	alive := func(during string) {
		t.Helper()
		victim.imap(`STORE 1 +FLAGS (\Seen)`)
		if got := victim.imap("FETCH 1 (UID FLAGS)"); !strings.Contains(got, "UID 1 ") {
			t.Fatalf("%s: %s", during, got)
		}
	}
	r := loggedIn(t, s)
	r.imap("SELECT INBOX")
	for _, c := range []string{
		"FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY PREVIEW)", "FETCH 1:* (BODY.PEEK[1.1.1.1.1.1.1.1] BINARY.PEEK[1])", "SORT (SUBJECT FROM TO) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
		"SEARCH" + strings.Repeat(" TEXT nothing", 64), "SEARCH" + strings.Repeat(" NOT HEADER To nothing", 64), "FETCH 1:* (" + strings.Repeat("BODY.PEEK[HEADER.FIELDS (SUBJECT)]<0.100> ", 190) + "UID)",
		"SEARCH " + strings.Repeat("1:*,", 15000) + "1",
	} {
		r.imap("%s", c)
		alive(c)
	}
	for _, c := range []struct{ cmd, want string }{
		{"SEARCH " + strings.Repeat("NOT ", 10000) + "ALL", "BAD"}, {"SEARCH " + strings.Repeat("(", 10000), "BAD"}, {"SEARCH TEXT {9223372036854775808}", "BAD"},
		{"FETCH " + strings.Repeat("1,", 500000) + "1 UID", "BAD"}, {"CREATE ../../x", "NO"}, {"CREATE \"a\x00b\"", "BAD"}, {"RENAME INBOX &AC4ALg-/x", "NO"},
	} {
		fmt.Fprintf(r.c, "bad %s\r\n", c.cmd)
		l := r.line()
		for strings.HasPrefix(l, "* ") {
			l = r.line()
		}
		if !strings.HasPrefix(l, "bad "+c.want) {
			t.Errorf("%.60q: %q, want %s", c.cmd, l, c.want)
		}
		r.imap("NOOP")
	}

	// A long line in a few kilobytes is refused; one without end ends the session.
	r.imap("COMPRESS DEFLATE")
	raw := r.c
	fw, _ := flate.NewWriter(raw, flate.BestCompression)
	r.r = bufio.NewReader(flate.NewReader(raw))
	block := []byte(strings.Repeat("x", 1<<20))
	for range 4 {
		fw.Write(block)
	}
	io.WriteString(fw, "\r\nz NOOP\r\n")
	fw.Flush()
	if l := r.line(); !strings.HasPrefix(l, "* BAD [LIMIT]") {
		t.Errorf("compressed: %q", l)
	}
	for l := r.line(); !strings.HasPrefix(l, "z OK"); {
		l = r.line()
	}
	for range 1 << 10 {
		if _, err := fw.Write(block); err != nil {
			break // it has ended already
		}
	}
	fw.Flush()
	if rest, err := io.ReadAll(r.r); os.IsTimeout(err) || strings.Contains(string(rest), "OK") {
		t.Errorf("a line of 1 GiB: %q, %v", rest, err)
	}
	alive("COMPRESS")

	// Many who ask for much and read nothing, and who begin commands and end none.
	for range 50 {
		deaf := loggedIn(t, s)
		deaf.imap("SELECT INBOX")
		io.WriteString(deaf.c, strings.Repeat("d FETCH 1:* (BODY.PEEK[] BODYSTRUCTURE)\r\n", 10))
		half := loggedIn(t, s)
		fmt.Fprintf(half.c, "h SEARCH TEXT {131072+}\r\n%s", strings.Repeat("x", 100000))
	}
	alive("slow readers")
	pop := plain(t, s, 110)
	pop.pop3("USER bob", false)
	pop.pop3("PASS hunter2", false)
	io.WriteString(pop.c, strings.Repeat("TOP 3 100000\r\nRETR 6\r\nRETR 5\r\n", 100))
	if l := pop.line(); !strings.HasPrefix(l, "+OK") {
		t.Errorf("TOP: %s", l)
	}
	alive("a slow reader by POP3")
	if kib, n := peakMemory(s, "pop3d"); n != 1 || kib > 48<<10 {
		t.Errorf("pop3d took %d KiB in %d processes", kib, n)
	} else {
		t.Logf("pop3d: %d KiB", kib)
	}
	kib, n := peakMemory(s, "imapd")
	t.Logf("imapd: %d KiB in %d processes", kib, n)
	if n != 1 || len(first) != 1 || s.Processes("imapd")[0] != first[0] {
		t.Errorf("imapd was %v, and is %v", first, s.Processes("imapd"))
	}
	if kib > 192<<10 {
		t.Errorf("imapd took %d KiB", kib)
	}
	if log := s.Log(); strings.Contains(log, "panic") {
		t.Error("it has panicked")
	}
}

// TestIdleCrowd: five hundred sessions of one user that wait hear of all mail,
// and cost little.
func TestIdleCrowd(t *testing.T) {
	t.Parallel()
	s := abused(t)
	const crowd, mails = 500, 20
	loggedIn(t, s).imap("SELECT INBOX")
	before, _ := peakMemory(s, "imapd")
	var all [crowd]*reader
	var wg sync.WaitGroup
	errs := make(chan error, crowd)
	for i := range all {
		r := loggedIn(t, s)
		r.imap("SELECT INBOX")
		fmt.Fprint(r.c, "i IDLE\r\n")
		all[i] = r
	}
	want := fmt.Sprintf("* %d EXISTS\r\n", mails)
	for _, r := range all {
		wg.Go(func() {
			for {
				l, err := r.r.ReadString('\n')
				if err != nil {
					errs <- err
					return
				}
				if l == want {
					return
				}
			}
		})
	}
	for i := range mails {
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	after, n := peakMemory(s, "imapd")
	t.Logf("imapd: %d KiB before, %d KiB in %d processes with %d sessions in IDLE", before, after, n, crowd)
	if after-before > crowd*60 {
		t.Errorf("%d sessions in IDLE took %d KiB", crowd, after-before)
	}
}
