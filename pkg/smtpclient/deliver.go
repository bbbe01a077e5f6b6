package smtpclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"posthaste/pkg/clock"
	"posthaste/pkg/config"
	"posthaste/pkg/delivery"
	"posthaste/pkg/envelope"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/service"
	"posthaste/pkg/tlsconf"
)

var lookupOptions lookup.AddressOptions

// Serve answers one qmgr; it is the program's service function.
func (a *Agent) Serve(ctx context.Context, env *service.Env, c net.Conn) {
	delivery.Serve(ctx, env, c, a.Deliver)
}

// Drain closes the connections that are kept; later ones are not kept.
func (a *Agent) Drain() { a.cache.drain() }

// attempt is the state of one request.
type attempt struct {
	a    *Agent
	j    *delivery.Job
	ctx  context.Context
	left []int    // recipients without an outcome, by index
	kept []bool   // by index: the server at hand did not take it, another one may
	why  *failure // the last trouble
	last bool     // no other server is left to try

	relay     string
	connected time.Time
	conns     int
}

// Deliver delivers one request.
func (a *Agent) Deliver(ctx context.Context, j *delivery.Job) {
	d := &attempt{a: a, j: j, ctx: ctx, kept: make([]bool, len(j.Recipients)), relay: "none"}
	for i := range j.Recipients {
		d.left = append(d.left, i)
	}
	hops := config.SplitList(j.Nexthop)
	own := len(hops)
	if !a.s.lmtp || a.s.fallback != "" {
		hops = append(hops, config.SplitList(a.s.fallback)...)
	}
	if len(hops) == 0 {
		d.why = &failure{dsn: "4.3.5", reason: "no next-hop destination"}
	}
	at := 0
	for at < len(hops) && len(d.left) > 0 {
		more := d.nexthop(hops[at], at == len(hops)-1)
		at++
		if !more {
			break
		}
	}
	if len(d.left) > 0 && ctx.Err() == nil {
		d.giveUp(hops, at, own)
	}
}

// giveUp reports the recipients that no server took.
func (d *attempt) giveUp(hops []string, tried, own int) {
	f := d.why
	switch {
	case f == nil:
		f = &failure{dsn: "4.3.0", reason: "server unavailable or unable to receive mail"}
	case f.temporary():
	case tried > own:
		d.a.log.Warningf("%s_fallback_relay configuration problem", d.a.s.name)
		f.dsn = "4.3.5"
	case !d.a.s.lmtp && len(hops) > 0 && hops[0] == d.a.s.relayhost:
		d.a.log.Warningf("relayhost configuration problem")
		f.dsn = "4.3.5"
	}
	d.relay, d.connected, d.conns, d.last = "none", time.Time{}, 0, true
	clear(d.kept)
	d.bulk(f, true)
}

// nexthop tries the servers of one next hop; more says whether another may be
// tried.
func (d *attempt) nexthop(text string, lastHop bool) (more bool) {
	a := d.a
	ds, err := a.parseDest(text)
	if err != nil {
		a.log.Warningf("%s: %v", d.j.Message.ID, err)
		d.why = &failure{dsn: "4.3.5", reason: "Server configuration error: " + err.Error()}
		return true
	}
	list, mx, f := a.resolve(d.ctx, ds)
	if f != nil {
		d.why = f
		return !f.loop
	}
	lastHop = lastHop || mx
	policy, err := a.tls.Policy(ds.text)
	if err != nil {
		var pe *tlsconf.PolicyError
		dsn, reason := "4.3.0", "TLS policy table look-up error"
		if errors.As(err, &pe) {
			dsn, reason = "4.7.5", pe.Text
		}
		a.log.Warningf("TLS policy lookup for %s: %v", ds.text, err)
		d.why = &failure{dsn: dsn, reason: reason}
		return true
	}
	if a.s.tlsWrapper && !policy.Level.Mandatory() {
		d.why = &failure{dsn: "4.7.5", reason: "TLS wrapper mode requires a TLS security level of encrypt or stronger"}
		return true
	}
	d.servers(ds, list, policy, lastHop)
	return !mx
}

