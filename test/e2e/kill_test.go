package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"posthaste/test/tools/harness"
)

// TestCleanupKilled: a client whose message was in the works is told to come
// back, and can.
func TestCleanupKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	d := s.Talk()
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Send("Subject: twice", "")
	line := strings.Repeat("x", 70)
	for range 4000 {
		d.Send(line)
	}
	s.Until("cleanup has begun", func() bool { return len(queueFiles(t, s)) == 1 })
	if s.Kill("cleanup") == 0 {
		t.Fatal("no cleanup was running")
	}
	for range 100 {
		d.Send(line)
	}
	d.Want("451 4.3.0", ".")
	// The same session, at once: the killed cleanup is replaced.
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	reply := d.Say("Subject: twice", "", "second try", ".")
	if !strings.HasPrefix(reply, "250 2.0.0") {
		s.Until("a retry is taken: "+reply, func() bool {
			return s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("third")) == nil
		})
	}
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
	if n := len(s.Mail("bob")); n != 1 {
		t.Errorf("bob has %d messages, want 1", n)
	}
}

// TestQmgrKilled: mail is accepted without qmgr, and delivered when it is back.
func TestQmgrKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "service_throttle_time = 1s") // should it die before it is up
	for i := range 20 {
		if i%5 == 4 {
			s.WaitMail("bob", i)
			if s.Kill("qmgr") == 0 {
				t.Errorf("message %d: no qmgr was running", i)
			}
		}
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message(fmt.Sprintf("number %d.", i))); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	m := strings.Join(s.WaitMail("bob", 20), "")
	s.WaitQueue(0)
	for i := range 20 {
		if n := strings.Count(m, fmt.Sprintf("Subject: number %d.\n", i)); n != 1 {
			t.Errorf("message %d is there %d times", i, n)
		}
	}
}

// TestVirtualKilled: agents that die in the middle of deliveries lose nothing
// and make no second copy.
func TestVirtualKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "minimal_backoff_time = 1s", "queue_run_delay = 1s", "maximal_backoff_time = 2s", "transport_retry_time = 1s", "service_throttle_time = 1s")
	const n = 40
	done := make(chan error, 1)
	go func() {
		text := strings.Repeat("0123456789\r\n", 5000)
		for i := range n {
			if err := s.Send("sender@client.example", []string{"bob@example.test", "alice@example.test"}, harness.Message(fmt.Sprintf("number %d.", i))+text); err != nil {
				done <- fmt.Errorf("message %d: %w", i, err)
				return
			}
		}
		done <- nil
	}()
	// Each time something has been delivered, its deliverer dies.
	kills := 0
	for before := 0; before < n; {
		s.Until("more mail", func() bool { return len(s.Mail("bob")) > before })
		before = len(s.Mail("bob"))
		if kills < 5 {
			kills += s.Kill("virtual")
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d processes killed", kills)
	if kills == 0 {
		t.Error("nothing was killed")
	}
	s.WaitMail("bob", n)
	s.WaitMail("alice", n)
	s.WaitQueue(0)
	for _, user := range []string{"bob", "alice"} {
		m := strings.Join(s.Mail(user), "")
		for i := range n {
			if k := strings.Count(m, fmt.Sprintf("Subject: number %d.\n", i)); k != 1 {
				t.Errorf("%s has message %d %d times", user, i, k)
			}
		}
	}
}

// TestMasterKilled: a master that dies leaves nothing behind that keeps it from
// starting again, and no mail is lost.
func TestMasterKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("before")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 1)
	pid := s.Master()
	children := harness.Children(pid, "")
	d := s.Talk()
	d.Want("250", "MAIL FROM:<sender@client.example>")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Its children notice and leave; a session under way may end first.
	d.Close()
	for _, c := range children {
		s.Until(fmt.Sprintf("child %d has left", c), func() bool {
			b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(c), "stat"))
			return err != nil || strings.Contains(string(b), ") Z ")
		})
	}
	if out, err := s.Try("posthaste", "-c", s.Etc(), "status"); err == nil {
		t.Errorf("status says that it runs:\n%s", out)
	}
	s.RunInput("Subject: meanwhile\n\nx\n", "sendmail", "-f", "alice@example.test", "bob@example.test")
	s.Run("posthaste", "-c", s.Etc(), "start")
	if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("after")); err != nil {
		t.Fatal(err)
	}
	s.WaitMail("bob", 3)
	s.WaitQueue(0)
	if n := len(s.Mail("bob")); n != 3 {
		t.Errorf("bob has %d messages, want 3", n)
	}
}

// TestEveryProgramKilled: each of the other daemons dies once; mail goes on.
func TestEveryProgramKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "minimal_backoff_time = 1s", "queue_run_delay = 1s", "maximal_backoff_time = 2s", "transport_retry_time = 1s", "service_throttle_time = 1s")
	send := func(what string) {
		s.Until("mail is taken after "+what, func() bool {
			return s.Submit("alice@example.test", []string{"bob@example.test"}, harness.Message(what)) == nil
		})
	}
	send("the start")
	s.WaitMail("bob", 1)
	n := 1
	for _, p := range []string{"smtpd", "auth", "pickup", "cleanup", "qmgr", "virtual"} {
		if s.Kill(p) == 0 {
			t.Errorf("%s was not running", p)
		}
		send("the end of " + p)
		n++
	}
	s.WaitMail("bob", n)
	s.WaitQueue(0)
	s.WaitLog(`master\[\d+\]: warning: process \S*smtpd pid \d+ killed by signal 9`)
}
