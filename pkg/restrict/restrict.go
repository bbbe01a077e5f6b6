// Package restrict evaluates smtpd's access restrictions
// (smtpd_client_restrictions and its siblings, access(5) tables, DNS lists,
// policy servers). A Policy is compiled once from the configuration; each check
// is a function of Facts about the session and of injected look-ups, and tells
// each step to a trace sink, so that a daemon and an offline explanation give
// the same answers.
//
// It refuses nothing by itself: it returns the reply and leaves protocol,
// counting and logging to its caller.
package restrict

import (
	"context"
	"net/netip"
	"time"

	"posthaste/pkg/config"
	"posthaste/pkg/esmtp"
	"posthaste/pkg/lookup"
	"posthaste/pkg/route"
)

// Facts are what is known of a session when a check is made. Names and
// addresses are as smtpd logs them; addresses of mail are in internal form.
type Facts struct {
	Stage string // CONNECT, HELO, EHLO, MAIL, RCPT, DATA, END-OF-MESSAGE, VRFY, ETRN: protocol_state

	ClientName  string // verified name or "unknown"
	NameTemp    bool   // the name is unknown because of temporary DNS trouble
	ReverseName string // PTR name, unverified, or "unknown"
	ReverseTemp bool
	ClientAddr  string // without brackets; "" when stand-alone
	ClientPort  string
	ServerAddr  string
	ServerPort  string
	Protocol    string // SMTP, ESMTP
	Helo        string // "" before HELO
	HaveSender  bool
	Sender      string
	HaveRcpt    bool
	Rcpt        string
	RcptCount   int // recipients accepted so far
	Size        int64
	QueueID     string
	Instance    string // of the transaction, for policy servers
	Etrn        string
	UnauthPipe  bool // input was there before the client may have known our reply

	SASLMethod, SASLUser, SASLSender string

	TLS                              bool
	TLSProtocol, TLSCipher           string
	TLSBits                          int
	CertSubject, CertIssuer          string
	CertFinger, CertKeyFinger        string // "AB:CD:…" under smtpd_tls_fingerprint_digest
	CertTrusted                      bool
	routeMemo                        *route.Route
	routeFor, rewriteOf, rewriteMemo string
	routeErr                         error
	haveRoute                        bool
}

// client is the item that replies about a client name.
func (f *Facts) client() string { return f.ClientName + "[" + f.ClientAddr + "]" }

// Effects collects what access actions ask for besides yes and no; they hold
// for the whole message.
type Effects struct {
	Hold     bool
	Discard  bool
	Filter   string
	Redirect string
	BCC      []string
	Prepend  []string
}

// Event is a decision that goes into the mail log.
type Event struct {
	Verb    string // reject, reject_warning, hold, discard, filter, redirect, bcc, warn, info
	Text    string // as logged: the reply with codes, or the item, class and text
	Setting string // where the rule stands
	Fault   Fault  // of a reject
}

// Fault tells whether a rejection is meant, or comes from trouble of our own.
type Fault uint8

// The faults.
const (
	NoFault     Fault = iota
	TableFault        // it cannot be found out what an address is
	ConfigFault       // the restrictions make no sense
)

// Step is one evaluated restriction, for the trace.
type Step struct {
	List   string // parameter or class name
	Rule   string
	Pos    config.Position
	Result string // OK, DUNNO, or the reply
}

// DNS answers the questions that restrictions ask. An error for which NotFound
// is true is an answer (no such name, no such record); all others are
// temporary.
type DNS interface {
	MX(ctx context.Context, name string) ([]string, error) // by preference; [""] is the null MX
	NS(ctx context.Context, name string) ([]string, error)
	Addrs(ctx context.Context, name string) ([]netip.Addr, error)
	A(ctx context.Context, name string) ([]netip.Addr, error)
	TXT(ctx context.Context, name string) ([]string, error)
	NotFound(err error) bool
}

// Router is what restrictions ask of package route.
type Router interface {
	Rewrite(addr string, local bool) string
	Resolve(sender, rcpt string) (route.Route, error)
	ClassOf(domain string) (route.Class, error)
	Listed(rcpt string) (ok bool, p *route.Problem, err error)
	AddressOptions() lookup.AddressOptions
	Delims() string
}

// Deps are a Policy's look-ups.
type Deps struct {
	Tables *lookup.Env
	Router Router
	DNS    DNS
	// OwnAddr says whether an address is one of this machine
	// (permit_inet_interfaces, permit_mx_backup).
	OwnAddr func(netip.Addr) bool
	// Verify says whether mail to an address is delivered.
	Verify func(ctx context.Context, addr string) (Verified, string, error)
	// Dial connects to policy servers; nil means net.Dialer.
	Dial Dialer
	// Sleep is time.Sleep that ends with ctx; nil means that.
	Sleep func(ctx context.Context, d time.Duration)
	Warnf func(format string, a ...any)
}

// Verified is what address verification knows of an address.
type Verified uint8

