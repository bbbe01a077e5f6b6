// Pop3d serves one user's mailbox to POP3 clients. login(8) has authenticated
// the client; master(8) starts pop3d as the user whose mail it is and hands it
// the connections.
//
// Usage: pop3d [generic daemon options]; a session service in master.cf:
//
//	pop3d     unix  -       -       n       -       0       pop3d
//
// # Description
//
// Pop3d implements RFC 1939 with CAPA, TOP, UIDL, PIPELINING, RESP-CODES,
// AUTH-RESP-CODE, EXPIRE (mail does not) and UTF8. What a client sees are the
// messages that were in the inbox when it logged in. One process serves all
// sessions of a user ID.
//
// A mailbox has one POP3 session at a time, as the protocol demands; a second
// one is answered [IN-USE]. IMAP sessions and deliveries go on beside it.
//
// Messages are deleted when the client says QUIT. A session that ends in any
// other way deletes nothing. Messages that were retrieved are marked as read.
//
// The unique identifiers of UIDL are the IMAP UID and UIDVALIDITY, in hexadecimal
// digits, as Dovecot's default has them (%08Xu%08Xv): they stay the same when
// mailboxes are moved from there.
//
// The mailbox is where the user's line in auth(8)'s password file or mail_location
// says, a Maildir or an mbox file. By default users of the system have the mailbox that
// local(8) delivers to, usually /var/mail/USER, and others ~/Maildir: see imapd(8).
//
// # Security
//
// Pop3d never has other rights than the user's. It creates no network socket.
// Command lines are limited to 1,024 bytes, and a client that says nothing sensible
// is cut off.
//
// # Diagnostics
//
// The end of each session is logged in Dovecot's form, under the tag
// login_syslog_name:
//
//	pop3(anna): Disconnected: Logged out top=0/0, retr=2/8313, del=2/17, size=93621
//
// # Files
//
//	Maildir/posthaste-pop3.lock            held by the POP3 session
//	~/mail/.posthaste/posthaste-pop3.lock  the same, for an mbox file
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir/store"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/service"
)

func main() {
	p := &program{}
	p.open = p.openMail
	service.Main(service.Spec{Name: "pop3d", Before: p.before, Session: p.session})
}

// program is the program's state.
type program struct {
	timeout time.Duration
	log     *maillog.Logger
	manager *store.Manager
	find    *location.Finder
	// open opens a user's mail and takes the lock that a POP3 session needs; errInUse
	// if another has it.
	open func(s *service.Session) (mailbox.Store, func(), error)
}

var errInUse = errors.New("another POP3 session has the mailbox")

func (p *program) before(env *service.Env) (err error) {
	p.timeout = params.Pop3dTimeout.In(env.Config)
	p.log = env.Log.With(params.LoginSyslogName.In(env.Config))
	p.find = location.New(env.Config)
	o, err := store.Configured(env.Config)
	if err != nil {
		return err
	}
	o.Warn = p.log.Warningf
	p.manager, err = store.NewManager(o)
	return err
}

// openMail is open for real mail.
func (p *program) openMail(s *service.Session) (mailbox.Store, func(), error) {
	at, err := p.find.Find(s.User, s.Home, s.Mail, s.UID)
	if err != nil {
		return nil, nil, err
	}
	var o store.UserOptions
	if o.QuotaBytes, o.QuotaMessages, err = s.Quota(); err != nil {
		return nil, nil, err
	}
	st, err := p.manager.OpenAt(at, o)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := lock(store.ControlDir(at))
	if err != nil {
		st.Close()
		return nil, nil, err
	}
	return st, unlock, nil
}

// lock takes the lock of a POP3 session. The kernel drops it when the process
// ends, however that is.
func lock(root string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(root, "posthaste-pop3.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, errInUse
		}
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// session serves one client.
func (p *program) session(ctx context.Context, env *service.Env, s *service.Session) {
	c := newConn(s, p.timeout)
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	st, unlock, err := p.open(s)
	if err != nil {
		p.refuse(c, s.User, err)
		return
	}
	defer unlock()
	defer st.Close()
	box, err := st.Open(mailbox.Inbox, false)
	if err != nil {
		p.refuse(c, s.User, err)
		return
	}
	defer box.Close()
	d, err := newDrop(box)
	if err != nil {
		p.refuse(c, s.User, err)
		return
	}
	t := &transaction{conn: c, drop: d, log: p.log, user: s.User}
	t.run()
}

// refuse tells the client why there is no session.
func (p *program) refuse(c *conn, user string, err error) {
	if errors.Is(err, errInUse) || errors.Is(err, mailbox.ErrBusy) {
		p.log.Infof("pop3(%s): Disconnected: mailbox is in use by another POP3 session", user)
		c.say("-ERR [IN-USE] Mailbox is locked by another POP3 session.")
	} else {
		p.log.Warningf("pop3(%s): cannot open the mailbox: %v", user, err)
		c.say("-ERR [SYS/TEMP] Mailbox cannot be opened, try again later.")
	}
	c.flush()
}
