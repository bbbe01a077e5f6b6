// Local delivers mail to the users of this system: to their mailboxes, through
// their .forward files, and through the system's aliases to commands, files and
// other addresses.
//
// Usage: local [generic daemon options]. master(8) starts it; qmgr(8) asks it
// to deliver.
//
// # Description
//
// 1. The address is compared with the message's Delivered-To: headers; a match
// is a loop and bounces with 5.4.6. 2. alias_maps is searched for the local part
// in lower case, with and then without the address extension. The destinations
// that are found are handled in turn: addresses, |command, /file/name,
// /maildir/, :include:/file/name. An alias that lists itself means the user of
// that name. An alias owner-NAME becomes the sender of what NAME sends on. 3. A
// user's .forward file (forward_path) is used in the same way if it is a regular
// file of his or root's that not everyone can write. 4. Else the mail goes to
// mailbox_transport_maps, mailbox_transport, mailbox_command_maps,
// mailbox_command, home_mailbox or mail_spool_directory, whichever is set first.
// 5. Who is no user is handled by fallback_transport_maps, fallback_transport or
// luser_relay, or is bounced as unknown.
//
// Addresses elsewhere, and local ones that a .forward or :include: file or a
// list with an owner names, get the message as a new one from cleanup(8), with a
// Delivered-To: header. All destinations of a recipient succeed or fail
// together: if one has to be tried again, all are. A Maildir then recognises
// its copy; mailbox files and commands get the message once more.
//
// # Commands
//
// A command gets the message on its standard input, with LF line ends, a From_
// line and Return-Path:, X-Original-To: and Delivered-To: headers. It runs in a
// session of its own, without a shell if it needs none, for at most
// command_time_limit; then it and its children are killed. Its environment has
// what export_environment names, and PATH, HOME, SHELL, LOGNAME, USER, SENDER,
// RECIPIENT, LOCAL, DOMAIN, EXTENSION, ORIGINAL_RECIPIENT, ENVID,
// CLIENT_HOSTNAME, CLIENT_ADDRESS, CLIENT_HELO, CLIENT_PROTOCOL, SASL_METHOD,
// SASL_SENDER and SASL_USERNAME; characters outside command_expansion_filter
// become "_". The exit status is that of sysexits.h; output that begins with an
// enhanced status code ("4.2.2 mailbox full") takes its place.
//
// # Security
//
// As root, local is a dispatcher that decides what becomes of a recipient and
// opens neither messages nor users' files; it does open and dot-lock mailboxes
// in mail_spool_directory if that is not open to everyone. The rest is done by
// worker processes, each with all the identities of one user, that it starts as
// "local -worker" and keeps for 45 seconds, 64 at most. A user's .forward file,
// and what it names, is handled by his own worker; what an alias names, by the
// owner of the table, or of the :include: file, or by default_privs if that is
// root. Nothing that a list names ever runs as root. Workers cannot be traced.
// They have no_new_privs where no command can be run at all; otherwise set-id
// programs such as postdrop(1) must work in commands.
//
// As an ordinary user, local does everything itself, as that user, and reads
// no other user's .forward file.
//
// # Differences from Postfix
//
// A mailbox that cannot be written is tried again (4.2.0) rather than bounced;
// so is one over a file system quota (4.2.2). Users are looked up in /etc/passwd
// alone. biff is ignored. An :include: in a .forward file is read with the
// user's rights.
//
// # Diagnostics
//
// Each destination gets a line with "to=" in the log, relay=local and what
// became of it: "delivered to mailbox", "delivered to maildir", "delivered to
// command: …", "delivered to file: …", "forwarded as QUEUEID", or the trouble.
//
// # Files
//
// /etc/aliases, ~/.forward, /var/mail/USER, /etc/passwd, /etc/group.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"posthaste/pkg/service"
	"posthaste/pkg/userdb"
	"posthaste/pkg/worker"
)

func main() {
	if worker.Requested() {
		if err := worker.Serve(openWorker); err != nil {
			fmt.Fprintf(os.Stderr, "local worker: %v\n", err)
			os.Exit(1)
		}
		return
	}
	var d *dispatcher
	service.Main(service.Spec{
		Name: "local",
		Before: func(env *service.Env) (err error) {
			d, err = newDispatcher(env, userdb.New("", ""))
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) { d.serve(ctx, env, c) },
	})
}

// openWorker makes the handler of a worker process.
func openWorker(hello []byte) (worker.Handler, bool, error) {
	conf, err := decodeConf(hello)
	if err != nil {
		return nil, false, err
	}
	a := &agent{conf: conf}
	return func(ctx context.Context, payload []byte, files []*os.File) []byte {
		return a.answer(ctx, payload, files).encode()
	}, !conf.Commands, nil
}

// answer carries out one encoded task.
func (a *agent) answer(ctx context.Context, payload []byte, files []*os.File) *reply {
	t, err := decodeTask(payload)
	if err != nil || len(files) == 0 || t.Kind == taskSpool && len(files) < 2 {
		return &reply{DSN: "4.3.0", Text: "local delivery failed: malformed task"}
	}
	m := &message{task: t, file: files[0]}
	if len(files) > 1 {
		m.spool = files[1]
	}
	return a.do(ctx, m)
}
