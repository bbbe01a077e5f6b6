package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	if m, err := ParseMethods([]string{"fcntl", "dotlock"}); err != nil || m != Fcntl|Dotlock {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := ParseMethods([]string{"lockf"}); err == nil {
		t.Error("no error")
	}
}

func TestDot(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/box"
	o := &Options{Methods: Dotlock, Attempts: 1, Stale: time.Hour}
	release, err := Dot(ctx, path, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dot(ctx, path, o); !errors.Is(err, ErrBusy) {
		t.Errorf("second lock: %v", err)
	}
	stale := &Options{Methods: Dotlock, Attempts: 3, Stale: time.Nanosecond}
	if r, err := Dot(ctx, path, stale); err != nil {
		t.Errorf("stale lock is not broken: %v", err)
	} else {
		r()
	}
	release()
	if _, err := Dot(ctx, "/nonexistent/box", o); err == nil || errors.Is(err, ErrBusy) {
		t.Errorf("no directory: %v", err)
	}
}

func TestFlock(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/box"
	a, _ := os.Create(path)
	b, _ := os.OpenFile(path, os.O_WRONLY, 0)
	defer b.Close()
	o := &Options{Methods: Flock, Attempts: 2, Delay: time.Millisecond}
	if err := File(ctx, a, o); err != nil {
		t.Fatal(err)
	}
	if err := File(ctx, b, o); !errors.Is(err, ErrBusy) {
		t.Errorf("second lock: %v", err)
	}
	a.Close()
	if err := File(ctx, b, &Options{Methods: Flock | Fcntl, Attempts: 1}); err != nil {
		t.Error(err)
	}
}

// TestOrphan: a signed dotlock goes with its process.
func TestOrphan(t *testing.T) {
	path := t.TempDir() + "/box"
	o := &Options{Methods: Dotlock, Attempts: 2, Delay: time.Millisecond, Sign: true}
	release, err := Dot(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dot(context.Background(), path, o); !errors.Is(err, ErrBusy) {
		t.Errorf("of a living process: %v", err)
	}
	release()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	for text, free := range map[string]bool{
		fmt.Sprintf("posthaste %d %s\n", cmd.Process.Pid, host): true, fmt.Sprintf("posthaste %d other.%s\n", cmd.Process.Pid, host): false,
		fmt.Sprintf("%d\n", cmd.Process.Pid): false, "": false, "posthaste -1 " + host: false,
	} {
		os.WriteFile(path+".lock", []byte(text), 0o444)
		release, err := Dot(context.Background(), path, o)
		if free != (err == nil) {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil {
			release()
		}
		os.Remove(path + ".lock")
	}
}

// TestHandle: locks of two handles exclude each other in one process, and those of readers do not.
func TestHandle(t *testing.T) {
	path := t.TempDir() + "/box"
	os.WriteFile(path, nil, 0o600)
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, m := range []Methods{Fcntl, Flock, Fcntl | Flock} {
		o := &Options{Methods: m, Attempts: 1}
		a, b, c := open(), open(), open()
		if err := errors.Join(Handle(context.Background(), a, o, true), Handle(context.Background(), b, o, true)); err != nil {
			t.Errorf("%d: readers: %v", m, err)
		}
		if err := Handle(context.Background(), c, o, false); !errors.Is(err, ErrBusy) {
			t.Errorf("%d: a writer beside readers: %v", m, err)
		}
		a.Close()
		b.Close()
		if err := Handle(context.Background(), c, o, false); err != nil {
			t.Errorf("%d: a writer alone: %v", m, err)
		}
		// The lock outlives another handle of the same file in this process.
		open().Close()
		if err := Handle(context.Background(), open(), o, true); !errors.Is(err, ErrBusy) {
			t.Errorf("%d: a reader beside a writer: %v", m, err)
		}
		c.Close()
	}
}
