// Package spawn runs the external commands that take mail: another identity,
// a clean environment, a session of their own, a time limit that kills all of
// their offspring, the message on standard input, and a limited amount of their
// output for the report.
package spawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posthaste/pkg/dsncode"
)

// Cred is the identity of a command.
type Cred struct {
	UID, GID uint32
	Groups   []uint32
}

// Command is one command to run. Either Argv or Line is set.
type Command struct {
	Argv []string
	// Line is run without a shell if it has no character that a shell would
	// interpret, else by Shell, or by /bin/sh -c if that is empty. Shell is split
	// at white space and gets Line as its last argument.
	Line  string
	Shell string
	Cred  *Cred // nil keeps the caller's
	Dir   string
	Env   []string // complete; PATH is added
	// Input writes the message to w; its error matters unless the command closed
	// its standard input early.
	Input func(w io.Writer) error
	Limit time.Duration
}

// Result is how a command ended.
type Result struct {
	Name     string // for reports: Line, or Argv[0]
	Exit     int
	Signal   syscall.Signal // not 0 if it died of one
	TimedOut bool
	Output   string // printable, one line, at most maxOutput bytes
	Input    error  // what Input returned, other than a broken pipe
}

// maxOutput is how much of a command's output is kept.
const maxOutput = 4096

// Path is the search path of commands (the system's _PATH_DEFPATH).
const Path = "/usr/bin:/bin"

// Environ returns the variables that export_environment names, as this
// process has them; name=value entries are set outright.
func Environ(export []string) []string {
	var env []string
	for _, n := range export {
		if strings.Contains(n, "=") {
			env = append(env, n)
		} else if v, ok := os.LookupEnv(n); ok {
			env = append(env, n+"="+v)
		}
	}
	return env
}

// plain holds the characters that no shell interprets.
func plain(line string) bool {
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("!@%-_=+:,./ \t", c) >= 0:
		default:
			return false
		}
	}
	return strings.Trim(line, " \t") != ""
}

// argv returns what to execute.
func (c *Command) argv() ([]string, error) {
	if len(c.Argv) > 0 {
		p, err := lookPath(c.Argv[0])
		if err != nil {
			return nil, err
		}
		return append([]string{p}, c.Argv[1:]...), nil
	}
	if f := strings.Fields(c.Shell); len(f) > 0 {
		p, err := lookPath(f[0])
		if err != nil {
			return nil, err
		}
		return append(append([]string{p}, f[1:]...), c.Line), nil
	}
	if plain(c.Line) {
		f := strings.FieldsFunc(c.Line, func(r rune) bool { return r == ' ' || r == '\t' })
		p, err := lookPath(f[0])
		if err == nil {
			return append([]string{p}, f[1:]...), nil
		}
		if strings.Contains(f[0], "/") || !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		// Perhaps a command that the shell has built in.
	}
	return []string{"/bin/sh", "-c", c.Line}, nil
}

func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, d := range filepath.SplitList(Path) {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", &os.PathError{Op: "execvp", Path: name, Err: syscall.ENOENT}
}

// Run runs the command to its end. The error is trouble on our side (no
// process, no pipe) and temporary; a command that cannot be executed ends with
// status 75 (EX_TEMPFAIL) and says why in Output, as with Postfix.
func Run(ctx context.Context, c *Command) (*Result, error) {
	res := &Result{Name: c.Line}
	if len(c.Argv) > 0 {
		res.Name = c.Argv[0]
	}
	argv, err := c.argv()
	if err != nil {
		res.Exit, res.Output = 75, printable([]byte("fatal: "+err.Error()))
		return res, nil
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		return nil, err
	}
	defer outR.Close()
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Dir: c.Dir, Stdin: inR, Stdout: outW, Stderr: outW}
	cmd.Env = append([]string{"PATH=" + Path}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.Cred != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.Cred.UID, Gid: c.Cred.GID, Groups: c.Cred.Groups}
	}
	err = cmd.Start()
	inR.Close()
	outW.Close()
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) {
			return nil, err
		}
		res.Exit, res.Output = 75, printable([]byte("fatal: "+err.Error()))
		return res, nil
	}
	res.supervise(ctx, c, cmd, inW, outR)
	return res, nil
}

