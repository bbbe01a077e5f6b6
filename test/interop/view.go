package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// view is an IMAP session of our own, which sees what a client under test did.
type view struct {
	c net.Conn
	r *bufio.Reader
	n int
}

// message is what IMAP tells of one.
type message struct {
	uid   int
	flags string // sorted, without \Recent
	id    string // the local part of its Message-ID
	body  string // the whole message
}

// String shows a message without its UID and text, for comparisons.
func (m message) String() string { return m.id + "(" + m.flags + ")" }

// box is a folder as IMAP shows it.
type box struct {
	validity, next int
	messages       []message
}

// String lists the messages in the order of their UIDs: id(flags) id(flags).
func (b box) String() string {
	var l []string
	for _, m := range b.messages {
		l = append(l, m.String())
	}
	return strings.Join(l, " ")
}

// sorted is String in the order of the ids.
func (b box) sorted() string {
	l := strings.Split(b.String(), ") ")
	for i := range l {
		l[i] = strings.TrimSuffix(l[i], ")") + ")"
	}
	slices.Sort(l)
	return strings.TrimPrefix(strings.Join(l, " "), ")")
}

// uids maps ids to UIDs.
func (b box) uids() map[string]int {
	m := map[string]int{}
	for _, x := range b.messages {
		m[x.id] = x.uid
	}
	return m
}

// view logs in to our server.
func (st *stage) view(user string) (*view, error) {
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(st.cert())
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(pem)
	c, err := tls.Dial("tcp", st.addr(993), &tls.Config{RootCAs: pool})
	if err != nil {
		return nil, err
	}
	return newView(c, user)
}

// newView logs in to the server at the other end of c.
func newView(c net.Conn, user string) (*view, error) {
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	v := &view{c: c, r: bufio.NewReader(c)}
	if _, err := v.r.ReadString('\n'); err != nil {
		return nil, err
	}
	_, err := v.cmd("AUTHENTICATE PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00test")))
	return v, err
}

func (v *view) close() { v.c.Close() }

var literalEnd = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// cmd runs a command, and returns its untagged responses; each has its
// literals in it. A literal of the command is behind "{n+}\r\n".
func (v *view) cmd(format string, a ...any) ([]string, error) {
	v.n++
	tag := "v" + strconv.Itoa(v.n)
	if _, err := fmt.Fprintf(v.c, tag+" "+format+"\r\n", a...); err != nil {
		return nil, err
	}
	var all []string
	for {
		l := ""
		for {
			part, err := v.r.ReadString('\n')
			if err != nil {
				return all, err
			}
			l += part
			m := literalEnd.FindStringSubmatch(part)
			if m == nil {
				break
			}
			n, _ := strconv.Atoi(m[1])
			b := make([]byte, n)
			if _, err := io.ReadFull(v.r, b); err != nil {
				return all, err
			}
			l += string(b)
		}
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return all, fmt.Errorf("%.60s: %s", fmt.Sprintf(format, a...), strings.TrimSpace(rest))
			}
			return all, nil
		}
		all = append(all, strings.TrimSuffix(l, "\r\n"))
	}
}

var (
	fetchUID   = regexp.MustCompile(`^\* \d+ FETCH \(.*?UID (\d+)`)
	fetchFlags = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
	fetchBody  = regexp.MustCompile(`BODY\[\] \{\d+\}\r\n`)
	messageID  = regexp.MustCompile(`(?im)^message-id:\s*<([^@>]+)@`)
)

// box looks at a folder, whose name is in modified UTF-7.
func (v *view) box(name string) (b box, err error) {
	lines, err := v.cmd("EXAMINE %q", name)
	if err != nil {
		return b, err
	}
	for _, l := range lines {
		fmt.Sscanf(l, "* OK [UIDVALIDITY %d", &b.validity)
		fmt.Sscanf(l, "* OK [UIDNEXT %d", &b.next)
	}
	lines, err = v.cmd("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")
	for _, l := range lines {
		uid := fetchUID.FindStringSubmatch(l)
		flags := fetchFlags.FindStringSubmatch(l)
		at := fetchBody.FindStringIndex(l)
		if uid == nil || flags == nil || at == nil {
			continue
		}
		n, _ := strconv.Atoi(uid[1])
		m := message{uid: n, flags: sortFlags(flags[1]), body: strings.TrimSuffix(l[at[1]:], ")")}
		if id := messageID.FindStringSubmatch(m.body); id != nil {
			m.id = id[1]
		}
		b.messages = append(b.messages, m)
	}
	return b, err
}

func sortFlags(s string) string {
	f := slices.DeleteFunc(strings.Fields(s), func(x string) bool { return x == `\Recent` })
	slices.Sort(f)
	return strings.Join(f, " ")
}

var listLine = regexp.MustCompile(`^\* (?:LIST|LSUB) \(([^)]*)\) "/" "?(.*?)"?$`)

// folders are the names of all folders that can be selected, as LIST or LSUB has them (modified
// UTF-7), sorted.
func (v *view) folders(command string) ([]string, error) {
	lines, err := v.cmd(`%s "" *`, command)
	var names []string
	for _, l := range lines {
		if m := listLine.FindStringSubmatch(l); m != nil && !strings.Contains(m[1], `\Noselect`) {
			names = append(names, m[2])
		}
	}
	slices.Sort(names)
	return names, err
}

// append adds messages to a folder, one after the other.
func (v *view) append(folder, flags string, fs ...fixture) error {
	for _, f := range fs {
		if _, err := v.cmd("APPEND %q (%s) {%d+}\r\n%s", folder, flags, len(f.data), f.data); err != nil {
			return err
		}
	}
	return nil
}

// look opens a view of a user's mail for one question.
func (st *stage) look(user, folder string) (b box, err error) {
	v, err := st.view(user)
	if err != nil {
		return b, err
	}
	defer v.close()
	return v.box(folder)
}

// expect waits until a folder holds what want says, in the form of box.sorted.
func (st *stage) expect(user, folder, want string) error {
	var b box
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if b, err = st.look(user, folder); err == nil && b.sorted() == want {
			return nil
		}
		if time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s holds %s; want %s", folder, b.sorted(), want)
}

// same compares what a client has with what it should have.
func same[T any](what string, got, want T) error {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		return fmt.Errorf("%s: %.2000s; want %.2000s", what, g, w)
	}
	return nil
}

// added is what mbsync and getmail add to a message.
var added = regexp.MustCompile(`(?m)^X-(TUID|getmail-retrieved-from-mailbox): .*\n`)

// intact compares each message of a folder with the fixture of its name. IMAP,
// unlike SMTP, keeps a message that ends without a line end.
func intact(b box, fs []fixture) error {
	for _, m := range b.messages {
		i := slices.IndexFunc(fs, func(f fixture) bool { return f.file == m.id })
		if i < 0 {
			continue
		}
		body := added.ReplaceAllString(m.body, "")
		if !bytes.HasSuffix(fs[i].data, []byte("\n")) && !strings.HasSuffix(body, "\n") {
			body += "\r\n"
		}
		if err := fs[i].compare([]byte(body)); err != nil {
			return fmt.Errorf("%s: %w", m.id, err)
		}
	}
	return nil
}

func (st *stage) cert() string { return filepath.Join(st.s.Conf(), "tls", "cert.pem") }
