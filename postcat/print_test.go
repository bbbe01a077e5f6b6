package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	f, _, err := find(sp, id)
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
	if got := cat(t, printer{header: true}); got != "Subject: x\nX: y\n" {
		t.Errorf("-h prints %q", got)
	}
	if got := cat(t, printer{body: true, names: true}); got != "4XkP1Q2n3RzcJh4: \n4XkP1Q2n3RzcJh4: body\n4XkP1Q2n3RzcJh4: .dot\n" {
		t.Errorf("-bf prints %q", got)
	}
}

// TestFiles runs the program: by ID, by name, from standard input, and as somebody
// who may not look.
func TestFiles(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "postcat")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sp, id := spool(t)
	path := sp.Path(queue.Active, id)
	dir := filepath.Dir(filepath.Dir(path))
	etc := t.TempDir()
	os.WriteFile(filepath.Join(etc, "main.cf"), []byte("queue_directory = "+dir+"\nmyhostname = mx.example.test\n"), 0o644)
	in, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		stdin []byte
		args  []string
		rc    int
		want  string
	}{
		{nil, []string{"-qe", id}, 0, "*** ENVELOPE RECORDS active/" + id + " ***\n"},
		{nil, []string{path}, 0, "*** MESSAGE CONTENTS " + path + " ***\n"},
		{in, nil, 0, "*** MESSAGE FILE END stdin ***\n"},
		{nil, nil, 0, ""},
		{[]byte("no queue file"), nil, 1, "postcat: fatal: stdin: incomplete queue file"},
		{nil, []string{"-q", "4jYDz574DRzfYZYX"}, 1, "postcat: fatal: open queue file 4jYDz574DRzfYZYX: file does not exist\n"},
	} {
		cmd := exec.Command(bin, append([]string{"-c", etc}, tc.args...)...)
		cmd.Stdin = bytes.NewReader(tc.stdin)
		out, _ := cmd.CombinedOutput()
		if rc := cmd.ProcessState.ExitCode(); rc != tc.rc || !strings.Contains(string(out), tc.want) || tc.want == "" && len(out) > 0 {
			t.Errorf("postcat %q: status %d, %q; want %d, %q", tc.args, rc, out, tc.rc, tc.want)
		}
	}
	if os.Getuid() != 0 {
		os.Chmod(filepath.Dir(path), 0)
		defer os.Chmod(filepath.Dir(path), 0o700)
		if _, _, err := find(sp, id); !errors.Is(err, os.ErrPermission) {
			t.Errorf("where nobody may look: %v", err)
		}
	}
}

func TestMissingAndDamaged(t *testing.T) {
	sp, _ := spool(t)
	if _, _, err := find(sp, queue.NewID(time.Now())); err == nil {
		t.Error("a missing message was found")
	}
	p := filepath.Join(t.TempDir(), "x")
	os.WriteFile(p, bytes.Repeat([]byte("x"), 500), 0o600)
	if _, err := sp.LoadPath(p); err == nil {
		t.Error("a file that is no queue file was printed")
	}
}
