package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/esmtp"
	"posthaste/pkg/maillog"
	"posthaste/pkg/sasl"
	"posthaste/pkg/tlsconf"
)

// session is one connection that is ready for a message.
type session struct {
	c      *esmtp.Client
	t      target
	opened time.Time
	uses   int
	timer  *time.Timer // while it is kept
	spoilt bool        // not to be used again
}

// link is what it takes to open a session to one target.
type link struct {
	d      *attempt
	dest   dest
	policy *tlsconf.Policy
	plain  bool // no TLS: retry after a failed handshake
	cred   *credentials
	best   bool // one of the destination's best servers
}

// outcome of an attempt to open a session.
type openFailure struct {
	failure
	connected  bool // there was a connection: the relay is the host, not "none"
	throttle   bool // the site as a whole is in trouble
	retryPlain bool // the same server may do without TLS
}

func dialTCP(network string, local, remote netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	d.SetMultipathTCP(false)
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	return d.Dial(network, remote.String())
}

// connect makes the connection to t.
func (a *Agent) connect(ctx context.Context, t target) (net.Conn, error) {
	if t.unix != "" {
		d := net.Dialer{Timeout: a.s.connectTimeout}
		return d.DialContext(ctx, "unix", t.unix)
	}
	network, bind := "tcp4", a.s.bind4
	if t.addr.Addr().Is6() {
		network, bind = "tcp6", a.s.bind6
	}
	var local netip.AddrPort
	if bind.IsValid() {
		local = netip.AddrPortFrom(bind, 0)
	}
	c, err := a.dial(network, local, t.addr, a.s.connectTimeout)
	if err != nil && local.IsValid() && errors.Is(err, syscall.EADDRNOTAVAIL) && !a.s.bindEnforce {
		a.log.Warningf("%s_bind_address %s: %v", a.s.name, bind, err)
		return a.dial(network, netip.AddrPort{}, t.addr, a.s.connectTimeout)
	}
	return c, err
}

// connectError is the text of a failed connect as strerror(3) has it.
func connectError(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "Connection timed out"
	case errors.As(err, &errno):
		s := errno.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return "Connection timed out"
	}
	return err.Error()
}

// open connects to t and brings the session to where MAIL can be sent.
func (a *Agent) open(ctx context.Context, l *link, t target) (*session, *openFailure) {
	conn, err := a.connect(ctx, t)
	if err != nil {
		return nil, &openFailure{failure: failure{dsn: "4.4.1", reason: fmt.Sprintf("connect to %s: %s", t.where(), connectError(err))}, throttle: true}
	}
	s := &session{c: esmtp.NewClient(conn, a.s.lmtp, a.s.timeouts), t: t, opened: time.Now()}
	stop := s.c.Interrupt(ctx)
	f := a.handshake(l, s)
	stop()
	if f != nil {
		f.connected = true
		if s.spoilt {
			s.c.Close()
		} else {
			a.leave(s)
		}
		return nil, f
	}
	return s, nil
}

// leave says QUIT; the outcome of a delivery does not wait for the server's
// farewell.
func (a *Agent) leave(s *session) {
	if a.s.skipQuitReply {
		s.c.Quit(false)
		return
	}
	go s.c.Quit(true)
}

// handshake is all that comes before MAIL. On failure s.spoilt tells that there
// is nobody left to say QUIT to.
func (a *Agent) handshake(l *link, s *session) *openFailure {
	level := l.policy.Level
	if l.plain {
		level = tlsconf.None
	}
	if a.s.tlsWrapper {
		if f := a.startTLS(l, s, true); f != nil {
			return f
		}
	}
	r, err := s.c.Greeting()
	if err != nil {
		return a.broken(s, err)
	}
	if r.Class() != 2 {
		return a.refusal(s, r, a.s.skip5xxGreeting)
	}
	if word, _, _ := strings.Cut(r.Text, " "); strings.EqualFold(word, a.s.myhostname) {
		a.log.Warningf("host %s greeted me with my own hostname %s", s.t.where(), a.s.myhostname)
	}
	if f := a.hello(l, s, r.Text); f != nil {
		return f
	}
	if s.c.TLS() == nil {
		if s.c.Ext.StartTLS && level == tlsconf.None && a.s.noteOffer {
			a.log.Infof("Host offered STARTTLS: [%s]", s.t.host)
		}
		switch {
		case level > tlsconf.None && s.c.Ext.StartTLS:
			if f := a.startTLS(l, s, false); f != nil {
				return f
			}
		case level.Mandatory():
			return &openFailure{failure: failure{dsn: "4.7.4", reason: "TLS is required, but was not offered by host " + s.t.peer()}, throttle: true}
		}
	}
	if l.cred != nil && len(s.c.Ext.Auth) > 0 {
		return a.authenticate(l, s)
	}
	return nil
}

