package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posthaste/pkg/envelope"
	"posthaste/pkg/worker"
)

// status reads a field of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	for _, l := range strings.Split(read(t, fmt.Sprintf("/proc/%d/status", pid)), "\n") {
		if v, ok := strings.CutPrefix(l, field+":"); ok {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

// TestWorkerIdentity: a worker has all identities of its user and nothing of
// the dispatcher's.
func TestWorkerIdentity(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "", "")
	f.one(simple, "alice@mx.test")
	f.one(simple, "bob@mx.test")
	pids := f.d.pool.PIDs()
	if len(pids) != 2 {
		t.Fatalf("workers: %v, want 2", pids)
	}
	pid := pids[20001]
	for field, want := range map[string]string{"Uid": "20001 20001 20001 20001", "Gid": "20001 20001 20001 20001", "Groups": "20001 20050",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "NoNewPrivs": "0"} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		if s := read(t, task); !strings.Contains(s, "Uid:\t20001\t20001\t20001\t20001") {
			t.Errorf("a thread of another identity:\n%s", s)
		}
	}
	// Not dumpable: its files in /proc are root's, so the user cannot read them.
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/environ", pid), &st); err != nil || st.Uid != 0 {
		t.Errorf("worker is dumpable: environ of uid %d, %v", st.Uid, err)
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		if strings.HasPrefix(to, f.dir) && !strings.Contains(to, "/home/alice") {
			t.Errorf("worker has %s open", to)
		}
	}
	f.one(simple, "alice@mx.test")
	if got := f.d.pool.PIDs()[20001]; got != pid {
		t.Errorf("second delivery by process %d, want %d again", got, pid)
	}
	if _, _, e := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0); e != 0 {
		t.Skip("SKIPPED the no_new_privs part: built with cgo (set CGO_ENABLED=0, as for the programs)")
	}
	g := newFixture(t, "allow_mail_to_commands =", "")
	g.one(simple, "alice@mx.test")
	if got := status(t, g.d.pool.PIDs()[20001], "NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs: %s without commands, want 1", got)
	}
}

