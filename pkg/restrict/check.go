package restrict

import (
	"context"
	"strings"

	"posthaste/pkg/esmtp"
)

// kind is the list that is being evaluated; it decides what a bare type:table
// means and what replies name.
type kind uint8

const (
	kindClient kind = iota
	kindHelo
	kindSender
	kindRelay
	kindRcpt
	kindData
	kindEOD
	kindEtrn
	numKinds
)

func (p *Policy) newRun(ctx context.Context, c *Check) *run {
	if c.Effects == nil {
		c.Effects = &Effects{}
	}
	c.Facts.haveRoute, c.Facts.rewriteOf = false, "" // tables may have changed since
	return &run{Check: c, p: p, ctx: ctx}
}

// section evaluates the list of one kind with the names its replies use.
func (r *run) section(k kind, item, class string) verdict {
	l := &r.p.lists[k]
	if len(l.nodes) == 0 || r.Effects.Discard {
		return dunno
	}
	r.kind, r.item, r.class = k, item, class
	r.warn, r.ifReject = false, deferral{}
	return r.list(l.param, l.nodes)
}

func (r *run) client() verdict { return r.section(kindClient, r.Facts.client(), "Client host") }
func (r *run) helo() verdict {
	if r.Facts.Helo == "" {
		return dunno
	}
	return r.section(kindHelo, r.Facts.Helo, "Helo command")
}

func (r *run) sender() verdict {
	if !r.Facts.HaveSender {
		return dunno
	}
	v := r.section(kindSender, r.p.quote(r.Facts.Sender), "Sender address")
	if v != reject && r.p.rejectUnlistedSender && !r.sndrChecked && !r.Effects.Discard && r.Facts.Sender != "" {
		r.item, r.class, r.warn, r.ifReject = r.p.quote(r.Facts.Sender), "Sender address", false, deferral{}
		if r.unlisted(r.Facts.Sender, true) == reject {
			return reject
		}
	}
	return v
}

// finish turns the verdict of a whole check into a reply; a zero Reply means
// go on.
func (r *run) finish(v verdict) esmtp.Reply {
	if v != reject && r.ifPermit.active && !r.Effects.Discard {
		r.reply, v = r.ifPermit.reply, reject
	}
	if v != reject {
		return esmtp.Reply{}
	}
	if r.reply.Code != Hangup {
		r.log("reject", r.reply.String())
	}
	return r.reply
}

// single finishes a check whose defer_if_permit is only remembered: it is
// decided at RCPT.
func (r *run) single(v verdict) (esmtp.Reply, Pending) {
	if v != reject {
		return esmtp.Reply{}, Pending{r.ifPermit}
	}
	return r.finish(v), Pending{}
}

// Pending is a defer_if_permit of an earlier stage; the checks of later stages
// take it into account.
type Pending struct{ d deferral }

// Client runs smtpd_client_restrictions, for smtpd_delay_reject = no.
func (p *Policy) Client(ctx context.Context, c *Check) (esmtp.Reply, Pending) {
	r := p.newRun(ctx, c)
	return r.single(r.client())
}

// Helo runs smtpd_helo_restrictions, for smtpd_delay_reject = no.
func (p *Policy) Helo(ctx context.Context, c *Check) (esmtp.Reply, Pending) {
	r := p.newRun(ctx, c)
	return r.single(r.helo())
}

// Sender runs smtpd_sender_restrictions, for smtpd_delay_reject = no.
func (p *Policy) Sender(ctx context.Context, c *Check) (esmtp.Reply, Pending) {
	r := p.newRun(ctx, c)
	return r.single(r.sender())
}

// Rcpt runs the checks of one recipient (RCPT and VRFY): with
// smtpd_delay_reject those of client, helo and sender first; then relay and
// recipient restrictions in their order; then the implicit
// reject_unlisted_recipient, which no permit skips; then a pending
// defer_if_permit.
func (p *Policy) Rcpt(ctx context.Context, c *Check, earlier ...Pending) esmtp.Reply {
	r := p.newRun(ctx, c)
	for _, e := range earlier {
		if e.d.active && !r.ifPermit.active {
			r.ifPermit = e.d
		}
	}
	if c.Effects.Discard || strings.EqualFold(c.Facts.Rcpt, "postmaster") {
		return esmtp.Reply{} // RFC 5321, section 4.5.1: postmaster without a domain is always reached
	}
	if p.DelayReject {
		for _, f := range []func() verdict{r.client, r.helo, r.sender} {
			if f() == reject {
				return r.finish(reject)
			}
			if c.Effects.Discard {
				return esmtp.Reply{}
			}
		}
	}
	item := p.quote(c.Facts.Rcpt)
	order := [2]kind{kindRelay, kindRcpt}
	if !p.relayFirst {
		order = [2]kind{kindRcpt, kindRelay}
	}
	for _, k := range order {
		if r.section(k, item, "Recipient address") == reject {
			return r.finish(reject)
		}
		if c.Effects.Discard {
			return esmtp.Reply{}
		}
	}
	if p.rejectUnlistedRcpt && !r.rcptsChecked {
		r.item, r.class, r.warn, r.ifReject = item, "Recipient address", false, deferral{}
		if r.unlisted(c.Facts.Rcpt, false) == reject {
			return r.finish(reject)
		}
	}
	return r.finish(dunno)
}

// Data runs smtpd_data_restrictions.
func (p *Policy) Data(ctx context.Context, c *Check) esmtp.Reply {
	r := p.newRun(ctx, c)
	return r.finish(r.section(kindData, "DATA", "Data command"))
}

// EndOfData runs smtpd_end_of_data_restrictions.
func (p *Policy) EndOfData(ctx context.Context, c *Check) esmtp.Reply {
	r := p.newRun(ctx, c)
	return r.finish(r.section(kindEOD, "END-OF-MESSAGE", "End-of-data"))
}

// Etrn runs smtpd_etrn_restrictions, behind client and helo restrictions when
// those are delayed.
func (p *Policy) Etrn(ctx context.Context, c *Check) esmtp.Reply {
	r := p.newRun(ctx, c)
	if p.DelayReject {
		if r.client() == reject || r.helo() == reject {
			return r.finish(reject)
		}
	}
	return r.finish(r.section(kindEtrn, c.Facts.Etrn, "Etrn command"))
}

// HasData and HasEndOfData tell whether there is anything to evaluate.
func (p *Policy) HasData() bool      { return len(p.lists[kindData].nodes) > 0 }
func (p *Policy) HasEndOfData() bool { return len(p.lists[kindEOD].nodes) > 0 }
