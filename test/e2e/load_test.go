package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// TestReloadUnderLoad: reloads, rebuilt tables and the end of idle processes cut
// no session and lose no message.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "max_use = 5")
	const clients, reloads = 6, 5
	stop := make(chan struct{})
	sent := make([]int, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				subject := fmt.Sprintf("client %d message %d.", c, sent[c])
				if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message(subject)); err != nil {
					t.Errorf("%s: %v", subject, err)
					return
				}
				sent[c]++
			}
		}()
	}
	for i := range reloads {
		n := len(s.Mail("bob"))
		s.Until("more mail", func() bool { return len(s.Mail("bob")) > n+5 || t.Failed() })
		if i%2 == 0 {
			s.Reload()
		} else {
			s.Run("postmap", "hash:"+s.Path("etc/virtual"), "hash:"+s.Path("etc/vmailbox"))
		}
	}
	close(stop)
	wg.Wait()
	total := 0
	for _, n := range sent {
		total += n
	}
	s.WaitMail("bob", total)
	s.WaitQueue(0)
	all := strings.Join(s.Mail("bob"), "")
	for c := range clients {
		for i := range sent[c] {
			if n := strings.Count(all, fmt.Sprintf("Subject: client %d message %d.\n", c, i)); n != 1 {
				t.Errorf("message %d of client %d is there %d times", i, c, n)
			}
		}
	}
	if t.Failed() {
		return
	}
	// Who was replaced is gone.
	s.Until("no old processes", func() bool { return len(s.Processes("qmgr")) == 1 && len(s.Processes("smtpd")) <= 6 })
}

// TestReloadDuringSlowDelivery: a delivery that hangs neither keeps others from
// their way after a reload, nor is it cut and made twice.
func TestReloadDuringSlowDelivery(t *testing.T) {
	t.Parallel()
	busy, end := make(chan bool), make(chan bool)
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Done: func(conn int, m *badmx.Mail) string {
		busy <- true
		<-end
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	s := harness.Start(t, "relayhost = [127.0.0.1]:"+remote.Port(), "mynetworks = 127.0.0.0/8")
	s.Send("alice@example.test", []string{"far@remote.example"}, harness.Message("slow"))
	<-busy
	for i := range 2 {
		s.Reload()
		if err := s.Send("sender@client.example", []string{"bob@example.test"}, harness.Message("quick")); err != nil {
			t.Fatal(err)
		}
		s.WaitMail("bob", i+1)
	}
	close(end)
	s.WaitQueue(0)
	if n := remote.Count()["far@remote.example"]; n != 1 {
		t.Errorf("the slow message was delivered %d times", n)
	}
	s.Until("no old processes", func() bool { return len(s.Processes("qmgr")) == 1 })
}

// TestProcessLimit: maxproc in master.cf is the most sessions at a time; who
// comes too many waits.
func TestProcessLimit(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Run("postconf", "-F", "-e", fmt.Sprintf("%d/inet/process_limit=3", s.Base+25))
	s.Start()
	var held []*harness.Dialogue
	for range 3 {
		held = append(held, s.Talk())
	}
	c, err := net.Dial("tcp", s.Addr(25))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 4)
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, _ := c.Read(buf); n > 0 {
		t.Error("a fourth session was greeted")
	}
	for _, d := range held {
		d.Want("250", "NOOP")
	}
	held[1].Want("221", "QUIT")
	c.SetReadDeadline(time.Now().Add(harness.Patience))
	if _, err := c.Read(buf); err != nil || string(buf) != "220 " {
		t.Errorf("after one has left: %q, %v", buf, err)
	}
}

// TestStop: stop lets a message that is being received finish; what was
// accepted is delivered after the next start.
func TestStop(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	d := s.Talk()
	d.Want("250", "MAIL FROM:<sender@client.example>")
	d.Want("250", "RCPT TO:<bob@example.test>")
	d.Want("354", "DATA")
	d.Send("Subject: last", "", "x")
	stopped := make(chan string, 1)
	go func() {
		out, err := s.Try("posthaste", "-c", s.Etc(), "stop")
		stopped <- fmt.Sprint(out, err)
	}()
	s.WaitLog(`master\[\d+\]: terminating`)
	d.Want("250", ".")
	d.Send("QUIT")
	if out := <-stopped; !strings.HasSuffix(out, "<nil>") {
		t.Errorf("stop: %s", out)
	}
	s.Run("posthaste", "-c", s.Etc(), "start")
	s.WaitMail("bob", 1)
	s.WaitQueue(0)
}
