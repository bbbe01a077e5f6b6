package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"posthaste/test/tools/badmx"
	"posthaste/test/tools/harness"
)

// exit is the exit status that an error of TryInput stands for.
func exit(err error) int {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// waiting starts a system in which all mail for others is deferred, by a
// server that says so; open makes it accept.
func waiting(t *testing.T, main ...string) (s *harness.System, remote *badmx.Server, open func()) {
	t.Helper()
	closed := make(chan struct{})
	remote, err := badmx.Start("127.0.0.1:0", badmx.Script{Rcpt: func(int, string) string {
		select {
		case <-closed:
			return ""
		default:
			return "450 4.2.1 come back later"
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remote.Close)
	s = harness.Start(t, append([]string{"relayhost = [127.0.0.1]:" + remote.Port()}, main...)...)
	return s, remote, func() { close(closed) }
}

// submitted sends a message as alice and returns its queue ID once it waits in
// the deferred queue.
func submitted(t *testing.T, s *harness.System, subject string, to ...string) string {
	t.Helper()
	if err := s.Submit("alice@example.test", to, harness.Message(subject)); err != nil {
		t.Fatal(err)
	}
	id := s.WaitLog(`(\w+): to=<` + regexp.QuoteMeta(to[0]) + `>, .*status=deferred`)[1]
	s.Until(id+" is in the deferred queue", func() bool {
		return strings.Contains(s.Run("postqueue", "-j"), `"queue_name":"deferred","queue_id":"`+id) ||
			strings.Contains(s.Run("postqueue", "-j"), `"queue_name": "deferred", "queue_id": "`+id)
	})
	return id
}

// TestQueueListing: mailq, postqueue -p and -j, postcat.
func TestQueueListing(t *testing.T) {
	t.Parallel()
	s, _, _ := waiting(t)
	if out := s.Run("mailq"); out != "Mail queue is empty\n" {
		t.Errorf("mailq: %q", out)
	}
	if out := s.Run("postqueue", "-j"); out != "" {
		t.Errorf("postqueue -j: %q", out)
	}
	id := submitted(t, s, "list me", "x@far.example", "y@far.example")
	out := s.Run("mailq")
	for _, want := range []string{
		`(?m)^-+Queue ID-+ --Size-- -+Arrival Time-+ -+Sender/Recipient-+$`,
		`(?m)^` + id + `\s+\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d alice@example\.test$`,
		`(?m)^ *\(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 450 4\.2\.1 come back later \(in reply to RCPT TO command\)\)$`,
		`(?m)^ {10,}x@far\.example$`, `(?m)^ {10,}y@far\.example$`,
		`(?m)^-- \d+ Kbytes in 1 Request\.$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("mailq has no %s:\n%s", want, out)
		}
	}
	if again := s.Run("postqueue", "-p"); again != out {
		t.Errorf("postqueue -p and mailq differ:\n%s\n%s", again, out)
	}
	if again := s.Run("sendmail", "-bp"); again != out {
		t.Errorf("sendmail -bp and mailq differ:\n%s\n%s", again, out)
	}
	var j struct {
		QueueName  string `json:"queue_name"`
		QueueID    string `json:"queue_id"`
		Arrival    int64  `json:"arrival_time"`
		Size       int64  `json:"message_size"`
		Expire     bool   `json:"forced_expire"`
		Sender     string `json:"sender"`
		Recipients []struct {
			Address string `json:"address"`
			Reason  string `json:"delay_reason"`
		} `json:"recipients"`
	}
	out = s.Run("postqueue", "-j")
	if err := json.Unmarshal([]byte(out), &j); err != nil {
		t.Fatalf("postqueue -j: %v\n%s", err, out)
	}
	if j.QueueName != "deferred" || j.QueueID != id || j.Sender != "alice@example.test" || j.Size == 0 || j.Arrival == 0 || j.Expire ||
		len(j.Recipients) != 2 || j.Recipients[0].Address != "x@far.example" || !strings.Contains(j.Recipients[1].Reason, "450 4.2.1") {
		t.Errorf("postqueue -j: %s", out)
	}

	out = s.Run("postcat", "-q", id)
	for _, want := range []string{"*** ENVELOPE RECORDS ", "sender: alice@example.test", "recipient: x@far.example", "*** MESSAGE CONTENTS ", "Subject: list me", "body of list me", "*** MESSAGE FILE END "} {
		if !strings.Contains(out, want) {
			t.Errorf("postcat -q has no %q:\n%s", want, out)
		}
	}
	if out = s.Run("postcat", "-bq", id); strings.Contains(out, "Subject:") || !strings.Contains(out, "body of list me") {
		t.Errorf("postcat -bq:\n%s", out)
	}
	if out = s.Run("postcat", "-hq", id); !strings.Contains(out, "Subject:") || strings.Contains(out, "body of") {
		t.Errorf("postcat -hq:\n%s", out)
	}
	if out, err := s.Try("postcat", "-q", "4jYDz574DRzfYZYX"); exit(err) != 1 {
		t.Errorf("postcat -q of an unknown id: %v\n%s", err, out)
	}

	// Down: the queue's owner sees the queue all the same; requests fail.
	s.Stop()
	if out, err := s.Try("postqueue", "-p"); err != nil || !strings.Contains(out, id) || !strings.Contains(out, "warning: mail system is down") {
		t.Errorf("postqueue -p while down: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"-f"}, {"-i", id}, {"-s", "far.example"}} {
		if out, err := s.Try("postqueue", args...); exit(err) != 69 {
			t.Errorf("postqueue %v while down: %v, want exit status 69\n%s", args, err, out)
		}
	}
	for _, args := range [][]string{{"-p", "-j"}, {"-x"}, {}, {"-i", "../../etc/passwd"}} {
		if out, err := s.Try("postqueue", args...); exit(err) != 69 {
			t.Errorf("postqueue %v: %v, want exit status 69\n%s", args, err, out)
		}
	}
	for _, args := range [][]string{{}, {"-x", "status"}, {"bogus"}, {"status", "more"}} {
		if out, err := s.Try("posthaste", args...); exit(err) != 1 || !strings.Contains(out, "usage: posthaste") {
			t.Errorf("posthaste %v: %v, want exit status 1 and the usage\n%s", args, err, out)
		}
	}
	if out, err := s.Try("posthaste", "-v", "-c", s.Etc(), "status"); exit(err) != 1 || !strings.Contains(out, "is not running") {
		t.Errorf("posthaste -v status: %v\n%s", err, out)
	}
	if out, err := s.Try("posthaste", "-c", s.Etc(), "status"); exit(err) != 1 {
		t.Errorf("status while down: %v\n%s", err, out)
	}
	for _, verb := range []string{"stop", "reload", "flush"} {
		if out, err := s.Try("posthaste", "-c", s.Etc(), verb); exit(err) != 1 {
			t.Errorf("%s while down: %v, want exit status 1\n%s", verb, err, out)
		}
	}
}

// TestFlush: postqueue -f, -i and -s have mail tried before its time.
func TestFlush(t *testing.T) {
	t.Parallel()
	s, remote, open := waiting(t, "fast_flush_domains = far.example")
	a := submitted(t, s, "first", "a@far.example")
	submitted(t, s, "second", "b@far.example")
	submitted(t, s, "third", "c@other.example")
	if out, err := s.Try("postqueue", "-s", "other.example"); exit(err) != 69 {
		t.Errorf("-s of a site that is not in fast_flush_domains: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"-i", "../active/x"}, {"-i", ""}, {"-s", "far example"}, {"-s", ""}} {
		if out, err := s.Try("postqueue", args...); exit(err) != 69 || !strings.Contains(out, "invalid") {
			t.Errorf("postqueue %q: %v, want exit status 69\n%s", args, err, out)
		}
	}
	s.Run("postqueue", "-i", "nosuch")
	if out, err := s.Try("postqueue", "-i", "4jYDz574DRzfYZYX"); err != nil {
		t.Errorf("-i of an unknown id: %v\n%s", err, out)
	}
	open()
	s.Run("postqueue", "-i", a)
	s.Until("the first is there", func() bool { return remote.Count()["a@far.example"] == 1 })
	s.Run("postqueue", "-s", "far.example")
	s.Until("the second is there", func() bool { return remote.Count()["b@far.example"] == 1 })
	if n := remote.Count()["c@other.example"]; n != 0 {
		t.Errorf("the third was tried")
	}
	s.Run("sendmail", "-q")
	s.Until("the third is there", func() bool { return remote.Count()["c@other.example"] == 1 })
	s.WaitQueue(0)
}

// TestPostsuper: hold, release, requeue, delete, expire, on the running system.
func TestPostsuper(t *testing.T) {
	t.Parallel()
	s, remote, open := waiting(t)
	a := submitted(t, s, "held", "a@far.example")
	b := submitted(t, s, "deleted", "b@far.example")
	c := submitted(t, s, "expired", "c@far.example")
	d := submitted(t, s, "requeued", "d@far.example")
	super := func(want string, args ...string) {
		t.Helper()
		if out := s.Run("postsuper", args...); !strings.Contains(out, want) {
			t.Errorf("postsuper %v: got %q, want %q", args, out, want)
		}
	}
	super("postsuper: "+a+": placed on hold\npostsuper: Placed on hold: 1 message\n", "-h", a)
	s.WaitLog(a + `: placed on hold`)
	if out := s.Run("mailq"); !strings.Contains(out, a+"!") {
		t.Errorf("no ! in\n%s", out)
	}
	super("postsuper: Deleted: 1 message\n", "-d", b)
	s.WaitLog(b + `: removed`)
	super("postsuper: Deleted: 0 messages\n", "-d", "4jYDz574DRzfYZYX")
	if out, err := s.Try("postsuper", "-d", "../active/x"); strings.Contains(out, "Deleted: 1") || err != nil && exit(err) != 1 {
		t.Errorf("a bad id: %v\n%s", err, out)
	}
	super("postsuper: Force-expired: 1 message\n", "-e", c)
	s.Run("postqueue", "-f")
	s.WaitLog(c + `: from=<alice@example\.test>, status=force-expired, returned to sender`)
	m := s.WaitMail("alice", 1)[0]
	if !strings.Contains(m, "c@far.example") || !strings.Contains(m, "administratively expired") {
		t.Errorf("the report of the expired message:\n%s", m)
	}
	s.WaitQueue(2)

	open()
	super("postsuper: Requeued: 1 message\n", "-r", d)
	s.WaitLog(d + `: requeued`)
	s.Until("the requeued message is there", func() bool { return remote.Count()["d@far.example"] == 1 })
	s.WaitQueue(1)
	s.Run("postqueue", "-f")
	if n := remote.Count()["a@far.example"]; n != 0 {
		t.Errorf("the held message was delivered")
	}
	super("postsuper: Released from hold: 1 message\n", "-H", a)
	s.WaitLog(a + `: released from hold`)
	s.Run("postqueue", "-f")
	s.Until("the released message is there", func() bool { return remote.Count()["a@far.example"] == 1 })
	s.WaitQueue(0)
	if n := remote.Count()["b@far.example"]; n != 0 {
		t.Errorf("the deleted message was delivered")
	}
}

// TestPostsuperAll: ALL, from standard input, and with queue names.
func TestPostsuperAll(t *testing.T) {
	t.Parallel()
	s, _, _ := waiting(t)
	a := submitted(t, s, "one", "a@far.example")
	b := submitted(t, s, "two", "b@far.example")
	submitted(t, s, "three", "c@far.example")
	if out := s.Run("postsuper", "-h", "ALL"); !strings.Contains(out, "Placed on hold: 3 messages") {
		t.Errorf("-h ALL: %s", out)
	}
	if out := s.RunInput(a+"\n"+b+"\n", "postsuper", "-H", "-"); !strings.Contains(out, "Released from hold: 2 messages") {
		t.Errorf("-H -: %s", out)
	}
	if out := s.Run("postsuper", "-d", "ALL", "hold"); !strings.Contains(out, "Deleted: 1 message\n") {
		t.Errorf("-d ALL hold: %s", out)
	}
	if out := s.Run("postsuper", "-s"); strings.Contains(out, "error") {
		t.Errorf("-s: %s", out)
	}
	s.Run("postsuper", "-d", "ALL")
	s.WaitQueue(0)
	if l := queueFiles(t, s); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	s.Until("the ledger balances", func() bool {
		return strings.Contains(s.Run("posthaste", "-c", s.Etc(), "status"), "balanced   yes")
	})
}
