package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"

	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// sender delivers mail by SMTP.
func (w *world) sender(id int) error {
	rng := w.rand(id)
	var c smtptalk.Client
	defer c.Quit()
	for !w.stopped() {
		pause(rng, w.o.mailEvery)
		b := w.boxes[rng.IntN(len(w.boxes))/2*2]
		b.mu.Lock()
		full := len(b.live) > w.o.most
		b.mu.Unlock()
		if full {
			continue
		}
		if !c.Live() && c.Open(w.s.SMTP(), 10*time.Minute) != nil {
			continue
		}
		t := w.token("d")
		over := b.coming(t, false)
		switch r := c.Send("sender@sender.test", []string{b.user + "@local.test"}, []byte(text(t))); {
		case r.Acked:
			over(true)
			w.stats.delivered.Add(1)
		case r.Unknown, r.Refused: // it may come
			w.stats.unknownMail.Add(1)
			c.Close()
		default:
			over(false)
			c.Close()
		}
	}
	return nil
}

// killer kills a process of one of the victims now and then.
func (w *world) killer(rng *rand.Rand) error {
	victims := strings.Split(w.o.victims, ",")
	for w.o.killEvery > 0 {
		select {
		case <-w.stop:
			return nil
		case <-time.After(time.Duration(rng.Int64N(2*int64(w.o.killEvery) + 1))):
		}
		name := victims[rng.IntN(len(victims))]
		for _, p := range w.s.Processes() {
			if p.Name == name && rig.Kill(p) {
				if name == "virtual" || name == "qmgr" {
					w.deliveryKilled.Store(true)
				}
				w.mu.Lock()
				w.killed[name]++
				w.mu.Unlock()
				break
			}
		}
	}
	return nil
}

// administrator makes indexes anew now and then, beside all that goes on.
func (w *world) administrator(rng *rand.Rand) error {
	for w.o.rebuildEvery > 0 {
		select {
		case <-w.stop:
			return nil
		case <-time.After(time.Duration(rng.Int64N(2*int64(w.o.rebuildEvery) + 1))):
		}
		if _, err := w.s.Run("posthaste", "-c", w.s.Conf(), "mailbox", "rebuild", fmt.Sprintf("user%d", rng.IntN(w.o.users))); err != nil {
			return fmt.Errorf("VIOLATION: %w", err)
		}
		w.stats.rebuilt.Add(1)
	}
	return nil
}

func owner(path string) (uid, gid int, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	sys := st.Sys().(*syscall.Stat_t)
	return int(sys.Uid), int(sys.Gid), nil
}

// last looks at what is left when everything is at rest: nothing may be lost
// then, and the index, the directories and a new client must agree.
func (w *world) last() error {
	if err := rig.Until(2*time.Minute, "drain the queue", func() bool { return w.s.Waiting() == 0 }); err != nil {
		return err
	}
	for _, b := range w.boxes {
		if err := w.lastOf(b); err != nil {
			return err
		}
	}
	for u := range w.o.users {
		out, err := w.s.Run("posthaste", "-c", w.s.Conf(), "mailbox", "verify", fmt.Sprintf("user%d", u))
		if err != nil {
			return fmt.Errorf("VIOLATION: posthaste mailbox verify: %w", err)
		}
		fmt.Print(out)
	}
	log, err := os.ReadFile(w.s.Log)
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(log)) {
		if strings.Contains(l, "panic") {
			return fmt.Errorf("VIOLATION: logged: %s", l)
		}
	}
	return nil
}

// lastOf looks at one mailbox.
func (w *world) lastOf(b *box) error {
	s := &session{w: w, id: -1, box: b, rng: w.rand(-30), flags: map[uint32]flags{}, condstore: true}
	err := s.open()
	defer func() { s.wire.close() }()
	// What the foreign program changed last may be seen a little later.
	for end := time.Now().Add(settled); err == nil; time.Sleep(200 * time.Millisecond) {
		if err = s.noop(); err == nil && len(s.uids) > 0 {
			_, err = s.do("FETCH 1:* (UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE BODY.PEEK[])")
		}
		if err == nil && !s.whole() {
			err = wrong("not all UIDs of %v were told", b)
		}
		if err != nil {
			break
		}
		if err = s.files(); err == nil {
			break
		}
		if time.Now().Before(end) {
			err = nil
		}
	}
	if err == nil {
		err = b.accounts()
	}
	if err != nil {
		return fmt.Errorf("VIOLATION: at the end: %v: %w\n--- dialogue:\n%s\n---", b, err, s.dialogue())
	}
	return nil
}

// files compares the mailbox with its directory.
func (s *session) files() error {
	letters, err := rig.Letters(s.box.dir)
	if err != nil {
		return err
	}
	var onDisk, told []string
	for name, data := range letters {
		_, info, _ := strings.Cut(name, ":2,")
		var f flags
		for i, l := range flagLetters {
			if l != 0 && strings.IndexByte(info, l) >= 0 {
				f |= 1 << i
			}
		}
		onDisk = append(onDisk, fmt.Sprintf("%s %v", tokenOf(string(data)), f))
	}
	s.box.mu.Lock()
	for _, u := range s.uids {
		told = append(told, fmt.Sprintf("%s %v", s.box.msgs[u].token, s.flags[u]&(1<<5-1)))
	}
	s.box.mu.Unlock()
	sort.Strings(onDisk)
	sort.Strings(told)
	if a, b := strings.Join(onDisk, "\n"), strings.Join(told, "\n"); a != b {
		return wrong("%d files and %d messages, which are not the same:\nonly in the directory: %v\nonly told: %v", len(onDisk), len(told), without(onDisk, told), without(told, onDisk))
	}
	return nil
}

// without lists what is in a and not in b.
func without(a, b []string) (out []string) {
	n := map[string]int{}
	for _, x := range b {
		n[x]++
	}
	for _, x := range a {
		if n[x]--; n[x] < 0 {
			out = append(out, x)
		}
	}
	return out
}

// accounts checks that every message that was to come did, as often as it was.
func (b *box) accounts() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t, l := range b.letters {
		if n := len(l.uids); n < l.sure || n > b.most(l) {
			return wrong("message %s was put there %d times for sure and %d times perhaps, and seen as %d UIDs: %s", t, l.sure, l.maybe, n, l.list())
		}
	}
	return nil
}

func (w *world) summary() {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0
	for _, n := range w.commands {
		total += n
	}
	fmt.Printf("%d operations in %.0f s: %s\n", total, seconds(now()), table(w.commands))
	st := &w.stats
	fmt.Printf("killed: %s; %d indexes made anew; %d connections cut; %d returns by QRESYNC; %d POP3 logins while another had the mailbox\n", table(w.killed), st.rebuilt.Load(), st.lost.Load(), st.resyncs.Load(), st.inUse.Load())
	fmt.Printf("deliveries: %d acknowledged, %d perhaps; foreign program: %d added, %d renamed, %d removed\n", st.delivered.Load(), st.unknownMail.Load(),
		st.foreignAdded.Load(), st.foreignRenamed.Load(), st.foreignRemoved.Load())
	if len(w.refusals) > 0 {
		fmt.Printf("refused: %s\n", table(w.refusals))
	}
	uids, left := 0, 0
	for _, b := range w.boxes {
		uids += len(b.msgs)
		left += len(b.live)
	}
	fmt.Printf("%d UIDs given, %d messages left\n", uids, left)
}

func table(m map[string]int) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool { return m[names[i]] > m[names[j]] })
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", n, m[n])
	}
	return strings.Join(names, ", ")
}