// servers tries kept connections, then new ones, within the limits on
// addresses and sessions.
func (d *attempt) servers(ds dest, list []target, policy *tlsconf.Policy, lastHop bool) {
	a := d.a
	addresses, sessions := 0, 0
	best := list[0].pref
	// full says, before a try, whether it is the last one allowed.
	full := func(n, limit int) bool { return limit > 0 && n+1 >= limit }
	key := d.cacheKey(ds, policy)
	for key != "" && len(d.left) > 0 && len(list) > 0 {
		s := a.cache.take(key)
		if s == nil {
			break
		}
		i := slices.IndexFunc(list, func(t target) bool { return t.addr == s.t.addr && t.unix == s.t.unix })
		if i < 0 || !s.reusable(a) {
			s.c.Quit(false)
			continue
		}
		stop := full(sessions, a.s.sessionLimit) || full(addresses, a.s.addressLimit)
		d.last = lastHop && (len(list) == 1 || stop)
		if d.transact(s, &link{d: d, dest: ds, policy: policy, plain: true}, key) == stale {
			continue
		}
		list = slices.Delete(slices.Clone(list), i, i+1)
		addresses++
		if sessions++; stop {
			return
		}
	}
	plain := false
	for i := 0; i < len(list) && len(d.left) > 0 && d.ctx.Err() == nil; i++ {
		t := list[i]
		lastAddress := i == len(list)-1 || full(addresses, a.s.addressLimit)
		cred, err := a.credentials(d.j.Message.Sender, t.host, ds.text)
		if err != nil {
			d.why = &failure{dsn: "4.3.0", reason: "SASL password table look-up error"}
			return
		}
		l := &link{d: d, dest: ds, policy: policy, plain: plain, cred: cred, best: t.pref == best}
		plain = false
		d.last = lastHop && lastAddress
		s, of := a.open(d.ctx, l, t)
		addresses++
		if s == nil {
			if d.openFailed(of, t) {
				plain = true
				i, addresses = i-1, addresses-1
				continue
			}
			if lastAddress {
				return
			}
			continue
		}
		lastSession := full(sessions, a.s.sessionLimit)
		d.last = lastHop && (lastAddress || lastSession)
		switch d.transact(s, l, key) {
		case retryPlain:
			plain = true
			i, addresses = i-1, addresses-1
			continue
		}
		if sessions++; lastSession || lastAddress {
			return
		}
	}
}

// openFailed handles a session that did not come about; retry says that the
// same server is to be tried without TLS.
func (d *attempt) openFailed(of *openFailure, t target) (retry bool) {
	d.why = &of.failure
	if !of.connected {
		d.a.log.Infof("%s", of.reason)
		return false
	}
	if of.retryPlain {
		d.last = false
	}
	d.relay, d.connected, d.conns = t.where(), clock.Now(), 0
	d.bulk(&of.failure, of.throttle)
	d.endSession()
	return of.retryPlain
}

// cacheKey is what deliveries must have in common to share a connection; ""
// if connections to this destination are not kept.
func (d *attempt) cacheKey(ds dest, p *tlsconf.Policy) string {
	if !d.a.s.cacheOnDemand {
		if ok, err := d.a.keep.Match(ds.host); err != nil || !ok {
			return ""
		}
	}
	key := strings.ToLower(ds.text) + "\x00" + p.Level.String()
	if d.a.s.saslEnable && d.a.s.saslSender {
		key += "\x00" + d.j.Message.Sender
	}
	return key
}

// reusable says whether s may carry one more message.
func (s *session) reusable(a *Agent) bool {
	return !s.spoilt && time.Since(s.opened) < a.s.reuseTime && (a.s.reuseCount == 0 || s.uses < a.s.reuseCount) && s.c.Idle()
}

// result of one transaction.
type result int

const (
	finished   result = iota // with or without success
	stale                    // the kept connection was dead: nothing was sent
	retryPlain               // the same server may do without TLS
)

// transact offers the message to the server of s and keeps or closes the
// connection.
func (d *attempt) transact(s *session, l *link, key string) result {
	a := d.a
	s.uses++
	d.relay, d.connected, d.conns = s.t.where(), clock.Now(), s.uses
	t, f := d.transaction(s)
	if f != nil {
		s.c.Quit(false)
		d.bulk(f, false)
		d.endSession()
		return finished
	}
	var sent []deliveredTo
	t.Reply = func(st esmtp.ClientStage, i int, r esmtp.Reply) {
		d.reply(s, t, st, i, r, &sent)
	}
	stop := s.c.Interrupt(d.ctx)
	err := s.c.Send(&t.Transaction)
	stop()
	if errors.Is(err, esmtp.ErrStale) {
		s.c.Close()
		return stale
	}
	res := finished
	switch {
	case err != nil:
		s.c.Close()
		if d.ctx.Err() != nil {
			break // the process must go: qmgr defers what is left
		}
		f := streamFailure(s, err)
		if s.c.TLS() != nil && l.plaintextAllowed() && len(d.unmarked(sent)) > 0 {
			d.last, res = false, retryPlain
		}
		d.report(sent)
		d.bulk(&f, f.dsn != "4.3.0")
		d.endSession()
		return res
	case key != "" && s.reusable(a):
		a.cache.put(key, s, a.s.cacheTime)
	default:
		a.leave(s)
	}
	d.report(sent)
	d.endSession()
	return res
}

// deliveredTo is a recipient that the server has taken.
type deliveredTo struct {
	i int
	o envelope.Outcome
}

