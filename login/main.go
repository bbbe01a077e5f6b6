// Login speaks IMAP and POP3 with clients until they have logged in, and TLS as
// long as they stay. It knows no mailbox: the session program, imapd(8) or
// pop3d(8), runs as the user who logged in.
//
// Usage: login [generic daemon options] protocol=imap|pop3 [tls=wrapper];
// started by master(8). With tls=wrapper the connection begins with TLS (imaps,
// pop3s); otherwise the client may ask for it.
//
// # Description
//
// Before login, IMAP clients have CAPABILITY, NOOP, ID, STARTTLS, AUTHENTICATE
// (with an initial response), LOGIN and LOGOUT, POP3 clients CAPA, STLS, USER,
// PASS, AUTH, UTF8 and QUIT. The mechanisms are those of auth(8).
//
// With login_disable_plaintext_auth, passwords are taken only under TLS, or from
// a client on the same host.
//
// A user may have mail_max_userip_connections sessions of a protocol from one
// address. A connection has login_timeout to log in. Of one client address (of one /64
// network with IPv6) login_client_connection_count_limit connections may be
// waiting, and when the process has no room, the one that has waited longest is
// closed for a new one: whoever opens connections and says nothing shuts nobody
// out. After login_client_auth_failure_limit failures within
// anvil_rate_time_unit the address is asked to come back later. Sessions and
// failures are counted by anvil(8) for all services and processes; waiting
// connections by each process. While anvil cannot be asked, nobody is refused.
//
// The certificate is that of smtpd(8) unless login_tls_cert_file says otherwise;
// tls_server_sni_maps, as index files made by postmap -F, choose others by the
// name that the client asks for.
//
// Auth answers a right password with a cookie, for which master(8) hands the
// connection to the session program of that user. Without TLS that is the
// client's own socket, and login is done with it. Under TLS login keeps the
// client and passes what is sent through a pair of sockets, until either side
// ends.
//
// # Security
//
// Login runs under a user of its own. It can open no file but look-up tables,
// reaches only auth's, anvil's and master's sockets, and cannot say who a client is:
// master believes auth's word alone. What a client sends is limited to 8 KiB a line, 4 KiB a literal
// and 1,000 commands. Whatever is received in plain text behind STARTTLS is
// thrown away.
//
// # Diagnostics
//
// Logins and the ends of connections without one are logged in Dovecot's form,
// under the tag login_syslog_name, so that fail2ban's filter for Dovecot finds
// them:
//
//	imap-login: Login: user=<anna>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2, TLS
//	imap-login: Disconnected: Connection closed (auth failed, 2 attempts in 6 secs): user=<anna>, method=PLAIN, rip=…
//
// # Files
//
//	private/auth      authentication server
//	private/anvil     counters
//	private/session   master's socket for sessions
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/anvil"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/service"
	"posthaste/pkg/tlsconf"
)

func main() {
	s := &server{sessions: session.NewClient(session.Service), auth: dovecot.NewClient("private/auth"), anvil: anvil.NewClient(anvil.Service)}
	service.Main(service.Spec{Name: "login", TakesArgs: true, Before: s.open, Serve: s.serve})
}

// server is the program's state.
type server struct {
	protocol string // "imap", "pop3"
	wrapper  bool
	program  string // session program
	service  string // "imap", "imaps", …: for the session program's log

	greeting        string
	timeout         time.Duration
	plaintextOff    bool
	sessionFailures int
	authFailures    int         // most failures of one address in a time unit; 0 means no limit
	perUser         int         // most sessions of a user from one address; 0 means no limit
	tls             *tls.Config // nil: no TLS

	log      *maillog.Logger
	auth     *dovecot.Client
	sessions *session.Client
	anvil    *anvil.Client
	waiting  *registry
	warned   atomic.Int64 // when auth's absence was last logged
	trim     *time.Timer  // gives back what handshakes and floods have taken
}

// trimAfter is how long after the last login memory is given back: sessions
// under TLS stay for hours.
const trimAfter = 5 * time.Second

// open reads the configuration and the certificate.
func (s *server) open(env *service.Env) error {
	cfg := env.Config
	for _, a := range env.Args {
		switch a {
		case "protocol=imap":
			s.protocol, s.program = "imap", "imapd"
		case "protocol=pop3":
			s.protocol, s.program = "pop3", "pop3d"
		case "tls=wrapper":
			s.wrapper = true
		default:
			return fmt.Errorf("unknown argument %q: want protocol=imap or protocol=pop3, and tls=wrapper", a)
		}
	}
	if s.protocol == "" {
		return fmt.Errorf("no argument protocol=imap or protocol=pop3")
	}
	s.service = s.protocol
	if s.wrapper {
		s.service += "s"
	}
	s.greeting = params.LoginGreeting.In(cfg)
	if strings.ContainsAny(s.greeting, "\r\n<>[]") {
		return fmt.Errorf("login_greeting: must not have line ends and brackets")
	}
	s.timeout = params.LoginTimeout.In(cfg)
	s.plaintextOff = params.LoginDisablePlaintextAuth.In(cfg)
	s.sessionFailures = params.LoginSessionAuthFailureLimit.In(cfg)
	s.authFailures = params.LoginClientAuthFailureLimit.In(cfg)
	s.perUser = params.MailMaxUseripConnections.In(cfg)
	s.waiting = newRegistry(env.Limit, params.LoginClientConnectionLimit.In(cfg))
	s.log = env.Log.With(params.LoginSyslogName.In(cfg))
	if s.anvil != nil {
		s.anvil.Trouble = func(err error) {
			s.log.Warningf("%s-login: problem talking to service anvil: %v: nobody is counted", s.protocol, err)
		}
	}
	s.trim = time.AfterFunc(trimAfter, debug.FreeOSMemory)
	return s.openTLS(env)
}

func (s *server) openTLS(env *service.Env) error {
	cfg := env.Config
	o := tlsconf.ServerOptions{
		Param:      "login_tls",
		CertFile:   params.LoginTlsCertFile.In(cfg),
		KeyFile:    params.LoginTlsKeyFile.In(cfg),
		ChainFiles: params.LoginTlsChainFiles.List(cfg),
		Protocols:  params.LoginTlsProtocols.In(cfg),
		Env:        tlsconf.Env{Log: env.Log},
	}
	if len(o.ChainFiles) == 0 && (o.CertFile == "" || o.CertFile == "none") {
		if s.wrapper {
			return fmt.Errorf("tls=wrapper: login_tls_cert_file: %w", tlsconf.ErrNoCertificate)
		}
		return nil
	}
	sni, err := openSNI(params.TlsServerSniMaps.List(cfg), func(t string) { env.RequestDrain("table " + t + " has changed") })
	if err != nil {
		return err
	}
	if sni != nil {
		o.Env.SNI = sni
	}
	if s.tls, err = tlsconf.Server(cfg, o); err != nil {
		return fmt.Errorf("login_tls: %w", err)
	}
	// Sessions are long and bulky: small first records save a client nothing here.
	s.tls.DynamicRecordSizingDisabled = true
	return nil
}

// serve talks with one client until it has logged in, or, under TLS, until its
// session is over.
func (s *server) serve(ctx context.Context, env *service.Env, nc net.Conn) {
	c := newClient(ctx, s, nc)
	if !s.waiting.enter(c) {
		return
	}
	defer s.waiting.leave(c)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	c.run()
	s.trim.Reset(trimAfter)
}
