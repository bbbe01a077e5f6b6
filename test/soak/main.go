// Soak reads and changes mail by many clients at once, beside deliveries and a
// foreign program, while the programs that serve them are killed, and holds
// every response to what can be.
//
// # Usage
//
//	soak [-minutes N] [-clients N] [-users N] [-seed N] [-kill-every T] [-victims PROGRAMS] [-mail-every T] [-foreign-every T]
//	     [-rebuild-every T] [-think T] [-most N] [-dir DIRECTORY] [-keep]
//
// # Description
//
// A whole private mail system is started. Each of the users has two mailboxes,
// shared by the clients of that user. IMAP clients append, store, expunge, copy,
// move, read, search, idle, leave and come back; a third of them with CONDSTORE,
// a third with QRESYNC, a seventh with COMPRESS; one client in twelve speaks POP3. Mail is delivered by
// SMTP. A program that knows nothing of ours adds, renames and removes files in
// new/ and cur/. Meanwhile imapd, pop3d, virtual and sometimes login are killed
// with SIGKILL at random, and posthaste mailbox rebuild makes indexes anew.
//
// The rules are in docs/internals/consistency.md. The first violation ends the
// run, with the dialogue in which it showed and what is known of the message.
//
// The exit status is 0 if there was none.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthaste/test/tools/rig"
)

// options are the command line.
type options struct {
	minutes                 float64
	clients, users, most    int
	seed                    int64
	victims                 string
	killEvery, foreignEvery time.Duration
	mailEvery, think        time.Duration
	rebuildEvery            time.Duration
}

// world is what all parts of a run share.
type world struct {
	s        *rig.System
	o        options
	uid, gid int // of the mailboxes
	boxes    []*box
	stop     chan struct{}

	tokens         atomic.Int64
	deliveryKilled atomic.Bool
	stats          struct {
		delivered, unknownMail, foreignAdded, foreignRenamed, foreignRemoved, resyncs, lost, inUse, rebuilt atomic.Int64
	}

	mu       sync.Mutex
	commands map[string]int
	refusals map[string]int
	killed   map[string]int
	failed   bool
}

func main() {
	var o options
	flag.Float64Var(&o.minutes, "minutes", 3, "how long")
	flag.IntVar(&o.clients, "clients", 200, "clients at a time")
	flag.IntVar(&o.users, "users", 5, "users, with two mailboxes each")
	flag.IntVar(&o.most, "most", 150, "messages above which a mailbox gets no more")
	flag.Int64Var(&o.seed, "seed", time.Now().UnixNano(), "for the random choices")
	flag.DurationVar(&o.killEvery, "kill-every", 4*time.Second, "mean interval between two kills; 0: none")
	flag.StringVar(&o.victims, "victims", "imapd,imapd,imapd,imapd,pop3d,pop3d,virtual,virtual,login", "programs that are killed, the more often named the more often")
	flag.DurationVar(&o.foreignEvery, "foreign-every", 20*time.Millisecond, "mean interval between two changes by the foreign program")
	flag.DurationVar(&o.mailEvery, "mail-every", 100*time.Millisecond, "mean interval between two messages of each of three senders")
	flag.DurationVar(&o.rebuildEvery, "rebuild-every", 10*time.Second, "mean interval between two times that posthaste mailbox rebuild makes a user's indexes anew; 0: none")
	flag.DurationVar(&o.think, "think", 200*time.Millisecond, "mean pause of a client between two commands")
	base := flag.String("dir", "/var/tmp", "where the instance is made")
	keep := flag.Bool("keep", false, "leave the instance's files")
	flag.Parse()

	dir, err := rig.TempDir(*base, "soak-")
	if err != nil {
		fail("%v", err)
	}
	w, err := newWorld(filepath.Join(dir, "m"), o)
	if err != nil {
		os.RemoveAll(dir)
		fail("%v", err)
	}
	err = w.run()
	w.s.Stop()
	w.summary()
	if err != nil {
		fail("%v\nFAILED; files are in %s", err, dir)
	}
	if w.failed {
		fail("FAILED; files are in %s", dir)
	}
	if !*keep {
		os.RemoveAll(dir)
	}
	fmt.Println("PASS")
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...)
	os.Exit(1)
}

// newWorld makes the instance. Its passwords are in clear: two hundred clients
// that come back after a kill are to test the readers, and not the hashing.
func newWorld(dir string, o options) (*world, error) {
	s, err := rig.New(dir, o.users, 0)
	if err != nil {
		return nil, err
	}
	w := &world{s: s, o: o, stop: make(chan struct{}), commands: map[string]int{}, refusals: map[string]int{}, killed: map[string]int{}}
	if err := plainPasswords(filepath.Join(s.Conf(), "users")); err != nil {
		return nil, err
	}
	if w.uid, w.gid, err = owner(s.Mail + "/user0"); err != nil {
		return nil, err
	}
	for u := range o.users {
		user := fmt.Sprintf("user%d", u)
		var pair [2]*box
		for i, name := range []string{"INBOX", "Work"} {
			pair[i] = &box{w: w, user: user, name: name, dir: s.Maildir(user), msgs: map[uint32]*message{}, live: map[uint32]*message{}, letters: map[string]*letter{}}
		}
		pair[1].dir += "/.Work"
		pair[0].other, pair[1].other = pair[1], pair[0]
		w.boxes = append(w.boxes, pair[:]...)
	}
	return w, s.Set("login_disable_plaintext_auth=no", "login_client_connection_count_limit=0", "smtpd_client_connection_count_limit=0", "imapd_create_folders=Work",
		"queue_run_delay=2s", "minimal_backoff_time=2s", "maximal_backoff_time=4s", "transport_retry_time=2s", "service_throttle_time=1s")
}