// hello introduces us, and notices when the server is ourselves.
func (a *Agent) hello(l *link, s *session, greeting string) *openFailure {
	ehlo := !a.s.neverEhlo && (a.s.alwaysEhlo || strings.Contains(strings.ToUpper(greeting), "ESMTP"))
	if a.s.lmtp {
		ehlo = true
	}
	r, err := s.c.Hello(a.s.helo, ehlo, true, func(k string) bool { return a.s.discard[k] })
	if err != nil {
		return a.broken(s, err)
	}
	if r.Class() != 2 {
		return a.refusal(s, r, false)
	}
	if !a.s.lmtp && s.t.addr.Port() == 25 && strings.EqualFold(s.c.Ext.Name, a.s.myhostname) {
		a.log.Warningf("host %s replied to HELO/EHLO with my own hostname %s", s.t.where(), a.s.myhostname)
		dsn := "4.4.6"
		if l.best {
			dsn = "5.4.6"
		}
		return &openFailure{failure: failure{dsn: dsn, reason: fmt.Sprintf("mail for %s loops back to myself", l.dest.host)}, throttle: true}
	}
	return nil
}

// refusal is a server that does not want to talk to us. With soften, a
// permanent refusal does not keep us from trying the next server, or later.
func (a *Agent) refusal(s *session, r esmtp.Reply, soften bool) *openFailure {
	f := replyFailure(s, r, fmt.Sprintf("host %s refused to talk to me: %s", s.t.peer(), replyText(r)))
	if soften && strings.HasPrefix(f.dsn, "5") {
		f.dsn = "4" + f.dsn[1:]
	}
	return &openFailure{failure: f, throttle: true}
}

// broken is a session that ended without a reply.
func (a *Agent) broken(s *session, err error) *openFailure {
	s.spoilt = true
	return &openFailure{failure: streamFailure(s, err), throttle: true}
}

// streamFailure words the end of a session without a reply.
func streamFailure(s *session, err error) failure {
	var ce *esmtp.ClientError
	if !errors.As(err, &ce) {
		return failure{dsn: "4.4.2", reason: fmt.Sprintf("lost connection with %s: %v", s.t.peer(), err)}
	}
	doing := ce.Stage.Doing()
	switch {
	case ce.Local:
		return failure{dsn: "4.3.0", reason: "local data error while talking to " + s.t.peer()}
	case ce.Timeout():
		return failure{dsn: "4.4.2", reason: fmt.Sprintf("conversation with %s timed out while %s", s.t.peer(), doing)}
	case errors.Is(err, esmtp.ErrReplyTooLong), errors.Is(err, esmtp.ErrReplySyntax):
		return failure{dsn: "4.5.0", reason: fmt.Sprintf("protocol error of %s while %s: %v", s.t.peer(), doing, ce.Err)}
	}
	return failure{dsn: "4.4.2", reason: fmt.Sprintf("lost connection with %s while %s", s.t.peer(), doing)}
}

// replyFailure is a failure by a server's reply; a reply that is no failure
// code is a protocol error.
func replyFailure(s *session, r esmtp.Reply, reason string) failure {
	f := failure{dsn: replyDSN(r), reason: reason, reply: replyText(r), mta: s.t.host}
	if f.dsn[0] != '4' && f.dsn[0] != '5' {
		f.dsn, f.reason = "5.5.0", "Protocol error: "+reason
		s.spoilt = true
	}
	if c := r.Code; c < 400 || c > 599 || c == 421 || c == 555 || c >= 500 && c < 510 {
		s.spoilt = true // the session is in doubt: no more messages on it
	}
	return f
}

func replyDSN(r esmtp.Reply) string {
	if r.Enh != "" {
		return r.Enh
	}
	switch r.Class() {
	case 2, 4, 5:
		return fmt.Sprintf("%d.0.0", r.Class())
	}
	return "0.0.0"
}

