// Shadow checks the passwords of system users.
//
// Usage: shadow [generic daemon options]; started by master(8) for the service
// private/shadow, when auth(8) first asks.
//
// # Description
//
// With "shadow" among auth_databases, users of /etc/passwd log in with the
// password that /etc/shadow has for them. Auth, which talks to programs that
// face the network, never sees that file: it asks shadow about a name and a
// password, and hears yes or no. With yes it hears user ID, group ID and home
// directory too.
//
// Hashes are yescrypt, SHA-512-crypt, SHA-256-crypt and bcrypt, as the C library
// writes them. A hash that begins with "!" or "*" fits no password, and an empty
// one does not either. An account is closed from the day of its expiration on;
// a password that has expired, or that must be changed at the next login, does
// not open the account until it was changed, since mail protocols have no way
// to do so. These are the rules of pam_unix. Accounts with user ID 0 are never
// let in.
//
// Only the files are asked, no name service and no PAM: accounts in LDAP or
// Active Directory, and PAM modules that count or limit logins, need Dovecot's
// auth service (see smtpd_sasl_path).
//
// # Security
//
// Shadow opens the two files with the rights of master(8) and gives these up
// before it serves anybody: it runs under a user of its own that owns nothing,
// can open no file and reach no socket. Only auth's user may ask it. A file that
// was replaced, as the passwd command does, it cannot open again: master then starts a
// successor, which does, and the question is put to that. No question is
// answered from old files.
//
// As many hashes are computed at a time as there are processors. A name that
// does not exist costs as much time as one that does.
//
// # Diagnostics
//
// Shadow itself logs problems with its files only. Auth logs each failure with
// its reason.
//
// # Files
//
//	/etc/passwd, /etc/shadow   users and their passwords
//	private/shadow             socket
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/shadow"
	"posthaste/pkg/service"
)

// staleWait is how long a question may wait for the successor.
const staleWait = 20 * time.Second

func main() {
	var d *database
	service.Main(service.Spec{
		Name: "shadow",
		Before: func(env *service.Env) (err error) {
			d, err = openDatabase("/etc/passwd", "/etc/shadow")
			return err
		},
		Serve: func(ctx context.Context, env *service.Env, c net.Conn) {
			if err := serve(ctx, env, c, d); err != nil {
				env.Log.Warningf("%s service: %v", env.Service, err)
			}
		},
	})
}

// serve answers auth.
func serve(ctx context.Context, env *service.Env, nc net.Conn, d *database) error {
	s := ipc.CallServer{Protocol: shadow.Protocol, Draining: env.Draining(), Waiting: env.Waiting}
	return s.Serve(ctx, nc, func(_ *ipc.Conn, typ byte, p []byte) ([]byte, error) {
		q, err := shadow.DecodeQuery(p)
		if err != nil || typ != shadow.TypeVerify {
			return nil, errors.Join(err, fmt.Errorf("%w: call of type %d", ipc.ErrProtocol, typ))
		}
		r := d.verify(q)
		if r.Status == shadow.Stale {
			// Master starts the successor before it tells this process to leave: who
			// asks again after that asks the successor.
			env.RequestDrain("/etc/passwd or /etc/shadow has been replaced")
			select {
			case <-env.Draining():
			case <-ctx.Done():
			case <-time.After(staleWait):
				r.Status, r.Detail = shadow.Trouble, "the files have been replaced, and there is no successor that has the new ones"
			}
		}
		return shadow.EncodeReply(r), nil
	})
}
