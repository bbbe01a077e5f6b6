// Imapd serves one user's mail by IMAP, to a client that has logged in.
//
// Usage: imapd [generic daemon options]; started by master(8) for the user, as
// whom it runs. One process serves all sessions of its user ID.
//
// # Description
//
// Imapd implements IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) as they are
// after authentication, with the extensions APPENDLIMIT, BINARY, CHILDREN,
// COMPRESS=DEFLATE, CONDSTORE, CREATE-SPECIAL-USE, ENABLE, ESEARCH, ESORT, ID,
// IDLE, LIST-EXTENDED, LIST-STATUS, LITERAL+, MOVE, MULTIAPPEND, NAMESPACE,
// OBJECTID, PREVIEW, QRESYNC, QUOTA, SAVEDATE, SEARCHRES, SORT, SORT=DISPLAY,
// SPECIAL-USE, STATUS=SIZE, THREAD=ORDEREDSUBJECT, THREAD=REFERENCES, UIDPLUS,
// UNSELECT, UTF8=ACCEPT and WITHIN. Login(8) speaks with the client before that,
// and TLS all the time.
//
// The level separator is "/". Searching looks at decoded text, whatever its
// charset. What is not declared, or declared wrongly, and is not UTF-8 is taken
// for GB18030. A search that takes long says every ten seconds how far it is.
//
// Mail is in Maildirs or in mbox files: mail_location says which and where. If it is
// empty, users of the system have the mailboxes that local(8) delivers to:
// what home_mailbox or mail_spool_directory names, with other folders in ~/mail if it is an mbox
// file. With neither of them set, a ~/Maildir that exists is preferred to
// /var/mail. Other users have a ~/Maildir. An mbox file is locked as mailbox_delivery_lock
// says, so that mutt, procmail, Dovecot and others may use it at the same time;
// nothing is appended beyond mailbox_size_limit. In the mbox format a folder has messages or
// other folders, not both.
//
// Messages up to message_size_limit can be appended. A session that says nothing
// for imapd_timeout is ended, and so is one whose client does not take what it
// asked for within three minutes. A command may have 64 KiB a line, 128 KiB a
// literal, 512 KiB in all, and 32 levels of parentheses; a SEARCH 1,000 keys, of
// which 64 may look for text; a FETCH 200 items. After 20 commands in a row that
// make no sense the session is ended. A message's structure is told to a depth
// of 64 and 5,000 parts; what is beyond is one opaque part.
//
// # Security
//
// Imapd runs as the user whose mail it serves. It has no listener: master hands
// connections to it, with the identity that auth(8) has found.
//
// # Diagnostics
//
// The end of each session is logged with the octets received and sent and the
// numbers of its commands. What goes
// wrong in the mail store is logged, and the client told that it was; it never
// learns a path.
//
// # Files
//
//	~/Maildir          the user's mail, unless mail_location, the user's line in
//	                   auth(8)'s password file, or local(8)'s parameters say otherwise
//	/var/mail/USER     INBOX of a user of the system, an mbox file, by default
//	~/mail             mbox files of that user's other folders
//	~/mail/.posthaste  their indexes
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"posthaste/pkg/mailbox"
	"posthaste/pkg/mailbox/location"
	"posthaste/pkg/maildir/store"
	"posthaste/pkg/params"
	"posthaste/pkg/service"
)

func main() {
	s := &server{}
	service.Main(service.Spec{Name: "imapd", Before: s.open, Session: s.session})
}

// server is what the sessions of the process share.
type server struct {
	opt    options
	stores *store.Manager
	find   *location.Finder
}

// open reads the configuration.
func (s *server) open(env *service.Env) error {
	cfg := env.Config
	s.opt.timeout = params.ImapdTimeout.In(cfg)
	s.opt.keepalive = params.ImapdIdleNotifyInterval.In(cfg)
	s.opt.appendLimit = int64(params.MessageSizeLimit.In(cfg))
	s.opt.progress = progressEvery
	s.opt.log = env.Log
	var folders []mailbox.Folder
	for _, name := range params.ImapdCreateFolders.List(cfg) {
		clean, err := mailbox.CheckName(name)
		if err != nil {
			return fmt.Errorf("imapd_create_folders: %w", err)
		}
		folders = append(folders, mailbox.Folder{Name: clean, Exists: true, Selectable: true, Subscribed: true, Use: specialUse(`\` + name)})
	}
	// Memory that a session's work took goes back soon: many processes of other
	// users want it.
	debug.SetGCPercent(50)
	s.find = location.New(cfg)
	o, err := store.Configured(cfg)
	if err != nil {
		return err
	}
	o.Create, o.Warn = folders, env.Log.Warningf
	s.stores, err = store.NewManager(o)
	return err
}

// session serves a client.
func (s *server) session(ctx context.Context, env *service.Env, c *service.Session) {
	st, err := s.openStore(c)
	if err != nil {
		env.Log.Errorf("user %s: %v", c.User, err)
		c.Conn.Write([]byte(c.Tag + " NO [UNAVAILABLE] mail store cannot be opened; it has been logged\r\n* BYE [UNAVAILABLE] try again later\r\n"))
		return
	}
	defer st.Close()
	x := newSession(ctx, &s.opt, c.Conn, c.Input, c.User, st)
	x.out.str(c.Tag, " OK [CAPABILITY ", x.capabilityText(), "] logged in\r\n")
	x.run()
	env.Log.Event(x.end())
}

// openStore opens the store of the user whom the grant names.
func (s *server) openStore(c *service.Session) (mailbox.Store, error) {
	at, err := s.find.Find(c.User, c.Home, c.Mail, c.UID)
	if err != nil {
		return nil, err
	}
	bytes, messages, err := c.Quota()
	if err != nil {
		return nil, err
	}
	st, err := s.stores.OpenAt(at, store.UserOptions{QuotaBytes: bytes, QuotaMessages: messages})
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w (process runs with user ID %d)", err, os.Getuid())
	}
	return st, err
}