// replyText is a reply in one line, each of its lines with the codes as it
// came.
func replyText(r esmtp.Reply) string {
	head := fmt.Sprintf("%03d", r.Code)
	enh := ""
	if r.Enh != "" {
		enh = r.Enh + " "
	}
	lines := strings.Split(r.Text, "\n")
	var b strings.Builder
	for i, l := range lines {
		sep := " "
		if i < len(lines)-1 {
			sep = "-"
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(head + sep + enh + l)
	}
	return strings.TrimRight(b.String(), " ")
}

// startTLS turns TLS on, in wrapper mode from the first byte.
func (a *Agent) startTLS(l *link, s *session, wrapper bool) *openFailure {
	p := l.policy
	cfg, err := p.Config(s.t.host)
	if err != nil {
		return &openFailure{failure: failure{dsn: "4.7.5", reason: err.Error()}}
	}
	if wrapper {
		err = s.c.Handshake(cfg)
	} else {
		var r esmtp.Reply
		if r, err = s.c.StartTLS(cfg); err == nil && r.Code != 220 {
			if !p.Level.Mandatory() {
				return nil // go on in plaintext
			}
			f := replyFailure(s, r, fmt.Sprintf("TLS is required, but host %s refused to start TLS: %s", s.t.peer(), replyText(r)))
			return &openFailure{failure: f, throttle: true}
		}
	}
	if err != nil {
		return a.tlsFailure(l, s, err)
	}
	if a.s.tlsLog >= 1 {
		cs := s.c.TLS()
		proto, cipher, bits, kx := tlsconf.Describe(*cs)
		a.log.Event(maillog.TLSEstablished{Trust: p.Trust(cs), Peer: "to " + s.t.where(), Protocol: proto, Cipher: cipher, Bits: bits, KeyExchange: kx})
	}
	if wrapper {
		return nil
	}
	return a.hello(l, s, "ESMTP")
}

// tlsFailure decides what a failed handshake means.
func (a *Agent) tlsFailure(l *link, s *session, err error) *openFailure {
	s.spoilt = true
	var ve *tlsconf.VerifyError
	if errors.As(err, &ve) {
		a.log.Infof("certificate verification failed for %s: %s", s.t.where(), ve.Reason)
		reason := "Server certificate not trusted"
		if ve.Trusted {
			reason = "Server certificate not verified"
		}
		return &openFailure{failure: failure{dsn: "4.7.5", reason: reason}, throttle: true}
	}
	var ce *esmtp.ClientError
	if errors.As(err, &ce) {
		a.log.Infof("SSL_connect error to %s: %v", s.t.where(), ce.Err)
	}
	return &openFailure{
		failure:    failure{dsn: "4.7.5", reason: "Cannot start TLS: handshake failure"},
		throttle:   l.policy.Level.Mandatory(),
		retryPlain: l.plaintextAllowed(),
	}
}

// plaintextAllowed says whether a server whose TLS does not work may be given
// the mail in plaintext: only with opportunistic TLS, without credentials that
// were meant for TLS, and not before the mail has waited for a while.
func (l *link) plaintextAllowed() bool {
	j := l.d.j
	return l.policy.Level == tlsconf.May && !l.plain && l.cred == nil && !l.d.a.s.tlsWrapper &&
		(j.Message.VerifyOnly || j.Activated.Sub(j.Message.Arrival) >= l.d.a.s.minimalBackoff)
}

// credentials are a user name and a password for a server.
type credentials struct{ user, password string }

// credentials looks them up by sender (if so configured), server and next hop.
// Trouble with the table is an error.
func (a *Agent) credentials(sender, host, nexthop string) (*credentials, error) {
	if !a.s.saslEnable {
		return nil, nil
	}
	var v string
	var ok bool
	var err error
	if a.s.saslSender && !a.s.lmtp && sender != "" {
		v, _, ok, err = a.password.Address(sender, a.delims, lookupOptions)
	}
	for _, key := range []string{host, nexthop} {
		if !ok && err == nil {
			v, ok, err = a.password.Get(key)
		}
	}
	if err != nil || !ok {
		return nil, err
	}
	user, password, _ := strings.Cut(v, a.s.saslDelim)
	if user == "" {
		return nil, nil
	}
	return &credentials{user, password}, nil
}

// authenticate logs in with the best mechanism that both sides have.
func (a *Agent) authenticate(l *link, s *session) *openFailure {
	opts := a.s.saslOptions[0]
	if s.c.TLS() != nil {
		opts = a.s.saslOptions[1]
		if l.policy.Level.Checked() {
			opts = a.s.saslOptions[2]
		}
	}
	offered := s.c.Ext.Auth
	if a.filter != nil {
		offered = slices.DeleteFunc(slices.Clone(offered), func(m string) bool {
			ok, err := a.filter.Match(m)
			return err != nil || !ok
		})
	}
	all := &sasl.Offer{Mechanisms: s.c.Ext.Auth}
	if cs := s.c.TLS(); cs != nil {
		all.Bindings = tlsconf.Bindings(cs, nil)
	}
	mechs := (&sasl.Offer{Mechanisms: offered, Bindings: all.Bindings}).Usable(opts)
	if len(mechs) == 0 {
		return &openFailure{failure: failure{dsn: "4.7.0", reason: fmt.Sprintf(
			"SASL authentication failed: server %s offered no compatible authentication mechanisms for this type of connection security", s.t.peer())}, throttle: true}
	}
	m, err := sasl.NewClient(mechs[0], l.cred.user, l.cred.password, all)
	if err != nil {
		return a.saslError(s, err)
	}
	r, err := s.c.Auth(m)
	switch {
	case err != nil && r.IsZero() && !isClientError(err):
		return a.saslError(s, err)
	case err != nil:
		return a.broken(s, err)
	case r.Class() != 2:
		f := replyFailure(s, r, fmt.Sprintf("SASL authentication failed; server %s said: %s", s.t.peer(), replyText(r)))
		if a.s.saslSoft && strings.HasPrefix(f.dsn, "5") {
			f.dsn = "4" + f.dsn[1:]
		}
		return &openFailure{failure: f, throttle: true}
	case !sasl.Verified(m):
		return a.saslError(s, errors.New("the server did not prove that it knows the password"))
	}
	return nil
}

func (a *Agent) saslError(s *session, err error) *openFailure {
	return &openFailure{failure: failure{dsn: "4.7.0", reason: fmt.Sprintf("SASL authentication failed; cannot authenticate to server %s: %v", s.t.peer(), err)}, throttle: true}
}

func isClientError(err error) bool {
	var ce *esmtp.ClientError
	return errors.As(err, &ce)
}
