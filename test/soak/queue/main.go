// Queue sends mail through a whole private mail system to destinations that
// come and go, while an administrator does everything that can be done to a
// queue, and then accounts for every recipient.
//
// # Usage
//
//	queue [-seconds N] [-seed N] [-recipients LIMIT] [-active LIMIT] [-dir DIRECTORY] [-keep]
//
// # Description
//
// Clients send messages to up to 60 recipients each, at twenty destinations:
// these refuse some addresses for good, others for now, hang up at any point,
// take their time, and are away for a while. Meanwhile messages are held,
// released and requeued, singly and all at once, the queue is flushed, and the
// system reloaded. In the end all destinations are well, and the queue must drain.
//
// Every recipient of every message that was answered with 250 must then have
// been taken by its destination exactly once, or be in exactly one report to the
// sender. Nothing may be doubled: nobody is killed here, so that each program
// can know what it did.
//
// The exit status is 0 if all of this holds.
package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"time"

	"posthaste/test/tools/rig"
)

const domains = 20

func main() {
	seconds := flag.Int("seconds", 60, "how long mail is sent")
	seed := flag.Int64("seed", time.Now().UnixNano(), "for the random choices")
	rcpts := flag.Int("recipients", 0, "qmgr_message_recipient_limit; 0 chooses one")
	active := flag.Int("active", 0, "qmgr_message_active_limit; 0 chooses one")
	base := flag.String("dir", "/var/tmp", "where the instance is made")
	keep := flag.Bool("keep", false, "leave the instance's files")
	flag.Parse()

	rng := rand.New(rand.NewSource(*seed))
	if *rcpts == 0 {
		*rcpts = []int{60, 200, 2000, 20000}[rng.Intn(4)]
	}
	if *active == 0 {
		*active = []int{20, 200, 20000}[rng.Intn(3)]
	}
	each := []int{2, 5, 50}[rng.Intn(3)]
	fmt.Printf("seed %d: qmgr_message_recipient_limit %d, qmgr_message_active_limit %d, default_destination_recipient_limit %d\n", *seed, *rcpts, *active, each)

	dir, err := rig.TempDir(*base, "queue-")
	if err != nil {
		fail("%v", err)
	}
	s, err := rig.New(filepath.Join(dir, "m"), 1, 0)
	if err == nil {
		err = s.Set("queue_run_delay=2s", "minimal_backoff_time=3s", "maximal_backoff_time=6s", "smtpd_client_connection_count_limit=0",
			fmt.Sprintf("qmgr_message_recipient_limit=%d", *rcpts), fmt.Sprintf("qmgr_message_active_limit=%d", *active),
			fmt.Sprintf("default_destination_recipient_limit=%d", each))
	}
	ok := false
	if err == nil {
		ok, err = run(s, rng, time.Duration(*seconds)*time.Second)
		s.Stop()
	}
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
	fmt.Fprintf(os.Stderr, "queue: "+format+"\n", args...)
	os.Exit(1)
}

func run(s *rig.System, rng *rand.Rand, length time.Duration) (bool, error) {
	w := newWorld()
	transport := "transport_maps=inline:{"
	for n := range domains {
		srv, err := w.destination(n, rng.Int63())
		if err != nil {
			return false, err
		}
		defer srv.Close()
		transport += fmt.Sprintf(" d%d.test=smtp:[127.0.0.1]:%s,", n, srv.Port())
	}
	if err := s.Set(transport + " }"); err != nil {
		return false, err
	}
	if err := s.Start(); err != nil {
		return false, err
	}
	stop := w.clients(s.SMTP(), 8, rng)
	a := &admin{s: s, w: w, rng: rng, acts: map[string]int{}}
	for end := time.Now().Add(length); time.Now().Before(end); {
		if err := a.act(); err != nil {
			stop()
			return false, err
		}
		time.Sleep(time.Duration(rng.Intn(700)) * time.Millisecond)
	}
	stop()
	w.calm.Store(true)
	acts := slices.Sorted(maps.Keys(a.acts))
	fmt.Printf("%d messages to %d recipients were taken;", len(w.sent), w.recipients())
	for _, name := range acts {
		fmt.Printf(" %d × %s", a.acts[name], name)
	}
	fmt.Println()
	t := time.Now()
	err := rig.Until(4*time.Minute, "drain the queue", func() bool {
		s.Run("postsuper", "-c", s.Conf(), "-H", "ALL")
		s.Run("postqueue", "-c", s.Conf(), "-f")
		time.Sleep(2 * time.Second)
		return s.Waiting() == 0
	})
	if err != nil {
		return false, fmt.Errorf("%w: %v", err, s.Queued())
	}
	fmt.Printf("the queue drained in %.0f s\n", time.Since(t).Seconds())
	l, err := s.Ledger()
	if err != nil {
		return false, err
	}
	if !l.Balanced() {
		fmt.Printf("WRONG: the ledger does not balance: %+v\n", *l)
		return false, nil
	}
	return w.check(s)
}