// The results of Deps.Verify.
const (
	Unverified    Verified = iota // not known yet, or not to be found out for now
	Deliverable                   // mail is accepted
	Undeliverable                 // mail bounces
)

// Check is one evaluation. It is used by one goroutine.
type Check struct {
	Facts   *Facts
	Effects *Effects
	Log     func(Event)
	Trace   func(Step)
}

// Hangup is the code of a reply that asks for the connection to be dropped
// without a word (HANGUP action).
const Hangup = 999

type verdict uint8

const (
	dunno verdict = iota
	permit
	reject
)

// deferral is a pending defer_if_permit or defer_if_reject.
type deferral struct {
	active bool
	reply  esmtp.Reply
}

// run is the state of one evaluation.
type run struct {
	*Check
	p            *Policy
	ctx          context.Context
	reply        esmtp.Reply // of verdict reject
	fault        Fault       // behind that
	warn         bool        // warn_if_reject is pending
	ifReject     deferral
	ifPermit     deferral
	depth        int
	kind         kind
	item, class  string // reply_name and reply_class
	cur          *node
	rcptsChecked bool // reject_unlisted_recipient was evaluated
	sndrChecked  bool
}

// reject makes a rejection with the text formatted by the caller. hard ones
// (software, resource, configuration trouble) are not masked by
// warn_if_reject.
func (r *run) refuse(code int, enh, text string, hard bool) verdict {
	rep := esmtp.Reply{Code: code, Enh: enh, Text: text}.Aligned()
	if r.warn && !hard {
		r.log("reject_warning", rep.String())
		return dunno
	}
	if code/100 == 5 && r.ifReject.active {
		rep = r.ifReject.reply
	}
	r.reply = rep
	return reject
}

func (r *run) refuseItem(code int, enh, text string) verdict {
	return r.refuse(code, enh, "<"+r.item+">: "+r.class+" rejected: "+text, false)
}

func (r *run) configError(format string, a ...any) verdict {
	r.p.warnf(format, a...)
	r.fault = ConfigFault
	return r.refuse(451, "4.3.5", "Server configuration error", true)
}

func (r *run) lookupFailure(item string, err error) verdict {
	r.p.warnf("%v", err)
	r.fault = TableFault
	return r.refuse(451, "4.3.0", "<"+item+">: Temporary lookup failure", true)
}

// tableFailure is the answer when an access table cannot be searched. It is no
// Fault, as with Postfix: the postmaster would hear of it once a session.
func (r *run) tableFailure(item, class string, err error) verdict {
	r.p.warnf("%v", err)
	return r.refuse(451, "4.3.5", "<"+item+">: "+class+" rejected: Server configuration error", true)
}

func (r *run) log(verb, text string) {
	if r.Log != nil {
		s := ""
		if r.cur != nil {
			s = r.cur.pos.String()
		}
		e := Event{Verb: verb, Text: text, Setting: s}
		if verb == "reject" {
			e.Fault = r.fault
		}
		r.Log(e)
	}
}

// deferIfPermit and deferIfReject: the first setter wins.
func (r *run) deferIfPermit(code int, enh, text string) verdict {
	if r.warn {
		r.log("reject_warning", esmtp.Reply{Code: code, Enh: enh, Text: text}.Aligned().String())
	} else if !r.ifPermit.active {
		r.ifPermit = deferral{true, esmtp.Reply{Code: code, Enh: enh, Text: text}.Aligned()}
	}
	return dunno
}

func (r *run) deferIfReject(code int, enh, text string) verdict {
	if !r.ifReject.active {
		r.ifReject = deferral{true, esmtp.Reply{Code: code, Enh: enh, Text: text}.Aligned()}
	}
	return dunno
}

// tempfail handles temporary DNS trouble as the *_tempfail_action parameters
// say.
func (r *run) tempfail(action string, code int, enh, text string) verdict {
	if action == "defer" {
		return r.refuse(code, enh, text, false)
	}
	return r.deferIfPermit(code, enh, text)
}

// list evaluates one restriction list.
func (r *run) list(name string, l []node) verdict {
	if r.depth > 100 {
		return r.configError("%s: restriction recursion limit exceeded", name)
	}
	r.depth++
	outer := r.warn
	defer func() { r.depth--; r.warn = outer }()
	for i := range l {
		n := &l[i]
		if n.name == "warn_if_reject" {
			r.warn = true
			continue
		}
		prev := r.cur
		r.cur = n
		v := n.fn(r, n)
		r.trace(name, n, v)
		r.cur = prev
		r.warn = outer // warn_if_reject held for this one, and for what it expands to
		if v != dunno {
			return v
		}
		if r.Effects.Discard {
			return permit
		}
	}
	return dunno
}

func (r *run) trace(list string, n *node, v verdict) {
	if r.Trace == nil {
		return
	}
	res := "DUNNO"
	switch v {
	case permit:
		res = "OK"
	case reject:
		res = r.reply.String()
	}
	rule := n.text
	if n.arg != "" {
		rule += " " + n.arg
	}
	r.Trace(Step{list, rule, n.pos, res})
}
