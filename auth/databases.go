package main

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/shadow"
	"posthaste/pkg/sasl"
	"posthaste/pkg/sasl/dovecot"
	"posthaste/pkg/sasl/passwd"
)

// database is one source of users.
type database interface {
	// name is that of Dovecot's driver.
	name() string
	// verify checks a password. It takes as long for a user who does not exist.
	verify(ctx context.Context, user, password string) (*passwd.User, error)
}

// fileUsers are those of auth_passwd_file.
type fileUsers struct{ f *passwd.File }

func (fileUsers) name() string { return "passwd-file" }

func (d fileUsers) verify(_ context.Context, user, password string) (*passwd.User, error) {
	name, err := d.f.Verify(user, password)
	if err != nil {
		return nil, err
	}
	if u := d.f.Lookup(name); u != nil {
		return u, nil
	}
	return nil, sasl.ErrUnknownUser // it was there a moment ago
}

// systemUsers are those of /etc/passwd.
type systemUsers struct {
	shadow *shadow.Client
	realm  string
	mail   func(user string) string
}

func (*systemUsers) name() string { return "shadow" }

func (d *systemUsers) verify(ctx context.Context, user, password string) (*passwd.User, error) {
	if local, domain, ok := strings.Cut(user, "@"); ok && d.realm != "" && strings.EqualFold(domain, d.realm) {
		user = local
	}
	r, err := d.shadow.Verify(ctx, user, password)
	if err != nil {
		return nil, err
	}
	return &passwd.User{Name: r.Name, UID: strconv.FormatUint(uint64(r.UID), 10), GID: strconv.FormatUint(uint64(r.GID), 10),
		Home: r.Home, Extra: []string{"userdb_mail=" + d.mail(r.Name)}}, nil
}

// systemMail returns where local(8) keeps a system user's mail, in Dovecot's
// notation.
func systemMail(cfg *config.Config) func(user string) string {
	home, spool := params.HomeMailbox.In(cfg), params.MailSpoolDirectory.In(cfg)
	return func(user string) string {
		switch {
		case strings.HasSuffix(home, "/"):
			return "maildir:" + path.Join("~", home)
		case home != "":
			return "mbox:~/mail:INBOX=" + path.Join("~", home)
		case strings.HasSuffix(spool, "/"):
			return "maildir:" + path.Join(spool, user)
		}
		return "mbox:~/mail:INBOX=" + path.Join(spool, user)
	}
}

// attempt is the users' side of one exchange. It implements sasl.Verifier.
type attempt struct {
	a   *auth
	ctx context.Context
	q   *dovecot.Request

	user    *passwd.User // who is accepted, or, with SCRAM, who must prove it
	unknown bool         // SCRAM: there is no such user
	decided string       // the database whose verdict is logged
}

// database is the one for the log.
func (t *attempt) database() string {
	if t.decided != "" {
		return t.decided
	}
	return t.a.dbs[len(t.a.dbs)-1].name()
}

// Verify implements sasl.Verifier. All databases are asked before a password
// is refused, so that it takes the same time whichever knows the user.
func (t *attempt) Verify(user, password string) (string, error) {
	var refusal, trouble error
	for _, d := range t.a.dbs {
		u, err := d.verify(t.ctx, user, password)
		switch {
		case err == nil:
			t.user, t.decided = u, d.name()
			return u.Name, nil
		case !errors.Is(err, sasl.ErrCredentials):
			trouble = err
		case !errors.Is(err, sasl.ErrUnknownUser) && refusal == nil:
			refusal, t.decided = err, d.name()
		}
	}
	switch {
	case trouble != nil:
		return "", trouble // the right answer may have been there
	case refusal != nil:
		return "", refusal
	}
	return "", sasl.ErrUnknownUser
}

// Scram implements sasl.Verifier.
func (t *attempt) Scram(user, hash string) (sasl.ScramKeys, error) {
	t.user, t.decided = t.a.file.Lookup(user), "passwd-file"
	t.unknown = t.user == nil
	return t.a.file.Scram(user, hash)
}
