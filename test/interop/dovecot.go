package main

import (
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"posthaste/test/tools/rig"
)

const dovecotIMAP = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
ssl = no
disable_plaintext_auth = no
listen = 127.0.0.1
first_valid_uid = 1
first_valid_gid = 1
passdb {
  driver = static
  args = password=test
}
userdb {
  driver = static
  args = uid=%[2]d gid=%[3]d home=%[4]s/%%u allow_all_users=yes
}
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  inet_listener imap {
    port = %[5]s
  }
  inet_listener imaps {
    port = 0
  }
}
`

// startDovecotIMAP has Debian's Dovecot serve our users' Maildirs.
func (st *stage) startDovecotIMAP() error {
	if err := needsRoot(); err != nil {
		return err
	}
	if err := needs("dovecot"); err != nil {
		return err
	}
	if _, err := os.Stat("/usr/lib/dovecot/imap"); err != nil {
		return skip{"Dovecot's IMAP server is not installed"}
	}
	d := filepath.Join(st.dir, "dovecot-imap")
	for _, sub := range []string{"", "run", "state"} {
		os.Mkdir(filepath.Join(d, sub), 0755)
	}
	uid, gid, err := owner(st.s.Maildir("user0"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(d+"/dovecot.conf", fmt.Appendf(nil, dovecotIMAP, d, uid, gid, st.s.Mail, st.port(930)), 0644); err != nil {
		return err
	}
	if err := daemon(d+".out", "dovecot", "-F", "-c", d+"/dovecot.conf"); err != nil {
		return err
	}
	err = rig.Until(10*time.Second, "Dovecot's IMAP server", func() bool {
		c, err := net.Dial("tcp", st.addr(930))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		out, _ := os.ReadFile(d + ".out")
		return fmt.Errorf("%w: %s", err, lastLines(out, 3))
	}
	return nil
}

// dovecotView logs in to Dovecot.
func (st *stage) dovecotView(user string) (*view, error) {
	c, err := net.Dial("tcp", st.addr(930))
	if err != nil {
		return nil, err
	}
	return newView(c, user)
}

// dovecot hands Maildirs over to Dovecot and takes them over from it.
func (st *stage) dovecot(fs, cs []fixture) {
	all := append(append([]fixture{}, fs[:6]...), cs...)
	st.read("a Maildir that we have served: Dovecot takes it over, and gives it back", func(r *reader) error {
		if err := st.startDovecotIMAP(); err != nil {
			return err
		}
		defer stopAll()
		ours, err := r.after(st.view, all)
		if err != nil {
			return err
		}
		if _, err := st.s.Run("posthaste", "-c", st.s.Conf(), "mailbox", "export", r.user); err != nil {
			return err
		}
		theirs, err := r.mail(st.dovecotView)
		if err == nil {
			err = same("what Dovecot shows", theirs, ours)
		}
		if err != nil {
			return err
		}
		if err := r.change(st.dovecotView, cs[0]); err != nil {
			return err
		}
		if theirs, err = r.mail(st.dovecotView); err != nil {
			return err
		}
		if ours, err = r.mail(st.view); err != nil {
			return err
		}
		return same("what we show after Dovecot", ours, theirs)
	})
	st.read("a Maildir that Dovecot has served: we take it over", func(r *reader) error {
		if err := st.startDovecotIMAP(); err != nil {
			return err
		}
		defer stopAll()
		if err := r.deliver(fs[0], cs[1]); err != nil { // with our names, before anybody looks
			return err
		}
		theirs, err := r.after(st.dovecotView, all)
		if err != nil {
			return err
		}
		ours, err := r.mail(st.view)
		if err == nil {
			err = same("what we show", ours, theirs)
		}
		if err != nil {
			return err
		}
		if err := r.change(st.view, cs[0]); err != nil {
			return err
		}
		_, err = st.s.Run("posthaste", "-c", st.s.Conf(), "mailbox", "verify", r.user)
		return err
	})
	st.read("Dovecot's dsync copies a mailbox out of ours by IMAP", func(r *reader) error {
		if err := st.startDovecotIMAP(); err != nil {
			return err
		}
		defer stopAll()
		return r.dsync(all)
	})
}

// after uses an account for a while, with the server that open logs in to, and
// returns what is there then.
func (r *reader) after(open func(string) (*view, error), fs []fixture) (string, error) {
	v, err := open(r.user)
	if err != nil {
		return "", err
	}
	defer v.close()
	v.cmd("CREATE Sent") // is there, or not
	for _, f := range []string{meetings7, minutes7, projects7, "Old"} {
		if _, err := v.cmd("CREATE %q", f); err != nil {
			return "", err
		}
	}
	if err := v.append("INBOX", "", fs...); err != nil {
		return "", err
	}
	for _, c := range []string{
		"SELECT INBOX", `STORE 1 +FLAGS (\Seen $Label1 Work)`, `STORE 2 +FLAGS (\Answered \Flagged Work Important)`, `STORE 3 +FLAGS (\Draft $Forwarded)`, `STORE 4:5 +FLAGS (\Deleted)`, "EXPUNGE",
		`STORE 1 -FLAGS ($Label1)`, `COPY 2:4 "` + meetings7 + `"`, `MOVE 6:7 "` + minutes7 + `"`, `COPY 1 Old`, `COPY 5 "` + projects7 + `"`,
		`SELECT "` + meetings7 + `"`, `STORE 1 +FLAGS (\Deleted)`, "EXPUNGE", `STORE 2 +FLAGS (\Seen NotJunk)`,
		`SELECT "` + minutes7 + `"`, "SELECT INBOX",
		`RENAME "` + projects7 + `" "` + meetings7 + `/` + projects7 + `"`, `SUBSCRIBE "` + minutes7 + `"`, "SUBSCRIBE Old", "SUBSCRIBE Sent", "UNSUBSCRIBE Old",
	} {
		if _, err := v.cmd("%s", c); err != nil {
			return "", err
		}
	}
	return r.mail(open)
}

// change has the server that open logs in to change something in each way.
func (r *reader) change(open func(string) (*view, error), f fixture) error {
	v, err := open(r.user)
	if err != nil {
		return err
	}
	defer v.close()
	if err := v.append("INBOX", `\Seen Work`, f); err != nil {
		return err
	}
	for _, c := range []string{"SELECT INBOX", `STORE 1 -FLAGS (\Seen)`, `STORE 2 +FLAGS (\Deleted)`, "EXPUNGE", `STORE 2 +FLAGS (\Flagged Later)`, "CREATE New", "COPY 1:2 New", "DELETE Old"} {
		if _, err := v.cmd("%s", c); err != nil {
			return err
		}
	}
	return nil
}

// mail tells all that a server shows of an account: folders with UIDVALIDITY,
// UIDNEXT, and each message's UID, flags, keywords and text, and subscriptions.
func (r *reader) mail(open func(string) (*view, error)) (string, error) {
	v, err := open(r.user)
	if err != nil {
		return "", err
	}
	defer v.close()
	// Who logs in to us for the first time gets the default folders.
	usual := func(f string) bool { return f != "INBOX" && strings.Contains(defaultBoxes, f) }
	folders, err := v.folders("LIST")
	if err != nil {
		return "", err
	}
	folders = slices.DeleteFunc(folders, usual)
	var out strings.Builder
	for _, f := range folders {
		b, err := v.box(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s %d %d:", f, b.validity, b.next)
		for _, m := range b.messages {
			fmt.Fprintf(&out, " %d=%s/%d", m.uid, m, crc32.ChecksumIEEE([]byte(m.body)))
		}
		out.WriteString("; ")
	}
	subscribed, err := v.folders("LSUB")
	fmt.Fprint(&out, "subscribed: ", slices.DeleteFunc(subscribed, usual))
	return out.String(), err
}

// dsync has Dovecot fetch an account of ours with its own tool for that.
func (r *reader) dsync(fs []fixture) error {
	ours, err := r.after(r.st.view, fs)
	if err != nil {
		return err
	}
	other, err := r.st.reader()
	if err != nil {
		return err
	}
	remote := r.expand("imapc_host = localhost\nimapc_port = %imaps\nimapc_ssl = imaps\nimapc_user = %U\nimapc_password = test\nssl_client_ca_file = %C\nimapc_features = rfc822.size fetch-headers\nmail_prefetch_count = 20\n")
	conf := filepath.Join(r.st.dir, "dovecot-imap", "dovecot.conf")
	b, err := os.ReadFile(conf)
	if err != nil {
		return err
	}
	if err := os.WriteFile(conf+".dsync", append(b, remote...), 0644); err != nil {
		return err
	}
	for range 2 { // the second run finds nothing to do
		if err := command(time.Minute, "doveadm", "-c", conf+".dsync", "sync", "-1", "-R", "-u", other.user, "imapc:"); err != nil {
			return err
		}
		theirs, err := other.mail(r.st.dovecotView)
		if err == nil {
			err = same("what Dovecot copied", theirs, ours)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// owner is who a file belongs to.
func owner(path string) (uid, gid uint32, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	s := st.Sys().(*syscall.Stat_t)
	return s.Uid, s.Gid, nil
}
