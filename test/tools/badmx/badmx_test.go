package badmx_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/rig"
	"posthaste/test/tools/smtptalk"
)

// patience bounds each wait; every one ends as soon as what it waits for is
// there.
const patience = 60 * time.Second

// world is one mail system and the servers that it delivers to, by domain.
type world struct {
	t *testing.T
	s *rig.System
}

// start makes a system that knows the given servers; a domain with a nil server
// leads to a closed port. Each server's script is tried by mail to its domain.
func start(t *testing.T, servers map[string]*badmx.Server, settings ...string) *world {
	t.Helper()
	if _, err := rig.Bin(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir, err := rig.TempDir("", "badmx-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := rig.New(dir+"/m", 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	var to []string
	for domain, srv := range servers {
		port := "9" // discard: closed
		if srv != nil {
			port = srv.Port()
			t.Cleanup(srv.Close)
		}
		to = append(to, domain+"=smtp:[127.0.0.1]:"+port)
	}
	settings = append([]string{"queue_run_delay=1s", "minimal_backoff_time=1s", "maximal_backoff_time=2s", "transport_maps=inline:{ " + strings.Join(to, ", ") + " }"}, settings...)
	if err := s.Set(settings...); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(s.Log)
			t.Logf("%s", log[max(0, len(log)-8000):])
		}
	})
	return &world{t, s}
}

