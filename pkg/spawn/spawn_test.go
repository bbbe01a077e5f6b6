package spawn

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func run(t *testing.T, c *Command) *Result {
	t.Helper()
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		cmd  Command
		want string
	}{
		{Command{Argv: []string{"echo", "a b", "$HOME;`id`", ""}}, "a b $HOME;`id` "},
		{Command{Line: "echo plain words"}, "plain words"},
		{Command{Line: "echo 'a  b' $X", Env: []string{"X=y"}}, "a  b y"},
		{Command{Line: "exit 3"}, ""}, // a shell built-in
		{Command{Line: "x y", Shell: "/bin/echo shell -c"}, "shell -c x y"},
		{Command{Argv: []string{"cat"}, Input: func(w io.Writer) error { _, err := io.WriteString(w, "in\tput\n\x01"); return err }}, "in put _"},
		{Command{Argv: []string{"pwd"}, Dir: "/"}, "/"},
		{Command{Argv: []string{"env"}, Env: []string{"A=b"}}, "PATH=/usr/bin:/bin A=b"},
	} {
		if r := run(t, &c.cmd); strings.TrimRight(r.Output, " ") != strings.TrimRight(c.want, " ") {
			t.Errorf("%q %q: %q, want %q", c.cmd.Argv, c.cmd.Line, r.Output, c.want)
		}
	}
}

func TestEnds(t *testing.T) {
	if r := run(t, &Command{Line: "exit 3"}); r.Exit != 3 || r.Err().DSN != "5.3.0" {
		t.Errorf("%+v", r)
	}
	if r := run(t, &Command{Argv: []string{"/nonexistent"}}); r.Exit != 75 || r.Err().DSN != "4.3.0" {
		t.Errorf("%+v", r)
	}
	if r := run(t, &Command{Line: "kill -TERM $$"}); r.Signal != syscall.SIGTERM || r.Err().DSN != "4.3.0" {
		t.Errorf("%+v", r)
	}
	// More output than is kept must not block the command.
	if r := run(t, &Command{Line: "head -c 300000 /dev/zero | tr '\\0' x; exit 69"}); r.Exit != 69 || len(r.Output) != maxOutput {
		t.Errorf("exit %d, %d bytes of output", r.Exit, len(r.Output))
	}
	// A command that leaves a child with its output open is over when it is over.
	start := time.Now()
	if r := run(t, &Command{Line: "echo started; sleep 600 & exit 0", Limit: 300 * time.Second}); r.TimedOut || !strings.HasPrefix(r.Output, "started") {
		t.Errorf("%+v after %v", r, time.Since(start))
	}
}

// TestLimit: the command and what it started are killed at the limit.
func TestLimit(t *testing.T) {
	pidFile := t.TempDir() + "/pid"
	r := run(t, &Command{Line: "sleep 600 & echo $! > " + pidFile + "; wait; :;", Limit: time.Second})
	if !r.TimedOut || r.Err().DSN != "5.3.0" || !strings.Contains(r.Err().Text, "Command time limit exceeded") {
		t.Errorf("%+v", r)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ") {
			break
		}
		if time.Now().After(end) { // one that was killed may take a moment to die
			t.Fatalf("the command's child lives on: %s", stat)
		}
	}
}
