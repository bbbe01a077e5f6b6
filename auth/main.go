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
// # Security
//
// Auth runs under a user of its own and opens the password file before it
// gives up master's rights. It answers names that do not exist as slowly as
// wrong passwords, and both only after auth_failure_delay. The number of hashes
// that are computed at a time is the number of processors. Passwords are not
// logged.
//
// # Diagnostics
//
// Trouble with the password file is logged with its name and line; clients
// get a temporary failure. A file that was replaced and cannot be opened again
// makes the process drain: master starts a successor, which can.
//
// # Files
//
//	$config_directory/users   password file
//	private/auth              socket
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
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
	"posthaste/pkg/service"
)

func main() {
	a := &auth{}
	service.Main(service.Spec{Name: "auth", Before: a.open, Serve: a.serve})
}

// auth is the program's state.
type auth struct {
	file   *passwd.File
	path   string
	mechs  []string
	delay  time.Duration
	env    *service.Env
	warned atomic.Int64 // when trouble was last logged
}

func (a *auth) open(env *service.Env) (err error) {
	a.env = env
	a.path = params.AuthPasswdFile.In(env.Config)
	a.delay = params.AuthFailureDelay.In(env.Config)
	for _, m := range params.AuthMechanisms.List(env.Config) {
		known, ok := dovecot.MechByName(m)
		if !ok || known.Name == "SCRAM-SHA-1" {
			return errors.New("auth_mechanisms: unknown mechanism " + m)
		}
		a.mechs = append(a.mechs, known.Name)
	}
	a.file, err = passwd.Open(a.path, a.stale)
	return err
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
	return nil, false
}

// Result implements dovecot.Handler.
func (a *auth) Result(q *dovecot.Request, user string, err error) time.Duration {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, sasl.ErrTemporary):
		a.env.Log.Warningf("%v", err)
		return 0
	}
	a.env.Log.Debugf("%s: %s authentication of %q from %s failed", q.Service, q.Mech, user, q.RemoteIP)
	return a.delay
}
