package restrict

import (
	"net/netip"
	"strings"
	"time"

	"posthaste/pkg/address"
)

func sleep(r *run, n *node) verdict {
	if r.p.deps.Sleep != nil {
		r.p.deps.Sleep(r.ctx, n.sleep)
		return dunno
	}
	t := time.NewTimer(n.sleep)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
	return dunno
}

func rejectPipelining(r *run, _ *node) verdict {
	if !r.Facts.UnauthPipe {
		return dunno
	}
	return r.refuseItem(503, "5.5.0", "Improper use of SMTP command pipelining")
}

func rejectPlaintext(r *run, _ *node) verdict {
	if r.Facts.TLS {
		return dunno
	}
	return r.refuse(r.p.code.plaintext, "4.7.1", "Session encryption is required", false)
}

func rejectMultiBounce(r *run, _ *node) verdict {
	n := r.Facts.RcptCount
	if r.kind == kindRelay || r.kind == kindRcpt {
		n++
	}
	if !r.Facts.HaveSender || r.Facts.Sender != "" || n < 2 {
		return dunno
	}
	return r.refuseItem(r.p.code.multiRcpt, "5.5.3", "Multi-recipient bounce")
}

func permitMynetworks(r *run, _ *node) verdict {
	ok, err := r.p.mynetworks.MatchHost(r.Facts.ClientName, r.Facts.ClientAddr)
	if err != nil {
		return r.lookupFailure(r.item, err)
	}
	return okIf(ok)
}

func permitInterfaces(r *run, _ *node) verdict {
	a, err := netip.ParseAddr(r.Facts.ClientAddr)
	return okIf(err == nil && r.ownAddr(a))
}

func permitSASL(r *run, _ *node) verdict { return okIf(r.Facts.SASLUser != "") }

func permitCert(r *run, _ *node) verdict {
	if r.Facts.CertFinger == "" {
		return dunno
	}
	if r.p.relayCerts.Empty() {
		r.p.warnf("relay_clientcerts is empty, but permit_tls_clientcerts is used")
		return dunno
	}
	for _, k := range []string{r.Facts.CertFinger, r.Facts.CertKeyFinger} {
		if k == "" {
			continue
		}
		_, ok, err := r.p.relayCerts.Get(k)
		if err != nil {
			return r.lookupFailure(r.item, err)
		}
		if ok {
			return permit
		}
	}
	return dunno
}

func rejectUnknownClient(r *run, _ *node) verdict {
	if r.Facts.ClientName != "unknown" {
		return dunno
	}
	code := r.p.code.unkClient
	if r.Facts.NameTemp {
		code = 450
	}
	return r.refuse(code, "4.7.25", "Client host rejected: cannot find your hostname, ["+r.Facts.ClientAddr+"]", false)
}

func rejectUnknownReverse(r *run, _ *node) verdict {
	if r.Facts.ReverseName != "unknown" {
		return dunno
	}
	code := r.p.code.unkClient
	if r.Facts.ReverseTemp {
		code = 450
	}
	return r.refuse(code, "4.7.1", "Client host rejected: cannot find your reverse hostname, ["+r.Facts.ClientAddr+"]", false)
}

// heloText makes a refusal about the HELO name, whatever list it stands in.
func (r *run) heloText(text string) string {
	return "<" + r.Facts.Helo + ">: Helo command rejected: " + text
}

// heloLiteral is what all checks of a HELO name say of one in brackets.
func (r *run) heloLiteral(h string) verdict {
	if !validLiteral(h) {
		return r.refuse(r.p.code.invalidHost, "5.5.2", r.heloText("invalid ip address"), false)
	}
	return dunno
}

func rejectInvalidHelo(r *run, _ *node) verdict {
	h := r.Facts.Helo
	if h == "" {
		return dunno
	}
	if h[0] == '[' {
		return r.heloLiteral(h)
	}
	if !validHostname(h) || !address.IsASCII(h) {
		return r.refuse(r.p.code.invalidHost, "5.5.2", r.heloText("Invalid name"), false)
	}
	return dunno
}

func rejectNonFQDNHelo(r *run, _ *node) verdict {
	h := r.Facts.Helo
	if h == "" {
		return dunno
	}
	if h[0] == '[' {
		return r.heloLiteral(h)
	}
	if !validHostname(h) || !address.IsASCII(h) || !strings.Contains(strings.TrimSuffix(h, "."), ".") || allDigitsAndDots(h) {
		return r.refuse(r.p.code.nonFQDN, "5.5.2", r.heloText("need fully-qualified hostname"), false)
	}
	return dunno
}

func rejectUnknownHelo(r *run, _ *node) verdict {
	h := r.Facts.Helo
	if h == "" {
		return dunno
	}
	if h[0] == '[' {
		return r.heloLiteral(h)
	}
	known, null, err := r.resolvable(h)
	switch {
	case null: // takes no mail, but exists
	case err != nil:
		return r.tempfail(r.p.tfHelo, 450, "4.7.1", r.heloText("Host not found"))
	case !known:
		return r.refuse(r.p.code.unkHost, "4.7.1", r.heloText("Host not found"), false)
	}
	return dunno
}

// resolvable asks whether a name has an MX, A or AAAA record; null tells of a
// null MX (RFC 7505).
func (r *run) resolvable(name string) (ok, null bool, err error) {
	d := r.p.deps.DNS
	name = strings.TrimSuffix(name, ".")
	mx, err := d.MX(r.ctx, name)
	switch {
	case err == nil && len(mx) == 1 && strings.Trim(mx[0], ".") == "":
		return false, true, nil
	case err == nil && len(mx) > 0:
		return true, false, nil
	case err != nil && !d.NotFound(err):
		return false, false, err
	}
	addrs, err := d.Addrs(r.ctx, name)
	if err != nil && !d.NotFound(err) {
		return false, false, err
	}
	return err == nil && len(addrs) > 0, false, nil
}

// validLiteral accepts [192.0.2.1] and [IPv6:2001:db8::1].
func validLiteral(s string) bool {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	s = s[1 : len(s)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		a, err := netip.ParseAddr(s[5:])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

// validHostname is Postfix's valid_hostname: letters, digits, hyphens and
// underscores, non-empty labels of at most 63 bytes. UTF-8 passes.
func validHostname(h string) bool {
	h = strings.TrimSuffix(h, ".")
	if h == "" || len(h) > 255 {
		return false
	}
	if allDigitsAndDots(h) {
		a, err := netip.ParseAddr(h)
		return err == nil && a.Is4()
	}
	label := 0
	for i := 0; i < len(h); i++ {
		c := h[i]
		switch {
		case c == '.':
			if label == 0 || h[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-':
			if label == 0 {
				return false
			}
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '_', c >= 0x80:
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && h[len(h)-1] != '-'
}

func allDigitsAndDots(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && s[i] != '.' {
			return false
		}
	}
	return true
}
