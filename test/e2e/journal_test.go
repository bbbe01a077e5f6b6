package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"posthaste/pkg/journal/journaltest"
	"posthaste/test/tools/harness"
)

// journaledDisk mounts an ext4 of its own over the queue directory.
func journaledDisk(t *testing.T, s *harness.System) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount a file system")
	}
	dir := s.Path("spool")
	image, away := s.Path("disk"), dir+".away"
	if err := os.WriteFile(image, nil, 0600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0755); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop,noatime", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: no ext4 on a loop device here: %v: %v: %s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
			syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	})
	os.Remove(filepath.Join(dir, "lost+found"))
	copyTree(t, away, dir)
	return dir
}

func journalFiles(t *testing.T, s *harness.System) []string {
	t.Helper()
	l, err := filepath.Glob(s.Path("spool", "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestJournal: mail goes through the journal of new messages while cleanup is killed
// and while the disk is full; each message that was taken arrives once; nothing is
// left of the journals, neither of those of killed processes nor of the last; and what
// a power failure took from the queue comes back.
func TestJournal(t *testing.T) {
	t.Parallel()
	s := harness.New(t, "queue_journal = yes", "queue_run_delay = 1s", "minimal_backoff_time = 1s", "service_throttle_time = 1s", "notify_classes =")
	disk := journaledDisk(t, s)
	s.Start()
	var mu sync.Mutex
	taken := map[string]bool{}
	send := func(subject string) bool {
		err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message(subject))
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			taken[subject] = true
		}
		return err == nil
	}
	s.Until("there is a journal", func() bool { send(fmt.Sprint("first", len(taken))); return len(journalFiles(t, s)) == 2 })
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for k := range 10 {
					send(fmt.Sprintf("round%d-%d-%d", round, i, k))
				}
			})
		}
		s.Kill("cleanup")
		wg.Wait()
	}
	s.Until("mail is taken", func() bool { return send("after-kills") })
	s.Until("the journals of those that were killed are gone", func() bool { return len(journalFiles(t, s)) <= 2 })
	free := fill(t, disk)
	for i := range 20 {
		send(fmt.Sprint("full", i))
	}
	free()
	s.Until("mail is taken on a disk with space", func() bool { return send("after-full") })
	s.WaitMail("bob", len(taken))
	s.WaitQueue(0)
	got := map[string]int{}
	for _, m := range s.Mail("bob") {
		for _, l := range strings.Split(m, "\n") {
			if subject, ok := strings.CutPrefix(l, "Subject: "); ok {
				got[strings.TrimSpace(subject)]++
				break
			}
		}
	}
	for subject := range taken {
		if got[subject] != 1 {
			t.Errorf("%s is in the mailbox %d times", subject, got[subject])
		}
	}

	// A power failure, before the file system knew of a message.
	s.Append("etc/main.cf", "defer_transports = virtual")
	s.Restart() // an old qmgr must not deliver it
	s.Until("mail is taken to be lost", func() bool { return send("lost") })
	var file string
	s.Until("the message waits", func() bool {
		// A cleanup that was killed may have left the beginning of another, in incoming.
		for _, path := range queueFiles(t, s) {
			if strings.Contains(path, "/deferred/") {
				file = path
			}
		}
		return file != ""
	})
	s.Stop()
	if l := journalFiles(t, s); len(l) > 0 {
		t.Errorf("left after the end: %v", l)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	journaltest.Lost(t, s.Path("spool", "journal"), content)
	for _, f := range journalFiles(t, s) {
		if err := os.Chown(f, int(st.Sys().(*syscall.Stat_t).Uid), int(st.Sys().(*syscall.Stat_t).Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.Append("etc/main.cf", "defer_transports =")
	s.Start()
	s.WaitLog(filepath.Base(file) + `: restored from the journal of new messages`)
	s.WaitMail("bob", len(got)+1)
	s.WaitQueue(0)
}
