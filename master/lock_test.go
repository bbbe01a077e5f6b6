package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReloadWhileStarting: a process that is starting (here it waits for its
// predecessor) has read its configuration too early for the next reload.
func TestReloadWhileStarting(t *testing.T) {
	w := newWorld(t, "qmgr unix - - n - 10 qmgr\n", "mail_name = Old").start()
	busy := w.dial("qmgr")
	old := busy.ask("pid")
	w.cmd.Process.Signal(syscall.SIGHUP)
	w.until("a successor at the lock", func() bool { return waitsAtLock(w, old) })
	main := filepath.Join(w.dir, "etc/main.cf")
	b, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	w.write("etc/main.cf", strings.Replace(string(b), "mail_name = Old", "mail_name = New", 1))
	w.cmd.Process.Signal(syscall.SIGHUP)
	busy.c.Close()
	w.until("the new configuration", func() bool { return w.askOnce("qmgr", "get mail_name") == "New" })
}

// TestStartWhileSomebodyLooks: "posthaste status" holds the lock for a moment,
// which is no master that runs.
func TestStartWhileSomebodyLooks(t *testing.T) {
	w := newWorld(t, oneService)
	name := filepath.Join(w.dir, "q/pid/master.pid")
	os.MkdirAll(filepath.Dir(name), 0o755)
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { f.Close() })
	w.start()
	w.askOnce("discard", "pid")
}

// waitsAtLock tells whether a process other than old has the lock file open.
func waitsAtLock(w *world, old string) bool {
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil || p.Name() == old {
			continue
		}
		fds, _ := filepath.Glob("/proc/" + p.Name() + "/fd/*")
		for _, f := range fds {
			if to, err := os.Readlink(f); err == nil && to == w.dir+"/q/pid/unix.qmgr" {
				return true
			}
		}
	}
	return false
}
