package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// login tries a password.
func login(addr, user, password string) error {
	c, err := smtptalk.Dial(addr, 30*time.Second)
	if err != nil {
		return err
	}
	defer c.Quit()
	if err := c.StartTLS(); err != nil {
		return err
	}
	return c.Plain(user, password)
}

// refused tells whether a login failed for its password.
func refused(err error) error {
	if re, ok := err.(*smtptalk.ReplyError); ok && re.Code() == "535" {
		return nil
	}
	if err == nil {
		return fmt.Errorf("a wrong password was accepted")
	}
	return err
}

// passwords has Dovecot check passwords for our smtpd, and our auth those for
// Postfix's.
func (st *stage) passwords() {
	st.try("AUTH at Posthaste, checked by Dovecot", func() error {
		defer stopAll()
		socket, err := st.startDovecot()
		if err != nil {
			return err
		}
		if err := st.s.Set("smtpd_sasl_path=" + socket); err != nil {
			return err
		}
		defer func() {
			st.s.Set("smtpd_sasl_path=private/auth")
			st.s.Control("reload")
		}()
		if _, err := st.s.Control("reload"); err != nil {
			return err
		}
		// A reload lets old processes finish; the new ones have other passwords.
		if err := rig.Until(10*time.Second, "a login with Dovecot's password", func() bool {
			return login(st.s.Submission(), "anna@local.test", "known-to-dovecot") == nil
		}); err != nil {
			return fmt.Errorf("%w: %v", err, login(st.s.Submission(), "anna@local.test", "known-to-dovecot"))
		}
		if err := refused(login(st.s.Submission(), "anna@local.test", "wrong")); err != nil {
			return err
		}
		return command(time.Minute, "python3", filepath.Join(st.tools, "send.py"), st.s.Submission(), "starttls", "anna@local.test", "somebody@sink.test",
			filepath.Join(st.dir, "plain"), "anna@local.test", "known-to-dovecot")
	})
	st.try("AUTH at Postfix, checked by Posthaste's auth", func() error {
		defer stopAll()
		socket := filepath.Join(st.s.Queue, "private", "auth")
		if err := st.postfixWith("smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = dovecot", "smtpd_sasl_path = "+socket); err != nil {
			return err
		}
		r, err := st.reader()
		if err != nil {
			return err
		}
		greeting := "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(100))"
		if got, err := r.run("python3", "-c", greeting, socket); err == nil && strings.Contains(got, "VERSION") {
			return fmt.Errorf("auth serves a user that is not in auth_client_users")
		}
		if err := login("127.0.0.1:"+postfixPort, "user0@local.test", "test"); err != nil {
			log, _ := os.ReadFile(filepath.Join(st.dir, "postfix", "log", "maillog"))
			return fmt.Errorf("%w; Postfix says: %s", err, lastLines(log, 3))
		}
		return refused(login("127.0.0.1:"+postfixPort, "user0@local.test", "wrong"))
	})
}

// startDovecot runs Dovecot's auth service and returns its socket.
func (st *stage) startDovecot() (string, error) {
	if err := needsRoot(); err != nil {
		return "", err
	}
	if err := needs("dovecot"); err != nil {
		return "", err
	}
	d := filepath.Join(st.dir, "dovecot")
	for _, sub := range []string{"", "run", "state"} {
		os.Mkdir(filepath.Join(d, sub), 0755)
	}
	socket := filepath.Join(d, "sasl")
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols =
ssl = no
auth_mechanisms = plain login scram-sha-256
auth_debug = yes
passdb {
  driver = static
  args = password=known-to-dovecot
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent allow_all_users=yes
}
service auth {
  unix_listener %[2]s {
    mode = 0666
  }
}
`, d, socket)
	if err := os.WriteFile(d+"/dovecot.conf", []byte(conf), 0644); err != nil {
		return "", err
	}
	if err := daemon(filepath.Join(st.dir, "dovecot.out"), "dovecot", "-F", "-c", d+"/dovecot.conf"); err != nil {
		return "", err
	}
	err := rig.Until(10*time.Second, "Dovecot's socket", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	if err != nil {
		out, _ := os.ReadFile(filepath.Join(st.dir, "dovecot.out"))
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return socket, err
}
