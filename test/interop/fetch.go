package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"posthaste/test/tools/rig"
)

// fetcher takes mail out of a mailbox into a Maildir of its own, ~/mail.
type fetcher struct {
	name, program string
	config        string // %K is replaced by keep or delete
	args          []string
	keep, delete  string
	seen          string // flags of what was retrieved and left there
}

const fetchmailrc = `poll localhost service %P protocol %R %L user "%U" %O password "test" sslcertfile "%C" sslproto "%S" %K no rewrite mda "%H/mda"
`

const getmailrc = `[retriever]
type = %R
server = localhost
port = %P
username = %U
password = test
ca_certs = %C
%L
[destination]
type = Maildir
path = %H/mail/
[options]
delete = %K
read_all = false
delivered_to = false
received = false
verbose = 1
`

// mda is what fetchmail pipes each message into.
const mda = "#!/bin/sh\nt=$(mktemp \"$HOME/mail/tmp/XXXXXXXX\") && cat > \"$t\" && mv \"$t\" \"$HOME/mail/new/\"\n"

func fetchmail(name, protocol, port, tls, server, user, seen string) fetcher {
	config := strings.NewReplacer("%P", port, "%R", protocol, "%S", tls, "%L", server, "%O", user).Replace(fetchmailrc)
	return fetcher{name: "fetchmail, " + name, program: "fetchmail", config: config, keep: "keep", delete: "nokeep flush", seen: seen,
		args: []string{"-f", "%H/rc", "-i", "%H/ids", "--nodetach", "--nosyslog"}}
}

func getmail(name, retriever, port, more, seen string) fetcher {
	config := strings.NewReplacer("%R", retriever, "%P", port, "%L", more).Replace(getmailrc)
	return fetcher{name: "getmail, " + name, program: "getmail", config: config, keep: "false", delete: "true", seen: seen,
		args: []string{"--getmaildir", "%H/state", "--rcfile", "%H/rc"}}
}

const mpoprc = `account default
host localhost
port %P
tls on
tls_starttls %S
tls_trust_file %C
auth scram-sha-256
user %U
passwordeval echo test
delivery maildir %H/mail
uidls_file %H/uidls
received_header off
keep %K
`

func mpop(name, port, starttls string) fetcher {
	config := strings.NewReplacer("%P", port, "%S", starttls).Replace(mpoprc)
	return fetcher{name: "mpop, " + name, program: "mpop", config: config, keep: "on", delete: "off", seen: `\Seen`, args: []string{"-C", "%H/rc"}}
}

var fetchers = []fetcher{
	mpop("POP3 by STLS with SCRAM", "%pop3", "on"),
	mpop("POP3 by TLS with SCRAM", "%pop3s", "off"),
	fetchmail("POP3 by STLS with UIDL", "pop3", "%pop3", "TLS1.2+", "uidl", "", ""),
	fetchmail("POP3 by TLS with UIDL", "pop3", "%pop3s", "auto", "uidl", "ssl", ""),
	fetchmail("IMAP by STARTTLS", "imap", "%imap", "TLS1.2+", "", "", `\Seen`),
	fetchmail("IMAP by TLS", "imap", "%imaps", "auto", "", "ssl", `\Seen`),
	getmail("POP3 by TLS", "SimplePOP3SSLRetriever", "%pop3s", "", `\Seen`),
	getmail("IMAP by TLS", "SimpleIMAPSSLRetriever", "%imaps", `mailboxes = ("INBOX", "会议")`, ""),
}

// fetchers takes mail out of mailboxes, first leaving it there.
func (st *stage) fetchers(fs, cs []fixture) {
	for _, f := range fetchers {
		st.read(f.name+": keep, again, what is new, delete", func(r *reader) error {
			if err := needs(f.program); err != nil {
				return err
			}
			return r.fetch(f, fs, cs)
		})
	}
	st.read("fetchmail, IMAP with IDLE: mail as it comes", func(r *reader) error { return r.fetchIdle(fs) })
}

// prepare makes the Maildir and the configuration of a fetcher.
func (r *reader) prepare(f fetcher, keep string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := r.put("mail/"+sub+"/.made", ""); err != nil {
			return err
		}
		os.Remove(filepath.Join(r.home, "mail", sub, ".made"))
	}
	for name, text := range map[string]string{"mda": mda, "rc": strings.Replace(f.config, "%K", keep, 1), "state/.made": ""} {
		if err := r.put(name, text); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(r.home, "mda"), 0700)
}

func (r *reader) fetch(f fetcher, fs, cs []fixture) error {
	first := []fixture{fs[0], fs[1], fs[2], fs[3], fs[5]} // plain dots noend l998 eight
	first = append(first, cs[:6]...)
	all := append(append([]fixture{}, fs...), cs...)
	v, err := r.st.view(r.user)
	if err != nil {
		return err
	}
	v.cmd(`CREATE "%s"`, meetings7)
	v.close()
	if err := r.deliver(first...); err != nil {
		return err
	}
	// have runs the program, and compares its Maildir and the INBOX with what
	// they should have.
	have := func(keep string, here, there []fixture) error {
		if err := r.prepare(f, keep); err != nil {
			return err
		}
		_, err := r.run(append([]string{f.program}, f.args...)...)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 && f.program == "fetchmail" {
			err = nil // there was no mail
		}
		if err != nil {
			return err
		}
		b, err := maildir(filepath.Join(r.home, "mail"))
		if err == nil {
			err = same("messages here", b.sorted(), list(here, ""))
		}
		if err == nil {
			err = intact(b, all)
		}
		if err != nil {
			return err
		}
		return r.expect("INBOX", list(there, f.seen))
	}
	if err := have(f.keep, first, first); err != nil {
		return fmt.Errorf("first run: %w", err)
	}
	if err := have(f.keep, first, first); err != nil {
		return fmt.Errorf("second run: %w", err)
	}
	if err := r.deliver(cs[6]); err != nil { // not l100k: fetchmail breaks such lines
		return err
	}
	first = append(first, cs[6])
	if err := have(f.keep, first, first); err != nil {
		return fmt.Errorf("third run: %w", err)
	}
	if err := have(f.delete, first, nil); err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

// list is what box.sorted says of these messages, all with the same flags.
func list(fs []fixture, flags string) string {
	var l []string
	for _, f := range fs {
		l = append(l, f.file+"("+flags+")")
	}
	return strings.Join(sortedCopy(l), " ")
}

// fetchIdle has fetchmail wait for mail.
func (r *reader) fetchIdle(fs []fixture) error {
	if err := needs("fetchmail"); err != nil {
		return err
	}
	if err := r.deliver(fs[0]); err != nil {
		return err
	}
	f := fetchmail("", "imap", "%imaps", "auto", "", "idle ssl", `\Seen`)
	if err := r.prepare(f, f.keep); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd, stderr := r.command(ctx, append([]string{debian(f.program)}, f.args...)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); cmd.Wait() }()
	dir := filepath.Join(r.home, "mail")
	for i := range 3 {
		err := rig.Until(30*time.Second, fmt.Sprintf("message %d from fetchmail", i), func() bool {
			b, err := maildir(dir)
			return err == nil && len(b.messages) == i+1
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, lastLines(stderr.Bytes(), 3))
		}
		if i < 2 {
			if err := r.deliver(fs[i+1]); err != nil {
				return err
			}
		}
	}
	b, err := maildir(dir)
	if err == nil {
		err = intact(b, fs)
	}
	return err
}
