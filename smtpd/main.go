// Smtpd is the SMTP server. It talks to clients, decides whom and what to let
// in, and hands messages to cleanup(8).
//
// Usage: smtpd [generic daemon options]; started by master(8). With -S it
// serves one session on standard input and output (sendmail -bs): without access
// checks, and with messages going to postdrop(1).
//
// # Description
//
// Smtpd implements RFC 5321 with PIPELINING, SIZE, VRFY, ETRN, STARTTLS, AUTH,
// ENHANCEDSTATUSCODES, 8BITMIME, DSN, SMTPUTF8 and CHUNKING, and Postfix's
// XCLIENT and XFORWARD. A positive reply to the end of a message means that the
// message is on stable storage. Nothing but <CR><LF>.<CR><LF> ends a message;
// the one exception is a client that never sends <CR><LF> at all and is excluded
// from smtpd_forbid_bare_newline.
//
// Who may do what is decided by the smtpd_*_restrictions. They are evaluated
// when a recipient is given (smtpd_delay_reject), and smtpd refuses to start
// unless smtpd_relay_restrictions or smtpd_recipient_restrictions keep strangers
// from relaying.
//
// One process serves many sessions. The limits of clients (numbers of
// connections, rates) are counted by anvil(8), for all processes of a service;
// while it cannot be asked, nobody is refused.
//
// A command line must be complete within smtpd_timeout of the reply before it.
// While content arrives, each read must make progress within smtpd_timeout;
// with smtpd_per_request_deadline the whole message must keep
// smtpd_min_data_rate, without it that rate is demanded beyond ten times
// smtpd_timeout. Who is too slow gets a 421 reply.
//
// # Security
//
// Smtpd runs under a user of its own without access to the queue or any
// mailbox: it reaches cleanup(8), qmgr(8), auth(8), anvil(8) and resolver(8) through their
// sockets. It sees no password file. Keys and tables are opened before it gives
// up master's rights.
//
// # Diagnostics
//
// Rejections and the end of each session are logged in Postfix's words. The
// dialogue of a session with trouble of a kind that notify_classes has is sent
// to error_notice_recipient when the session ends.
//
// # Files
//
//	public/cleanup, public/qmgr, private/auth, private/anvil, private/resolver   sockets
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"posthaste/pkg/dnsclient"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/restrict"
	"posthaste/pkg/route"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/service"
)

func main() {
	s := &server{}
	service.Main(service.Spec{Name: "smtpd", Frugal: true, Before: s.open, Serve: s.serve, Drain: s.drain})
}

// open reads the configuration and opens what the sandbox will not.
func (s *server) open(env *service.Env) error {
	s.env = env
	set, err := readSettings(env)
	if err != nil {
		return err
	}
	s.set = set
	tables := &lookup.Env{Config: env.Config, Log: env.Log, Stale: func(t string) { env.RequestDrain("table " + t + " has changed") }}
	s.validDomain = func(string) bool { return true } // without a router, the queue finds out
	if !env.Stdio {
		router, err := route.New(env.Config, tables)
		if err != nil {
			return err
		}
		s.validDomain = router.ValidDomain
		if s.dns, err = dnsclient.FromConfig(env.Config); err != nil {
			return err
		}
		s.policy, err = restrict.New(env.Config, restrict.Deps{
			Tables: tables, Router: router, DNS: dnsAdapter{s.dns},
			OwnAddr: s.ownAddr, Warnf: env.Log.Warningf, Verify: verifier(env.Config),
		})
		if err != nil {
			return err
		}
	}
	if err := s.openLists(tables); err != nil {
		return err
	}
	if err := s.openTLS(tables); err != nil {
		return err
	}
	s.cleanup = cleanup.NewClient("public/" + params.CleanupServiceName.In(env.Config))
	if s.set.saslEnable {
		if t := params.SmtpdSaslType.In(env.Config); t != "dovecot" {
			return fmt.Errorf("smtpd_sasl_type: unsupported type %q: use dovecot", t)
		}
		s.sasl = dovecot.NewClient(params.SmtpdSaslPath.In(env.Config))
	}
	s.anvil = anvil.NewClient(anvil.Service)
	s.anvil.Trouble = func(err error) {
		env.Log.Warningf("problem talking to service anvil: %v: clients are not counted", err)
	}
	s.grace = drainGrace
	s.sessions = map[*session]struct{}{}
	return nil
}

