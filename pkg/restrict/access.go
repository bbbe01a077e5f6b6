package restrict

import (
	"fmt"
	"net/netip"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/esmtp"
)

// checkHostAccess looks a name and an address up in one table: the name and
// its parents, then the address and its networks.
func (r *run) hostAccess(n *node, name, addr, item, class string) (verdict, bool) {
	if name != "" {
		v, _, ok, err := n.maps.Host(address.Fold(name), r.p.subdomains)
		if err != nil {
			return r.tableFailure(item, class, err), true
		}
		if ok {
			return r.action(n, v, item, class), true
		}
	}
	if addr != "" {
		v, _, ok, err := n.maps.Network(addr)
		if err != nil {
			return r.tableFailure(item, class, err), true
		}
		if ok {
			return r.action(n, v, item, class), true
		}
	}
	return dunno, false
}

func checkClient(r *run, n *node) verdict {
	v, _ := r.hostAccess(n, r.Facts.ClientName, r.Facts.ClientAddr, r.Facts.client(), "Client host")
	return v
}

func checkReverse(r *run, n *node) verdict {
	v, _ := r.hostAccess(n, r.Facts.ReverseName, "", r.Facts.ReverseName, "Unverified Client host")
	return r.noPermit(n, v)
}

// noPermit refuses an OK that rests on what a stranger claims.
func (r *run) noPermit(n *node, v verdict) verdict {
	if v == permit && !r.Effects.Discard {
		return r.configError("restriction %s returns OK for %s; this is not allowed for security reasons, use DUNNO", n.name, r.item)
	}
	return v
}

func checkHelo(r *run, n *node) verdict {
	if r.Facts.Helo == "" {
		return dunno
	}
	name := strings.TrimSuffix(r.Facts.Helo, ".")
	v, _ := r.hostAccess(n, name, "", r.Facts.Helo, "Helo command")
	return v
}

func checkSASL(r *run, n *node) verdict {
	if r.Facts.SASLUser == "" {
		return dunno
	}
	return r.exact(n, r.Facts.SASLUser, r.Facts.SASLUser, "SASL login name")
}

func checkEtrn(r *run, n *node) verdict {
	if r.Facts.Etrn == "" {
		return dunno
	}
	v, _ := r.hostAccess(n, r.Facts.Etrn, "", r.Facts.Etrn, "Etrn command")
	return v
}

func checkCcert(r *run, n *node) verdict {
	for _, k := range []string{r.Facts.CertFinger, r.Facts.CertKeyFinger} {
		if k == "" {
			continue
		}
		v, ok, err := n.maps.Get(k)
		if err != nil {
			return r.tableFailure(r.Facts.client(), "Client certificate", err)
		}
		if ok {
			return r.action(n, v, r.Facts.client(), "Client certificate")
		}
	}
	return dunno
}

func (r *run) exact(n *node, key, item, class string) verdict {
	v, ok, err := n.maps.Get(key)
	if err != nil {
		return r.tableFailure(item, class, err)
	}
	if !ok {
		return dunno
	}
	return r.action(n, v, item, class)
}

func checkSender(r *run, n *node) verdict {
	if !r.Facts.HaveSender {
		return dunno
	}
	if r.Facts.Sender == "" {
		if r.p.nullKey == "" {
			return dunno
		}
		return r.exact(n, r.p.nullKey, "", "Sender address")
	}
	return r.mailAccess(n, r.Facts.Sender, "Sender address")
}

func checkRecipient(r *run, n *node) verdict {
	if !r.Facts.HaveRcpt {
		return dunno
	}
	return r.mailAccess(n, r.Facts.Rcpt, "Recipient address")
}

func (r *run) mailAccess(n *node, addr, class string) verdict {
	o := r.p.deps.Router.AddressOptions()
	o.Keys = r.accessKeys()
	item := r.p.quote(addr)
	v, _, ok, err := n.maps.Address(address.Fold(r.rewrite(addr)), r.p.deps.Router.Delims(), o)
	if err != nil {
		return r.tableFailure(item, class, err)
	}
	if !ok {
		return dunno
	}
	res := r.action(n, v, item, class)
	if res != permit || r.Effects.Discard {
		return res
	}
	rt, err := r.resolve(addr)
	if err != nil {
		return r.lookupFailure(item, err)
	}
	if rt.Routed {
		return dunno // too suspicious for an OK
	}
	return permit
}

