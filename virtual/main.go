// Virtual delivers mail to the mailboxes of virtual domains: those of people
// who have no account on this system.
//
// Usage: virtual [generic daemon options]. master(8) starts it; qmgr(8) asks it
// to deliver.
//
// # Description
//
// virtual_mailbox_maps gives each address (user+extension@domain, user@domain,
// then @domain) a path below virtual_mailbox_base: a Maildir if it ends in a
// slash, which is created if need be, else an mbox file. A path with /../ is
// refused. Each copy gets Return-Path:, X-Original-To: and Delivered-To:
// headers. There are no aliases, commands or .forward files here. A Maildir file
// is named after queue id and recipient, so that a delivery repeated after a
// crash makes no second copy. Deliveries that come within 20 ms share a sync
// of a file system that is the mail system's own.
//
// virtual_mailbox_limit bounds an mbox file, or one message in a Maildir. A
// Maildir with a maildirsize file has the quota that the file states (4.2.2). A
// probe of verify(8) gets the same answers.
//
// # Security
//
// virtual_uid_maps and virtual_gid_maps give each address the identity that
// writes its mailbox, never below virtual_minimum_uid. If both are one static:
// table, the process gives up root for good before it serves anyone, and is
// confined to virtual_mailbox_base. Otherwise it stays a dispatcher as root that
// reads no message, and has a worker process, started as "virtual -worker", for
// each uid. As an ordinary user it delivers as that user and says so in the log
// where the tables want another.
//
// # Diagnostics
//
// Each recipient gets a line with "to=" in the log: "delivered to maildir",
// "delivered to mailbox", "unknown user: ...", or the trouble. Mistakes in the
// configuration are logged as warnings and put mail off (4.3.5).
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"posthaste/pkg/delivery"
	"posthaste/pkg/service"
	"posthaste/pkg/worker"
)

func main() {
	if worker.Requested() {
		if err := worker.Serve(openWorker); err != nil {
			fmt.Fprintf(os.Stderr, "virtual worker: %v\n", err)
			os.Exit(1)
		}
		return
	}
	var d *dispatcher
	service.Main(service.Spec{
		Name:   "virtual",
		Frugal: true,
		Before: func(env *service.Env) (err error) {
			d, err = newDispatcher(env)
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) { delivery.Serve(ctx, env, c, d.deliver) },
	})
}
