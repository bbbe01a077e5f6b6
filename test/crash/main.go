// Crash sends mail through a whole private mail system while its programs are
// killed, and then accounts for every recipient.
//
// # Usage
//
//	crash [-n MESSAGES] [-c CLIENTS] [-rcpts MOST] [-masters KILLS] [-seed N] [-dir DIRECTORY] [-keep]
//
// # Description
//
// Clients send messages, each with up to MOST recipients: users with Maildirs,
// aliases of users, addresses at a server that takes them, at one that first
// answers 450, and at one that refuses them, so that a report must come back.
// Meanwhile a process of the system, any but master, is killed with SIGKILL at
// random intervals, and now and then master itself, after which the system is
// started again. In the end nobody is killed any more, and the queue must drain.
//
// Every recipient of every message that was answered with 250 must then be
// found: in the Maildir once, at the remote server, or in a report to the
// sender. More than once is right only where no program could know better:
// between a remote server's 250 and our record of it, and between the moment
// in which a forwarded message or a report is accepted by our own queue and the
// record of that. A Maildir gets no message twice, because file names there
// are made from queue ids. Then the queue manager's ledger must balance.
//
// The exit status is 0 if all of this holds.
package main

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"time"

	"posthaste/pkg/queue"
	"posthaste/test/tools/rig"
)

// options are the command line.
type options struct {
	n, clients, rcpts, users, masters int
	seed                              int64
	killEvery                         time.Duration
	drain                             time.Duration
	port                              int
	flush                             bool
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 10000, "messages")
	flag.IntVar(&o.clients, "c", 50, "clients at a time")
	flag.IntVar(&o.rcpts, "rcpts", 4, "most recipients of a message")
	flag.IntVar(&o.users, "users", 20, "users with a Maildir")
	flag.IntVar(&o.masters, "masters", 3, "how often master is killed")
	flag.Int64Var(&o.seed, "seed", time.Now().UnixNano(), "for the random choices")
	flag.DurationVar(&o.killEvery, "kill-every", 100*time.Millisecond, "mean interval between two kills")
	flag.DurationVar(&o.drain, "drain", 4*time.Minute, "time the queue has to drain in")
	flag.IntVar(&o.port, "port-base", 0, "added to each port; 0 finds one")
	flag.BoolVar(&o.flush, "flush", false, "ask for a queue run after the last kill instead of letting the system find its own way")
	base := flag.String("dir", "/var/tmp", "where the instance is made")
	keep := flag.Bool("keep", false, "leave the instance's files")
	limit := flag.Duration("limit", 15*time.Minute, "give up after so long")
	flag.Parse()

	dir, err := rig.TempDir(*base, "crash-")
	if err != nil {
		fail("%v", err)
	}
	s, err := system(filepath.Join(dir, "m"), o)
	if err != nil {
		os.RemoveAll(dir)
		fail("%v", err)
	}
	time.AfterFunc(*limit, func() {
		s.Stop()
		fail("not finished within %v; files are in %s", *limit, dir)
	})
	ok, err := run(s, o)
	s.Stop()
	if err != nil {
		fail("%v; files are in %s", err, dir)
	}
	if !ok {
		fail("FAILED; files are in %s", dir)
	}
	if !*keep {
		os.RemoveAll(dir)
	}
	fmt.Println("PASS")
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "crash: "+format+"\n", args...)
	os.Exit(1)
}

// system makes the instance. Times are short, so that what a kill defers is
// tried again soon.
func system(dir string, o options) (*rig.System, error) {
	s, err := rig.New(dir, o.users, o.port)
	if err != nil {
		return nil, err
	}
	aliases := "postmaster: user0@local.test\n"
	for u := range o.users {
		aliases += fmt.Sprintf("alias%d: user%d@local.test\n", u, u)
	}
	if err := os.WriteFile(filepath.Join(s.Conf(), "aliases"), []byte(aliases), 0644); err != nil {
		return nil, err
	}
	if _, err := s.Run("postalias", "-c", s.Conf(), "hash:"+filepath.Join(s.Conf(), "aliases")); err != nil {
		return nil, err
	}
	return s, s.Set("queue_run_delay=2s", "minimal_backoff_time=2s", "maximal_backoff_time=4s", "transport_retry_time=2s", "service_throttle_time=1s",
		"initial_destination_concurrency=20", "smtpd_hard_error_limit=1000", "smtpd_client_connection_count_limit=0",
		"notify_classes=") // a mailbox gets letters and reports only
}

