// Postsuper maintains the mail queue.
//
// # Usage
//
//	postsuper [-psSv] [-c config_dir]
//	        [-d queue_id] [-e queue_id] [-f queue_id]
//	        [-h queue_id] [-H queue_id] [-r queue_id] [queue_name ...]
//
// # Description
//
// Without options, postsuper does what -s and -p do, in all queues. Options can
// be given several times and are done in the order -d, -h, -H, -r, -e, -f, -s,
// -p. Queue names (maildrop, incoming, active, deferred, hold, corrupt) restrict
// them. In place of a queue ID, "-" reads IDs from standard input, one a line,
// and ALL stands for every message of the queues concerned.
//
//	-c dir  the directory of main.cf and master.cf
//	-d id   delete a message from the queues maildrop, incoming, active, deferred,
//	        hold. The sender is not told.
//	-e id   return a message to its sender at the next delivery attempt, as if it
//	        had been in the queue for too long (incoming, active, deferred). One
//	        that is on hold is marked and stays there.
//	-f id   like -e, and release a message that is on hold
//	-h id   put a message on hold (incoming, active, deferred): no attempt is made
//	        to deliver it
//	-H id   release a message from hold to the deferred queue
//	-p      remove files that were never completed and are older than a week
//	-r id   put a message into the maildrop queue, from which it is taken in again
//	        with a new queue ID: addresses are rewritten and checked as today's
//	        configuration says. Recipients that it has been delivered to do not
//	        get it again.
//	-s      move files to where the present hash_queue_depth wants them, and
//	        damaged files to the corrupt queue
//	-S      the same as -s
//	-v      verbose
//
// Postsuper can be used while the mail system is running. Messages that qmgr(8)
// is working on are taken from it first. Deliveries under way are awaited for a
// second; if one takes longer, qmgr does what was asked for when it ends, and
// postsuper says so. The last request counts, except that what is to be deleted
// is deleted.
//
// # Security
//
// Only the superuser and the owner of the queue may use postsuper.
//
// # Diagnostics
//
// What is done with each message is logged, and told on standard error unless
// it was named by ALL; totals go to both. A queue ID that does not exist is not
// an error.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/maillog"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
)

const usage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (force-expire)] [-f queue_id (force-expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] [queue...]"

// ids is a repeatable option with a queue ID.
type ids []string

func (l *ids) String() string { return "" }

// Set takes one more.
func (l *ids) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func main() {
	t := &command.Tool{Name: "postsuper"}
	defer t.Recover()
	fs := flag.NewFlagSet(t.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	args := map[byte]*ids{}
	for _, a := range actions {
		args[a.option] = new(ids)
		fs.Var(args[a.option], string(a.option), "")
	}
	dir := fs.String("c", "", "")
	fix := fs.Bool("s", false, "")
	fixLong := fs.Bool("S", false, "")
	purge := fs.Bool("p", false, "")
	fs.Bool("v", false, "")
	if fs.Parse(command.SplitOptions(os.Args[1:], "cdefhHr")) != nil {
		t.Fatalf("%s", usage)
	}
	only := map[string]bool{}
	for _, q := range fs.Args() {
		if !known(q) {
			t.Fatalf("%s: not a queue name", q)
		}
		only[q] = true
	}
	cfg := t.Config(*dir)
	t.OpenLog(cfg, t.Name)
	s, err := open(cfg, only)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer s.close()
	s.warn = t.Warningf
	some := false
	for _, a := range actions {
		n := 0
		for _, id := range *args[a.option] {
			some = true
			k, err := s.each(a, id, os.Stdin)
			if err != nil {
				t.Fatalf("%v", err)
			}
			n += k
		}
		if len(*args[a.option]) > 0 {
			s.total(a.past, n, "message")
		}
	}
	if !some && !*fix && !*fixLong && !*purge {
		*fix, *purge = true, true
	}
	if *fix || *fixLong {
		s.structure()
	}
	if *purge {
		s.purge()
	}
}

func known(name string) bool {
	for _, n := range queue.Names {
		if n == name {
			return true
		}
	}
	return false
}

// super does the work.
type super struct {
	spool *queue.Spool
	dir   string
	log   *maillog.Logger
	warn  func(format string, a ...any)
	err   io.Writer
	only  map[string]bool // queues that were named; empty: those that an action is for

	qmgr   *qmgr.Client
	down   bool // qmgr cannot be reached
	pickup bool // maildrop has something new
	drop   string
}

// open checks that the caller may, and opens the queue.
func open(cfg *config.Config, only map[string]bool) (*super, error) {
	dir := params.QueueDirectory.In(cfg)
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, queue.Incoming), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, queue.Incoming), err)
	}
	if uid := os.Geteuid(); uid != 0 && uint32(uid) != st.Uid {
		return nil, fmt.Errorf("use of this command is reserved for the superuser")
	}
	o := queue.OptionsFrom(cfg)
	o.Syncfs = "no"
	sp, err := queue.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return &super{spool: sp, dir: dir, only: only, err: os.Stderr, drop: params.PickupServiceName.In(cfg),
		log: maillog.New(params.SyslogName.In(cfg)+"/postsuper", maillog.OpenSink(cfg, "postsuper"))}, nil
}

func (s *super) close() {
	if s.qmgr != nil {
		s.qmgr.Close()
	}
	if s.pickup {
		s.wakePickup()
	}
	s.spool.Close()
}

// total prints "Deleted: 2 messages".
func (s *super) total(what string, n int, unit string) {
	if n != 1 {
		unit += "s"
	}
	text := fmt.Sprintf("%s: %d %s", what, n, unit)
	fmt.Fprintf(s.err, "postsuper: %s\n", text)
	s.log.Infof("%s", text)
}

// each does a for one argument of its option.
func (s *super) each(a *action, arg string, in io.Reader) (n int, err error) {
	switch arg {
	case "ALL":
		for _, q := range s.queues(a) {
			var l []string
			if err := s.spool.List(q, func(e queue.Entry) bool { l = append(l, e.ID); return true }); err != nil && !os.IsNotExist(err) {
				return n, err
			}
			for _, id := range l {
				n += s.one(a, id, false)
			}
		}
		return n, nil
	case "-":
		sc := bufio.NewScanner(in)
		for sc.Scan() {
			id := sc.Text()
			n += s.named(a, id)
		}
		return n, sc.Err()
	}
	return s.named(a, arg), nil
}

// named does a for one message that was named.
func (s *super) named(a *action, id string) int {
	if !queue.ValidID(id) {
		s.warn("bad mail queue id: %.60q", id)
		return 0
	}
	return s.one(a, id, true)
}

// queues are those in which a looks for messages.
func (s *super) queues(a *action) (l []string) {
	for _, q := range a.queues {
		if len(s.only) == 0 || s.only[q] {
			l = append(l, q)
		}
	}
	return l
}
