// Auth checks who a client is. It is the only program that sees password
// data; smtpd(8) and other servers ask it over Dovecot's authentication
// protocol, so that Dovecot can take its place and it can take Dovecot's.
//
// Usage: auth [generic daemon options]; started by master(8) for the service
// private/auth.
//
// # Description
//
// Auth reads the users from auth_passwd_file, one a line in Dovecot's
// passwd-file form:
//
//	user:{SCHEME}hash:uid:gid:gecos:home:shell:extra
//
// Schemes are SCRAM-SHA-256, CRYPT (yescrypt, SHA-512-crypt, SHA-256-crypt and
// bcrypt, the default when no scheme is given), ARGON2ID and PLAIN. The file is
// read again when it changes. Mechanisms are PLAIN, LOGIN and SCRAM-SHA-256; the
// last is offered while each user's password allows it.
//
// Names are compared without regard to case, and a line for USER serves
// USER@auth_default_realm as well, and the other way round. Whoever logs in has
// the name of the line.
//
// For login(8), auth also opens the way to the mailbox: it tells master(8) which
// user, user ID and home directory belong to a fresh cookie, and answers login
// with nothing but the cookie. The user's line must have uid and gid, numbers
// or names, and the mail location if it is not ~/Maildir, as the extra field
// userdb_mail=maildir:PATH. The other extra fields that begin with userdb_ go to
// the session program without that prefix (userdb_quota_rule=*:bytes=1G).
//
// # Security
//
// Auth runs under a user of its own and opens the password file before it
// gives up master's rights. It answers names that do not exist as slowly as
// wrong passwords, and both only after auth_failure_delay, which doubles with
// each failure of the same client or for the same name, up to eight times; who
// gives the right password does not wait. The number of hashes that are computed
// at a time is the number of processors. Passwords are not logged. A session
// as root is never granted.
//
// # Diagnostics
//
// Each failure is logged with its reason, in Dovecot's form:
//
//	passwd-file(anna,192.0.2.1): password mismatch (service=imap, method=PLAIN)
//
// Trouble with the password file is logged with its name and line; clients
// get a temporary failure. A file that was replaced and cannot be opened again
// makes the process drain: master starts a successor, which can.
//
// # Files
//
//	$config_directory/users   password file
//	private/auth              socket
//	private/session           master's socket for sessions
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/params"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/service"
)

func main() {
	a := &auth{sessions: session.NewClient(session.Service)}
	service.Main(service.Spec{Name: "auth", Before: a.open, Serve: a.serve})
}

// auth is the program's state.
type auth struct {
	file   *passwd.File
	path   string
	mechs  []string
	env    *service.Env
	warned atomic.Int64 // when trouble was last logged

	penalty  penalties
	sessions *session.Client
}

func (a *auth) open(env *service.Env) (err error) {
	a.env = env
	a.path = params.AuthPasswdFile.In(env.Config)
	a.penalty.base = params.AuthFailureDelay.In(env.Config)
	for _, m := range params.AuthMechanisms.List(env.Config) {
		known, ok := dovecot.MechByName(m)
		if !ok || known.Name == "SCRAM-SHA-1" {
			return errors.New("auth_mechanisms: unknown mechanism " + m)
		}
		a.mechs = append(a.mechs, known.Name)
	}
	if a.file, err = passwd.Open(a.path, a.stale); err != nil {
		return err
	}
	a.file.Realm = params.AuthDefaultRealm.In(env.Config)
	return nil
}

// stale is told that the changed password file cannot be read.
func (a *auth) stale(err error) {
	if errors.Is(err, os.ErrPermission) {
		a.env.RequestDrain("password file " + a.path + " has changed")
		return
	}
	if now := time.Now().Unix(); now-a.warned.Swap(now) >= 60 {
		a.env.Log.Warningf("%v: keeping the users read before", err)
	}
}

func (a *auth) serve(ctx context.Context, env *service.Env, c net.Conn) {
	s := dovecot.Server{Handler: a, Stop: env.Draining(), Waiting: env.Waiting}
	if err := s.Serve(ctx, c); errors.Is(err, dovecot.ErrProtocol) {
		env.Log.Warningf("%v", err)
	}
}

// Mechs implements dovecot.Handler.
func (a *auth) Mechs() []dovecot.Mech {
	scram := a.file.ScramForAll()
	var l []dovecot.Mech
	for _, n := range a.mechs {
		if m, ok := dovecot.MechByName(n); ok && (scram || !strings.HasPrefix(n, "SCRAM-")) {
			l = append(l, m)
		}
	}
	return l
}

// Begin implements dovecot.Handler.
func (a *auth) Begin(q *dovecot.Request) (sasl.Server, bool) {
	for _, m := range a.mechs {
		if strings.EqualFold(m, q.Mech) {
			return sasl.NewServer(m, a.file)
		}
	}
	a.audit(q, "", "mechanism is not on offer")
	return nil, false
}

// Result implements dovecot.Handler.
func (a *auth) Result(ctx context.Context, q *dovecot.Request, name string, err error) dovecot.Outcome {
	out := dovecot.Outcome{User: name, Err: err}
	switch {
	case err == nil:
		u := a.file.Lookup(name)
		if u == nil { // it was there a moment ago
			a.audit(q, name, sasl.ErrUnknownUser.Error())
			out.Err = sasl.ErrTemporary
			return out
		}
		out.User = u.Name
		if q.Program != "" {
			cookie, err := a.grant(ctx, q.Program, u)
			if err != nil {
				a.env.Log.Warningf("user %s: cannot open a session of %.20s: %v", clean(u.Name), q.Program, err)
				out.Err = sasl.ErrTemporary
				return out
			}
			out.Fields = []string{"cookie=" + cookie}
		}
		return out
	case errors.Is(err, sasl.ErrTemporary):
		a.env.Log.Warningf("%v", err)
		return out
	case errors.Is(err, sasl.ErrMismatch) && a.file.Lookup(name) == nil:
		err = sasl.ErrUnknownUser // SCRAM goes through its motions before it says so
	}
	a.audit(q, name, err.Error())
	out.Delay = a.penalty.failed(q.RemoteIP, name)
	return out
}

// audit logs a failure in the form of Dovecot's auth_verbose.
func (a *auth) audit(q *dovecot.Request, user, reason string) {
	a.env.Log.Infof("passwd-file(%s,%s): %s (service=%s, method=%s)", clean(user), clean(q.RemoteIP), reason, clean(q.Service), clean(q.Mech))
}

// clean keeps what a client sends from looking like another part of the line.
func clean(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || strings.ContainsRune("(),<>:;", r) && r != ':' {
			return '?'
		}
		return r
	}, s)
}
