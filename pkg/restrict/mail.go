package restrict

import (
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/lookup"
	"posthaste/pkg/route"
)

func mailDomain(addr string) string { return address.Domain(addr) }

// rewrite brings an envelope address into standard form.
func (r *run) rewrite(addr string) string {
	f := r.Facts
	if f.rewriteOf != addr || f.rewriteMemo == "" {
		f.rewriteOf, f.rewriteMemo = addr, r.p.deps.Router.Rewrite(addr, true)
	}
	return f.rewriteMemo
}

// resolve finds the route of the recipient, once per recipient.
func (r *run) resolve(addr string) (*route.Route, error) {
	f := r.Facts
	if !f.haveRoute || f.routeFor != addr {
		rt, err := r.p.deps.Router.Resolve(f.Sender, r.rewrite(addr))
		f.routeMemo, f.routeErr, f.routeFor, f.haveRoute = &rt, err, addr, true
	}
	return f.routeMemo, f.routeErr
}

// authDestination tells whether mail for the recipient is ours to take.
func (r *run) authDestination() (bool, error) {
	f := r.Facts
	rt, err := r.resolve(f.Rcpt)
	if err != nil {
		return false, err
	}
	if !strings.Contains(rt.Recipient, "@") && rt.Recipient != "" {
		return true, nil // a bare local part that nothing was appended to
	}
	if rt.Routed && !r.p.allowUntrusted {
		return false, nil
	}
	return rt.Class != route.Default, nil
}

func permitAuthDestination(r *run, _ *node) verdict {
	if !r.Facts.HaveRcpt {
		return dunno
	}
	ok, err := r.authDestination()
	if err != nil {
		return r.lookupFailure(r.p.quote(r.Facts.Rcpt), err)
	}
	return okIf(ok)
}

func unauthDestination(r *run, _ *node, code int, enh string) verdict {
	if !r.Facts.HaveRcpt {
		return dunno
	}
	ok, err := r.authDestination()
	if err != nil {
		return r.lookupFailure(r.p.quote(r.Facts.Rcpt), err)
	}
	if ok {
		return dunno
	}
	return r.refuse(code, enh, "<"+r.p.quote(r.Facts.Rcpt)+">: Relay access denied", false)
}

// mailAddr returns the address that a sender or recipient check is about, and
// how replies name it.
func (r *run) mailAddr(sender bool) (addr, text string, ok bool) {
	f := r.Facts
	if sender {
		return f.Sender, "<" + r.p.quote(f.Sender) + ">: Sender address rejected: ", f.HaveSender && f.Sender != ""
	}
	return f.Rcpt, "<" + r.p.quote(f.Rcpt) + ">: Recipient address rejected: ", f.HaveRcpt && f.Rcpt != ""
}

func (r *run) nonFQDN(sender bool) verdict {
	addr, text, ok := r.mailAddr(sender)
	if !ok {
		return dunno
	}
	local, domain := address.Split(addr)
	if domain == "" {
		if !sender && strings.EqualFold(local, "postmaster") {
			return dunno
		}
	} else if domain[0] == '[' || strings.Contains(strings.Trim(domain, "."), ".") {
		return dunno
	}
	return r.refuse(r.p.code.nonFQDN, "4.5.2", text+"need fully-qualified address", false)
}

func (r *run) unknownDomain(sender bool) verdict {
	addr, text, ok := r.mailAddr(sender)
	if !ok {
		return dunno
	}
	item := r.p.quote(addr)
	domain := mailDomain(r.rewrite(addr))
	if domain == "" || domain[0] == '[' {
		return dunno
	}
	class, err := r.p.deps.Router.ClassOf(domain)
	if err != nil {
		return r.lookupFailure(item, err)
	}
	if class == route.Local || class == route.VirtualAlias || class == route.VirtualMailbox {
		return dunno
	}
	enh := "4.1.2"
	if sender {
		enh = "4.1.8"
	}
	known, null, err := r.resolvable(domain)
	switch {
	case err != nil:
		return r.tempfail(r.p.tfSender, 450, enh, text+"Domain not found")
	case null && sender:
		return r.refuse(550, "5.7.27", text+"Domain "+domain+" does not accept mail (nullMX)", false)
	case null:
		return r.refuse(556, "5.1.10", text+"Domain "+domain+" does not accept mail (nullMX)", false)
	case !known:
		return r.refuse(r.p.code.unkAddress, enh, text+"Domain not found", false)
	}
	return dunno
}

