package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sinkPort is where every target relays to: at 127.0.0.1 all mail for unknown
// domains, at 127.0.1.1 to 127.0.1.100 that for d0.test to d99.test.
const sinkPort = "10026"

// target is a mail server that a script in peers/ starts and stops.
type target struct {
	name   string // as given on the command line
	script string
	params []string
	dir    string // BENCH_DIR for the script

	started bool   // the script was told to
	smtp    string // address of its server
	pid     int    // root of its process tree
	maildir string // where user N's mail goes, {u} standing for N
}

func newTarget(spec, dir string) *target {
	parts := strings.Split(spec, ",")
	exe, err := os.Executable()
	if err != nil {
		die("%v", err)
	}
	peers := os.Getenv("BENCH_PEERS")
	if peers == "" {
		peers = filepath.Join(filepath.Dir(exe), "peers")
	}
	return &target{name: spec, script: filepath.Join(peers, parts[0]+".sh"), params: parts[1:], dir: dir}
}

// env is the script's environment.
func (t *target) env(sessions int) []string {
	env := append(os.Environ(), "BENCH_DIR="+t.dir)
	if sessions > 90 {
		env = append(env, "BENCH_CONNS="+strconv.Itoa(sessions))
	}
	return env
}

// ctl runs the script.
func (t *target) ctl(sessions int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append([]string{t.script}, args...)...)
	cmd.Env = t.env(sessions)
	cmd.WaitDelay = time.Second
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(t.script), strings.Join(args, " "), err, errText.String())
	}
	return string(out), nil
}

// up starts the target with room for so many sessions.
func (t *target) up(sessions int) error {
	t.started = true
	if _, err := t.ctl(sessions, append([]string{"start"}, t.params...)...); err != nil {
		return err
	}
	return t.find()
}

// find asks where the target is, and waits until it has come to rest.
func (t *target) find() error {
	out, err := t.ctl(0, "env")
	if err != nil {
		return err
	}
	for _, l := range strings.Split(out, "\n") {
		k, v, _ := strings.Cut(l, "=")
		switch k {
		case "SMTP":
			t.smtp = v
		case "PID":
			t.pid, _ = strconv.Atoi(v)
		case "MAILDIR":
			t.maildir = v
		}
	}
	if t.smtp == "" || t.pid == 0 || t.maildir == "" {
		return fmt.Errorf("%s env: incomplete: %q", t.script, out)
	}
	time.Sleep(time.Second)
	return nil
}

// down stops the target, if it runs, and writes out what it left.
func (t *target) down() {
	if !t.started {
		return
	}
	if _, err := t.ctl(0, "stop"); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
	t.started = false
	time.Sleep(300 * time.Millisecond)
	syscall.Sync()
}