// supervise feeds the command, reads it, and kills its session at the limit.
func (res *Result) supervise(ctx context.Context, c *Command, cmd *exec.Cmd, in, out *os.File) {
	exited, fed, read := make(chan error, 1), make(chan error, 1), make(chan struct{})
	var output capped
	go func() {
		defer close(read)
		io.Copy(&output, out)
	}()
	go func() {
		var err error
		if c.Input != nil {
			err = c.Input(in)
		}
		if cerr := in.Close(); err == nil {
			err = cerr
		}
		fed <- err
	}()
	go func() { exited <- cmd.Wait() }()
	limit := c.Limit
	if limit <= 0 {
		limit = 24 * time.Hour
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var werr error
	select {
	case werr = <-exited:
	case <-timer.C:
		res.TimedOut = true
	case <-ctx.Done():
		res.TimedOut = true
	}
	if res.TimedOut {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		werr = <-exited
	}
	// Nobody reads the message any more, and what the command left running is none of ours.
	in.SetWriteDeadline(time.Now())
	out.SetReadDeadline(time.Now())
	ferr := <-fed
	<-read
	drain(out, &output)
	if ferr != nil && !errors.Is(ferr, syscall.EPIPE) && !errors.Is(ferr, os.ErrDeadlineExceeded) && !errors.Is(ferr, os.ErrClosed) {
		res.Input = ferr
	}
	res.Output = printable(output.b)
	var ee *exec.ExitError
	if errors.As(werr, &ee) {
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			res.Signal = ws.Signal()
		} else {
			res.Exit = ee.ExitCode()
		}
	} else if werr != nil {
		res.Exit = 75
	}
}

// drain takes what is left in the pipe without waiting.
func drain(out *os.File, w *capped) {
	rc, err := out.SyscallConn()
	if err != nil {
		return
	}
	out.SetReadDeadline(time.Time{})
	var buf [4096]byte
	rc.Read(func(fd uintptr) bool {
		for {
			n, err := syscall.Read(int(fd), buf[:])
			if n <= 0 || err != nil {
				return true
			}
			w.Write(buf[:n])
		}
	})
}

// capped keeps the first bytes and swallows the rest, so that a talkative
// command does not block.
type capped struct{ b []byte }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxOutput - len(c.b); room > 0 {
		c.b = append(c.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// printable makes one line of output: white space becomes a blank, what else
// does not print an underscore.
func printable(b []byte) string {
	b = bytes.ToValidUTF8(b, []byte("_"))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '_'
		}
		return r
	}, string(b))
}

// Err turns the end of a command into an outcome: nil for delivered.
func (r *Result) Err() *dsncode.Error {
	out := ""
	if strings.TrimSpace(r.Output) != "" {
		out = ". Command output: " + r.Output
	}
	fail := func(dsn, diag, format string, a ...any) *dsncode.Error {
		if out != "" {
			diag = r.Output
		}
		return &dsncode.Error{DSN: dsn, Text: fmt.Sprintf(format, a...) + out, Diag: diag}
	}
	switch {
	case r.TimedOut:
		return fail("5.3.0", "internal software error", "Command time limit exceeded: %q", r.Name)
	case r.Signal != 0:
		return fail("4.3.0", "internal software error", "Command died with signal %d: %q", int(r.Signal), r.Name)
	case r.Exit == 0 && r.Input != nil:
		return &dsncode.Error{DSN: "4.3.0", Text: fmt.Sprintf("Command failed: %v: %q", r.Input, r.Name), Err: r.Input}
	case r.Exit == 0:
		return nil
	}
	if dsncode.Valid(r.Output) > 0 && r.Output[0] != '2' {
		dsn, text := dsncode.Split("", r.Output)
		return &dsncode.Error{DSN: dsn, Text: text, Diag: text}
	}
	dsn, text, known := dsncode.FromExit(r.Exit)
	if known {
		return fail(dsn, text, "%s", text)
	}
	return fail(dsn, text, "Command died with status %d: %q", r.Exit, r.Name)
}