// unmarked are the recipients whose fate in this session is open.
func (d *attempt) unmarked(sent []deliveredTo) []int {
	var l []int
	for _, i := range d.left {
		if !d.kept[i] && !slices.ContainsFunc(sent, func(x deliveredTo) bool { return x.i == i }) {
			l = append(l, i)
		}
	}
	return l
}

// endSession forgets which recipients this server did not take.
func (d *attempt) endSession() { clear(d.kept) }

// reply evaluates one reply of a transaction. Recipients that were delivered
// are only noted, so that the connection can be kept before qmgr hears of it.
func (d *attempt) reply(s *session, t *transaction, st esmtp.ClientStage, i int, r esmtp.Reply, sent *[]deliveredTo) {
	ok := r.Class() == 2
	said := func() *failure {
		f := replyFailure(s, r, "host "+s.t.peer()+" said: "+replyText(r)+" (in reply to "+st.Command()+")")
		return &f
	}
	switch st {
	case esmtp.StageMail:
		if !ok {
			d.bulk(said(), false)
		}
	case esmtp.StageRcpt:
		switch {
		case !ok:
			d.single(t.index[i], said())
		case t.NoData:
			o := d.outcome(s, envelope.Deliverable, r)
			*sent = append(*sent, deliveredTo{t.index[i], o})
		}
	case esmtp.StageData:
		if r.Class() != 3 {
			d.bulk(said(), false)
		}
	case esmtp.StageDot:
		switch {
		case i >= 0 && !ok:
			d.single(t.index[i], said())
		case i >= 0:
			*sent = append(*sent, deliveredTo{t.index[i], d.outcome(s, envelope.Sent, r)})
		case !ok:
			d.bulk(said(), false)
		default:
			o := d.outcome(s, envelope.Sent, r)
			for _, n := range d.unmarked(nil) {
				*sent = append(*sent, deliveredTo{n, o})
			}
		}
	}
}

// outcome of a recipient that a server took.
func (d *attempt) outcome(s *session, st envelope.Status, r esmtp.Reply) envelope.Outcome {
	text := replyText(r)
	o := envelope.Outcome{Status: st, DSN: replyDSN(r), Relay: d.relay, Reason: text, DiagType: "smtp", DiagText: text, MTAName: s.t.host}
	switch {
	case st != envelope.Sent || d.a.s.assumeFinal:
	case s.c.Ext.DSN:
		o.Action = delivery.Delegated
	default:
		o.Action = delivery.Relayed
	}
	return o
}

// report gives recipients their success.
func (d *attempt) report(sent []deliveredTo) {
	for _, x := range sent {
		d.drop(x.i)
		d.j.Report(x.i, x.o, d.connected, d.conns)
	}
}

func (d *attempt) drop(i int) {
	if n := slices.Index(d.left, i); n >= 0 {
		d.left = slices.Delete(d.left, n, n+1)
	}
}

// soft says whether f lets the mail be tried elsewhere.
func (d *attempt) soft(f *failure) bool {
	return f.temporary() || d.a.s.softBounce && strings.HasPrefix(f.dsn, "5")
}

// single is the failure of one recipient: another server may take it, if there
// is one and the failure is temporary.
func (d *attempt) single(i int, f *failure) {
	d.why = f
	if d.soft(f) && !d.last {
		d.a.log.Event(maillog.Line{ID: d.j.Message.ID, Message: f.reason})
		d.kept[i] = true
		return
	}
	d.drop(i)
	d.j.Report(i, d.failed(f), d.connected, d.conns)
}

// bulk is the failure of all recipients whose fate is open. throttle says that
// the site is in trouble, not only this message.
func (d *attempt) bulk(f *failure, throttle bool) {
	open := d.unmarked(nil)
	if len(open) == 0 {
		return
	}
	d.why = f
	if d.soft(f) && !d.last {
		d.a.log.Event(maillog.Line{ID: d.j.Message.ID, Message: f.reason})
		for _, i := range open {
			d.kept[i] = true
		}
		return
	}
	if throttle && f.temporary() {
		d.j.SiteProblem(f.dsn, f.reason)
	}
	for _, i := range open {
		d.drop(i)
		d.j.Report(i, d.failed(f), d.connected, d.conns)
	}
}

// failed is the outcome of a recipient that was not delivered.
func (d *attempt) failed(f *failure) envelope.Outcome {
	o := envelope.Outcome{Status: envelope.Bounced, DSN: f.dsn, Relay: d.relay, Reason: f.reason}
	switch {
	case d.j.Message.VerifyOnly && !f.temporary():
		o.Status = envelope.Undeliverable
	case f.temporary():
		o.Status = envelope.Deferred
	}
	if f.reply != "" {
		o.DiagType, o.DiagText, o.MTAName = "smtp", f.reply, f.mta
	}
	return o
}