// unverified asks verify(8) about the sender or recipient.
func (r *run) unverified(sender bool) verdict {
	addr, text, ok := r.mailAddr(sender)
	if !ok {
		return dunno
	}
	c, enh := &r.p.unvRcpt, "4.1.1"
	if sender {
		c, enh = &r.p.unvSender, "4.1.7"
	}
	addr = r.rewrite(addr)
	// The sender of probes is not probed: the other side may be asking about it.
	if local, _ := address.Split(addr); strings.EqualFold(addr, r.p.verifySender) || strings.EqualFold(local, r.p.verifySender) {
		return dunno
	}
	st, why, err := r.p.deps.Verify(r.ctx, addr)
	if err != nil {
		r.p.warnf("address verification service: %v", err)
		st, why = Unverified, "address verification problem"
	}
	code, what := c.deferCode, "unverified address"
	switch st {
	case Deliverable:
		return dunno
	case Undeliverable:
		code, what = c.rejectCode, "undeliverable address"
	}
	if c.reason != "" && code >= 400 {
		why = c.reason
	}
	if len(why) > 250 {
		why = why[:250]
	}
	text += what + ": " + why
	switch {
	case code/100 == 2:
		r.log("warn", text)
		return dunno
	case st == Unverified:
		return r.tempfail(c.tempfail, code, enh, text)
	}
	return r.refuse(code, enh, text, false)
}

func rejectUnlistedSender(r *run, _ *node) verdict {
	if !r.Facts.HaveSender || r.Facts.Sender == "" {
		return dunno
	}
	r.sndrChecked = true
	return r.unlisted(r.Facts.Sender, true)
}

func rejectUnlistedRcpt(r *run, _ *node) verdict {
	if !r.Facts.HaveRcpt {
		return dunno
	}
	r.rcptsChecked = true
	return r.unlisted(r.Facts.Rcpt, false)
}

// unlisted refuses an address of ours that nobody has.
func (r *run) unlisted(addr string, sender bool) verdict {
	_, text, ok := r.mailAddr(sender)
	if !ok {
		return dunno
	}
	full := r.rewrite(addr)
	var rt *route.Route
	var err error
	if sender {
		var class route.Class
		if class, err = r.p.deps.Router.ClassOf(mailDomain(full)); err == nil && class == route.Default {
			return dunno
		}
		rt = &route.Route{Class: class}
	} else {
		rt, err = r.resolve(addr)
	}
	if err != nil {
		return r.lookupFailure(r.p.quote(addr), err)
	}
	// Listed knows what cleanup will make of the address: in a virtual alias
	// domain every route ends in an error, that of known addresses too.
	listed, p, err := r.p.deps.Router.Listed(full)
	if err != nil {
		return r.lookupFailure(r.p.quote(addr), err)
	}
	if listed {
		return dunno
	}
	code, enh, what := 550, "5.1.1", "User unknown"
	if p != nil {
		enh, what = p.DSN, p.Text
	}
	switch rt.Class {
	case route.Local:
		code = r.p.code.unlLocal
	case route.VirtualAlias:
		code = r.p.code.unlAlias
	case route.VirtualMailbox:
		code = r.p.code.unlMailbox
	case route.Relay:
		code = r.p.code.unlRelay
	}
	if p != nil && p.Temp {
		code = 450
	}
	if !r.p.showTable {
		if i := strings.Index(what, " in "); i > 0 && strings.HasSuffix(what, " table") {
			what = what[:i]
		}
	}
	if sender && enh == "5.1.1" {
		enh = "5.1.0"
	}
	return r.refuse(code, enh, text+what, false)
}

