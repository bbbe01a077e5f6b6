package main

import (
	"bufio"
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/queue"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// spool has one deferred message with everything in it.
func spool(t *testing.T) (*queue.Spool, string) {
	t.Helper()
	dir := t.TempDir()
	queue.Init(dir)
	sp, err := queue.Open(dir, queue.Options{Syncfs: "no"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 14, 45, 44, 0, time.Local)
	m := &envelope.Message{ID: "4XkP1Q2n3RzcJh4", Arrival: at, Sender: "anna b@x.example", Envid: "QQ", Ret: "HDRS", Body: "8BITMIME", Origin: "smtpd",
		Client: envelope.Client{Name: "unknown", Address: "192.0.2.7", Helo: "h", Protocol: "ESMTP"}}
	w, err := sp.Create(queue.Active, m)
	if err != nil {
		t.Fatal(err)
	}
	w.Recipient(&envelope.Recipient{Address: "done@y.example", Orig: "alias@x.example"})
	w.Recipient(&envelope.Recipient{Address: "todo@y.example", Notify: envelope.NotifyFailure, Orcpt: "rfc822;t@z"})
	w.Write([]byte("Subject: x\r\nX: y\r\n\r\nbody\r\n.dot\r\n"))
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := sp.Load(queue.Active, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.Append([]envelope.Outcome{{Num: 0, Status: envelope.Sent, DSN: "2.0.0", Relay: "local", Reason: "ok", When: at}, {Num: 1, DSN: "4.2.2", Relay: "none", Reason: "full", When: at}})
	f.Mark(queue.DelayWarned, at)
	f.Close()
	return sp, m.ID
}

func cat(t *testing.T, p printer) string {
	t.Helper()
	sp, id := spool(t)
	f, err := load(sp, id, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	p.w = bufio.NewWriter(&b)
	if err := p.file(f, id); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEverything(t *testing.T) {
	got := cat(t, printer{envelope: true, header: true, body: true})
	path := filepath.Join("testdata", "all.txt")
	if *update {
		os.MkdirAll("testdata", 0o755)
		os.WriteFile(path, []byte(got), 0o644)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("output differs from %s:\n%s", path, got)
	}
}

func TestParts(t *testing.T) {
	if got := cat(t, printer{header: true}); got != "Subject: x\nX: y\n\n" {
		t.Errorf("-h prints %q", got)
	}
	if got := cat(t, printer{body: true, names: true}); got != "4XkP1Q2n3RzcJh4: body\n4XkP1Q2n3RzcJh4: .dot\n" {
		t.Errorf("-bf prints %q", got)
	}
}

func TestMissingAndDamaged(t *testing.T) {
	sp, _ := spool(t)
	if _, err := load(sp, queue.NewID(time.Now()), true); err == nil {
		t.Error("a missing message was found")
	}
	p := filepath.Join(t.TempDir(), "x")
	os.WriteFile(p, bytes.Repeat([]byte("x"), 500), 0o600)
	if _, err := load(sp, p, false); err == nil {
		t.Error("a file that is no queue file was printed")
	}
}
