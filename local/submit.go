package main

import (
	"context"
	"io"

	"posthaste/pkg/address"
	"posthaste/pkg/clock"
	"posthaste/pkg/envelope"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/queue"
)

// submit gives cleanup the new messages that the expansion asks for: one for
// each pair of Delivered-To: address and sender. It comes last, when nothing
// else is to be tried again.
func (x *expansion) submit(ctx context.Context) {
	for _, f := range x.forwards {
		if ctx.Err() != nil {
			return
		}
		a := &attr{rcpt: envelope.Recipient{Address: x.orig.Address}}
		if len(f.rcpts) == 1 {
			a.rcpt.Address = f.rcpts[0].Address
		}
		id := queue.NewID(clock.Now())
		res, err := x.send(f, id)
		switch {
		case err != nil:
			x.warnf("forward to %s: %v", cleanup.Service, err)
			x.fail(a, "4.3.0", "unable to forward message")
			return
		case res.Status == cleanup.OK:
			x.sent(a, "forwarded as "+id)
		case res.Status == cleanup.TooBig || res.Status == cleanup.TooManyHops || res.Status == cleanup.Rejected || res.Status == cleanup.NoRecipients:
			x.fail(a, permanent(res), "forwarding refused: "+reason(res))
		default:
			x.fail(a, "4.3.0", "unable to forward message: "+reason(res))
			return
		}
	}
}

func permanent(r *cleanup.Result) string {
	switch {
	case len(r.DSN) > 0 && r.DSN[0] == '5':
		return r.DSN
	case r.Status == cleanup.TooBig:
		return "5.3.4"
	case r.Status == cleanup.TooManyHops:
		return "5.4.0"
	}
	return "5.7.1"
}

func reason(r *cleanup.Result) string {
	if r.Reason != "" {
		return r.Reason
	}
	switch r.Status {
	case cleanup.TooBig:
		return "message file too big"
	case cleanup.TooManyHops:
		return "too many hops"
	case cleanup.NoSpace:
		return "insufficient system storage"
	case cleanup.WriteError:
		return "queue file write error"
	case cleanup.NoRecipients:
		return "no recipients specified"
	}
	return "internal error"
}

// send makes one message: the old one with a Delivered-To: in front, to which
// cleanup adds its Received:.
func (x *expansion) send(f *forward, id string) (*cleanup.Result, error) {
	old := &x.j.Message
	m := envelope.Message{
		ID: id, Arrival: clock.Now(), Sender: f.sender, Body: old.Body, SMTPUTF8: old.SMTPUTF8,
		Local: old.Local, Origin: "local", Hops: old.Hops, Client: old.Client, UID: old.UID,
	}
	if !f.list {
		m.Envid, m.Ret = old.Envid, old.Ret
	}
	tx, err := x.d.submit.Begin(&cleanup.Begin{Flags: cleanup.Internal | cleanup.Map, Message: m})
	if err != nil {
		return nil, err
	}
	for i := range f.rcpts {
		if err := tx.Recipient(&f.rcpts[i]); err != nil {
			tx.Abort()
			return nil, err
		}
	}
	if x.d.set.prepend&forForward != 0 {
		if _, err := io.WriteString(tx, "Delivered-To: "+address.Quote(address.Fold(f.delivered))+"\r\n"); err != nil {
			tx.Abort()
			return nil, err
		}
	}
	n, err := io.Copy(tx, x.j.Content())
	if err == nil && n < x.j.ContentLength {
		err = io.ErrUnexpectedEOF // a damaged queue file: not to go on as the message
	}
	if err != nil {
		tx.Abort()
		return nil, err
	}
	return tx.End()
}