func listen(t *testing.T, script badmx.Script) *badmx.Server {
	t.Helper()
	s, err := badmx.Start("127.0.0.1:0", script)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send submits a message from user n.
func (w *world) send(t *testing.T, n int, size int, to ...string) {
	t.Helper()
	c, err := smtptalk.Dial(w.s.SMTP(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	body := "From: user@local.test\r\nSubject: test\r\n\r\n" + strings.Repeat("A line of the message.\r\n", size/24+1)
	if r := c.Send(fmt.Sprintf("user%d@local.test", n), to, []byte(body)); r.Err != nil {
		t.Fatalf("to %v: %v", to, r.Err)
	}
}

// reports returns the reports that user n got.
func (w *world) reports(t *testing.T, n int) [][]byte {
	t.Helper()
	ls, err := rig.Letters(w.s.Maildir(fmt.Sprintf("user%d", n)))
	if err != nil {
		t.Fatal(err)
	}
	var r [][]byte
	for _, l := range ls {
		if !bytes.Contains(l, []byte("multipart/report")) {
			t.Errorf("user%d got something else than a report: %.300s", n, l)
		}
		r = append(r, l)
	}
	return r
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if err := rig.Until(patience, what, cond); err != nil {
		t.Fatal(err)
	}
}

// drained waits until the queue is empty.
func (w *world) drained(t *testing.T) {
	t.Helper()
	until(t, "an empty queue", func() bool { return w.s.Waiting() == 0 })
}

// logged waits for a line of the log that has all the words.
func (w *world) logged(t *testing.T, words ...string) {
	t.Helper()
	until(t, fmt.Sprintf("a log line with %q", words), func() bool {
		b, _ := os.ReadFile(w.s.Log)
	lines:
		for _, l := range strings.Split(string(b), "\n") {
			for _, x := range words {
				if !strings.Contains(l, x) {
					continue lines
				}
			}
			return true
		}
		return false
	})
}

func TestFourOfFive(t *testing.T) {
	mx := listen(t, badmx.Refuse("bad", "550 5.1.1 no such user here"))
	w := start(t, map[string]*badmx.Server{"far.test": mx})
	w.send(t, 1, 100, "a@far.test", "b@far.test", "bad@far.test", "c@far.test", "d@far.test")
	w.drained(t)
	if n := mx.Count(); len(n) != 4 || n["a@far.test"] != 1 || n["b@far.test"] != 1 || n["c@far.test"] != 1 || n["d@far.test"] != 1 {
		t.Errorf("the server took %v, want a, b, c and d once", n)
	}
	rs := w.reports(t, 1)
	if len(rs) != 1 {
		t.Fatalf("%d reports, want 1", len(rs))
	}
	for _, want := range []string{"Final-Recipient: rfc822; bad@far.test", "Action: failed", "Status: 5.1.1", "550 5.1.1 no such user here"} {
		if !bytes.Contains(rs[0], []byte(want)) {
			t.Errorf("the report lacks %q:\n%s", want, rs[0])
		}
	}
	if bytes.Contains(rs[0], []byte("; a@far.test")) {
		t.Errorf("the report names a recipient who got the message:\n%s", rs[0])
	}
}

func TestDiesInData(t *testing.T) {
	mx := listen(t, badmx.DieInData(3000, 1))
	w := start(t, map[string]*badmx.Server{"far.test": mx})
	w.send(t, 1, 100_000, "a@far.test")
	w.drained(t)
	ms := mx.Mails()
	if len(ms) != 1 || len(ms[0].Data) < 100_000 {
		t.Fatalf("%d messages at the server, want one and whole", len(ms))
	}
	w.logged(t, "to=<a@far.test>", "status=deferred", "dsn=4.")
	w.logged(t, "to=<a@far.test>", "status=sent")
	if rs := w.reports(t, 1); len(rs) != 0 {
		t.Errorf("%d reports, want none", len(rs))
	}
}

func TestTemporaryThenAccepted(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script badmx.Script
	}{
		{"at the end of data", badmx.Later(1, "451 4.3.0 try later")},
		{"at RCPT", badmx.LaterRcpt(1, "450 4.2.1 try later")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mx := listen(t, tc.script)
			w := start(t, map[string]*badmx.Server{"far.test": mx})
			w.send(t, 1, 100, "a@far.test")
			w.drained(t)
			if n := mx.Count()["a@far.test"]; n != 1 {
				t.Errorf("taken %d times, want once", n)
			}
			w.logged(t, "to=<a@far.test>", "status=deferred", "try later")
			w.logged(t, "to=<a@far.test>", "status=sent")
			if rs := w.reports(t, 1); len(rs) != 0 {
				t.Errorf("%d reports, want none", len(rs))
			}
		})
	}
}

// TestDownForADay has one destination that is never there, and another that
// comes up in time.
func TestDownForADay(t *testing.T) {
	back := listen(t, badmx.Script{})
	addr := back.Addr
	w := start(t, map[string]*badmx.Server{"gone.test": nil, "back.test": back}, "maximal_queue_lifetime=2d", "delay_warning_time=4h")
	back.Close()
	w.send(t, 1, 100, "a@gone.test")
	w.send(t, 2, 100, "a@back.test")
	w.logged(t, "to=<a@gone.test>", "status=deferred", "Connection refused")
	w.logged(t, "to=<a@back.test>", "status=deferred", "Connection refused")

	restart := func(offset string) {
		t.Helper()
		if err := w.s.Stop(); err != nil {
			t.Fatal(err)
		}
		w.s.Env = []string{"POSTHASTE_CLOCK_OFFSET=" + offset}
		if err := w.s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	restart("25h")
	until(t, "a notice of the delay for both", func() bool { return len(w.reports(t, 1)) == 1 && len(w.reports(t, 2)) == 1 })
	if r := w.reports(t, 1)[0]; !bytes.Contains(r, []byte("Action: delayed")) || !bytes.Contains(r, []byte("Will-Retry-Until:")) {
		t.Errorf("not a notice of a delay:\n%s", r)
	}
	up, err := badmx.Start(addr, badmx.Script{})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	until(t, "delivery once the server is back", func() bool { return up.Count()["a@back.test"] == 1 })

	restart("49h")
	w.drained(t)
	rs := w.reports(t, 1)
	failed := 0
	for _, r := range rs {
		if bytes.Contains(r, []byte("Action: failed")) && bytes.Contains(r, []byte("Status: 4.4.1")) {
			failed++
		}
	}
	if len(rs) != 2 || failed != 1 {
		t.Errorf("%d reports, %d of them of the failure; want 2 and 1", len(rs), failed)
		for _, r := range rs {
			t.Logf("%s", r)
		}
	}
	if rs := w.reports(t, 2); len(rs) != 1 {
		t.Errorf("the sender of the delivered message got %d reports, want the notice only", len(rs))
	}
	w.logged(t, "from=<user1@local.test>, status=expired, returned to sender")
}

// TestDrip has a server that answers byte by byte: it gets its mail in its
// time, and others do not wait for it.
func TestDrip(t *testing.T) {
	slow, fast := listen(t, badmx.Drip(25*time.Millisecond)), listen(t, badmx.Script{})
	w := start(t, map[string]*badmx.Server{"slow.test": slow, "fast.test": fast})
	w.send(t, 1, 100, "a@slow.test")
	until(t, "a connection to the slow server", func() bool { return slow.Connections() > 0 })
	w.send(t, 1, 100, "a@fast.test")
	until(t, "delivery to the fast server", func() bool { return fast.Count()["a@fast.test"] == 1 })
	if len(slow.Mails()) != 0 {
		t.Error("the slow server was done before the fast one: this test shows nothing")
	}
	w.drained(t)
	if n := slow.Count()["a@slow.test"]; n != 1 {
		t.Errorf("the slow server took the message %d times, want once", n)
	}
}

// TestStalls has a server that stops answering: the time limits end that.
func TestStalls(t *testing.T) {
	mx := listen(t, badmx.Drip(time.Hour))
	w := start(t, map[string]*badmx.Server{"far.test": mx}, "smtp_helo_timeout=1s", "smtp_mail_timeout=1s")
	w.send(t, 1, 100, "a@far.test")
	w.logged(t, "to=<a@far.test>", "status=deferred", "timed out")
	if n := len(mx.Mails()); n != 0 {
		t.Errorf("%d messages taken", n)
	}
}

func TestBrokenTLS(t *testing.T) {
	script, err := badmx.BrokenCertificate()
	if err != nil {
		t.Fatal(err)
	}
	may, must, none, strict := listen(t, script), listen(t, script), listen(t, badmx.BrokenHandshake()), listen(t, badmx.BrokenHandshake())
	w := start(t, map[string]*badmx.Server{"may.test": may, "secure.test": must, "none.test": none, "encrypt.test": strict},
		"smtp_tls_security_level=may",
		"smtp_tls_policy_maps=inline:{ secure.test=secure, [127.0.0.1]:"+must.Port()+"=secure, [127.0.0.1]:"+strict.Port()+"=encrypt }")
	for i, d := range []string{"may.test", "secure.test", "none.test", "encrypt.test"} {
		w.send(t, i, 100, "a@"+d)
	}
	until(t, "delivery with an expired certificate where nobody asked for a good one", func() bool { return len(may.Mails()) == 1 })
	if !may.Mails()[0].TLS {
		t.Error("an expired certificate made opportunistic delivery give up encryption")
	}
	until(t, "delivery in plain text where the handshake fails and nobody asked for one", func() bool { return len(none.Mails()) == 1 })
	if none.Mails()[0].TLS {
		t.Error("a handshake without a certificate succeeded")
	}
	w.logged(t, "to=<a@secure.test>", "status=deferred", "dsn=4.7.5")
	w.logged(t, "to=<a@encrypt.test>", "status=deferred", "dsn=4.7.5")
	// Later attempts must not weaken either.
	tries := must.Connections() + strict.Connections()
	until(t, "further attempts", func() bool { return must.Connections()+strict.Connections() >= tries+2 })
	if len(must.Mails()) != 0 || len(strict.Mails()) != 0 {
		t.Error("mail that needs TLS went out without it")
	}
}