// owners returns the login names that own the sender address, and whether the
// table knows it.
func (r *run) owners() (owners []string, listed bool, err error) {
	if r.Facts.Sender == "" {
		return nil, false, nil
	}
	rt := r.p.deps.Router
	v, _, ok, err := r.p.loginMaps.Address(r.rewrite(r.Facts.Sender), rt.Delims(), rt.AddressOptions())
	if err != nil || !ok {
		return nil, false, err
	}
	return strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }), true, nil
}

func (r *run) mismatch(whenAuth, whenNot, knownOnly bool) verdict {
	f := r.Facts
	if !f.HaveSender {
		return dunno
	}
	owners, listed, err := r.owners()
	if err != nil {
		return r.lookupFailure(r.p.quote(f.Sender), err)
	}
	text := "<" + r.p.quote(f.Sender) + ">: Sender address rejected: "
	if f.SASLUser == "" {
		if whenNot && listed {
			return r.refuse(553, "5.7.1", text+"not logged in", false)
		}
		return dunno
	}
	if !whenAuth || knownOnly && !listed || f.Sender == "" {
		return dunno
	}
	for _, o := range owners {
		if strings.EqualFold(o, f.SASLUser) {
			return dunno
		}
	}
	return r.refuse(553, "5.7.1", text+"not owned by user "+f.SASLUser, false)
}

func rejectLoginMismatch(r *run, _ *node) verdict  { return r.mismatch(true, true, false) }
func rejectAuthMismatch(r *run, _ *node) verdict   { return r.mismatch(true, false, false) }
func rejectKnownMismatch(r *run, _ *node) verdict  { return r.mismatch(true, false, true) }
func rejectUnauthMismatch(r *run, _ *node) verdict { return r.mismatch(false, true, false) }

// permitMXBackup permits a recipient whose domain names this machine as a mail
// exchanger, and whose primary ones are in permit_mx_backup_networks.
func permitMXBackup(r *run, _ *node) verdict {
	if !r.Facts.HaveRcpt {
		return dunno
	}
	ok, err := r.authDestination()
	if err != nil {
		return r.lookupFailure(r.p.quote(r.Facts.Rcpt), err)
	}
	if ok {
		return permit
	}
	domain := mailDomain(r.rewrite(r.Facts.Rcpt))
	if rt, err := r.resolve(r.Facts.Rcpt); err != nil || rt.Routed || domain == "" || domain[0] == '[' {
		return dunno
	}
	d := r.p.deps.DNS
	text := "<" + r.p.quote(r.Facts.Rcpt) + ">: Recipient address rejected: Unable to look up mail exchanger information"
	hosts, err := d.MX(r.ctx, domain)
	if err != nil {
		if d.NotFound(err) {
			return dunno
		}
		return r.deferIfReject(450, "4.4.4", text)
	}
	for i, h := range hosts {
		addrs, err := d.Addrs(r.ctx, h)
		if err != nil && !d.NotFound(err) {
			return r.deferIfReject(450, "4.4.4", text)
		}
		mine := false
		for _, a := range addrs {
			mine = mine || r.ownAddr(a)
		}
		if !mine {
			continue
		}
		if i == 0 {
			return dunno // the primary exchanger is us: then the domain must be configured
		}
		if r.Facts.HaveRcpt && r.mxPrimariesOK(hosts[:i]) {
			return permit
		}
		return dunno
	}
	return dunno
}

func (r *run) mxPrimariesOK(hosts []string) bool {
	if r.p.mxNetworks == nil {
		return true
	}
	for _, h := range hosts {
		addrs, err := r.p.deps.DNS.Addrs(r.ctx, h)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if ok, err := r.p.mxNetworks.MatchHost(h, a.String()); ok && err == nil {
				return true
			}
		}
	}
	return false
}

func (r *run) accessKeys() lookup.Find {
	if r.p.subdomains {
		return lookup.FindAccess | lookup.FindSubdomains
	}
	return lookup.FindAccess | lookup.FindDotParents
}
