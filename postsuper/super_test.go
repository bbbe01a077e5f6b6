package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/maillog"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/queue"
	"posthaste/pkg/wire"
)

type lines []string

func (l *lines) Write(_ maillog.Severity, _ string, _ int, text string) { *l = append(*l, text) }

func newSuper(t *testing.T, only ...string) (*super, *lines) {
	t.Helper()
	dir := t.TempDir()
	if err := queue.Init(dir); err != nil {
		t.Fatal(err)
	}
	sp, err := queue.Open(dir, queue.Options{HashNames: []string{"deferred"}, HashDepth: 1, Syncfs: "no"})
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s := &super{spool: sp, dir: dir, log: maillog.New("postfix/postsuper", log), err: &bytes.Buffer{}, only: map[string]bool{}, drop: "pickup"}
	s.warn = func(f string, a ...any) { t.Logf(f, a...) }
	for _, q := range only {
		s.only[q] = true
	}
	return s, log
}

// put writes a message into a queue.
func put(t *testing.T, s *super, name string) string {
	t.Helper()
	m := &envelope.Message{ID: queue.NewID(time.Now()), Arrival: time.Now(), Sender: "a@x.example"}
	f, err := s.spool.Create(queue.Incoming, m)
	if err != nil {
		t.Fatal(err)
	}
	f.Recipient(&envelope.Recipient{Address: "b@y.example"})
	f.Write([]byte("Subject: x\r\n\r\n"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if name != queue.Incoming {
		if err := s.spool.Move(m.ID, queue.Incoming, name); err != nil {
			t.Fatal(err)
		}
	}
	return m.ID
}

func where(t *testing.T, s *super, id string) string {
	t.Helper()
	q, err := s.spool.Find(id)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func find(option byte) *action {
	for _, a := range actions {
		if a.option == option {
			return a
		}
	}
	return nil
}

// Without qmgr: its socket does not exist in these tests.
func TestActions(t *testing.T) {
	for _, c := range []struct {
		option byte
		from   string
		to     string
		n      int
	}{
		{'d', queue.Incoming, "", 1}, {'d', queue.Active, "", 1}, {'d', queue.Deferred, "", 1}, {'d', queue.Hold, "", 1}, {'d', queue.Maildrop, "", 1},
		{'d', queue.Corrupt, queue.Corrupt, 0},
		{'h', queue.Deferred, queue.Hold, 1}, {'h', queue.Active, queue.Hold, 1}, {'h', queue.Hold, queue.Hold, 0},
		{'H', queue.Hold, queue.Deferred, 1}, {'H', queue.Deferred, queue.Deferred, 0},
		{'r', queue.Hold, queue.Maildrop, 1}, {'r', queue.Deferred, queue.Maildrop, 1},
		{'e', queue.Deferred, queue.Deferred, 1}, {'e', queue.Hold, queue.Hold, 1},
		{'f', queue.Hold, queue.Deferred, 1},
	} {
		t.Run(string(c.option)+" "+c.from, func(t *testing.T) {
			s, log := newSuper(t)
			id := put(t, s, c.from)
			a := find(c.option)
			n, err := s.each(a, id, nil)
			if err != nil || n != c.n {
				t.Fatalf("each = %d, %v, want %d", n, err, c.n)
			}
			if got := where(t, s, id); got != c.to {
				t.Errorf("the message is in %q, want %q", got, c.to)
			}
			if c.n == 1 && (len(*log) != 1 || (*log)[0] != id+": "+a.line) {
				t.Errorf("log %q, want %q", *log, id+": "+a.line)
			}
			if c.option == 'e' || c.option == 'f' {
				f, err := s.spool.Load(c.to, id)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if !f.ForceExpire() {
					t.Error("the message is not marked")
				}
			}
		})
	}
}

// What qmgr answers decides what is done, said and counted.
func TestAnswersOfQmgr(t *testing.T) {
	for _, c := range []struct {
		answers  []string // "" is OK
		n        int
		to, said string
	}{
		{[]string{""}, 1, queue.Active, ": placed on hold\n"},
		{[]string{qmgr.UnderWay}, 1, queue.Active, ": to be placed on hold when the delivery under way ends\n"},
		{[]string{qmgr.Again, qmgr.NotActive}, 1, queue.Hold, ": placed on hold\n"},
		{[]string{"it is about to be deleted"}, 0, queue.Active, "warning: it is about to be deleted"},
	} {
		s, log := newSuper(t)
		id := put(t, s, queue.Active)
		os.MkdirAll(filepath.Join(s.dir, "public"), 0o755)
		l, err := net.Listen("unix", filepath.Join(s.dir, qmgr.Service))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go answer(l, c.answers)
		out := &bytes.Buffer{}
		s.err = out
		s.warn = func(f string, a ...any) { fmt.Fprintf(out, "warning: %s", a[1]) }
		if n := s.named(find('h'), id); n != c.n || where(t, s, id) != c.to || !strings.HasSuffix(out.String(), c.said) {
			t.Errorf("%q: %d, the message is in %q, said %q; want %d, %q, %q", c.answers, n, where(t, s, id), out, c.n, c.to, c.said)
		}
		if c.n == 1 && (len(*log) != 1 || (*log)[0]+"\n" != id+c.said) {
			t.Errorf("%q: log %q", c.answers, *log)
		}
		s.qmgr.Close()
	}
}

// answer is a qmgr that gives the answers in turn.
func answer(l net.Listener, answers []string) {
	nc, err := l.Accept()
	if err != nil {
		return
	}
	defer nc.Close()
	c, err := ipc.Accept(nc, qmgr.Protocol, 10*time.Second)
	if err != nil {
		return
	}
	for _, text := range answers {
		if _, _, err := c.ReadFrame(); err != nil {
			return
		}
		var e wire.Encoder
		(&qmgr.Result{OK: text == "", Text: text}).Encode(&e)
		c.WriteFrame(qmgr.TypeResult, e.B)
	}
	c.ReadFrame() // until the client hangs up
}

func TestAllAndStandardInput(t *testing.T) {
	s, _ := newSuper(t, queue.Deferred)
	a, b, c := put(t, s, queue.Deferred), put(t, s, queue.Deferred), put(t, s, queue.Incoming)
	if n, err := s.each(find('h'), "ALL", nil); n != 2 || err != nil {
		t.Errorf("-h ALL deferred = %d, %v, want 2", n, err)
	}
	if where(t, s, a) != queue.Hold || where(t, s, b) != queue.Hold || where(t, s, c) != queue.Incoming {
		t.Error("-h ALL deferred did not hold what is deferred, and that alone")
	}
	s.only = map[string]bool{}
	in := strings.NewReader(a + "\nnonsense/../x\n" + queue.NewID(time.Now()) + "\n" + c + "\n")
	if n, err := s.each(find('d'), "-", in); n != 2 || err != nil {
		t.Errorf("-d - = %d, %v, want 2", n, err)
	}
	if n, _ := s.each(find('d'), "../../etc/passwd", nil); n != 0 {
		t.Errorf("-d of a path = %d, want 0", n)
	}
	s.total("Deleted", 2, "message")
	want := "postsuper: " + a + ": removed\npostsuper: " + c + ": removed\npostsuper: Deleted: 2 messages\n"
	if got := s.err.(*bytes.Buffer).String(); got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
}

func TestStructure(t *testing.T) {
	s, _ := newSuper(t)
	id := put(t, s, queue.Deferred)
	flat := filepath.Join(s.dir, queue.Deferred, id)
	if err := os.Rename(s.spool.Path(queue.Deferred, id), flat); err != nil {
		t.Fatal(err)
	}
	bad := queue.NewID(time.Now())
	os.WriteFile(s.spool.Path(queue.Incoming, bad), bytes.Repeat([]byte("garbage"), 100), 0o600)
	// A file under another message's name.
	other := put(t, s, queue.Incoming)
	wrong := queue.NewID(time.Now())
	os.Rename(s.spool.Path(queue.Incoming, other), s.spool.Path(queue.Incoming, wrong))
	s.structure()
	if _, err := os.Stat(s.spool.Path(queue.Deferred, id)); err != nil {
		t.Errorf("the misplaced file was not moved: %v", err)
	}
	if where(t, s, bad) != queue.Corrupt || where(t, s, wrong) != queue.Corrupt {
		t.Error("the damaged files are not in the corrupt queue")
	}
}

func TestPurge(t *testing.T) {
	s, _ := newSuper(t)
	old := time.Now().Add(-8 * 24 * time.Hour)
	good := put(t, s, queue.Incoming)
	os.Chtimes(s.spool.Path(queue.Incoming, good), old, old)
	half := func(age time.Time) string {
		id := queue.NewID(time.Now())
		p := s.spool.Path(queue.Incoming, id)
		os.WriteFile(p, nil, 0o600)
		os.Chtimes(p, age, age)
		return id
	}
	stale, fresh := half(old), half(time.Now())
	tmp := filepath.Join(s.dir, queue.Incoming, "12345.678")
	os.WriteFile(tmp, nil, 0o600)
	os.Chtimes(tmp, old, old)
	s.purge()
	if where(t, s, good) == "" || where(t, s, fresh) == "" {
		t.Error("a complete or a fresh file was removed")
	}
	if _, err := os.Stat(tmp); err == nil || where(t, s, stale) != "" {
		t.Error("a stale file was left")
	}
}
