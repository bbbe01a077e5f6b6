// Discard is the delivery agent that throws mail away and reports success.
//
// # Usage
//
//	discard unix - - n - - discard
//
// Discard is started by master(8) from this line of master.cf. A transport(5)
// table sends mail to it:
//
//	robot@here.example   discard:nobody reads this
//
// # Description
//
// The next hop is the reason that is logged, "delivered to the bit bucket" if
// there is none; an enhanced status code may stand in front of it. The sender
// is not told, except by a report of success that the message asked for.
//
// # Security
//
// Discard runs under an identity that owns nothing, and opens no files.
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
		Name:   "discard",
		Frugal: true,
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			delivery.Serve(ctx, env, c, discard)
		},
	})
}

// discard tells all recipients' mail delivered.
func discard(_ context.Context, j *delivery.Job) {
	o := outcome(j.Nexthop, j.Message.VerifyOnly)
	for i := range j.Recipients {
		j.Report(i, o, time.Time{}, 0)
	}
}

// outcome reads "[code ]reason".
func outcome(nexthop string, verify bool) envelope.Outcome {
	dsn, reason := delivery.SplitDSN(nexthop, "2.0.0")
	if reason == "" {
		reason = "delivered to the bit bucket"
	}
	o := envelope.Outcome{Status: envelope.Discarded, DSN: "2" + dsn[1:], Relay: "none", Reason: reason}
	if verify {
		o.Status = envelope.Deliverable
	}
	return o
}
