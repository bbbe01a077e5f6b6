// Auth checks who a client is. It is the only program that sees password
// data; smtpd(8) and other servers ask it over Dovecot's authentication
// protocol, so that Dovecot can take its place and it can take Dovecot's.
//
// Usage: auth [generic daemon options]; started by master(8) for the service
// private/auth.
//
// # Description
//
// Auth_databases says where the users are. They are asked in this order, and a
// password that one refuses may be right for the next.
//
// passwd-file is auth_passwd_file, with a user a line in Dovecot's form:
//
//	user:{SCHEME}hash:uid:gid:gecos:home:shell:extra
//
// Schemes are SCRAM-SHA-256, SCRAM-SHA-1, CRYPT (yescrypt, SHA-512-crypt,
// SHA-256-crypt and bcrypt, the default when no scheme is given), ARGON2ID and
// PLAIN. The file is read again when it changes. A line with a mistake, or with
// another scheme, is warned about and keeps only its own user out.
//
// Of Dovecot's extra fields, nologin refuses the user, and allow_nets=NET,...
// clients from elsewhere; userdb_uid, userdb_gid and userdb_home replace those of
// the line. A line with proxy, host, user or another field that would lead
// elsewhere is refused.
//
// shadow are the users of the system: auth asks shadow(8), which knows
// /etc/passwd and /etc/shadow and checks that the account is open. PAM is not
// asked, since it is a library of the C language: where PAM, LDAP or Active
// Directory decide, let Dovecot's auth service do so (smtpd_sasl_path names its
// socket; login(8) needs this program).
//
// Mechanisms are PLAIN, LOGIN, and SCRAM-SHA-256 and SCRAM-SHA-1 with and without
// channel binding (-PLUS, under TLS, and only if auth_mechanisms names them). A SCRAM mechanism is offered while all users
// can use it: their passwords are SCRAM values of its hash function, or PLAIN, and
// shadow is not among the databases.
//
// Names are compared without regard to case, and a line for USER serves
// USER@auth_default_realm as well, and the other way round; a system user is
// USER@auth_default_realm, too. Whoever logs in has the name of the line.
//
// For login(8), auth also opens the way to the mailbox: it tells master(8) which
// user, user ID and home directory belong to a fresh cookie, and answers login
// with nothing but the cookie. The user's line must have uid and gid, numbers
// or names, and the mail location if it is not ~/Maildir, as the extra field
// userdb_mail=maildir:PATH. The other extra fields that begin with userdb_ go to
// the session program without that prefix (userdb_quota_rule=*:bytes=1G). A system
// user's mail is where local(8) delivers it: home_mailbox, else
// mail_spool_directory.
//
// # Security
//
// Auth runs under a user of its own and opens the password file before it
// gives up master's rights; of /etc/shadow it hears shadow's verdicts only. It answers names that do not exist as slowly as
// wrong passwords, and both only after auth_failure_delay, which doubles with
// each failure of the same client or for the same name, up to four times; who
// gives the right password does not wait. The number of hashes that are computed
// at a time is the number of processors. A client that could bind its login to the TLS
// connection, but says that it was not offered to, is refused: somebody between
// would have taken the offer out. Passwords are not logged. A session
// as root is never granted.
//
// # Diagnostics
//
// Each failure is logged with its reason, in Dovecot's form:
//
//	passwd-file(anna,192.0.2.1): password mismatch (service=imap, method=PLAIN)
//	shadow(bert,192.0.2.1): account has expired (service=smtp, method=LOGIN)
//
// The database in the line is the one that knows the user, or the last of them.
//
// Trouble with the password file is logged with its name and line; clients
// get a temporary failure. A file that was replaced and cannot be opened again
// makes the process drain: master starts a successor, which can.
//
// # Files
//
//	$config_directory/users   password file
//	private/auth              socket
//	private/shadow            the socket of shadow(8)
//	private/session           master's socket for sessions
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"posthaste/pkg/params"
	"posthaste/pkg/proto/session"
	"posthaste/pkg/proto/shadow"
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
	file   *passwd.File // nil if it is not among the databases
	path   string
	dbs    []database // in the order in which they are asked
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
		if !ok {
			return errors.New("auth_mechanisms: unknown mechanism " + m)
		}
		a.mechs = append(a.mechs, known.Name)
	}
	realm := params.AuthDefaultRealm.In(env.Config)
	for _, name := range params.AuthDatabases.List(env.Config) {
		switch name {
		case "passwd-file":
			if a.file, err = passwd.Open(a.path, a.stale, func(err error) { env.Log.Warningf("%v", err) }); err != nil {
				return err
			}
			a.file.Realm = realm
			a.dbs = append(a.dbs, fileUsers{a.file})
		case "shadow":
			a.dbs = append(a.dbs, &systemUsers{shadow: shadow.NewClient(shadow.Service), realm: realm, mail: systemMail(env.Config)})
		default:
			return fmt.Errorf("auth_databases: unknown database %q: want passwd-file, shadow or both", name)
		}
	}
	if len(a.dbs) == 0 {
		return errors.New("auth_databases: names no database")
	}
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

// scram tells whether every user can log in with a SCRAM mechanism: keys are in
// the password file alone.
func (a *auth) scram(mech string) bool {
	hash := strings.TrimSuffix(strings.TrimPrefix(mech, "SCRAM-"), "-PLUS")
	return len(a.dbs) == 1 && a.file != nil && a.file.ScramForAll(hash)
}

// Mechs implements dovecot.Handler.
func (a *auth) Mechs() []dovecot.Mech {
	var l []dovecot.Mech
	for _, n := range a.mechs {
		if m, ok := dovecot.MechByName(n); ok && (!strings.HasPrefix(n, "SCRAM-") || a.scram(n)) {
			l = append(l, m)
		}
	}
	return l
}

// Begin implements dovecot.Handler.
func (a *auth) Begin(ctx context.Context, q *dovecot.Request) (sasl.Server, bool) {
	t := &attempt{a: a, ctx: ctx, q: q}
	q.State = t
	for _, m := range a.mechs {
		if strings.EqualFold(m, q.Mech) && (a.file != nil || !strings.HasPrefix(m, "SCRAM-")) {
			return sasl.NewServer(m, t, q.Bindings)
		}
	}
	a.audit(q, a.dbs[0].name(), "", "mechanism is not on offer")
	return nil, false
}

// Result implements dovecot.Handler.
func (a *auth) Result(ctx context.Context, q *dovecot.Request, name string, err error) dovecot.Outcome {
	out := dovecot.Outcome{User: name, Err: err}
	t := q.State.(*attempt)
	if err == nil {
		if err = allowed(a.path, t.user, q.RemoteIP); err != nil {
			out.Err = sasl.ErrCredentials
			if errors.Is(err, sasl.ErrTemporary) {
				out.Err = sasl.ErrTemporary
			}
		}
	}
	switch {
	case err == nil:
		u := t.user
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
	case errors.Is(err, sasl.ErrMismatch) && t.unknown:
		err = sasl.ErrUnknownUser // SCRAM goes through its motions before it says so
	}
	a.audit(q, t.database(), name, err.Error())
	out.Delay = a.penalty.failed(q.RemoteIP, name)
	return out
}

// audit logs a failure in the form of Dovecot's auth_verbose.
func (a *auth) audit(q *dovecot.Request, database, user, reason string) {
	a.env.Log.Infof("%s(%s,%s): %s (service=%s, method=%s)", database, clean(user), clean(q.RemoteIP), reason, clean(q.Service), clean(q.Mech))
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