// TestRights: whose rights commands and files get.
func TestRights(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "allow_mail_to_commands = alias, forward, include\nallow_mail_to_files = alias, forward, include\nalias_maps = texthash:DIR/etc/aliases.txt texthash:DIR/etc/bobs", `
cmd: "|id -u > DIR/out/cmd"
inc: :include:DIR/out/alices
rootinc: :include:DIR/rootlist
`)
	os.Mkdir(f.dir+"/out", 0o777)
	os.Chmod(f.dir+"/out", 0o777)
	owner := func(name string) int {
		t.Helper()
		n, err := strconv.Atoi(strings.TrimSpace(read(t, f.dir+"/out/"+name)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// Root's table: default_privs.
	f.want(f.one(simple, "cmd@mx.test"), envelope.Sent, "2.0.0", "command")
	if got := owner("cmd"); got != f.uids["nobody"] {
		t.Errorf("root's alias runs as %d, want default_privs", got)
	}
	f.want(f.one(simple, "bobcmd@mx.test"), envelope.Sent, "2.0.0", "command")
	if got := owner("bobcmd"); got != f.uids["bob"] {
		t.Errorf("bob's table runs as %d, want bob", got)
	}
	write(t, f.dir+"/out/alices", `"|id -u > `+f.dir+`/out/inc"`+"\n", 0o644, f.uids["alice"])
	f.want(f.one(simple, "inc@mx.test"), envelope.Sent, "2.0.0", "command")
	if got := owner("inc"); got != f.uids["alice"] {
		t.Errorf("alice's :include: runs as %d, want alice", got)
	}
	write(t, f.dir+"/rootlist", `"|id -u > `+f.dir+`/out/rootinc"`+"\n", 0o644, 0)
	f.want(f.one(simple, "rootinc@mx.test"), envelope.Sent, "2.0.0", "command")
	if got := owner("rootinc"); got != f.uids["nobody"] {
		t.Errorf("root's :include: runs as %d, want default_privs", got)
	}
	// A user who can put a link in the list's place does not get at what only
	// root may read: its lines would come back in a report.
	write(t, f.dir+"/shadow", "root:hash:1\n", 0o600, 0)
	os.Remove(f.dir + "/out/alices")
	if err := os.Symlink(f.dir+"/shadow", f.dir+"/out/alices"); err != nil {
		t.Fatal(err)
	}
	if o := f.one(simple, "inc@mx.test"); o.Status != envelope.Bounced || strings.Contains(o.Reason, "hash") || !strings.Contains(o.Reason, "configuration error") {
		t.Errorf("a link in the place of an :include: file: %+v", o)
	}
	write(t, f.dir+"/home/dave/.forward", `"|id > `+f.dir+`/out/fwd"`+"\n", 0o644, f.uids["dave"])
	f.want(f.one(simple, "dave@mx.test"), envelope.Sent, "2.0.0", "command")
	if got := read(t, f.dir+"/out/fwd"); !strings.HasPrefix(got, "uid=20003") || strings.Contains(got, "root") {
		t.Errorf(".forward runs as %s", got)
	}
	// A user cannot have others' files read or written for him.
	write(t, f.dir+"/secret", "x@other.example\n", 0o600, f.uids["bob"])
	write(t, f.dir+"/home/dave/.forward", ":include:"+f.dir+"/secret\n", 0o644, f.uids["dave"])
	f.want(f.one(simple, "dave@mx.test"), envelope.Bounced, "5.3.5", "configuration error")
	write(t, f.dir+"/home/dave/.forward", f.dir+"/secret\n", 0o644, f.uids["dave"])
	f.want(f.one(simple, "dave@mx.test"), envelope.Bounced, "5.2.0", "permission denied")
	// Root's .forward: commands run with default_privs.
	write(t, f.dir+"/home/root/.forward", `"|id -u > `+f.dir+`/out/root", \root`+"\n", 0o600, 0)
	f.want(f.one(simple, "root@mx.test"), envelope.Sent, "2.0.0", "")
	if got := owner("root"); got != f.uids["nobody"] {
		t.Errorf("root's .forward runs as %d, want default_privs", got)
	}
	if n := len(f.maildir(f.dir + "/home/root/Maildir")); n != 1 {
		t.Errorf("root has %d messages, want 1", n)
	}
}

// lie is a worker that its user has taken over.
func lie(how string) {
	worker.Serve(func([]byte) (worker.Handler, bool, error) {
		return func(context.Context, []byte, []*os.File) []byte {
			switch how {
			case "spool":
				return (&reply{Verdict: needSpool}).encode()
			case "tokens":
				return (&reply{Verdict: isTokens, Which: 77, Tokens: []string{"/etc/x", "|id"}}).encode()
			case "dsn":
				return (&reply{DSN: "9.9\n9", Text: "x"}).encode()
			case "long":
				return (&reply{DSN: "4.2.1", Text: strings.Repeat("x", 500000)}).encode()
			}
			return []byte(strings.Repeat("\xff", 1000))
		}, false, nil
	})
	os.Exit(0)
}

// TestLyingWorker: a worker's answer does not make the dispatcher do anything
// as root.
func TestLyingWorker(t *testing.T) {
	mustRoot(t)
	for _, how := range []string{"spool", "tokens", "dsn", "long", "garbage"} {
		f := newFixtureWith(t, "home_mailbox = box", "", func(d *dispatcher) {
			d.pool = worker.New(worker.Options{Program: "local", Env: []string{"LIES=" + how}, Log: d.log})
		})
		target := f.dir + "/root-file"
		write(t, target, "precious\n", 0o600, 0)
		os.Symlink(f.dir+"/made-by-root", f.dir+"/home/alice/box")
		o := f.one(simple, "alice@mx.test")
		if o.Status != envelope.Deferred || len(o.Reason) > 10000 {
			t.Errorf("%s: %s %.200s", how, o.DSN, o.Reason)
		}
		if _, err := os.Lstat(f.dir + "/made-by-root"); err == nil {
			t.Errorf("%s: root made a file", how)
		}
		for _, l := range strings.Split(f.log.String(), "\n") {
			if len(l) > 20000 {
				t.Errorf("%s: a log line of %d bytes", how, len(l))
			}
		}
	}
}

// TestRootsMailbox: the mailbox of root is his, his mailbox command is not run
// as root, and his .forward file is honoured.
func TestRootsMailbox(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "mailbox_command = id -u > DIR/out/id", "")
	os.Mkdir(f.dir+"/out", 0o777)
	os.Chmod(f.dir+"/out", 0o777)
	f.want(f.one(simple, "root@mx.test"), envelope.Sent, "2.0.0", "delivered to command: id -u")
	if got := strings.TrimSpace(read(t, f.dir+"/out/id")); got != strconv.Itoa(f.uids["nobody"]) {
		t.Errorf("mailbox_command of root runs as %s", got)
	}
	f.want(f.one("Delivered-To: root@mx.test\r\n\r\n", "root@mx.test"), envelope.Bounced, "5.4.6", "loop")
	write(t, f.dir+"/home/root/.forward", "x@other.example\n", 0o600, 0)
	f.want(f.one(simple, "root@mx.test"), envelope.Sent, "2.0.0", "forwarded as")
	g := newFixture(t, "home_mailbox =", "")
	g.want(g.one(simple, "root@mx.test"), envelope.Sent, "2.0.0", "delivered to mailbox")
	var st syscall.Stat_t
	if err := syscall.Stat(g.dir+"/var/mail/root", &st); err != nil || st.Uid != 0 || st.Size == 0 {
		t.Errorf("root's mailbox: %+v, %v", st, err)
	}
}

// TestWorkerKilled: the user kills his worker; his mail waits, others' does
// not.
func TestWorkerKilled(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "mailbox_command = DIR/cmd", "")
	write(t, f.dir+"/cmd", "#!/bin/sh\ncat >/dev/null; kill -9 $PPID\n", 0o755, 0)
	f.want(f.one(simple, "alice@mx.test"), envelope.Deferred, "4.3.0", "worker process ended")
	write(t, f.dir+"/cmd", "#!/bin/sh\ncat >/dev/null\n", 0o755, 0)
	f.want(f.one(simple, "bob@mx.test"), envelope.Sent, "2.0.0", "")
	f.want(f.one(simple, "alice@mx.test"), envelope.Sent, "2.0.0", "")
}