// checkServers looks the MX, NS or address hosts of a name up.
func (r *run) checkServers(n *node, what, domain, item, class string) verdict {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" {
		return dunno
	}
	d := r.p.deps.DNS
	var hosts []string
	var err error
	if strings.HasPrefix(domain, "[") {
		if !strings.HasSuffix(domain, "]") {
			return dunno
		}
		lit := strings.Trim(domain, "[]")
		if len(lit) > 5 && strings.EqualFold(lit[:5], "IPv6:") {
			lit = lit[5:]
		}
		if _, perr := netip.ParseAddr(lit); perr != nil || what == "ns" {
			return dunno
		}
		v, _ := r.hostAccess(n, "", lit, item, class)
		return r.noPermit(n, v)
	}
	switch what {
	case "mx":
		if hosts, err = d.MX(r.ctx, domain); err != nil && d.NotFound(err) {
			hosts, err = []string{domain}, nil
		}
	case "ns":
		for name := domain; ; {
			if hosts, err = d.NS(r.ctx, name); err == nil || !d.NotFound(err) {
				break
			}
			i := strings.IndexByte(name, '.')
			if i < 0 || !strings.Contains(name[i+1:], ".") {
				return dunno
			}
			name = name[i+1:]
		}
	default:
		hosts = []string{domain}
	}
	if err != nil {
		r.p.warnf("Unable to look up %s host for %s: %v", strings.ToUpper(what), domain, err)
		return dunno
	}
	for i, h := range hosts {
		if i >= 100 {
			break
		}
		h = strings.TrimSuffix(h, ".")
		if what != "a" { // there, the name is the client's own word: only its addresses count
			if v, found := r.hostAccess(n, h, "", item, class); found {
				return r.noPermit(n, v)
			}
		}
		addrs, err := d.Addrs(r.ctx, h)
		if err != nil {
			if !d.NotFound(err) {
				r.p.warnf("Unable to look up %s host %s for %s %s: %v", strings.ToUpper(what), h, class, item, err)
			}
			continue
		}
		for _, a := range addrs {
			if v, found := r.hostAccess(n, "", a.String(), item, class); found {
				return r.noPermit(n, v)
			}
		}
	}
	return dunno
}

// action carries out the right-hand side of an access(5) table or the answer
// of a policy server.
func (r *run) action(n *node, value, item, class string) verdict {
	oldItem, oldClass := r.item, r.class
	r.item, r.class = item, class
	defer func() { r.item, r.class = oldItem, oldClass }()
	where := n.arg
	value = strings.TrimSpace(value)
	word, text, _ := strings.Cut(value, " ")
	if i := strings.IndexByte(word, '\t'); i >= 0 {
		word, text = value[:i], value[i+1:]
	}
	text = strings.TrimSpace(text)
	if v, ok := r.numeric(word, text, where); ok {
		return v
	}
	switch strings.ToUpper(word) {
	case "OK", "RELAY":
		return permit
	case "DUNNO":
		return dunno
	case "REJECT":
		return r.refuseText(r.p.code.accessReject, "5.7.1", text, "Access denied")
	case "DEFER":
		return r.refuseText(r.p.code.accessDefer, "4.7.1", text, "Access denied")
	case "DEFER_IF_PERMIT", "DEFER_IF_REJECT":
		enh, t := esmtp.CutEnhanced(text)
		if enh = statusFor(enh, r.class); enh == "" {
			enh = "4.7.1"
		}
		if t == "" {
			t = "Service unavailable"
		}
		if strings.EqualFold(word, "DEFER_IF_PERMIT") {
			return r.deferIfPermit(r.p.code.accessDefer, enh, r.rejected(t))
		}
		return r.deferIfReject(r.p.code.accessDefer, enh, r.rejected(t))
	case "WARN", "INFO":
		return r.note(strings.ToLower(word), text, strings.ToUpper(word))
	case "HOLD", "DISCARD", "FILTER", "REDIRECT", "BCC", "PREPEND":
		if r.noMessage(strings.ToUpper(word), where) {
			return dunno
		}
	}
	switch strings.ToUpper(word) {
	case "HOLD":
		if !r.warn {
			r.Effects.Hold = true
		}
		return r.note("hold", text, "HOLD")
	case "DISCARD":
		r.note("discard", text, "DISCARD")
		if r.warn {
			return dunno
		}
		r.Effects.Discard = true
		return permit
	case "FILTER":
		if t, _, ok := strings.Cut(text, ":"); !ok || t == "" {
			r.p.warnf("access table %s has entry %q: FILTER needs transport:destination", where, value)
			return dunno
		}
		return r.effect("filter", text, "FILTER", func() { r.Effects.Filter = text })
	case "REDIRECT":
		if !strings.Contains(text, "@") {
			r.p.warnf("access table %s has entry %q: REDIRECT needs user@domain", where, value)
			return dunno
		}
		return r.effect("redirect", text, "REDIRECT", func() { r.Effects.Redirect = text })
	case "BCC":
		if !strings.Contains(text, "@") {
			r.p.warnf("access table %s has entry %q: BCC needs user@domain", where, value)
			return dunno
		}
		return r.effect("bcc", text, "BCC", func() { r.Effects.BCC = appendNew(r.Effects.BCC, text) })
	case "PREPEND":
		if r.kind == kindEOD {
			r.p.warnf("access table %s: action PREPEND must be used before %s", where, "smtpd_end_of_data_restrictions")
			return dunno
		}
		if name, _, ok := strings.Cut(text, ":"); !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(text, "\r\n\x00") {
			r.p.warnf("access table %s has entry %q: PREPEND needs a header", where, value)
			return dunno
		}
		if !r.warn {
			r.Effects.Prepend = appendNew(r.Effects.Prepend, text)
		}
		return dunno
	case "HANGUP":
		if r.warn {
			return r.note("reject_warning", text, "HANGUP")
		}
		r.log("hangup", text)
		r.reply = esmtp.Reply{Code: Hangup}
		return reject
	case "":
		r.p.warnf("access table %s has an entry with an empty value", where)
		return dunno
	}
	return r.list(where, r.p.dynamic(where, value, r.kind))
}

