// Verify finds out whether addresses exist, for reject_unverified_recipient and
// reject_unverified_sender.
//
// # Usage
//
//	verify unix - - n - 1 verify
//
// Verify is started by master(8) from this line of master.cf.
//
// # Description
//
// Smtpd(8) asks verify about an address. What is known is answered at once.
// Otherwise verify sends a probe, a message from address_verify_sender that goes
// through cleanup(8), qmgr(8) and the delivery agent as mail does, but is never
// delivered: smtp(8) ends the conversation behind RCPT. Bounce(8) tells verify
// the result. Smtpd waits for it up to address_verify_poll_count times
// address_verify_poll_delay; without one the client is told to come back later.
//
// A result is believed for address_verify_positive_expire_time or
// address_verify_negative_expire_time, and found out anew, while the old one is
// still used, when it is asked for after address_verify_positive_refresh_time or
// address_verify_negative_refresh_time. A failure does not replace the knowledge
// that the address was good before that expires. With
// address_verify_negative_cache = no failures are not kept beyond the questions
// that wait for them. At most address_verify_pending_request_limit probes are
// under way; one that has brought no result after 1000 seconds is sent again.
//
// A mailbox that is full (mailbox_size_limit, virtual_mailbox_limit, a quota) is not
// deliverable. To have such mailboxes refused at RCPT, use
// reject_unverified_recipient, a short address_verify_positive_expire_time and
// _refresh_time (10m and 5m), and address_verify_negative_cache = no.
//
// Results are kept in the file that address_verify_map names, whatever its type,
// and only in memory if it is empty. The file is text, a line for each result,
// and is rewritten without what has expired every
// address_verify_cache_cleanup_interval.
//
// # Security
//
// Verify runs under the queue's identity, without Internet sockets. It opens the
// file of results before it enters its sandbox, and answers smtpd and bounce
// alone. Only a message that verify itself has queued counts as a probe.
//
// # Diagnostics
//
// Problems are logged to the mail log; a probe's result as any delivery's, with
// status=deliverable or status=undeliverable.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	proto "posthaste/pkg/proto/verify"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
)

func main() {
	var v *verifier
	service.Main(service.Spec{
		Name:     "verify",
		Solitary: true,
		Before: func(env *service.Env) (err error) {
			v, err = open(env)
			return err
		},
		Run: func(ctx context.Context, _ *service.Env) error {
			v.clean(ctx)
			return nil
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				select {
				case <-env.Draining():
					cancel()
				case <-ctx.Done():
				}
			}()
			if err := proto.Serve(ctx, c, v); err != nil {
				env.Log.Warningf("%s service: %v", env.Service, err)
			}
		},
	})
}

func open(env *service.Env) (*verifier, error) {
	cfg := env.Config
	v := &verifier{
		positiveExpire: params.AddressVerifyPositiveExpireTime.In(cfg), positiveRefresh: params.AddressVerifyPositiveRefreshTime.In(cfg),
		negativeExpire: params.AddressVerifyNegativeExpireTime.In(cfg), negativeRefresh: params.AddressVerifyNegativeRefreshTime.In(cfg),
		keepNegative: params.AddressVerifyNegativeCache.In(cfg), limit: params.AddressVerifyPendingRequestLimit.In(cfg),
		interval: params.AddressVerifyCacheCleanupInterval.In(cfg),
		warnf:    env.Log.Warningf, now: clock.Now,
		entries: map[string]*entry{}, waiting: map[string][]chan *proto.Reply{},
	}
	origin := params.Myorigin.In(cfg)
	if strings.HasPrefix(origin, "/") { // a file, as Debian's /etc/mailname
		b, err := os.ReadFile(origin)
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		origin = strings.TrimSpace(line)
	}
	sender := params.AddressVerifySender.In(cfg)
	if sender == "<>" {
		sender = ""
	}
	if sender != "" {
		sender = address.WithDomain(sender, origin)
	}
	client := cleanup.NewClient("public/" + params.CleanupServiceName.In(cfg))
	v.probe = func(addr string) error { return probe(client, sender, addr) }
	var err error
	if v.file, err = openJournal(params.AddressVerifyMap.In(cfg)); err != nil {
		env.Log.Warningf("address_verify_map: %v: results will not survive a restart", err)
	}
	return v, v.load()
}

// probe puts a probe into the queue.
func probe(c *cleanup.Client, sender, addr string) error {
	now := clock.Now()
	t, err := c.Begin(&cleanup.Begin{
		Flags: cleanup.Map | cleanup.MessageInfo,
		Message: envelope.Message{ID: queue.NewID(now), Arrival: now, Sender: sender, Local: true, VerifyOnly: true, Origin: proto.Origin,
			SMTPUTF8: !address.IsASCII(addr) || !address.IsASCII(sender)},
	})
	if err != nil {
		return err
	}
	if err = t.Recipient(&envelope.Recipient{Address: addr, Notify: envelope.NotifyNever}); err == nil {
		_, err = t.Write([]byte("Subject: probe\r\n\r\nprobe\r\n"))
	}
	if err != nil {
		t.Abort()
		return err
	}
	r, err := t.End()
	if err == nil && r.Status != cleanup.OK {
		err = fmt.Errorf("cleanup refused the probe: %s", r.Reason)
	}
	return err
}
