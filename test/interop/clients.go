package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"posthaste/test/tools/rig"
)

// client is a program that sends a file.
type client struct {
	name  string
	needs string
	// args sends dir/file to rcpt; auth means: by the submission service, with
	// STARTTLS and a password.
	args func(st *stage, f fixture, rcpt string, auth bool) ([]string, error)
}

var clients = []client{
	{"smtplib", "python3", func(st *stage, f fixture, rcpt string, auth bool) ([]string, error) {
		mode, addr := "plain", st.s.SMTP()
		if auth {
			mode, addr = "starttls", st.s.Submission()
		}
		return []string{"python3", filepath.Join(st.tools, "send.py"), addr, mode, "sender@client.test", rcpt, filepath.Join(st.dir, f.file), "user1@local.test", "test"}, nil
	}},
	{"curl", "curl", func(st *stage, f fixture, rcpt string, auth bool) ([]string, error) {
		a := []string{"curl", "-sS", "--max-time", "100", "--mail-from", "sender@client.test", "--mail-rcpt", rcpt, "--upload-file", filepath.Join(st.dir, f.file)}
		if auth {
			return append(a, "--ssl-reqd", "--insecure", "--user", "user1@local.test:test", "smtp://"+st.s.Submission()+"/client.test"), nil
		}
		return append(a, "smtp://"+st.s.SMTP()+"/client.test"), nil
	}},
	{"swaks", "swaks", func(st *stage, f fixture, rcpt string, auth bool) ([]string, error) {
		// swaks is given the data as they go over the wire, so that it does not edit them.
		name := filepath.Join(st.dir, f.file+".wire")
		if err := os.WriteFile(name, append(f.wire(), ".\r\n"...), 0644); err != nil {
			return nil, err
		}
		a := []string{"swaks", "--no-data-fixup", "--data", "@" + name, "--from", "sender@client.test", "--to", rcpt, "--helo", "client.test", "--timeout", "100", "--hide-all"}
		if auth {
			return append(a, "--server", st.s.Submission(), "--tls", "--auth", "LOGIN", "--auth-user", "user1@local.test", "--auth-password", "test"), nil
		}
		return append(a, "--server", st.s.SMTP()), nil
	}},
}

// msmtp sends like sendmail does, from its standard input.
var msmtp = client{"msmtp", "msmtp", func(st *stage, f fixture, rcpt string, auth bool) ([]string, error) {
	host, port, err := net.SplitHostPort(map[bool]string{false: st.s.SMTP(), true: st.s.Submission()}[auth])
	if err != nil {
		return nil, err
	}
	a := []string{"sh", "-c", `file=$1; shift; exec msmtp "$@" < "$file"`, "sh", filepath.Join(st.dir, f.file), "-C", "/dev/null", "--host", host, "--port", port, "--from", "sender@client.test", "--domain", "client.test"}
	if auth {
		a = append(a, "--tls=on", "--tls-trust-file="+st.cert(), "--auth=scram-sha-256", "--user", "user1@local.test", "--passwordeval", "echo test")
	}
	return append(a, "--", rcpt), nil
}}

// clients sends every fixture with every client to a Maildir.
func (st *stage) clients(fs []fixture) {
	for _, c := range append(clients, msmtp) {
		for _, f := range fs {
			st.try(fmt.Sprintf("%s -> Posthaste -> Maildir: %s", c.name, f.name), func() error {
				return st.direct(c, f, false)
			})
		}
		st.try(c.name+" -> Posthaste submission with TLS and AUTH -> Maildir", func() error {
			return st.direct(c, fs[0], true)
		})
		st.try(c.name+" -> Posthaste submission with TLS and AUTH -> remote server", func() error {
			if err := needs(c.needs); err != nil {
				return err
			}
			before := len(st.sink.Mails())
			if err := st.runClient(c, fs[0], "somebody@sink.test", true); err != nil {
				return err
			}
			return st.atSink(before, fs[0], time.Minute)
		})
	}
}

func (st *stage) runClient(c client, f fixture, rcpt string, auth bool) error {
	args, err := c.args(st, f, rcpt, auth)
	if err != nil {
		return err
	}
	return command(2*time.Minute, args...)
}

func (st *stage) direct(c client, f fixture, auth bool) error {
	if err := needs(c.needs); err != nil {
		return err
	}
	return st.toMaildir(f, 20*time.Second, func(rcpt string) error { return st.runClient(c, f, rcpt, auth) })
}

// toMaildir empties a Maildir, has send send one message to it, and compares
// what comes.
func (st *stage) toMaildir(f fixture, limit time.Duration, send func(rcpt string) error) error {
	box := st.s.Maildir("user0")
	if err := empty(box); err != nil {
		return err
	}
	if err := send("user0@local.test"); err != nil {
		return err
	}
	var got map[string][]byte
	err := rig.Until(limit, "a message in the Maildir", func() bool {
		got, _ = rig.Letters(box)
		return len(got) > 0
	})
	if err != nil {
		return err
	}
	if len(got) > 1 {
		return fmt.Errorf("%d messages in the Maildir", len(got))
	}
	for _, b := range got {
		return f.compare(b)
	}
	return nil
}

// atSink waits for one more message than before at the remote server.
func (st *stage) atSink(before int, f fixture, limit time.Duration) error {
	if err := rig.Until(limit, "the message at the remote server", func() bool { return len(st.sink.Mails()) > before }); err != nil {
		return err
	}
	return f.compare(st.sink.Mails()[before].Data)
}

// empty removes all messages of a Maildir.
func empty(maildir string) error {
	for _, sub := range []string{"new", "cur"} {
		es, err := os.ReadDir(filepath.Join(maildir, sub))
		if err != nil {
			return err
		}
		for _, e := range es {
			if err := os.Remove(filepath.Join(maildir, sub, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// command runs a program; an error has its output.
func command(limit time.Duration, args ...string) error {
	_, err := output(limit, args...)
	return err
}

func output(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args[:min(len(args), 2)], " "), err, lastLines(out, 5))
	}
	return string(out), nil
}

func lastLines(b []byte, n int) string {
	l := strings.Split(string(bytes.TrimSpace(b)), "\n")
	return strings.Join(l[max(0, len(l)-n):], " / ")
}