func run(s *rig.System, o options) (bool, error) {
	fmt.Printf("seed %d, %d messages of at most %d recipients from %d clients\n", o.seed, o.n, o.rcpts, o.clients)
	book := newBook(o, "m")
	sink, err := startSink(book)
	if err != nil {
		return false, err
	}
	defer sink.Close()
	if err := s.Set("transport_maps=inline:{ far.test=smtp:["+host(sink.Addr)+"]:"+sink.Port()+", later.test=smtp:["+host(sink.Addr)+"]:"+sink.Port()+
		", no.test=smtp:["+host(sink.Addr)+"]:"+sink.Port()+" }", "inet_interfaces=127.0.0.1"); err != nil {
		return false, err
	}
	if err := s.Start(); err != nil {
		return false, err
	}
	start := time.Now()
	k := &killer{s: s, every: o.killEvery, rng: rand.New(rand.NewSource(o.seed)), killed: map[string]int{}}
	stopKilling := k.begin()
	book.send(s, o, func(done int) {
		// Master dies after equal parts of the messages, the last time with all sent.
		if due := (k.masters + 1) * o.n / max(o.masters, 1); k.masters < o.masters && done >= due {
			if err := k.master(); err != nil {
				fail("%v", err)
			}
		}
	})
	stopKilling()
	fmt.Printf("%d messages sent in %.1f s: %d acknowledged, %d with an unknown fate (the connection died before the answer); %d attempts refused or cut before that\n",
		o.n, time.Since(start).Seconds(), book.acked, book.unknown, book.failed)
	fmt.Printf("killed: %s\n", k)
	if o.flush {
		if _, err := s.Control("flush"); err != nil {
			return false, err
		}
	}
	t := time.Now()
	left, err := drain(s, o.drain)
	if err != nil {
		return false, err
	}
	fmt.Printf("the queue drained %.1f s after the last kill; %d incomplete files, which nobody was told of, are left\n", time.Since(t).Seconds(), left)
	ok := balanced(s, "after the kills", -1)
	if n := s.Queued()[queue.Corrupt]; n > 0 {
		fmt.Printf("WRONG: %d files in the corrupt queue\n", n)
		ok = false
	}
	ok = book.check(s, k) && ok
	return calm(s, o) && ok, nil
}

// drain waits until no complete message is in the queue and returns how many
// incomplete files are.
func drain(s *rig.System, limit time.Duration) (int, error) {
	incomplete := 0
	err := rig.Until(limit, "drain the queue", func() bool {
		n := s.Waiting()
		if n > 200 {
			time.Sleep(100 * time.Millisecond)
			return false
		}
		incomplete = unfinished(s)
		return n == incomplete
	})
	if err != nil {
		out, _ := s.Run("postqueue", "-c", s.Conf(), "-p")
		err = fmt.Errorf("%w: %v\n%.4000s", err, s.Queued(), out)
	}
	return incomplete, err
}

// unfinished counts the files in incoming/ whose writer was killed.
func unfinished(s *rig.System) (n int) {
	spool, err := queue.Open(s.Queue, queue.Options{})
	if err != nil {
		return 0
	}
	defer spool.Close()
	spool.List(queue.Incoming, func(e queue.Entry) bool {
		f, err := spool.Load(queue.Incoming, e.ID)
		if err != nil {
			n++
			return true
		}
		f.Close()
		return true
	})
	return n
}

// balanced compares the ledger's two sides, and the recipients accepted with
// want unless that is negative.
func balanced(s *rig.System, when string, want int64) bool {
	l, err := s.Ledger()
	if err != nil {
		fmt.Printf("WRONG: the ledger, %s: %v\n", when, err)
		return false
	}
	in, out := l.Accepted+l.Retried, l.Delivered+l.Relayed+l.Bounced+l.Expired+l.Discarded+l.Deferred+l.Removed+l.Active
	fmt.Printf("ledger %s: %d accepted + %d retried = %d delivered + %d relayed + %d bounced + %d expired + %d discarded + %d deferred + %d removed by hand + %d active\n",
		when, l.Accepted, l.Retried, l.Delivered, l.Relayed, l.Bounced, l.Expired, l.Discarded, l.Deferred, l.Removed, l.Active)
	ok := true
	if in != out {
		fmt.Printf("WRONG: the ledger does not balance: %d against %d\n", in, out)
		ok = false
	}
	if want >= 0 && l.Accepted != want {
		fmt.Printf("WRONG: %d recipients were accepted, expected %d\n", l.Accepted, want)
		ok = false
	}
	return ok
}

// calm restarts the system and sends some mail with nobody killed: nothing may
// be doubled now, and the ledger must show exactly this mail.
func calm(s *rig.System, o options) bool {
	if err := s.Stop(); err != nil {
		fmt.Printf("WRONG: %v\n", err)
		return false
	}
	o.n, o.masters = 300, 0
	o.seed++
	o.clients = min(o.clients, 10)
	book := newBook(o, "calm")
	sink, err := startSink(book)
	if err != nil {
		fmt.Printf("WRONG: %v\n", err)
		return false
	}
	defer sink.Close()
	to := "smtp:[" + host(sink.Addr) + "]:" + sink.Port()
	if err = s.Set("transport_maps=inline:{ far.test=" + to + ", later.test=" + to + ", no.test=" + to + " }"); err == nil {
		err = s.Start()
	}
	if err == nil {
		book.send(s, o, func(int) {})
		_, err = drain(s, o.drain)
	}
	if err != nil {
		fmt.Printf("WRONG: in the calm after: %v\n", err)
		return false
	}
	ok := balanced(s, "in the calm after", book.entries())
	return book.check(s, nil) && ok
}
