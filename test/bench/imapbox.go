package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// This file makes mailboxes and starts the targets that serve them.

// mailPassword is the password of every user of every target, and mailSize the
// size of every message in bytes.
const (
	mailPassword = "test"
	mailSize     = 4096
)

func mailUser(u int) string { return fmt.Sprintf("user%d@local.test", u) }

// reader is a started target, as the workloads that read mail see it.
type reader struct {
	*bench
	imap, pop3 string
	// maildir is where user N's mail is, {u} standing for N; empty for a format
	// that only the server itself can write.
	maildir string
	owner   int
}

// upReader starts the target with room for so many sessions.
func (b *bench) upReader(sessions int) (*reader, error) {
	b.started = true
	if _, err := b.ctl(sessions, append([]string{"start"}, b.params...)...); err != nil {
		return nil, err
	}
	out, err := b.ctl(0, "env")
	if err != nil {
		return nil, err
	}
	r := &reader{bench: b}
	for _, l := range strings.Split(out, "\n") {
		k, v, _ := strings.Cut(l, "=")
		switch k {
		case "IMAP":
			r.imap = v
		case "POP3":
			r.pop3 = v
		case "PID":
			b.pid, _ = strconv.Atoi(v)
		case "MAILDIR":
			r.maildir = v
		case "OWNER":
			r.owner, _ = strconv.Atoi(v)
		}
	}
	if r.imap == "" || r.pop3 == "" || b.pid == 0 {
		return nil, fmt.Errorf("%s env: no IMAP, POP3 or PID: %q", b.script, out)
	}
	time.Sleep(time.Second) // until it has come to rest
	return r, nil
}

// mailText has the words that bodies are made of.
var mailText = sync.OnceValue(func() []byte { return messageBody(1 << 17) })

// mailMessage gives message i. Every 50th has "zebra" in its Subject, every
// 100th but the first "needle" in the middle of its text.
func mailMessage(i int, to string) []byte {
	m := messageHeader(i, to)
	if i%50 == 0 {
		m = bytes.Replace(m, []byte("\r\nDate:"), []byte(" zebra\r\nDate:"), 1)
	}
	text := mailText()
	text = text[i*7919%(len(text)-2*mailSize):]
	text = text[bytes.IndexByte(text, '\n')+1:]
	text = text[:mailSize-len(m)-2]
	half := len(text) / 2
	half += bytes.IndexByte(text[half:], '\n') + 1
	m = append(m, text[:half]...)
	if i%100 == 0 && i > 0 {
		m = append(m, "a needle in it\r\n"...)
	}
	return append(append(m, bytes.TrimRight(text[half:], "\r\n")...), "\r\n"...)
}

// fill puts n messages into the mailbox of each of the first users: as files
// with names such as Postfix gives them, or by IMAP. Every second one is seen.
func (r *reader) fill(users, n int) error {
	for u := range users {
		var err error
		if r.maildir != "" {
			err = fillMaildir(strings.ReplaceAll(r.maildir, "{u}", fmt.Sprint(u)), r.owner, u, n)
		} else {
			err = fillByIMAP(r.imap, u, n)
		}
		if err != nil {
			return err
		}
	}
	syscall.Sync()
	return nil
}

func fillMaildir(dir string, owner, user, n int) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0700); err != nil {
			return err
		}
		os.Chown(filepath.Join(dir, sub), owner, owner)
	}
	os.Chown(dir, owner, owner)
	os.Chown(filepath.Dir(dir), owner, owner)
	for i := range n {
		flags := ""
		if i%2 == 0 {
			flags = "S"
		}
		name := filepath.Join(dir, "cur", fmt.Sprintf("%d.M%06dP1.bench:2,%s", 1700000000+i, i, flags))
		text := bytes.ReplaceAll(mailMessage(i, mailUser(user)), []byte("\r\n"), []byte("\n"))
		if err := os.WriteFile(name, text, 0600); err != nil {
			return err
		}
		if err := os.Chown(name, owner, owner); err != nil {
			return err
		}
	}
	return nil
}

func fillByIMAP(addr string, user, n int) error {
	c, err := dialIMAP(addr, mailUser(user))
	if err != nil {
		return err
	}
	defer c.close()
	for i := 0; i < n; {
		var texts [][]byte
		for end := min(n, i+500); i < end; i++ {
			texts = append(texts, mailMessage(i, mailUser(user)))
		}
		if _, err := c.cmd("APPEND INBOX", texts...); err != nil {
			return err
		}
	}
	var seen []string
	for i := 0; i < n; i += 2 {
		seen = append(seen, strconv.Itoa(i+1))
	}
	if _, err := c.cmd("SELECT INBOX"); err != nil {
		return err
	}
	for len(seen) > 0 {
		k := min(len(seen), 500)
		if _, err := c.cmd("STORE " + strings.Join(seen[:k], ",") + " +FLAGS.SILENT (\\Seen)"); err != nil {
			return err
		}
		seen = seen[k:]
	}
	return nil
}
