// Interop sends mail between Posthaste and programs that other people wrote,
// and compares every byte.
//
// # Usage
//
//	interop [-only WORD] [-keep]
//
// # Description
//
// Clients (Python's smtplib, curl, swaks, msmtp) send difficult messages to a
// private instance; they must lie in the Maildir as they were sent, but for the
// trace headers in front and the line ends. The same messages go through Debian's
// Postfix, Exim and OpenSMTPD, as next hops of ours and as senders to us. Dovecot
// checks passwords for our server, and our auth for Postfix's. Mail clients
// (those of Python, Ruby and PHP, curl, mutt, neomutt, imapfilter, mbsync,
// offlineimap, fetchmail, getmail, mpop, Roundcube) read, sort and send mail, and
// a session of our own looks at what they did: bytes, flags, UIDs, folders.
// Dovecot takes over a Maildir from us, and we one from Dovecot. Log readers
// (pflogsumm, fail2ban) read our log. Each scenario prints PASS, FAIL or SKIP with
// a reason; the exit status is 1 if one failed.
//
// run.sh installs the programs. Postfix and Dovecot run with configurations in a
// temporary folder, Exim and OpenSMTPD in overlays (overlay.sh); all listen on
// loopback only, and all are stopped in the end.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
)

// The ports of the peers; they are free ones, chosen at the start.
var postfixPort, eximPort, opensmtpPort string

// stage is what all scenarios share.
type stage struct {
	dir   string
	s     *rig.System
	sink  *badmx.Server // takes mail for sink.test
	only  string
	tools string // folder of this program's scripts
	used  int    // mailboxes that scenarios have had

	passed, failed, skipped int
}

// mailboxes is how many an instance has: one for each scenario that reads.
const mailboxes = 50

// skip is an error that means: this cannot be tried here.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

func main() {
	only := flag.String("only", "", "only the scenarios whose names contain this `word`")
	keep := flag.Bool("keep", false, "leave the files")
	limit := flag.Duration("limit", 15*time.Minute, "give up after so long")
	flag.Parse()
	dir, err := rig.TempDir("/var/tmp", "interop-")
	if err != nil {
		fatal(err)
	}
	st := &stage{dir: dir, only: *only, tools: os.Getenv("INTEROP_DIR")}
	if st.tools == "" {
		st.tools = "test/interop"
	}
	time.AfterFunc(*limit, func() {
		stopAll()
		if st.s != nil {
			st.s.Stop()
		}
		fatal(fmt.Errorf("not finished within %v", *limit))
	})
	err = st.run()
	stopAll()
	if st.s != nil {
		st.s.Stop()
	}
	if err != nil {
		fatal(err)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", st.passed, st.failed, st.skipped)
	if st.failed > 0 {
		fmt.Printf("files are in %s\n", dir)
		os.Exit(1)
	}
	if !*keep {
		os.RemoveAll(dir)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "interop:", err)
	os.Exit(1)
}

// try runs one scenario.
func (st *stage) try(name string, f func() error) {
	if !strings.Contains(name, st.only) {
		return
	}
	start := time.Now()
	err := f()
	var s skip
	switch {
	case errors.As(err, &s):
		st.skipped++
		fmt.Printf("SKIP  %s: %s\n", name, s.why)
	case err != nil:
		st.failed++
		fmt.Printf("FAIL  %s: %v\n", name, err)
	default:
		st.passed++
		fmt.Printf("PASS  %s (%.1f s)\n", name, time.Since(start).Seconds())
	}
}

func (st *stage) run() error {
	var err error
	if st.sink, err = badmx.Start("127.0.0.1:0", badmx.Script{UTF8: true}); err != nil {
		return err
	}
	defer st.sink.Close()
	if st.s, err = rig.New(filepath.Join(st.dir, "m"), mailboxes, 0); err != nil {
		return err
	}
	st.used = 2 // user0 to user2 are for mail that is only delivered
	postfixPort, eximPort, opensmtpPort = st.port(926), st.port(927), st.port(928)
	// Long lines are broken on their way out unless told otherwise, as Postfix does.
	if err := st.s.Set("message_size_limit=60000000", "virtual_mailbox_limit=0", "mailbox_size_limit=0", "smtp_line_length_limit=0", "minimal_backoff_time=2s", "queue_run_delay=2s", "maximal_backoff_time=4s",
		"transport_maps=inline:{ sink.test=smtp:[127.0.0.1]:"+st.sink.Port()+", postfix.sink.test=smtp:[127.0.0.1]:"+postfixPort+
			", exim.sink.test=smtp:[127.0.0.1]:"+eximPort+", opensmtpd.sink.test=smtp:[127.0.0.1]:"+opensmtpPort+" }",
		"smtp_tls_loglevel=1"); err != nil {
		return err
	}
	if _, err := user.Lookup("postfix"); err == nil {
		if err := st.s.Set("auth_client_users=postfix"); err != nil {
			return err
		}
	}
	if err := st.s.Start(); err != nil {
		return err
	}
	// A user whose name is not ASCII, as RFC 6530 allows it.
	if err := command(time.Minute, "sh", "-c", `echo test | "$0/posthaste" -c "$1" user add 李华`, st.s.Bin, st.s.Conf()); err != nil {
		return err
	}
	fs := fixtures()
	for _, f := range fs {
		if err := os.WriteFile(filepath.Join(st.dir, f.file), f.data, 0644); err != nil {
			return err
		}
	}
	st.clients(fs)
	st.peers(fs)
	st.passwords()
	st.readers(fs)
	st.logReaders()
	st.aftermath()
	return nil
}

// needs skips unless the programs are installed.
func needs(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return skip{p + " is not installed"}
		}
	}
	return nil
}

// needsRoot skips unless we are root.
func needsRoot() error {
	if os.Geteuid() != 0 {
		return skip{"needs root"}
	}
	return nil
}
