// Postqueue lists the mail queue and has queued mail tried.
//
// # Usage
//
//	postqueue [-v] [-c config_dir] -p
//	postqueue [-v] [-c config_dir] -j
//	postqueue [-v] [-c config_dir] -f
//	postqueue [-v] [-c config_dir] -i queue_id
//	postqueue [-v] [-c config_dir] -s site
//
// # Description
//
// Exactly one of the options -p, -j, -f, -i and -s is given.
//
//	-c dir  the directory of main.cf and master.cf. When postqueue has rights that
//	        its caller lacks, a directory other than the default must be listed in
//	        alternate_config_directories of the default main.cf.
//	-f      have all deferred mail tried now. Doing so often makes mail slower,
//	        since the attempts for which there is no reason take the place of others.
//	-i id   have one deferred message tried now. An unknown one is no error.
//	-j      list the queue as JSON, one object a line: queue_name, queue_id,
//	        arrival_time (seconds since 1970), message_size, forced_expire, sender,
//	        and recipients with address, orig_address and delay_reason.
//	-p      list the queue as mailq(1) does. After the queue ID, "*" marks a message
//	        in the active queue, "!" one on hold, and "#" one that postsuper -e
//	        has marked for return. In parentheses stands why the recipients after
//	        it have not been delivered to.
//	-s site have the mail for a domain tried now that is listed in
//	        fast_flush_domains.
//	-v      verbose
//
// # Security
//
// Postqueue is installed set-gid, so that it reaches the sockets of showq(8) and
// qmgr(8), which do the work. authorized_mailq_users and authorized_flush_users
// say who may list the queue and who may have mail tried. When the mail system
// is down, a user who can read the queue gets a listing all the same.
//
// # Diagnostics
//
// Errors go to standard error and to the log. The exit status is 0, or 69 after any error.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/proto/showq"
	"posthaste/pkg/queue"
)

const usage = "usage: postqueue -p | postqueue -j | postqueue -f | postqueue -i queueid | postqueue -s site"

func main() {
	t := &command.Tool{Name: "postqueue", Status: command.ExUnavailable}
	defer t.Recover()
	fs := flag.NewFlagSet(t.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	dir := fs.String("c", "", "")
	list := fs.Bool("p", false, "")
	asJSON := fs.Bool("j", false, "")
	flush := fs.Bool("f", false, "")
	id := fs.String("i", "", "")
	site := fs.String("s", "", "")
	fs.Bool("v", false, "")
	if fs.Parse(command.SplitOptions(os.Args[1:], "cis")) != nil || fs.NArg() > 0 {
		t.Fatalf("%s", usage)
	}
	modes := 0
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "c" && f.Name != "v" {
			modes++
		}
	})
	if modes != 1 {
		t.Fatalf("%s", usage)
	}
	fs.Visit(func(f *flag.Flag) {
		switch {
		case f.Name == "i" && !plain(*id, ""):
			t.Fatalf("cannot flush queue ID - invalid name: %.100q", *id)
		case f.Name == "s" && !plain(*site, ".-[]:"):
			t.Fatalf("cannot flush mail queue - invalid destination: %.100q", *site)
		}
	})
	cfg := t.UserConfig(*dir)
	t.OpenLog(cfg, t.Name)
	spool := params.QueueDirectory.In(cfg)
	var err error
	if *list || *asJSON {
		if err = command.Authorized(cfg, &params.AuthorizedMailqUsers); err == nil {
			err = show(t, cfg, spool, *asJSON, os.Stdout)
		}
	} else if err = command.Authorized(cfg, &params.AuthorizedFlushUsers); err == nil {
		err = request(spool, func(c *qmgr.Client) error {
			switch {
			case *flush:
				return c.Flush()
			case *id != "":
				return c.FlushID(*id)
			}
			return c.FlushSite(*site)
		})
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// plain tells whether s is made of letters, digits and the characters of more.
// Only qmgr knows whether there is such a message or site.
func plain(s, more string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(more, r)
	}) < 0
}

// request asks qmgr for something.
func request(dir string, fn func(*qmgr.Client) error) error {
	c, err := qmgr.Dial(filepath.Join(dir, qmgr.Service))
	if err != nil {
		return fmt.Errorf("cannot flush mail queue - mail system is down: %w", err)
	}
	defer c.Close()
	return fn(c)
}

// printer shows a listing.
type printer interface {
	showq.Handler
	End() error
}

// show lists the queue: through showq, or from the files when the mail system
// is down and they can be read.
func show(t *command.Tool, cfg *config.Config, dir string, asJSON bool, out io.Writer) error {
	w := bufio.NewWriter(out)
	var p printer = &text{w: w}
	if asJSON {
		p = &object{w: w}
	}
	err := showq.List(filepath.Join(dir, showq.Service), p)
	var pe *os.SyscallError
	if err != nil && errors.As(err, &pe) && pe.Syscall == "connect" {
		if command.Raised() {
			return errors.New("queue report unavailable - mail system is down")
		}
		sp, oerr := queue.Open(dir, queue.Options{HashNames: params.HashQueueNames.List(cfg), HashDepth: params.HashQueueDepth.In(cfg), Syncfs: "no"})
		if oerr != nil {
			return fmt.Errorf("queue report unavailable - mail system is down: %w", oerr)
		}
		defer sp.Close()
		t.Warningf("mail system is down -- accessing queue directly")
		if err = showq.Walk(sp, p); err != nil {
			err = fmt.Errorf("queue report unavailable - mail system is down: %w", err)
		}
	}
	if err != nil {
		w.Flush()
		return err
	}
	if err := p.End(); err != nil {
		return err
	}
	return w.Flush()
}
