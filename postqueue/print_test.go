package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/command"
	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/ipc"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/qmgr"
	"posthaste/pkg/proto/showq"
	"posthaste/pkg/queue"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// listing is a queue with all that the layout knows.
func listing(h showq.Handler) error {
	at := time.Date(2026, 11, 23, 14, 45, 44, 0, time.Local)
	type m = showq.Message
	type r = showq.Recipient
	const greylist = "host 192.0.2.1[192.0.2.1] said: 451 4.7.1 come back later (in reply to RCPT TO command)"
	for _, x := range []any{
		&m{Queue: "active", ID: "4XkP1Q2n3Rz5yJ", Arrival: at, Size: 389, Sender: "owner-lst@mx.example.org"},
		&r{Address: "now@fast.example"},
		&m{Queue: "deferred", ID: "4XkP1Q2n3SzcJh4", Arrival: at.AddDate(0, 0, -20), Size: 2048, Sender: ""},
		&r{Address: "later@slow.example", Orig: "alias@here.example", Reason: greylist},
		&r{Address: "later2@slow.example", Reason: greylist},
		&r{Address: "later3@slow.example", Reason: "short"},
		&r{Address: "never tried@slow.example"},
		&m{Queue: "hold", ID: "4XkP1Q2n3TzcJh4", Arrival: at, Size: 1234567, Sender: "åsa@x.example", Expire: true, UTF8: true},
		&r{Address: "\"odd\x1b\"@x.example", Reason: "näh \"quoted\" \\ \x01😀"},
		&m{Queue: "maildrop", ID: "4XkP1Q2n3VzcJh4", Arrival: at, Size: 1, Sender: "u@x.example"},
	} {
		var err error
		switch x := x.(type) {
		case *m:
			err = h.Message(x)
		case *r:
			err = h.Recipient(x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func render(t *testing.T, asJSON bool, fill func(showq.Handler) error) string {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	var p printer = &text{w: w}
	if asJSON {
		p = &object{w: w}
	}
	if err := fill(p); err != nil {
		t.Fatal(err)
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return b.String()
}

func TestLayout(t *testing.T) {
	for file, asJSON := range map[string]bool{"list.txt": false, "list.json": true} {
		got := render(t, asJSON, listing)
		if asJSON { // the time zone is the machine's
			at := time.Date(2026, 11, 23, 14, 45, 44, 0, time.Local)
			got = strings.ReplaceAll(got, jsonInt(at), "1")
			got = strings.ReplaceAll(got, jsonInt(at.AddDate(0, 0, -20)), "2")
		}
		path := filepath.Join("testdata", file)
		if *update {
			os.MkdirAll("testdata", 0o755)
			os.WriteFile(path, []byte(got), 0o644)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("listing differs from %s:\n%s", path, got)
		}
	}
}

func jsonInt(t time.Time) string {
	b, _ := json.Marshal(t.Unix())
	return string(b)
}

func TestJSONIsValid(t *testing.T) {
	n := 0
	for _, line := range strings.Split(strings.TrimSuffix(render(t, true, listing), "\n"), "\n") {
		var v struct {
			Sender     string
			Recipients []struct {
				Address, Delay_reason string
			}
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		for _, r := range v.Recipients {
			if strings.HasPrefix(r.Delay_reason, "näh") {
				n++
				if r.Delay_reason != "näh \"quoted\" \\ \x01😀" {
					t.Errorf("reason %q was changed", r.Delay_reason)
				}
			}
		}
	}
	if n != 1 {
		t.Errorf("%d special reasons, want 1", n)
	}
}

func TestEmptyQueue(t *testing.T) {
	none := func(showq.Handler) error { return nil }
	if got := render(t, false, none); got != "Mail queue is empty\n" {
		t.Errorf("-p of an empty queue prints %q", got)
	}
	if got := render(t, true, none); got != "" {
		t.Errorf("-j of an empty queue prints %q, want nothing", got)
	}
}

// spoolDir makes a queue directory with one deferred message.
func spoolDir(t *testing.T) (dir string, cfg *config.Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	queue.Init(dir)
	os.Mkdir(filepath.Join(dir, "public"), 0o700)
	os.WriteFile(filepath.Join(dir, "main.cf"), nil, 0o600)
	if cfg, err = config.Load(config.Options{Dir: dir, Known: params.All}); err != nil {
		t.Fatal(err)
	}
	sp, err := queue.Open(dir, queue.Options{HashNames: params.HashQueueNames.List(cfg), HashDepth: 1, Syncfs: "no"})
	if err != nil {
		t.Fatal(err)
	}
	m := &envelope.Message{ID: "4XkP1Q2n3RzcJh4", Arrival: time.Now(), Sender: "a@x.example"}
	f, err := sp.Create(queue.Active, m)
	if err != nil {
		t.Fatal(err)
	}
	f.Recipient(&envelope.Recipient{Address: "done@y.example"})
	f.Recipient(&envelope.Recipient{Address: "later@y.example"})
	f.Write([]byte("Subject: x\r\n\r\n"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	q, err := sp.Load(queue.Active, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	q.Append([]envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0"}, {Num: 1, DSN: "4.2.2", Reason: "mailbox full"}})
	q.Close()
	if err := sp.Defer(m.ID, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return dir, cfg
}

func TestShowThroughTheSocketAndWithout(t *testing.T) {
	dir, cfg := spoolDir(t)
	tool := &command.Tool{Name: "postqueue"}
	var direct, served bytes.Buffer
	if err := show(tool, cfg, dir, false, &direct); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"4XkP1Q2n3RzcJh4 ", " a@x.example\n", "(mailbox full)\n", " later@y.example\n", "-- 0 Kbytes in 1 Request.\n"} {
		if !strings.Contains(direct.String(), want) {
			t.Errorf("the listing lacks %q:\n%s", want, direct.String())
		}
	}
	if strings.Contains(direct.String(), "done@y.example") {
		t.Error("a recipient that is done is listed")
	}
	ln, err := net.Listen("unix", filepath.Join(dir, showq.Service))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		c, err := ipc.Accept(nc, showq.Protocol, time.Second)
		if err != nil {
			return
		}
		sp, _ := queue.Open(dir, queue.Options{HashNames: params.HashQueueNames.List(cfg), HashDepth: 1, Syncfs: "no"})
		w := showq.NewWriter(c)
		showq.Walk(sp, w)
		w.End()
	}()
	if err := show(tool, cfg, dir, false, &served); err != nil {
		t.Fatal(err)
	}
	if served.String() != direct.String() {
		t.Errorf("through showq:\n%s\ndirectly:\n%s", served.String(), direct.String())
	}
}

func TestFlushWhenDown(t *testing.T) {
	err := request(t.TempDir(), func(c *qmgr.Client) error { return c.Flush() })
	if err == nil || !strings.Contains(err.Error(), "mail system is down") {
		t.Errorf("request = %v, want it to say that the mail system is down", err)
	}
}
