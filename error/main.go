// Error is the delivery agent that fails all mail, with the reason that stands
// in place of the next hop. Under the service name retry it defers the mail
// instead.
//
// # Usage
//
//	error unix - - n - - error
//	retry unix - - n - - error
//
// Error is started by master(8) from these lines of master.cf. A transport(5)
// table sends mail to it:
//
//	old.example      error:5.1.2 this domain has moved
//	slow.example     retry:4.0.0 later, please
//
// # Description
//
// The next hop is the reason, with an enhanced status code (RFC 3463) in front
// if the default, 5.0.0 or 4.0.0, does not fit. Its first digit is set by the
// service's name: a 4.x.x code under error becomes 5.x.x. An empty reason reads
// "mail is undeliverable". Every recipient is logged with relay=none. With
// sendmail -bv the recipients are undeliverable.
//
// # Security
//
// Error runs under an identity that owns nothing, and opens no files.
//
// # Diagnostics
//
// Each recipient is logged, as with every delivery agent.
package main

import (
	"context"
	"net"
	"time"

	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/service"
)

func main() {
	service.Main(service.Spec{
		Name:   "error",
		Frugal: true,
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			retry := env.Service == "retry"
			delivery.Serve(ctx, env, c, func(_ context.Context, j *delivery.Job) { fail(j, retry) })
		},
	})
}

// fail gives every recipient the outcome that the next hop spells.
func fail(j *delivery.Job, retry bool) {
	o := outcome(j.Nexthop, retry)
	if j.Message.VerifyOnly {
		o.Status = envelope.Undeliverable
	}
	for i := range j.Recipients {
		j.Report(i, o, time.Time{}, 0)
	}
}

// outcome reads "[code ]reason".
func outcome(nexthop string, retry bool) envelope.Outcome {
	o := envelope.Outcome{Status: envelope.Bounced, Relay: "none"}
	class := "5"
	if retry {
		o.Status, class = envelope.Deferred, "4"
	}
	o.DSN, o.Reason = delivery.SplitDSN(nexthop, class+".0.0")
	o.DSN = class + o.DSN[1:]
	if o.Reason == "" {
		o.Reason = "mail is undeliverable"
	}
	return o
}
