// Posthaste controls the mail system.
//
// # Usage
//
//	posthaste [-c config_directory] start | start-fg | stop | abort | reload | status | check | flush
//	posthaste [-c config_directory] user list | add NAME | passwd NAME | del NAME
//	posthaste [-c config_directory] mailbox list | verify | rebuild | import | export USER|MAILDIR|LOCATION ...
//	posthaste init --dir DIR --domain NAME --user NAME:PASSWORD ... [--users FILE] [--port-base N]
//
// # Description
//
// start checks the configuration, makes what is missing of the queue
// directory, starts master(8) and returns when every service's socket is open.
// start-fg does the same and stays in the foreground, for containers and
// process supervisors. stop lets sessions and deliveries finish for some
// seconds; abort does not. reload makes the running system read its
// configuration again without losing a session, and fails if the running system
// cannot use it; then it goes on with the old one. status tells whether the
// system runs and what it has done with the mail it accepted. check reports
// all mistakes of the configuration at once, each with file and line. flush
// tries to deliver everything that is deferred.
//
// The options -v and -D of Postfix's control command are accepted and do nothing.
//
// init writes a complete private mail system into DIR, for an ordinary user:
// configuration, tables, a self-signed certificate, mailboxes. It listens on
// 127.0.0.1, on the port base plus 25 (SMTP), 587 (submission) and 465
// (submissions).
//
// user shows and changes the password file (auth_passwd_file) and, with it, the
// mailbox table of a single virtual domain; passwords are read from standard
// input. mailbox looks after mail stores: it lists their folders, verifies and
// rebuilds the index, imports another Maildir (with Dovecot's UIDs) or an mbox
// file, and exports for Dovecot: dovecot-uidlist, or the UIDs in an mbox file.
// Mail is named by its user, the path of a Maildir, or a location as in
// mail_location, such as mbox:/home/anna/mail:INBOX=/var/mail/anna.
//
// # Diagnostics
//
// Exit status 0 means success; status exits with 1 when the system does not
// run; every failure is explained on standard error.
//
// # Files
//
// $config_directory/main.cf and master.cf; $queue_directory/pid/master.pid.
package main

import (
	"flag"
	"fmt"
	"os"

	"posthaste/pkg/command"
)

const usage = "usage: posthaste [-c config_directory] start | start-fg | stop | abort | reload | status | check | flush\n" +
	"       posthaste [-c config_directory] user | mailbox ...\n" +
	"       posthaste init --dir DIR --domain NAME --user NAME:PASSWORD [--users FILE] [--port-base N]\n"

var tool = &command.Tool{Name: "posthaste"}

func main() {
	defer tool.Recover()
	fs := flag.NewFlagSet("posthaste", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := fs.String("c", "", "configuration `directory`")
	for _, o := range []string{"v", "D"} {
		fs.Bool(o, false, "accepted for scripts made for Postfix")
	}
	if err := fs.Parse(os.Args[1:]); err != nil || fs.NArg() == 0 {
		if err == nil {
			fs.Usage()
		}
		os.Exit(1)
	}
	verb := fs.Arg(0)
	if verb == "init" {
		initInstance(fs.Args()[1:])
		return
	}
	switch verb {
	case "user":
		newControl(*dir).user(fs.Args()[1:])
		return
	case "mailbox":
		newControl(*dir).mailbox(fs.Args()[1:])
		return
	}
	run, ok := map[string]func(*control){
		"start": (*control).start, "start-fg": (*control).startForeground, "stop": (*control).stop, "abort": (*control).abort,
		"reload": (*control).reload, "status": (*control).status, "check": (*control).check, "flush": (*control).flush,
	}[verb]
	if !ok || fs.NArg() > 1 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(1)
	}
	run(newControl(*dir))
}