// plainPasswords replaces the hashes of the password file.
func plainPasswords(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i, l := range lines {
		if f := strings.SplitN(l, ":", 3); len(f) == 3 && !strings.HasPrefix(l, "#") {
			lines[i] = f[0] + ":{PLAIN}test:" + f[2]
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600)
}

// token makes a new one.
func (w *world) token(kind string) string { return fmt.Sprintf("%s%d", kind, w.tokens.Add(1)) }

// count notes a command for the summary.
func (w *world) count(command string) {
	f := strings.Fields(command)
	name := f[0]
	if (name == "UID" || name == "POP3") && len(f) > 1 {
		name += " " + f[1]
	}
	w.mu.Lock()
	w.commands[name]++
	w.mu.Unlock()
}

// refused notes a NO.
func (w *world) refused(text string) {
	if _, rest, ok := strings.Cut(text, " "); ok {
		text = rest
	}
	w.mu.Lock()
	w.refusals[text]++
	w.mu.Unlock()
}

// rand makes a source of randomness for one part of the run.
func (w *world) rand(part int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(w.o.seed), uint64(part)))
}

// run runs everything for the time given and looks at what is left.
func (w *world) run() error {
	fmt.Printf("seed %d: %d clients on %d mailboxes for %.1f minutes\n", w.o.seed, w.o.clients, len(w.boxes), w.o.minutes)
	if err := w.s.Start(); err != nil {
		return err
	}
	if err := w.first(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, w.o.clients+10)
	start := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				errs <- err
			}
		})
	}
	for i := range w.o.clients {
		if i%12 == 5 {
			start(func() error { return w.popper(i) })
		} else {
			start(func() error { return w.client(i) })
		}
	}
	for i := range 3 {
		start(func() error { return w.sender(-2 - i) })
	}
	start(func() error { return (&stranger{w: w, rng: w.rand(-1)}).run(w.stop) })
	start(func() error { return w.killer(w.rand(-10)) })
	start(func() error { return w.administrator(w.rand(-11)) })
	var err error
	select {
	case <-time.After(time.Duration(w.o.minutes * float64(time.Minute))):
	case err = <-errs:
	}
	close(w.stop)
	wg.Wait()
	select {
	case e := <-errs:
		if err == nil {
			err = e
		}
	default:
	}
	if err != nil {
		return err
	}
	return w.last()
}

// first logs every user in once, so that all mailboxes are there.
func (w *world) first() error {
	for _, b := range w.boxes {
		s := &session{w: w, box: b, rng: w.rand(-20), flags: map[uint32]flags{}}
		if err := s.open(); err != nil {
			return err
		}
		s.wire.close()
	}
	return nil
}

func (w *world) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// pause waits for at most twice the mean.
func pause(rng *rand.Rand, mean time.Duration) {
	time.Sleep(time.Duration(rng.Int64N(2*int64(mean) + 1)))
}

// client is an IMAP client, which connects again whenever it is cut off.
func (w *world) client(id int) error {
	s := &session{w: w, id: id, box: w.boxes[id%len(w.boxes)], rng: w.rand(id), flags: map[uint32]flags{}}
	switch (id / len(w.boxes)) % 3 {
	case 1:
		s.condstore = true
	case 2:
		s.condstore, s.resyncs = true, true
	}
	s.compresses = id%7 == 3
	defer func() { s.wire.close() }()
	pause(s.rng, time.Second)
	err := fmt.Errorf("%w: not connected yet", errLost)
	for !w.stopped() {
		if err != nil {
			err = s.open()
		} else {
			pause(s.rng, w.o.think)
			err = s.step()
		}
		if err = w.judge(err, fmt.Sprintf("client %d, IMAP, %v", id, s.box), s.dialogue); err != nil && !isLost(err) {
			return err
		}
		if err != nil {
			pause(s.rng, 500*time.Millisecond)
		}
	}
	return nil
}

func (s *session) dialogue() string {
	if s.wire == nil {
		return ""
	}
	return s.wire.dialogue()
}

// judge passes on what is no violation, and words what is.
func (w *world) judge(err error, who string, dialogue func() string) error {
	if err == nil {
		return nil
	}
	if isLost(err) && !errors.As(err, new(violation)) {
		w.stats.lost.Add(1)
		return err
	}
	return fmt.Errorf("VIOLATION: %s: %v\n--- dialogue, times in seconds since the beginning:\n%s\n---", who, err, dialogue())
}

func (w *world) popper(id int) error {
	p := &popper{w: w, id: id, rng: w.rand(id), box: w.boxes[(id/12)%len(w.boxes)/2*2]}
	for !w.stopped() {
		pause(p.rng, 2*w.o.think)
		if err := w.judge(p.session(), fmt.Sprintf("client %d, POP3, %v", id, p.box), p.dialogue); err != nil && !isLost(err) {
			return err
		} else if err != nil {
			pause(p.rng, 500*time.Millisecond)
		}
	}
	return nil
}
