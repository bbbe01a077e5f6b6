// Cleanup takes new messages, puts them into standard form and makes them
// durable in the queue.
//
// # Usage
//
// master(8) starts cleanup; the master.cf entry is
//
//	cleanup   unix  n       -       n       -       0       cleanup
//
// # Description
//
// smtpd(8), pickup(8), bounce(8) and local(8) hand each new message to cleanup
// over the cleanup/1 protocol (docs/internals/cleanup-protocol.md) and get one
// answer, after the message is on stable storage. cleanup
//
//   - adds the Received: header, and From:, Date:, Message-Id: and (with
//     undisclosed_recipients_header) To: where they are missing, for mail from
//     local_header_rewrite_clients or with always_add_missing_headers;
//   - removes the headers that message_drop_headers names;
//   - rewrites addresses in envelope and headers to standard form, and maps
//     them by canonical_maps, sender_canonical_maps, recipient_canonical_maps
//     and masquerade_domains;
//   - expands envelope recipients by virtual_alias_maps, within
//     virtual_alias_expansion_limit, virtual_alias_recursion_limit and
//     virtual_alias_address_length_limit, and drops duplicates;
//   - adds recipients by always_bcc, sender_bcc_maps and recipient_bcc_maps;
//   - inspects content by header_checks, mime_header_checks,
//     nested_header_checks and body_checks;
//   - refuses messages with more than hopcount_limit Received: headers or more
//     than message_size_limit bytes.
//
// Bytes that none of this changes pass unchanged: NUL, 8-bit text, lines of any
// length. A carriage return on its own becomes a blank, since a server that the
// message is sent on to might take it for a line end; with
// cleanup_replace_stray_cr_lf = no it passes, too.
//
// Several messages are made durable together when many arrive at a time; one
// alone never waits. While many come, they are written to a journal first, whose blocks
// need no commit of the file system's (queue_journal, docs/internals/queue.md); qmgr(8)
// makes those messages anew from it that a power failure took from the file system.
//
// # Security
//
// cleanup parses content that strangers wrote. It runs as the queue's owner,
// talks to no network and starts no program; it can write the incoming, hold
// and journal directories and read tables, and can read no other queue.
//
// # Diagnostics
//
// The Message-ID of each message and each action of a content check are logged.
// Table trouble and expansion limits give the client a temporary error, and a
// warning in the log.
//
// # Files
//
//	incoming/, hold/   new messages
//	journal/           8 MiB for new messages, while many come
//	public/cleanup     the service's socket
//	public/qmgr        where new messages are announced
package main

import (
	"context"
	"net"
	"time"

	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
)

func main() {
	var (
		srv   *cleanup.Server
		spool *queue.Spool
	)
	service.Main(service.Spec{
		Name: "cleanup",
		Before: func(env *service.Env) error {
			_ = time.Now().String() // reads the time zone while the file can be opened
			s, err := load(env.Config, env.Log, func(table string) { env.RequestDrain("table " + table + " has changed") })
			if err != nil {
				return err
			}
			spool, err = queue.Open(".", queue.OptionsFrom(env.Config))
			if err != nil {
				return err
			}
			if w := spool.Warning(); w != "" {
				env.Log.Warningf("%s", w)
			}
			if err := spool.UseJournal(params.QueueJournal.In(env.Config), func(err error) { env.Log.Warningf("%v", err) }); err != nil {
				env.Log.Warningf("%v", err)
			}
			s.spool = spool
			s.notify = qmgr.NewNotifier(qmgr.Service)
			srv = &cleanup.Server{Begin: s.begin, Timeout: params.IpcTimeout.In(env.Config), Waiting: env.Waiting}
			return nil
		},
		Serve: func(_ context.Context, env *service.Env, c net.Conn) {
			if err := srv.Serve(c); err != nil {
				env.Log.Warningf("session with a client: %v", err)
			}
		},
		Drain: func(*service.Env) { srv.Drain() },
		End:   func(*service.Env) { spool.Close() },
	})
}
