// Readmail shows the newest message of an inbox, read by IMAP or POP3 over
// TLS: a mail client for scripts and trials.
//
// # Usage
//
//	readmail -proto imap|pop3 -addr HOST:PORT -cafile FILE -user NAME -password PW [-subject TEXT]
//
// The server's certificate is verified against -cafile. With -subject, the
// newest message whose subject contains TEXT is shown. The exit status is 1 if
// there is none.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	proto := flag.String("proto", "imap", "`imap or pop3`")
	addr := flag.String("addr", "127.0.0.1:10993", "server's TLS `host:port`")
	ca := flag.String("cafile", "", "`file` of certificates to trust")
	user := flag.String("user", "", "login name")
	password := flag.String("password", "", "password")
	subject := flag.String("subject", "", "`text` of the subject")
	flag.Parse()
	msg, err := read(*proto, *addr, *ca, *user, *password, *subject)
	if err != nil {
		fmt.Fprintf(os.Stderr, "readmail: %v\n", err)
		os.Exit(1)
	}
	os.Stdout.Write(bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n")))
}

func read(proto, addr, ca, user, password, subject string) ([]byte, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", ca)
	}
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	switch proto {
	case "imap":
		return imap(&imapConn{r: bufio.NewReader(c), w: c}, user, password, subject)
	case "pop3":
		return pop3(textproto.NewConn(c), user, password, subject)
	}
	return nil, fmt.Errorf("unknown protocol %q", proto)
}

// imapConn is as much of an IMAP client as this takes.
type imapConn struct {
	r *bufio.Reader
	w io.Writer
	n int
}

// run sends a command and returns the untagged lines and literals that answer
// it.
func (c *imapConn) run(format string, a ...any) (lines []string, literals [][]byte, err error) {
	c.n++
	tag := "a" + strconv.Itoa(c.n)
	if _, err := fmt.Fprintf(c.w, tag+" "+format+"\r\n", a...); err != nil {
		return nil, nil, err
	}
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		l = strings.TrimRight(l, "\r\n")
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return nil, nil, errors.New(rest)
			}
			return lines, literals, nil
		}
		lines = append(lines, l)
		if i := strings.LastIndexByte(l, '{'); i >= 0 && strings.HasSuffix(l, "}") {
			n, err := strconv.Atoi(l[i+1 : len(l)-1])
			if err != nil || n > 64<<20 {
				return nil, nil, fmt.Errorf("bad literal in %q", l)
			}
			b := make([]byte, n)
			if _, err := io.ReadFull(c.r, b); err != nil {
				return nil, nil, err
			}
			literals = append(literals, b)
		}
	}
}

func quote(s string) string { return strconv.Quote(s) }

func imap(c *imapConn, user, password, subject string) ([]byte, error) {
	if _, err := c.r.ReadString('\n'); err != nil {
		return nil, err
	}
	if _, _, err := c.run("LOGIN %s %s", quote(user), quote(password)); err != nil {
		return nil, err
	}
	if _, _, err := c.run("SELECT INBOX"); err != nil {
		return nil, err
	}
	lines, _, err := c.run("UID SEARCH SUBJECT %s", quote(subject))
	if err != nil {
		return nil, err
	}
	uid := ""
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 2 && f[1] == "SEARCH" {
			uid = f[len(f)-1]
		}
	}
	if uid == "" {
		return nil, errors.New("no such message")
	}
	_, literals, err := c.run("UID FETCH %s BODY.PEEK[]", uid)
	if err != nil {
		return nil, err
	}
	if len(literals) != 1 {
		return nil, errors.New("the message is gone")
	}
	_, _, err = c.run("LOGOUT")
	return literals[0], err
}

func pop3(c *textproto.Conn, user, password, subject string) ([]byte, error) {
	ask := func(format string, a ...any) (string, error) {
		if format != "" {
			if err := c.PrintfLine(format, a...); err != nil {
				return "", err
			}
		}
		l, err := c.ReadLine()
		if err == nil && !strings.HasPrefix(l, "+OK") {
			err = errors.New(l)
		}
		return l, err
	}
	if _, err := ask(""); err != nil {
		return nil, err
	}
	for _, cmd := range []string{"USER " + user, "PASS " + password} {
		if _, err := ask("%s", cmd); err != nil {
			return nil, err
		}
	}
	stat, err := ask("STAT")
	if err != nil {
		return nil, err
	}
	var n, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &n, &size); err != nil {
		return nil, err
	}
	for ; n > 0; n-- {
		if _, err := ask("RETR %d", n); err != nil {
			return nil, err
		}
		b, err := c.ReadDotBytes()
		if err != nil {
			return nil, err
		}
		head, _, _ := bytes.Cut(b, []byte("\n\n"))
		if !bytes.Contains(head, []byte(subject)) {
			continue
		}
		_, err = ask("QUIT")
		return b, err
	}
	return nil, errors.New("no such message")
}