// TestLinkRaces: a user who keeps exchanging his mailbox for links gets none
// of his mail into files that are not his.
func TestLinkRaces(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "home_mailbox =\nmailbox_delivery_lock = fcntl", "")
	os.Chmod(f.dir+"/var/mail", 0o777)
	target := f.dir + "/root-file"
	write(t, target, "precious\n", 0o600, 0)
	box := f.dir + "/var/mail/alice"
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.Remove(box)
			if i%2 == 0 {
				os.Symlink(target, box)
				os.Lchown(box, f.uids["alice"], f.uids["alice"])
			} else {
				os.Link(target, box)
			}
		}
	})
	for range 200 {
		f.one(simple, "alice@mx.test")
	}
	close(stop)
	wg.Wait()
	if got := read(t, target); got != "precious\n" {
		t.Errorf("root's file was written: %q", got)
	}
	var st syscall.Stat_t
	if syscall.Stat(target, &st); st.Uid != 0 {
		t.Errorf("root's file now belongs to %d", st.Uid)
	}
}

// TestSpoolLinkRaces is the same where the dispatcher opens the mailbox: in a
// directory that the mail group may write.
func TestSpoolLinkRaces(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "home_mailbox =\nmailbox_delivery_lock = fcntl", "")
	os.Chmod(f.dir+"/var/mail", 0o775)
	target := f.dir + "/root-file"
	write(t, target, "precious\n", 0o600, 0)
	box := f.dir + "/var/mail/alice"
	for i, plant := range []func(){
		func() { os.Symlink(target, box); os.Lchown(box, 20001, 20001) },
		func() { os.Link(target, box) },
		func() { os.Symlink(f.dir+"/new-root-file", box); os.Lchown(box, 20001, 20001) },
		func() { syscall.Mkfifo(box, 0o666) },
		func() { write(t, box, "", 0o600, f.uids["bob"]) },
	} {
		os.Remove(box)
		plant()
		if o := f.one(simple, "alice@mx.test"); o.Status != envelope.Deferred {
			t.Errorf("attack %d: %+v", i, o)
		}
	}
	if got := read(t, target); got != "precious\n" {
		t.Errorf("root's file was written: %q", got)
	}
	if _, err := os.Lstat(f.dir + "/new-root-file"); err == nil {
		t.Error("file created through a link")
	}
}

func TestManyUsersAtOnce(t *testing.T) {
	mustRoot(t)
	f := newFixture(t, "", "")
	start := time.Now()
	r, file := f.request(simple, "alice@mx.test", "bob@mx.test", "dave@mx.test", "zoe@mx.test")
	out := f.exchange(r, file)
	if len(out) != 4 || out[3].Status != envelope.Bounced || out[0].Status != envelope.Sent {
		t.Errorf("%v", out)
	}
	t.Logf("four recipients with cold workers: %v", time.Since(start))
}
