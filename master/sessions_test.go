package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"posthaste/pkg/ipc"
	"posthaste/pkg/proto/session"
)

// desk is auth and login in one: a client of the session socket.
type desk struct {
	w *world
	c *ipc.Conn
}

func (w *world) desk() *desk {
	w.t.Helper()
	c, err := ipc.Dial(filepath.Join(w.dir, "q", session.Service), session.Protocol, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return &desk{w, c}
}

func (d *desk) ask(typ byte, p []byte, fds ...int) session.Result {
	d.w.t.Helper()
	d.c.SetDeadline(time.Now().Add(patience))
	if err := d.c.WriteFrame(typ, p, fds...); err != nil {
		d.w.t.Fatal(err)
	}
	typ, p, err := d.c.ReadFrame()
	if err != nil || typ != session.TypeResult {
		d.w.t.Fatalf("frame %d, %v", typ, err)
	}
	r, err := session.DecodeResult(p)
	if err != nil {
		d.w.t.Fatal(err)
	}
	return *r
}

// mailUID is a user ID that a session may have here.
func mailUID() uint32 {
	if os.Geteuid() == 0 {
		return 62150
	}
	return uint32(os.Geteuid())
}

func cookie(n int) string { return fmt.Sprintf("%016d", n) }

func (d *desk) grant(n int, user string, uid uint32) session.Result {
	return d.ask(session.TypeGrant, session.EncodeGrant(&session.Grant{Cookie: cookie(n), Program: "imapd", User: user, UID: uid, GID: uid, Home: "/home/" + user}))
}

// open hands one end of a pair over and returns the other, with the first line
// that the session program says.
func (d *desk) open(n int) (net.Conn, string, session.Result) {
	d.w.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		d.w.t.Fatal(err)
	}
	r := d.ask(session.TypeOpen, session.EncodeOpen(&session.Open{Cookie: cookie(n), Tag: "a1", Input: []byte("+more")}), fds[1])
	syscall.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if !r.OK {
		return c, "", r
	}
	l, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		d.w.t.Fatalf("session: %v", err)
	}
	return c, strings.TrimSpace(l), r
}

func TestSessions(t *testing.T) {
	w := newWorld(t, "imapd unix - - n - 2 imapd\n").start()
	d := w.desk()
	uid := mailUID()
	if r := d.grant(1, "anna", uid); !r.OK {
		t.Fatal(r.Text)
	}
	_, hello, _ := d.open(1)
	f := strings.Fields(hello)
	if len(f) != 6 || f[0] != "anna" || f[1] != "/home/anna" || f[3] != fmt.Sprint(uid) || f[4] != fmt.Sprint(uid) || f[5] != "a1+more" {
		t.Errorf("the session says %q", hello)
	}
	// A cookie serves once; one that auth did not give, never.
	if _, _, r := d.open(1); r.OK {
		t.Error("a cookie served twice")
	}
	if _, _, r := d.open(99); r.OK {
		t.Error("a made-up cookie served")
	}
	// Another user with the same ID shares the process.
	d.grant(2, "bob", uid)
	_, hello2, _ := d.open(2)
	if f2 := strings.Fields(hello2); f2[0] != "bob" || f2[2] != f[2] {
		t.Errorf("second session %q, first %q", hello2, hello)
	}
	if r := d.grant(3, "root", 0); r.OK {
		t.Error("a session for root")
	}
	if os.Geteuid() == 0 {
		d.grant(4, "carl", uid+1)
		_, hello4, _ := d.open(4)
		if f4 := strings.Fields(hello4); f4[3] != fmt.Sprint(uid+1) || f4[2] == f[2] {
			t.Errorf("another user's session %q", hello4)
		}
		d.grant(5, "dora", uid+2)
		if _, _, r := d.open(5); r.OK || !strings.Contains(r.Text, "process limit 2") {
			t.Errorf("third process: %+v", r)
		}
	} else if r := d.grant(4, "carl", uid+1); r.OK {
		t.Error("a session for another user without root")
	}
}

// TestSessionReload: a reload leaves sessions alone; new ones get a new
// process; the old one leaves when its last session ends.
func TestSessionReload(t *testing.T) {
	w := newWorld(t, "imapd unix - - n - 10 imapd\n").start()
	d := w.desk()
	d.grant(1, "anna", mailUID())
	c, hello, _ := d.open(1)
	old, _ := strconv.Atoi(strings.Fields(hello)[2])
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.waitLog(`reload -- version`)
	d.grant(2, "anna", mailUID())
	_, hello, _ = d.open(2)
	if strings.Fields(hello)[2] == fmt.Sprint(old) {
		t.Error("the old process got a new session")
	}
	fmt.Fprintln(c, "still there?")
	if l, err := bufio.NewReader(c).ReadString('\n'); err != nil || l != "you said still there?\n" {
		t.Errorf("the old session: %q, %v", l, err)
	}
	c.Close()
	w.until("end of the old process", func() bool { return !alive(old) })
}

// TestSessionCrash: a user whose session processes die keeps nobody else out.
func TestSessionCrash(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root for a second user")
	}
	w := newWorld(t, "imapd unix - - n - 10 imapd\n").start()
	d := w.desk()
	uid := mailUID()
	for n := range 3 {
		d.grant(n, "anna", uid)
		_, hello, r := d.open(n)
		if !r.OK {
			break // held back already
		}
		pid, _ := strconv.Atoi(strings.Fields(hello)[2])
		syscall.Kill(pid, syscall.SIGKILL)
		w.waitLog(fmt.Sprintf(`pid %d killed by signal 9`, pid))
	}
	d.grant(10, "anna", uid)
	if _, _, r := d.open(10); r.OK || !strings.Contains(r.Text, "failed recently") {
		t.Errorf("no pause after crashes: %+v", r)
	}
	d.grant(11, "bob", uid+1)
	if _, _, r := d.open(11); !r.OK {
		t.Errorf("another user is shut out: %s", r.Text)
	}
}
