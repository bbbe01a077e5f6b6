package filelock

import (
	"context"
	"errors"
	"os"
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