func appendNew(l []string, s string) []string {
	for _, x := range l {
		if x == s {
			return l
		}
	}
	return append(l, s)
}

// numeric handles "nnn text" and all-digit values.
func (r *run) numeric(word, text, where string) (verdict, bool) {
	if word == "" || strings.Trim(word, "0123456789") != "" {
		return dunno, false
	}
	if text == "" {
		return permit, true // an all-numerical value: pop-before-smtp time stamps
	}
	if len(word) != 3 || word[0] != '4' && word[0] != '5' {
		return r.configError("access table %s has entry with bad reply code %q", where, word), true
	}
	rep, _ := esmtp.Parse(word)
	def := "5.7.1"
	if word[0] == '4' {
		def = "4.7.1"
	}
	return r.refuseText(rep.Code, def, text, "Access denied"), true
}

func (r *run) refuseText(code int, enh, text, def string) verdict {
	if e, t := esmtp.CutEnhanced(text); e != "" {
		enh, text = statusFor(e, r.class), t
	}
	if text == "" {
		text = def
	}
	return r.refuseItem(code, enh, text)
}

// noMessage tells, in the log too, that there is no message which an action
// could change: with smtpd_delay_reject = no, lists of clients and HELO names
// are evaluated before any, and what they did would depend on the number of
// messages of the session.
func (r *run) noMessage(action, where string) bool {
	switch {
	case r.kind == kindEtrn:
		r.p.warnf("access table %s: action %s is unavailable in smtpd_etrn_restrictions", where, action)
	case (r.kind == kindClient || r.kind == kindHelo) && !r.p.DelayReject:
		r.p.warnf("access table %s: with smtpd_delay_reject=no, action %s is always skipped in %s", where, action, r.p.lists[r.kind].param)
	default:
		return false
	}
	return true
}

// statusFor changes an enhanced status code of the address kind (x.1.n) that
// does not fit what is refused: a sender is no bad recipient, and a client or
// HELO name no address at all.
func statusFor(enh, class string) string {
	if len(enh) < 5 || enh[1:4] != ".1." {
		return enh
	}
	detail := enh[4:]
	switch class {
	case "Sender address":
		switch detail {
		case "1", "3", "4", "6":
			detail = "7"
		case "2":
			detail = "8"
		}
	case "Recipient address":
		switch detail {
		case "7":
			detail = "3"
		case "8":
			detail = "2"
		}
	default:
		return enh[:1] + ".0.0"
	}
	return enh[:4] + detail
}

// note logs an action that lets the mail pass.
func (r *run) note(verb, text, name string) verdict {
	if text == "" {
		text = fmt.Sprintf("triggers %s action", name)
	}
	r.log(verb, "<"+r.item+">: "+r.class+" "+text)
	return dunno
}

func (r *run) effect(verb, text, name string, do func()) verdict {
	if !r.warn {
		do()
	}
	return r.note(verb, "triggers "+name+" "+text, name)
}
