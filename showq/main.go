// Showq lists the mail queue.
//
// # Usage
//
//	showq unix n - n - - showq
//
// Showq is started by master(8) from this line of master.cf.
//
// # Description
//
// To each client, showq writes a listing of the queues maildrop, active,
// incoming, deferred and hold, with every recipient that has not been delivered
// to and why its last delivery attempt failed. Postqueue(1) and mailq(1) show it
// to people.
//
// Messages that arrive or leave while a listing is made may or may not be in it.
//
// # Security
//
// Showq runs under the queue's identity and only reads. Senders and recipients
// of all mail are private matters: authorized_mailq_users says who may use
// postqueue(1), and the socket is out of reach for everybody else.
//
// # Diagnostics
//
// Files that cannot be read are left out.
package main

import (
	"context"
	"net"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/showq"
	"posthaste/pkg/queue"
	"posthaste/pkg/service"
)

func main() {
	var spool *queue.Spool
	service.Main(service.Spec{
		Name: "showq",
		Before: func(env *service.Env) (err error) {
			o := queue.OptionsFrom(env.Config)
			o.Syncfs = "no"
			spool, err = queue.Open(".", o)
			return err
		},
		Serve: func(_ context.Context, env *service.Env, c net.Conn) {
			if err := serve(spool, c); err != nil {
				env.Log.Warningf("showq service: %v", err)
			}
		},
	})
}

// serve writes one client a listing.
func serve(spool *queue.Spool, nc net.Conn) error {
	c, err := ipc.Accept(nc, showq.Protocol, 10*time.Second)
	if err != nil {
		return err
	}
	w := showq.NewWriter(c)
	trouble := showq.Walk(spool, w)
	if err := w.End(); err != nil {
		return err
	}
	return trouble
}