// openLists opens the lists and tables that smtpd itself asks.
func (s *server) openLists(env *lookup.Env) (err error) {
	cfg := s.env.Config
	parents := params.ParentDomainMatchesSubdomains.List(cfg)
	for _, l := range []struct {
		dst        **lookup.List
		name, text string
		plain      bool
	}{
		{&s.mynetworks, "mynetworks", params.Mynetworks.In(cfg), false},
		{&s.eventExcept, "smtpd_client_event_limit_exceptions", params.SmtpdClientEventLimitExceptions.In(cfg), false},
		{&s.bareExcept, "smtpd_forbid_bare_newline_exclusions", params.SmtpdForbidBareNewlineExclusions.In(cfg), false},
		{&s.xclientHosts, "smtpd_authorized_xclient_hosts", params.SmtpdAuthorizedXclientHosts.In(cfg), false},
		{&s.xforwardHosts, "smtpd_authorized_xforward_hosts", params.SmtpdAuthorizedXforwardHosts.In(cfg), false},
		{&s.saslExcept, "smtpd_sasl_exceptions_networks", params.SmtpdSaslExceptionsNetworks.In(cfg), false},
		{&s.fastFlush, "fast_flush_domains", params.FastFlushDomains.In(cfg), false},
		{&s.forbidden, "smtpd_forbidden_commands", params.SmtpdForbiddenCommands.In(cfg), true},
		{&s.noop, "smtpd_noop_commands", params.SmtpdNoopCommands.In(cfg), true},
		{&s.mechFilter, "smtpd_sasl_mechanism_filter", params.SmtpdSaslMechanismFilter.In(cfg), true},
	} {
		if l.plain {
			*l.dst, err = lookup.OpenStringList(l.name, l.text, env)
		} else {
			*l.dst, err = lookup.OpenList(l.name, l.text, env, slices.Contains(parents, l.name))
		}
		if err != nil {
			return err
		}
	}
	for _, m := range []struct {
		dst        **lookup.Maps
		name, text string
	}{
		{&s.commandFilter, "smtpd_command_filter", params.SmtpdCommandFilter.In(cfg)},
		{&s.ehloMaps, "smtpd_discard_ehlo_keyword_address_maps", params.SmtpdDiscardEhloKeywordAddressMaps.In(cfg)},
		{&s.footerMaps, "smtpd_reject_footer_maps", params.SmtpdRejectFooterMaps.In(cfg)},
	} {
		if *m.dst, err = lookup.OpenMaps(m.name, m.text, env); err != nil {
			return err
		}
	}
	s.localClients, err = s.parseLocalClients(params.LocalHeaderRewriteClients.List(cfg), env)
	return err
}

func (s *server) ownAddr(a netip.Addr) bool {
	for _, p := range s.set.interfaces {
		if p.Addr() == a {
			return true
		}
	}
	return slices.Contains(s.set.proxyAddrs, a)
}

// dnsAdapter gives restrictions the view of the DNS they ask for.
type dnsAdapter struct{ c *dnsclient.Client }

func (d dnsAdapter) MX(ctx context.Context, name string) ([]string, error) {
	l, err := d.c.MX(ctx, name)
	if errors.Is(err, dnsclient.ErrNullMX) {
		return []string{""}, nil
	}
	hosts := make([]string, len(l))
	for i, m := range l {
		hosts[i] = m.Host
	}
	return hosts, err
}

func (d dnsAdapter) NS(ctx context.Context, name string) ([]string, error) { return d.c.NS(ctx, name) }
func (d dnsAdapter) TXT(ctx context.Context, name string) ([]string, error) {
	return d.c.TXT(ctx, name)
}
func (d dnsAdapter) NotFound(err error) bool { return errors.Is(err, dnsclient.ErrNotFound) }
func (d dnsAdapter) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	return d.c.Addrs(ctx, name)
}
func (d dnsAdapter) A(ctx context.Context, name string) ([]netip.Addr, error) {
	l, _, err := d.c.A(ctx, name)
	return l, err
}

// serve runs one session.
func (s *server) serve(ctx context.Context, env *service.Env, c net.Conn) {
	ss := newSession(ctx, s, c)
	s.mu.Lock()
	s.sessions[ss] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, ss)
		s.mu.Unlock()
	}()
	ss.run()
}

// drainGrace is how long a session between messages may stay when the process
// should leave.
const drainGrace = 5 * time.Second

// drain shortens the wait of sessions that have nothing to do.
func (s *server) drain(env *service.Env) {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.sessions {
		if ss.idle.Load() {
			ss.raw.SetReadDeadline(time.Now().Add(s.grace))
		}
	}
}

// localClient is one element of local_header_rewrite_clients.
type localClient struct {
	word string
	maps *lookup.Maps
}

func (s *server) parseLocalClients(words []string, env *lookup.Env) (l []localClient, err error) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch w {
		case "permit_inet_interfaces", "permit_mynetworks", "permit_sasl_authenticated", "permit_tls_clientcerts", "permit_tls_all_clientcerts":
			l = append(l, localClient{word: w})
			continue
		case "check_address_map":
			if i++; i == len(words) {
				return nil, errors.New("local_header_rewrite_clients: check_address_map needs a table")
			}
			w = words[i]
		}
		if !strings.Contains(w, ":") {
			return nil, fmt.Errorf("local_header_rewrite_clients: unknown element %q", w)
		}
		m, err := lookup.OpenMaps("local_header_rewrite_clients", w, env)
		if err != nil {
			return nil, err
		}
		l = append(l, localClient{"table", m})
	}
	return l, nil
}
